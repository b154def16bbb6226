use std::time::Duration;

use evenkeel::router::{Action, KeySource, Redirect, RouteConfig, RouterConfig, StaticResponse};
use evenkeel_route::matching::{
    DotSegments, EscapedSlashes, Fraction, HeaderMatch, HostMatch, HttpRule, HttpRules, HttpRulesConfig,
    PathMatch, PathOptions, Percent, QueryMatch, ValueMatch,
};
use evenkeel_route::retry::{Backoff, RetryConfig, RetryOn, StatusRange};
use evenkeel_route::split::{Arm, HeaderChange, HeaderRules, MirrorConfig, MirrorCounting, SplitConfig};
use evenkeel_types::Ratio;

use super::listener::unused;
use super::node::Node;
use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::key_rule::{EnvoyHash, KeyPart, KeyRule};
use crate::nginx::unique;
use crate::setup::{Listener, Serves};
use crate::tls::ListenerTls;
use crate::whole_regex::with_case;

/// Reads an `envoy.config.route.v3.RouteConfiguration`.
pub(crate) fn read_route_configuration(
    node: &Node,
    path: &str,
    name: &str,
    addresses: Vec<String>,
    tls: Option<ListenerTls>,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let mut table = Table::new(node, path)?;
    table.get("name");
    let mut headers = HeaderRules::default();
    header_changes(&mut table, &mut headers, conversion)?;
    let mut ranked: Vec<((u8, usize), HostMatch, usize)> = Vec::new();
    let mut hosts: Vec<Vec<RouteConfig>> = Vec::new();
    for (number, node) in table.list("virtual_hosts")?.iter().enumerate() {
        let mut host = Table::new(node, table.path(&format!("virtual_hosts[{number}]")))?;
        let host_name = host.text("name")?.unwrap_or("").to_owned();
        let mut of_host = headers.clone();
        header_changes(&mut host, &mut of_host, conversion)?;
        let retry = retry_policy(&mut host, conversion)?;
        let field = host.path("domains");
        for node in host.list("domains")? {
            let text = node.text(&field)?;
            match text.parse::<HostMatch>() {
                Ok(found) => {
                    ranked.push((host_rank(&found), found, number));
                    conversion.report.taken(&node.place, format!("{field}: {text}"), "match.hosts");
                }
                Err(_) => conversion.report.none(
                    &node.place,
                    format!("{field}: {text}"),
                    "hosts are names, *.name or name.*, without ports",
                ),
            }
        }
        let mut routes: Vec<RouteConfig> = Vec::new();
        let mut is_whole = false;
        for (i, node) in host.list("routes")?.iter().enumerate() {
            let path = host.path(&format!("routes[{i}]"));
            let (route, rule) = route(node, &path, &of_host, retry.as_ref(), &host_name, i, conversion)?;
            let Some(route) = route else { continue };
            is_whole |= route.rule == HttpRule::default();
            if let (Some(rule), Some(clusters)) = (rule, clusters(&route.action)) {
                keys(&clusters, &rule, node, &path, conversion);
            }
            routes.push(route);
        }
        if !is_whole {
            let mut route =
                RouteConfig::new(format!("{host_name}:rest"), Action::Respond(StaticResponse::new(404)));
            route.headers.response.clone_from(&of_host.response);
            routes.push(route);
        }
        host.rest(&mut conversion.report, |field| match field {
            "typed_per_filter_config" | "cors" => "filters are your server's",
            "require_tls" => "write a route that redirects",
            "rate_limits" => "give the routes rate_limits",
            _ => "evenkeel has nothing that does this",
        });
        hosts.push(routes);
    }
    ranked.sort_by_key(|&(rank, ..)| rank);
    let mut runs: Vec<(Vec<HostMatch>, usize)> = Vec::new();
    for (_, host, number) in ranked {
        match runs.last_mut() {
            Some((hosts, last)) if *last == number && host != HostMatch::Any => hosts.push(host),
            _ => runs.push((vec![host], number)),
        }
    }
    let mut router = RouterConfig { path: path_options(), ..RouterConfig::default() };
    for (matches, number) in runs {
        for route in &hosts[number] {
            let mut route = route.clone();
            if matches != [HostMatch::Any] {
                route.rule.hosts.clone_from(&matches);
            }
            unique(&mut route.name, &router.routes);
            router.routes.push(route);
        }
    }
    conversion.report.taken(table.place(), path, "a listener with routes");
    table.rest(&mut conversion.report, |field| match field {
        "validate_clusters" => "a router refuses unknown clusters",
        "vhds" => "routes that come over xDS are not in the file",
        _ => "evenkeel has nothing that does this",
    });
    let serves = Serves::Http(router);
    // Chains that differ in their certificates alone are one listener.
    let same = conversion.setup.listeners.iter_mut().find(|known| {
        !addresses.is_empty() && known.addresses == addresses && known.serves == serves && known.tls.is_some()
    });
    match (same.and_then(|known| known.tls.as_mut()), tls) {
        (Some(known), Some(tls))
            if (&known.alpn, &known.client_ca_file) == (&tls.alpn, &tls.client_ca_file) =>
        {
            tls.certificates.into_iter().for_each(|certificate| known.add(certificate));
        }
        (_, tls) => {
            let name = unused(name, conversion);
            conversion.setup.listeners.push(Listener { name, addresses, tls, udp: false, serves });
        }
    }
    Ok(())
}

fn host_rank(host: &HostMatch) -> (u8, usize) {
    match host {
        HostMatch::Exact(_) => (0, 0),
        HostMatch::Suffix(text) => (1, usize::MAX - text.len()),
        HostMatch::Prefix(text) => (2, usize::MAX - text.len()),
        HostMatch::Any => (3, 0),
    }
}

/// Envoy looks at paths as they came, unless it is told otherwise.
pub(crate) fn path_options() -> PathOptions {
    PathOptions {
        percent: Percent::Keep,
        escaped_slashes: EscapedSlashes::Keep,
        dot_segments: DotSegments::Keep,
        ..PathOptions::default()
    }
}

fn clusters(action: &Action) -> Option<Vec<String>> {
    match action {
        Action::Cluster(name) => Some(vec![name.clone()]),
        Action::Split(split) => Some(split.arms.iter().map(|arm| arm.cluster.clone()).collect()),
        _ => None,
    }
}

fn keys(clusters: &[String], rule: &KeyRule, node: &Node, path: &str, conversion: &mut Conversion) {
    for name in clusters {
        match conversion.setup.keys.get(name) {
            Some(known) if known != rule => conversion.report.differs(
                &node.place,
                format!("{path}.route.hash_policy"),
                format!("keys.{name} has the policies of an earlier route: make this key where you send the request"),
            ),
            _ => drop(conversion.setup.keys.insert(name.clone(), rule.clone())),
        }
    }
}

/// A route, and what makes its keys.
fn route(
    node: &Node,
    path: &str,
    headers: &HeaderRules,
    retry: Option<&RetryConfig>,
    host: &str,
    number: usize,
    conversion: &mut Conversion,
) -> Result<(Option<RouteConfig>, Option<KeyRule>), ConvertError> {
    let mut table = Table::new(node, path)?;
    let mut headers = headers.clone();
    header_changes(&mut table, &mut headers, conversion)?;
    let name = table.text("name")?.map_or_else(|| format!("{host}:{number}"), str::to_owned);
    let Some(mut matches) = table.table("match")? else {
        return Err(ConvertError::unexpected(&node.place, table.path("match"), "this field is needed"));
    };
    let rule = matching(&mut matches, conversion)?;
    matches.rest(
        &mut conversion.report,
        |_| "rules look at hosts, paths, methods, headers, parameters and cookies",
    );
    let Some(rule) = rule else { return Ok((None, None)) };
    let config =
        HttpRulesConfig { rules: vec![rule.clone()], path: path_options(), ..HttpRulesConfig::default() };
    if let Err(error) = HttpRules::new(&config) {
        conversion.report.none(&node.place, path, format!("the match does not compile here: {error}"));
        return Ok((None, None));
    }
    let mut route = RouteConfig::new(name, Action::Respond(StaticResponse::new(404)));
    route.rule = rule;
    route.headers = headers;
    let mut key = None;
    if let Some(mut inner) = table.table("route")? {
        key = forward(&mut inner, &mut route, retry, conversion)?;
        inner.rest(&mut conversion.report, |field| match field {
            "prefix_rewrite"
            | "regex_rewrite"
            | "path_rewrite_policy"
            | "host_rewrite_literal"
            | "auto_host_rewrite"
            | "host_rewrite_header"
            | "append_x_forwarded_host" => {
                "paths and hosts are not changed: do it where you send the request"
            }
            "hedge_policy" => "give the route hedge",
            "metadata_match" => "give the cluster the subset label",
            "max_stream_duration" | "idle_timeout" => "give the route a timeout",
            "rate_limits" => "give the route rate_limits",
            _ => "evenkeel has nothing that does this",
        });
    } else if let Some(mut redirect) = table.table("redirect")? {
        match redirected(&mut redirect)? {
            Some(action) => route.action = action,
            None => conversion.report.none(
                redirect.place(),
                redirect.path(""),
                "the client is told an address of host, path and query",
            ),
        }
        redirect.rest(&mut conversion.report, |_| "the client is told an address of host, path and query");
    } else if let Some(mut answer) = table.table("direct_response")? {
        let status = answer.number("status")?.and_then(|status| u16::try_from(status).ok());
        let status = status.filter(|status| (200..=599).contains(status)).ok_or_else(|| {
            ConvertError::unexpected(
                answer.place(),
                answer.path("status"),
                "a status from 200 to 599 is needed",
            )
        })?;
        let mut response = StaticResponse::new(status);
        if let Some(mut body) = answer.table("body")? {
            body.text("inline_string")?.unwrap_or("").clone_into(&mut response.body);
            body.rest(&mut conversion.report, |_| "a body stands in the configuration: inline_string");
        }
        answer.rest(&mut conversion.report, |_| "an answer has a status and a body");
        route.action = Action::Respond(response);
    } else {
        conversion.report.none(&node.place, path, "an action that is not known: the route answers 404");
    }
    conversion.report.taken(&node.place, path, format!("route {}", route.name));
    table.rest(&mut conversion.report, |field| match field {
        "metadata" | "decorator" | "stat_prefix" => "routes are known by their names",
        "typed_per_filter_config" => "filters are your server's",
        _ => "evenkeel has nothing that does this",
    });
    Ok((Some(route), key))
}

fn matching(table: &mut Table<'_>, conversion: &mut Conversion) -> Result<Option<HttpRule>, ConvertError> {
    let mut rule = HttpRule::default();
    let ignores_case = table.boolean("case_sensitive")? == Some(false);
    let quoted = |text: &str| -> String {
        text.chars()
            .flat_map(|c| ("\\.+*?()|[]{}^$#&-~".contains(c)).then_some('\\').into_iter().chain([c]))
            .collect()
    };
    if let Some(prefix) = table.text("prefix")? {
        if ignores_case {
            rule.paths.push(PathMatch::Regex(with_case(&format!("{}.*", quoted(prefix)), true)));
        } else if prefix != "/" && !prefix.is_empty() {
            rule.paths.push(PathMatch::RawPrefix(prefix.to_owned()));
        }
    } else if let Some(exact) = table.text("path")? {
        rule.paths.push(if ignores_case {
            PathMatch::Regex(with_case(&quoted(exact), true))
        } else {
            PathMatch::Exact(exact.to_owned())
        });
    } else if let Some(prefix) = table.text("path_separated_prefix")? {
        rule.paths.push(PathMatch::Prefix(prefix.to_owned()));
    } else if let Some(mut regex) = table.table("safe_regex")? {
        regex.get("google_re2");
        rule.paths.push(PathMatch::Regex(regex.needed("regex")?.to_owned()));
    } else {
        conversion.report.none(
            table.place(),
            table.path(""),
            "paths are matched by path, prefix, path_separated_prefix or safe_regex",
        );
        return Ok(None);
    }
    for (number, node) in table.list("headers")?.iter().enumerate() {
        let mut header = Table::new(node, table.path(&format!("headers[{number}]")))?;
        let name = header.needed("name")?.to_owned();
        let invert = header.boolean("invert_match")?.unwrap_or(false);
        let Some(test) = value_match(&mut header)? else {
            conversion.report.none(
                &node.place,
                header.path(""),
                "values are tested by text, range or presence",
            );
            return Ok(None);
        };
        header.rest(&mut conversion.report, |_| "a missing header passes no test, and every inverted one");
        let (test, invert) = match (test, invert) {
            (ValueMatch::Present, true) => (ValueMatch::Absent, false),
            (ValueMatch::Absent, true) => (ValueMatch::Present, false),
            other => other,
        };
        match (name.as_str(), &test, invert) {
            (":method", ValueMatch::Exact(method), false) => rule.methods.push(method.clone()),
            (":authority", ValueMatch::Exact(host), false) => match host.parse() {
                Ok(host) => rule.hosts.push(host),
                Err(_) => {
                    conversion.report.none(
                        &node.place,
                        format!("header {name}"),
                        "hosts are names without ports",
                    );
                    return Ok(None);
                }
            },
            (name, ..) if name.starts_with(':') => {
                conversion.report.none(
                    &node.place,
                    format!("header {name}"),
                    "rules have fields of their own for methods and hosts",
                );
                return Ok(None);
            }
            _ => rule.headers.push(HeaderMatch { name, test, invert }),
        }
    }
    for (number, node) in table.list("query_parameters")?.iter().enumerate() {
        let mut query = Table::new(node, table.path(&format!("query_parameters[{number}]")))?;
        let name = query.needed("name")?.to_owned();
        let Some(test) = value_match(&mut query)? else { return Ok(None) };
        rule.query.push(QueryMatch { name, test, invert: false });
    }
    if let Some(mut fraction) = table.table("runtime_fraction")? {
        let share = fractional(&mut fraction, "default_value")?;
        fraction.get("runtime_key");
        rule.fraction = Some(Fraction { share, salt: 0 });
        conversion.report.differs(
            fraction.place(),
            fraction.path(""),
            "match.fraction, by the key of the request, or drawn: nothing is looked up at run time",
        );
    }
    Ok(Some(rule))
}

/// `{ numerator: 5, denominator: HUNDRED }`
fn fractional(table: &mut Table<'_>, field: &str) -> Result<Ratio, ConvertError> {
    let Some(mut value) = table.table(field)? else { return Ok(Ratio::ONE) };
    let numerator = f64::from(value.number("numerator")?.unwrap_or(0));
    let denominator = match value.text("denominator")? {
        None | Some("HUNDRED") => 100.0,
        Some("TEN_THOUSAND") => 10_000.0,
        Some("MILLION") => 1_000_000.0,
        Some(other) => {
            return Err(ConvertError::value(
                value.place(),
                value.path("denominator"),
                other,
                "HUNDRED, TEN_THOUSAND or MILLION",
            ));
        }
    };
    Ok(Ratio::new((numerator / denominator).min(1.0)).unwrap_or(Ratio::ONE))
}

fn value_match(table: &mut Table<'_>) -> Result<Option<ValueMatch>, ConvertError> {
    for (field, make) in [
        ("exact_match", ValueMatch::Exact as fn(String) -> ValueMatch),
        ("prefix_match", ValueMatch::Prefix),
        ("suffix_match", ValueMatch::Suffix),
        ("contains_match", ValueMatch::Contains),
    ] {
        if let Some(text) = table.text(field)? {
            return Ok(Some(make(text.to_owned())));
        }
    }
    if let Some(mut regex) = table.table("safe_regex_match")? {
        return Ok(Some(ValueMatch::Regex(regex.needed("regex")?.to_owned())));
    }
    if let Some(mut text) = table.table("string_match")? {
        let ignores_case = text.boolean("ignore_case")? == Some(true);
        if ignores_case {
            return Ok(None);
        }
        for (field, make) in [
            ("exact", ValueMatch::Exact as fn(String) -> ValueMatch),
            ("prefix", ValueMatch::Prefix),
            ("suffix", ValueMatch::Suffix),
            ("contains", ValueMatch::Contains),
        ] {
            if let Some(value) = text.text(field)? {
                return Ok(Some(make(value.to_owned())));
            }
        }
        if let Some(mut regex) = text.table("safe_regex")? {
            return Ok(Some(ValueMatch::Regex(regex.needed("regex")?.to_owned())));
        }
        return Ok(None);
    }
    if let Some(mut range) = table.table("range_match")? {
        let mut number = |field: &str| -> Result<i64, ConvertError> {
            let path = range.path(field);
            let Some(node) = range.get(field) else { return Ok(0) };
            node.text(&path)?.parse().map_err(|_| node.wrong(&path, "a whole number is needed"))
        };
        return Ok(Some(ValueMatch::Range { from: number("start")?, to: number("end")? }));
    }
    Ok(Some(match table.boolean("present_match")? {
        Some(false) => ValueMatch::Absent,
        _ => ValueMatch::Present,
    }))
}

/// What `route` says; what comes back makes the keys.
fn forward(
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
            share = fractional(&mut fraction, "default_value")?;
            fraction.get("runtime_key");
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
        } else if let Some(mut connection) = policy.table("connection_properties")?
            && connection.boolean("source_ip")? == Some(true)
        {
            of = Some(KeyPart::Source);
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

fn retry_policy(
    table: &mut Table<'_>,
    conversion: &mut Conversion,
) -> Result<Option<RetryConfig>, ConvertError> {
    let Some(mut policy) = table.table("retry_policy")? else { return Ok(None) };
    let attempts = policy.number("num_retries")?.unwrap_or(1).saturating_add(1);
    let mut on = RetryOn {
        statuses: Vec::new(),
        grpc_codes: Vec::new(),
        connect_failed: false,
        refused: false,
        reset: false,
        timed_out: false,
    };
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
        attempts: attempts.min(16),
        on,
        per_try_timeout,
        backoff,
        max_retry_after: Duration::ZERO,
        tier_after: 0,
    }))
}

fn redirected(table: &mut Table<'_>) -> Result<Option<Action>, ConvertError> {
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
    let scheme = table.text("scheme_redirect")?.unwrap_or(if https { "https" } else { "http" });
    let host = table.text("host_redirect")?.unwrap_or("{host}");
    let path = table.text("path_redirect")?;
    if table.boolean("strip_query")? == Some(true) {
        return Ok(None);
    }
    let rest =
        path.map_or_else(|| "{path}{query}".to_owned(), |path| path.replace('{', "%7B").replace('}', "%7D"));
    Ok(Some(Action::Redirect(Redirect { location: format!("{scheme}://{host}{rest}"), status })))
}

fn header_changes(
    table: &mut Table<'_>,
    headers: &mut HeaderRules,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    for (side, is_request) in [("request", true), ("response", false)] {
        let mut changes = Vec::new();
        let field = format!("{side}_headers_to_remove");
        let path = table.path(&field);
        for node in table.list(&field)? {
            changes.push(HeaderChange::Remove { name: node.text(&path)?.to_owned() });
        }
        let field = format!("{side}_headers_to_add");
        for (number, node) in table.list(&field)?.iter().enumerate() {
            let mut option = Table::new(node, table.path(&format!("{field}[{number}]")))?;
            let action = option.text("append_action")?.unwrap_or("APPEND_IF_EXISTS_OR_ADD");
            let appends = option.boolean("append")?;
            let Some(mut header) = option.table("header")? else { continue };
            let (name, value) =
                (header.needed("key")?.to_owned(), header.text("value")?.unwrap_or("").to_owned());
            if value.contains('%') {
                conversion.report.none(
                    &node.place,
                    option.path(&name),
                    "a value that is made of others: set it where you send",
                );
                continue;
            }
            changes.push(match (action, appends) {
                ("OVERWRITE_IF_EXISTS_OR_ADD", _) | (_, Some(false)) => HeaderChange::Set { name, value },
                ("ADD_IF_ABSENT", _) => HeaderChange::SetIfAbsent { name, value },
                ("APPEND_IF_EXISTS_OR_ADD", _) => HeaderChange::Add { name, value },
                (other, _) => {
                    conversion.report.none(
                        &node.place,
                        option.path(other),
                        "headers are added, set or removed",
                    );
                    continue;
                }
            });
            conversion.report.taken(&node.place, option.path(""), "headers of the routes");
        }
        // Those of a route come before those of its host.
        let all = if is_request { &mut headers.request } else { &mut headers.response };
        changes.append(all);
        *all = changes;
    }
    Ok(())
}
