//! `outlier_detection` and `circuit_breakers`.

use std::time::Duration;

use evenkeel::ClusterConfig;
use evenkeel_health::outlier::{
    EjectionCaps, EjectionTime, FailureShare, Growth, OutlierConfig, Return, SuccessRate,
};
use evenkeel_limit::{LedgerConfig, LimitConfig, RetryBudgetConfig};
use evenkeel_types::Ratio;

use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;

pub(super) fn outliers(table: &mut Table<'_>) -> Result<OutlierConfig, ConvertError> {
    let enforced = |percent: Option<u32>, default: u32| percent.unwrap_or(default) > 0;
    let mut count = |field: &str, enforcing: &str, default: u32| -> Result<Option<u32>, ConvertError> {
        let runs = table.number(field)?.unwrap_or(5);
        let is_on = enforced(table.number(enforcing)?, default);
        Ok(Some(runs.clamp(1, 32_767)).filter(|_| is_on && runs > 0))
    };
    let consecutive_failures = count("consecutive_5xx", "enforcing_consecutive_5xx", 100)?;
    let consecutive_gateway_failures =
        count("consecutive_gateway_failure", "enforcing_consecutive_gateway_failure", 0)?;
    let consecutive_local_failures =
        count("consecutive_local_origin_failure", "enforcing_consecutive_local_origin_failure", 100)?;
    let base = table.time("base_ejection_time")?.unwrap_or(Duration::from_secs(30));
    let max = table.time("max_ejection_time")?.unwrap_or(Duration::from_secs(300)).max(base);
    let success = enforced(table.number("enforcing_success_rate")?, 100);
    let volume = table.number("success_rate_request_volume")?.unwrap_or(100).max(1);
    let shares = enforced(table.number("enforcing_failure_percentage")?, 0);
    let threshold = table.number("failure_percentage_threshold")?.unwrap_or(85);
    let min_requests = table.number("failure_percentage_request_volume")?.unwrap_or(50).max(1);
    Ok(OutlierConfig {
        interval: table.time("interval")?.unwrap_or(Duration::from_secs(10)),
        consecutive_failures,
        consecutive_gateway_failures,
        consecutive_local_failures,
        split_local_origin: table.boolean("split_external_local_origin_errors")?.unwrap_or(false),
        success_rate: success.then(|| SuccessRate { min_requests: volume, ..SuccessRate::default() }),
        failure_share: (shares && threshold > 0)
            .then(|| FailureShare { threshold: ratio(threshold), min_requests }),
        caps: EjectionCaps {
            max_ejected: None,
            max_ejected_ratio: ratio(table.number("max_ejection_percent")?.unwrap_or(10)),
            at_least_one: table.boolean("always_eject_one_host")?.unwrap_or(false),
            min_remaining: 0,
        },
        brake: None,
        ejection: EjectionTime {
            base,
            max,
            growth: Growth::Linear,
            jitter: Ratio::ZERO,
            ..EjectionTime::default()
        },
        on_return: Return::Full,
        ..OutlierConfig::default()
    })
}

/// Envoy draws whether it ejects whom it has found out; ours ejects always or never.
pub(super) fn partly(table: &mut Table<'_>, conversion: &mut Conversion) -> Result<(), ConvertError> {
    for field in [
        "enforcing_consecutive_5xx",
        "enforcing_consecutive_gateway_failure",
        "enforcing_consecutive_local_origin_failure",
        "enforcing_success_rate",
        "enforcing_failure_percentage",
    ] {
        if let Some(percent @ 1..100) = table.number(field)? {
            let subject = format!("{}: {percent}", table.path(field));
            conversion.report.differs(table.place(), subject, "it is enforced always");
        }
    }
    Ok(())
}

pub(super) fn breakers(
    table: &mut Table<'_>,
    cluster: &mut ClusterConfig,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let Some(mut breakers) = table.table("circuit_breakers")? else { return Ok(()) };
    for (number, node) in breakers.list("thresholds")?.iter().enumerate() {
        let mut thresholds = Table::new(node, breakers.path(&format!("thresholds[{number}]")))?;
        if thresholds.text("priority")?.is_some_and(|priority| priority != "DEFAULT") {
            conversion.report.none(
                &node.place,
                thresholds.path("priority"),
                "requests have no priorities: give important ones a cluster of their own",
            );
            continue;
        }
        if let Some(most) = thresholds.number("max_requests")? {
            cluster.limit = Some(LimitConfig::fixed(most.min(evenkeel_limit::MAX_LIMIT)));
            let subject = thresholds.path("max_requests");
            if most > evenkeel_limit::MAX_LIMIT {
                let detail = format!("limit: {}, the most that there can be", evenkeel_limit::MAX_LIMIT);
                conversion.report.differs(&node.place, subject, detail);
            } else {
                conversion.report.taken(&node.place, subject, "limit");
            }
        }
        if let Some(mut budget) = thresholds.table("retry_budget")? {
            let percent = budget.percent("budget_percent")?.unwrap_or(20.0);
            let total = RetryBudgetConfig { ratio: percent / 100.0, ..RetryBudgetConfig::default() };
            cluster.budget = Some(LedgerConfig { total, ..LedgerConfig::default() });
            let detail = "budget: a share of the requests of some seconds, where Envoy counts what is in flight; min_retry_concurrency becomes ten a second";
            budget.get("min_retry_concurrency");
            conversion.report.differs(budget.place(), budget.path(""), detail);
            budget.rest(&mut conversion.report, |_| "a budget is a share");
        }
        thresholds.rest(&mut conversion.report, |field| match field {
            "max_retries" => "bound retries with budget",
            "max_connections" | "max_pending_requests" | "max_connection_pools" => {
                "connections are your client's"
            }
            _ => "reports tell what is left",
        });
    }
    for (number, node) in breakers.list("per_host_thresholds")?.iter().enumerate() {
        let mut thresholds = Table::new(node, breakers.path(&format!("per_host_thresholds[{number}]")))?;
        if let Some(most) = thresholds.number("max_connections")? {
            cluster.endpoint_limit = Some(LimitConfig::fixed(most.min(evenkeel_limit::MAX_LIMIT)));
            let detail = "endpoint_limit: of requests in flight, where Envoy counts connections";
            conversion.report.differs(&node.place, thresholds.path("max_connections"), detail);
        }
        thresholds.rest(&mut conversion.report, |_| "an endpoint has a limit of requests alone");
    }
    breakers.rest(&mut conversion.report, |_| "evenkeel has nothing that does this");
    Ok(())
}

fn ratio(percent: u32) -> Ratio {
    Ratio::percent(percent.min(100)).unwrap_or(Ratio::ONE)
}
