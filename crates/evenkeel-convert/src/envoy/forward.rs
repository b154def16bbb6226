//! What a route does: `route` with its retries and hash policies, `redirect`.

use std::time::Duration;

use evenkeel::router::{Action, KeySource, Redirect, RouteConfig};
use evenkeel_route::retry::{Backoff, RetryConfig, StatusRange};
use evenkeel_route::split::{Arm, MirrorConfig, MirrorCounting, SplitConfig};
use evenkeel_types::Ratio;

use super::matching::fractional;
use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::key_rule::{EnvoyHash, KeyPart, KeyRule};
use crate::on_nothing::on_nothing;

/// What `route` says; what comes back makes the keys.
pub(super) fn forward(
    table: &mut Table<'_>,
    route: &mut RouteConfig,
    retry: Option<&RetryConfig>,
    conversion: &mut Conversion,
) -> Result<Option<KeyRule>, ConvertError> {
    if let Some(name) = table.text("cluster")? {
        route.action = Action::Cluster(name.to_owned());
    } else if let Some(mut weighted) = table.table("weighted_clusters")? {
        let mut arms: Vec<Arm> = Vec::new();
        for (number, node) in weighted.list("clusters")?.iter().enumerate() {
            let mut arm = Table::new(node, weighted.path(&format!("clusters[{number}]")))?;
            let cluster = arm.needed("name")?.to_owned();
            let weight = arm.number("weight")?.unwrap_or(0);
            match arms.iter_mut().find(|arm| arm.cluster == cluster) {
                Some(known) => known.weight = known.weight.saturating_add(weight),
                None => arms.push(Arm { cluster, weight }),
            }
            arm.rest(
                &mut conversion.report,
                |_| "headers are changed for a whole route: write one for this cluster",
            );
        }
        weighted.get("total_weight");
        route.action = Action::Split(SplitConfig { arms, ..SplitConfig::default() });
        weighted.rest(&mut conversion.report, |_| "a split is drawn, or keyed by the route's key");
    } else {
        conversion.report.none(
            table.place(),
            table.path("cluster"),
            "which cluster this is is only known when requests come: the route answers 404",
        );
        return Ok(None);
    }
    route.timeout = match table.time("timeout")? {
        Some(time) if time.is_zero() => None,
        Some(time) => Some(time),
        None => {
            conversion.report.taken(
                table.place(),
                table.path("timeout (in force)"),
                "timeout = 15s, Envoy's default",
            );
            Some(Duration::from_secs(15))
        }
    };
    route.retry = retry_policy(table, conversion)?.or_else(|| retry.cloned());
    route.retry_same_endpoint = route.retry.is_some();
    let mirrors = table.list("request_mirror_policies")?;
    if let Some(first) = mirrors.first() {
        let mut mirror = Table::new(first, table.path("request_mirror_policies[0]"))?;
        let mut share = Ratio::ONE;
        if let Some(mut fraction) = mirror.table("runtime_fraction")? {
            share = fractional(&mut fraction, "default_value", conversion)?;
            fraction.rest(&mut conversion.report, |_| "nothing is looked up at run time");
        }
        let cluster = mirror.needed("cluster")?.to_owned();
        route.mirror =
            Some(MirrorConfig { cluster, share, counting: MirrorCounting::Drawn, ..MirrorConfig::default() });
        conversion.report.taken(&first.place, mirror.path(""), "mirror");
        mirror.rest(&mut conversion.report, |_| "a mirror has a cluster and a share");
    }
    if let Some(second) = mirrors.get(1) {
        conversion.report.none(
            &second.place,
            table.path("request_mirror_policies[1]"),
            "a route has one mirror",
        );
    }
    hash_policies(table, route, conversion)
}

fn hash_policies(
    table: &mut Table<'_>,
    route: &mut RouteConfig,
    conversion: &mut Conversion,
) -> Result<Option<KeyRule>, ConvertError> {
    let mut policies = Vec::new();
    let list = table.list("hash_policy")?;
    for (number, node) in list.iter().enumerate() {
        let mut policy = Table::new(node, table.path(&format!("hash_policy[{number}]")))?;
        let terminal = policy.boolean("terminal")?.unwrap_or(false);
        let mut of = None;
        if let Some(mut header) = policy.table("header")? {
            if header.get("regex_rewrite").is_some() {
                conversion.report.none(
                    header.place(),
                    header.path("regex_rewrite"),
                    "values are hashed as they are",
                );
            }
            of = Some(KeyPart::Header(header.needed("header_name")?.to_owned()));
            header.rest(&mut conversion.report, |_| "the header is only read");
        } else if let Some(mut cookie) = policy.table("cookie")? {
            if let Some(ttl) = cookie.get("ttl") {
                conversion.report.none(
                    &ttl.place,
                    cookie.path("ttl"),
                    "no cookie is made for who has none: give the route affinity.cookie",
                );
            }
            of = Some(KeyPart::Cookie(cookie.needed("name")?.to_owned()));
            cookie.rest(&mut conversion.report, |_| "the cookie is only read");
        } else if let Some(mut query) = policy.table("query_parameter")? {
            of = Some(KeyPart::Query(query.needed("name")?.to_owned()));
            query.rest(&mut conversion.report, |_| "the parameter is only read");
        } else if let Some(mut connection) = policy.table("connection_properties")?
            && connection.boolean("source_ip")? == Some(true)
        {
            of = Some(KeyPart::Source);
            connection.rest(&mut conversion.report, |_| "of a connection the source is hashed");
        }
        let Some(of) = of else {
            conversion.report.none(
                &node.place,
                policy.path(""),
                "headers, cookies, parameters and the source are hashed",
            );
            continue;
        };
        policies.push(EnvoyHash { of, terminal });
        policy.rest(&mut conversion.report, |_| "a hash policy has no such setting");
    }
    let Some(first) = list.first().filter(|_| !policies.is_empty()) else { return Ok(None) };
    let sources: Vec<KeySource> =
        policies.iter().filter_map(|policy| crate::nginx::source_of(&policy.of)).collect();
    route.key = sources;
    conversion.report.differs(
        &first.place,
        table.path("hash_policy"),
        "route.key: the first of these that a request has; the policy envoy picks as Envoy for the hash that keys of the cluster makes (Key::Hash)",
    );
    Ok(Some(KeyRule::Envoy(policies)))
}

pub(super) fn retry_policy(
    table: &mut Table<'_>,
    conversion: &mut Conversion,
) -> Result<Option<RetryConfig>, ConvertError> {
    let Some(mut policy) = table.table("retry_policy")? else { return Ok(None) };
    let attempts = policy.number("num_retries")?.unwrap_or(1).saturating_add(1);
    let mut on = on_nothing();
    let per_try_timeout = policy.time("per_try_timeout")?.filter(|time| !time.is_zero());
    let range = |first, last| StatusRange { first, last };
    let path = policy.path("retriable_status_codes");
    let mut codes = Vec::new();
    for node in policy.list("retriable_status_codes")? {
        let code = node.number(&path, 599)? as u16;
        codes.push(range(code, code));
    }
    for word in
        policy.text("retry_on")?.unwrap_or("").split(',').map(str::trim).filter(|word| !word.is_empty())
    {
        match word {
            "5xx" => {
                on.statuses.push(range(500, 599));
                (on.connect_failed, on.refused, on.reset, on.timed_out) = (true, true, true, true);
            }
            "gateway-error" => {
                on.statuses.push(range(502, 504));
                (on.connect_failed, on.refused, on.reset, on.timed_out) = (true, true, true, true);
            }
            "connect-failure" => on.connect_failed = true,
            "refused-stream" => on.refused = true,
            "reset" | "reset-before-request" => on.reset = true,
            "retriable-4xx" => on.statuses.push(range(409, 409)),
            "retriable-status-codes" => on.statuses.append(&mut codes),
            "cancelled" => on.grpc_codes.push(1),
            "deadline-exceeded" => on.grpc_codes.push(4),
            "resource-exhausted" => on.grpc_codes.push(8),
            "internal" => on.grpc_codes.push(13),
            "unavailable" => on.grpc_codes.push(14),
            other => conversion.report.none(
                policy.place(),
                format!("{}: {other}", policy.path("retry_on")),
                "attempts end by status, code, connection or time",
            ),
        }
    }
    on.statuses.sort_by_key(|range| (range.first, range.last));
    on.statuses.dedup();
    on.timed_out &= per_try_timeout.is_some();
    // Without their word in `retry_on` Envoy does not look at them either.
    if !codes.is_empty() {
        let detail = "retry_on does not name retriable-status-codes, so they mean nothing";
        conversion.report.none(policy.place(), path, detail);
    }
    if attempts > MOST_ATTEMPTS {
        let subject = format!("{}: {}", policy.path("num_retries"), attempts - 1);
        let detail = format!("retry.attempts is {MOST_ATTEMPTS}, the most that there can be");
        conversion.report.differs(policy.place(), subject, detail);
    }
    let mut backoff = Backoff::default();
    if let Some(mut wait) = policy.table("retry_back_off")? {
        let default = backoff.base;
        backoff.base = wait.time("base_interval")?.filter(|time| !time.is_zero()).unwrap_or(default);
        backoff.max = wait.time("max_interval")?.unwrap_or(backoff.base.saturating_mul(10)).max(backoff.base);
        wait.rest(&mut conversion.report, |_| "a backoff has a base and a maximum");
    }
    let detail = "retry: of the requests that may be repeated, each attempt elsewhere if there is somebody";
    conversion.report.differs(policy.place(), policy.path(""), detail);
    policy.rest(&mut conversion.report, |field| match field {
        "retry_host_predicate" | "host_selection_retry_max_attempts" => {
            "attempts go where the request has not been"
        }
        "retry_priority" => "say it with tier_after",
        "rate_limited_retry_back_off" => "say it with max_retry_after",
        _ => "attempts end by status, code, connection or time",
    });
    Ok(Some(RetryConfig {
        attempts: attempts.min(MOST_ATTEMPTS),
        on,
        per_try_timeout,
        backoff,
        max_retry_after: Duration::ZERO,
        tier_after: 0,
    }))
}

pub(super) fn redirected(table: &mut Table<'_>) -> Result<Action, ConvertError> {
    let status = match table.text("response_code")? {
        None | Some("MOVED_PERMANENTLY") => 301,
        Some("FOUND") => 302,
        Some("SEE_OTHER") => 303,
        Some("TEMPORARY_REDIRECT") => 307,
        Some("PERMANENT_REDIRECT") => 308,
        Some(other) => {
            return Err(ConvertError::value(
                table.place(),
                table.path("response_code"),
                other,
                "MOVED_PERMANENTLY and others",
            ));
        }
    };
    let https = table.boolean("https_redirect")? == Some(true);
    let scheme = table.text("scheme_redirect")?.or(https.then_some("https"));
    let host = table.text("host_redirect")?;
    let path = table.text("path_redirect")?;
    let query = if table.boolean("strip_query")? == Some(true) { "" } else { "{query}" };
    let path = match path {
        None => format!("{{path}}{query}"),
        // A query of its own takes the place of the request's.
        Some(path) if path.contains('?') => literal(path),
        Some(path) => format!("{}{query}", literal(path)),
    };
    let host = host.map(literal);
    // What is not given stays as the client had it: an address without a scheme has that of the request.
    let location = match (scheme, host) {
        (Some(scheme), host) => {
            format!("{}://{}{path}", literal(scheme), host.as_deref().unwrap_or("{host}"))
        }
        (None, Some(host)) => format!("//{host}{path}"),
        (None, None) => path,
    };
    Ok(Action::Redirect(Redirect { location, status }))
}

/// What evenkeel allows.
const MOST_ATTEMPTS: u32 = 16;

/// A text in which braces stand for nothing.
fn literal(text: &str) -> String {
    text.replace('{', "%7B").replace('}', "%7D")
}
