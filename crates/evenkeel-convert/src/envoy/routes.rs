use evenkeel::router::{Action, RouteConfig, RouterConfig, StaticResponse};
use evenkeel_route::matching::{HostMatch, HttpRule, HttpRules, HttpRulesConfig};
use evenkeel_route::retry::RetryConfig;
use evenkeel_route::split::{HeaderChange, HeaderRules};

use super::forward::{forward, redirected, retry_policy};
use super::listener::unused;
use super::matching::matching;
use super::node::Node;
use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::host_groups::runs;
use crate::key_rule::KeyRule;
use crate::nginx::unique;
use crate::raw_paths::raw_paths;
use crate::setup::{Listener, Serves};
use crate::tls::ListenerTls;

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
    let mut named: Vec<(HostMatch, usize)> = Vec::new();
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
                    named.push((found, number));
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
    let mut router = RouterConfig { path: raw_paths(), ..RouterConfig::default() };
    for (matches, number) in runs(named) {
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
        HttpRulesConfig { rules: vec![rule.clone()], path: raw_paths(), ..HttpRulesConfig::default() };
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
        route.action = redirected(&mut redirect)?;
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
            let Some(mut header) = option.table("header")? else {
                conversion.report.none(&node.place, option.path(""), "a change without a header");
                continue;
            };
            let (name, value) =
                (header.needed("key")?.to_owned(), header.text("value")?.unwrap_or("").to_owned());
            header.rest(&mut conversion.report, |_| "a header has a key and a value that is text");
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
            option.rest(&mut conversion.report, |_| "headers are added, set or removed");
        }
        // Those of a route come before those of its host.
        let all = if is_request { &mut headers.request } else { &mut headers.response };
        changes.append(all);
        *all = changes;
    }
    Ok(())
}
