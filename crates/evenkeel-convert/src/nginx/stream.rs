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
    let listens: Vec<&Directive> =
        block.inside().iter().filter(|directive| directive.name.is("listen")).collect();
    if !listens.is_empty() && listens.iter().all(|directive| is_udp(directive)) {
        for directive in block.inside() {
            conversion.report.none(directive.place(), directive.text(), UDP);
        }
        return Ok(());
    }
    let mut addresses = Vec::new();
    let mut router = StreamRouterConfig::default();
    for directive in block.inside() {
        let (place, subject) = (directive.place(), directive.text());
        match directive.name.text.as_str() {
            "listen" => {
                addresses.extend(listen(directive, conversion)?);
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
    // Whether clients speak TLS is said of each address.
    let (encrypted, open): (Vec<Listen>, Vec<Listen>) = addresses.into_iter().partition(|listen| listen.tls);
    for (listens, tls) in [(open, false), (encrypted, true)] {
        let addresses: Vec<String> = listens.into_iter().map(|listen| listen.address).collect();
        let Some(first) = addresses.first() else { continue };
        let name = format!("stream {first}");
        let serves = Serves::Stream(router.clone());
        conversion.setup.listeners.push(Listener { name, addresses, tls, serves });
    }
    Ok(())
}

struct Listen {
    address: String,
    tls: bool,
}

const UDP: &str =
    "UDP is not converted, and never becomes TCP: write a listener whose protocol is udp, and its routes";

fn is_udp(directive: &Directive) -> bool {
    directive.args.iter().skip(1).any(|word| word.is("udp"))
}

/// None, if it is one of UDP.
fn listen(directive: &Directive, conversion: &mut Conversion) -> Result<Option<Listen>, ConvertError> {
    let Some((address, flags)) = directive.args.split_first() else {
        let expected = "an address or a port comes after it";
        return Err(ConvertError::unexpected(directive.place(), "listen", expected));
    };
    let text = address.text.as_str();
    if is_udp(directive) {
        conversion.report.none(directive.place(), directive.text(), UDP);
        return Ok(None);
    }
    for flag in flags.iter().filter(|flag| !["ssl", "reuseport"].contains(&flag.text.as_str())) {
        let detail = if flag.is("proxy_protocol") {
            "whether connections begin with a PROXY header is your server's: tell it to take one"
        } else {
            "sockets are your server's"
        };
        conversion.report.none(&flag.place, format!("listen {text} {}", flag.text), detail);
    }
    conversion.report.taken(directive.place(), directive.text(), "an address of a listener");
    let is_port = text.bytes().all(|byte| byte.is_ascii_digit());
    let address = if is_port { format!("*:{text}") } else { text.to_owned() };
    Ok(Some(Listen { address, tls: flags.iter().any(|flag| flag.is("ssl")) }))
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
