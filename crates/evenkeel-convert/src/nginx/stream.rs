use std::collections::BTreeMap;

use evenkeel::ClusterConfig;
use evenkeel::router::{StreamAction, StreamRouteConfig, StreamRouterConfig};
use evenkeel_route::matching::{HostMatch, StreamRule, ValueMatch};
use evenkeel_types::{Endpoint, EndpointId};

use super::http::proxys_own;
use super::key;
use super::tree::Directive;
use super::upstream::{Upstream, address, read_upstream};
use super::variables::{self, Variable, Variables};
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::setup::{Listener, Serves};

/// Reads what is in `stream`.
pub(crate) fn read(block: &[Directive], conversion: &mut Conversion) -> Result<(), ConvertError> {
    let mut upstreams: BTreeMap<String, Upstream> = BTreeMap::new();
    let mut variables = Variables::new();
    for directive in block {
        match directive.name.text.as_str() {
            "upstream" => {
                let upstream = read_upstream(directive, &mut conversion.report)?;
                upstreams.insert(upstream.cluster.name.clone(), upstream);
            }
            "map" => {
                let (name, variable) = variables::map(directive, &mut conversion.report)?;
                variables.insert(name, variable);
                conversion.report.taken(
                    directive.place(),
                    directive.text(),
                    "routes, where proxy_pass uses it",
                );
            }
            "server" => {}
            _ => proxys_own(directive, conversion),
        }
    }
    for directive in block.iter().filter(|directive| directive.name.is("server")) {
        server(directive, &mut upstreams, &variables, conversion)?;
    }
    for upstream in upstreams.into_values() {
        if let Some(rule) = upstream.key {
            conversion.setup.keys.insert(upstream.cluster.name.clone(), rule);
        }
        conversion.setup.clusters.push(upstream.cluster);
    }
    Ok(())
}

fn server(
    block: &Directive,
    upstreams: &mut BTreeMap<String, Upstream>,
    variables: &Variables,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let mut addresses = Vec::new();
    let mut router = StreamRouterConfig::default();
    for directive in block.inside() {
        let (place, subject) = (directive.place(), directive.text());
        match directive.name.text.as_str() {
            "listen" => {
                let text = directive.args.first().map_or("", |word| word.text.as_str());
                let is_port = text.bytes().all(|byte| byte.is_ascii_digit());
                addresses.push(if is_port { format!("*:{text}") } else { text.to_owned() });
                conversion.report.taken(place, subject, "an address of a listener");
            }
            "ssl_preread" => {
                conversion.report.taken(place, subject, "routes look at the server name where they have one");
            }
            "proxy_pass" => {
                let target = &directive.only()?.text;
                let routes = routes(target, variables);
                let Some(routes) = routes else {
                    let detail =
                        "where this leads is only known when connections come: write a route for each";
                    conversion.report.none(place, subject, detail);
                    continue;
                };
                for (sni, cluster) in routes {
                    ensure(&cluster, upstreams, directive)?;
                    let name = format!("{cluster}:{}", router.routes.len());
                    let rule = StreamRule { sni, ..StreamRule::default() };
                    router.routes.push(StreamRouteConfig {
                        name,
                        rule,
                        action: StreamAction::Cluster(cluster),
                    });
                }
                conversion.report.taken(place, subject, "routes of connections");
            }
            _ => proxys_own(directive, conversion),
        }
    }
    let name =
        addresses.first().map_or_else(|| format!("stream:{}", block.place().line), |a| format!("stream {a}"));
    conversion.setup.listeners.push(Listener { name, addresses, tls: false, serves: Serves::Stream(router) });
    Ok(())
}

/// Server names and clusters, in the order in which they are asked.
fn routes(target: &str, variables: &Variables) -> Option<Vec<(Vec<HostMatch>, String)>> {
    let Some(name) = key::variable(target) else {
        return (!key::has_variables(target)).then(|| vec![(Vec::new(), target.to_owned())]);
    };
    let Some(Variable::Map { source, cases, default }) = variables.get(name) else { return None };
    if key::variable(source) != Some("ssl_preread_server_name") {
        return None;
    }
    let mut routes = Vec::new();
    for (test, cluster) in cases {
        let ValueMatch::Exact(host) = test else { return None };
        routes.push((vec![host.parse().ok()?], cluster.clone()));
    }
    if !default.is_empty() {
        routes.push((Vec::new(), default.clone()));
    }
    Some(routes)
}

fn ensure(
    name: &str,
    upstreams: &mut BTreeMap<String, Upstream>,
    directive: &Directive,
) -> Result<(), ConvertError> {
    if upstreams.contains_key(name) {
        return Ok(());
    }
    let refuse = |error: &dyn std::fmt::Display| {
        ConvertError::value(
            directive.place(),
            "proxy_pass",
            name,
            format!("no upstream of this name, and {error}"),
        )
    };
    let (address, _) = address(name, 0).map_err(|error| refuse(&error))?;
    let id = EndpointId::new(address.to_string()).map_err(|error| refuse(&error))?;
    let mut cluster = ClusterConfig::new(name);
    cluster.policy = evenkeel::PolicyConfig::nginx();
    cluster.endpoints.push(Endpoint::new(id, address));
    upstreams
        .insert(name.to_owned(), Upstream { cluster, key: None, tries: 1, place: directive.place().clone() });
    Ok(())
}
