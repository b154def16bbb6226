//! What the other programs have no words for: told once for each setting, whichever program it is.

use evenkeel::router::{RouteConfig, RouterConfig};
use evenkeel::{ClusterConfig, FailoverMode};

use crate::report::{Report, Verdict};

/// Settings of a cluster; `said` are those that the program knows.
pub(crate) fn cluster(config: &ClusterConfig, said: &[&str], report: &mut Report) {
    let default = ClusterConfig::new("");
    let is_backup = config.failover.as_ref().is_some_and(|mode| matches!(mode, FailoverMode::Backup(_)));
    for (field, is_set) in [
        ("subset", config.subset.is_some() || config.outside_subset.is_some()),
        ("failover", config.failover.is_some() && !is_backup),
        ("locality", config.locality.is_some()),
        ("breaker", config.breaker.is_some()),
        ("outlier", config.outlier.is_some()),
        ("slow_start", config.slow_start.is_some()),
        ("endpoint_limit", config.endpoint_limit.is_some()),
        ("limit", config.limit.is_some()),
        ("budget", config.budget.is_some()),
        ("latency", config.latency.is_some()),
        ("seed", config.seed.is_some()),
        ("hash_seed", config.hash_seed != default.hash_seed),
        ("max_endpoints", config.max_endpoints != default.max_endpoints),
    ] {
        if is_set && !said.contains(&field) {
            let subject = format!("clusters.{}.{field}", config.name);
            report.add(
                None,
                subject,
                Verdict::NoEquivalent,
                "it is left out: the program has nothing like it",
            );
        }
    }
}

/// Settings of a route.
pub(crate) fn route(config: &RouteConfig, said: &[&str], report: &mut Report) {
    let rule = &config.rule;
    for (field, is_set) in [
        ("rate_limits", !config.rate_limits.is_empty()),
        ("affinity", config.affinity.is_some()),
        ("hedge", config.hedge.is_some()),
        ("mirror", config.mirror.is_some()),
        ("timeout", config.timeout.is_some()),
        ("match.fraction", rule.fraction.is_some()),
        ("match.cookies", !rule.cookies.is_empty()),
        ("match.query", !rule.query.is_empty()),
        ("match.headers", !rule.headers.is_empty()),
        ("match.methods", !rule.methods.is_empty()),
    ] {
        if is_set && !said.contains(&field) {
            let detail = if field.starts_with("match.") {
                "the route is left out: the program asks nothing of this kind"
            } else {
                "it is left out: the program has nothing like it"
            };
            report.add(None, format!("routes.{}.{field}", config.name), Verdict::NoEquivalent, detail);
        }
    }
}

/// Whether the rule of a route can be said.
pub(crate) fn is_sayable(config: &RouteConfig, said: &[&str]) -> bool {
    let rule = &config.rule;
    [
        ("match.fraction", rule.fraction.is_some()),
        ("match.cookies", !rule.cookies.is_empty()),
        ("match.query", !rule.query.is_empty()),
        ("match.headers", !rule.headers.is_empty()),
        ("match.methods", !rule.methods.is_empty()),
    ]
    .iter()
    .all(|(field, is_set)| !is_set || said.contains(field))
}

/// Settings of a router.
pub(crate) fn router(name: &str, config: &RouterConfig, report: &mut Report) {
    if !config.fallbacks.is_empty() {
        let subject = format!("listeners.{name}.fallbacks");
        report.add(
            None,
            subject,
            Verdict::NoEquivalent,
            "it is left out: give the cluster endpoints of a lower priority",
        );
    }
}
