//! Listeners: addresses, chains with their certificates, datagrams.

use std::collections::BTreeSet;

use evenkeel::router::{RouterConfig, StreamAction, StreamRouterConfig};
use evenkeel_route::matching::{HostMatch, StreamRule};
use serde_json::{Value, json};

use super::Writer;
use crate::envoy::{transport, udp};
use crate::host_groups::host_groups;
use crate::key_rule::{KeyPart, KeyRule};
use crate::report::Tells;
use crate::setup::{Listener, Serves};
use crate::unsaid;

impl Writer<'_> {
    pub(super) fn listener(&mut self, number: usize, listener: &Listener) -> Option<Value> {
        let Some(address) = listener.addresses.first().and_then(|text| bind(text)) else {
            self.none(
                format!("listeners.{}.addresses", listener.name),
                "an IP address and a port, or a path, are needed",
            );
            return None;
        };
        if listener.addresses.len() > 1 {
            self.differs(
                format!("listeners.{}.addresses", listener.name),
                "only the first is written: add the others as additional_addresses",
            );
        }
        if listener.udp {
            return self.datagrams(number, listener, address);
        }
        let chains = match &listener.serves {
            Serves::Http(router) => {
                let chain = self.http(number, listener, router);
                self.with_certificates(listener, chain)
            }
            Serves::Stream(router) => {
                let chains = self.stream(number, router);
                chains.into_iter().flat_map(|chain| self.with_certificates(listener, chain)).collect()
            }
        };
        if let Some(tls) = &listener.tls {
            let subject = format!("listeners.{}.tls", listener.name);
            if tls.certificates.is_empty() {
                // Without its certificate Envoy does not start, so nothing goes out in the open.
                self.none(subject, "its certificates are not known: add tls_certificates");
            } else {
                self.taken(subject, "transport_socket");
            }
        }
        let asks = chains.iter().any(|chain| chain.get("filter_chain_match").is_some());
        let mut value = json!({ "name": listener.name, "address": address, "filter_chains": chains });
        if asks {
            value["listener_filters"] = json!([transport::inspector()]);
        }
        Some(value)
    }

    /// The chain with each of the certificates, for the names that it is for.
    fn with_certificates(&mut self, listener: &Listener, chain: Value) -> Vec<Value> {
        let Some(tls) = &listener.tls else { return vec![chain] };
        let encrypted = |mut chain: Value, number: usize| {
            chain["transport_socket"] = transport::downstream(tls, tls.beside(number));
            chain
        };
        let names = chain["filter_chain_match"]["server_names"].as_array().cloned();
        if let Some(names) = names {
            let hosts: Vec<HostMatch> = names.iter().filter_map(|name| name.as_str()?.parse().ok()).collect();
            let shown: BTreeSet<usize> = hosts.iter().map(|host| tls.shown_to(host)).collect();
            if shown.len() > 1 {
                let detail = "the names of one route have several certificates: the first is shown to all, write a route for each";
                self.none(format!("listeners.{}.tls", listener.name), detail);
            }
            return vec![encrypted(chain, shown.into_iter().next().unwrap_or(0))];
        }
        let mut chains = Vec::new();
        for (number, certificate) in tls.certificates.iter().enumerate().skip(1) {
            let is_first =
                tls.certificates.iter().position(|other| other.hosts == certificate.hosts) == Some(number);
            let names = self.server_names(&listener.name, &certificate.hosts);
            if is_first && !names.is_empty() {
                let mut chain = encrypted(chain.clone(), number);
                chain["filter_chain_match"] = json!({ "server_names": names });
                chains.push(chain);
            }
        }
        // A name that another certificate would take as well, and those who ask for none.
        let own = tls.certificates.first().map_or(&[][..], |first| &first.hosts);
        let names = self.server_names(&listener.name, own);
        if !names.is_empty() {
            let mut chain = encrypted(chain.clone(), 0);
            chain["filter_chain_match"] = json!({ "server_names": names });
            chains.insert(0, chain);
        }
        chains.push(encrypted(chain, 0));
        chains
    }

    /// What Envoy takes for the name of a server.
    fn server_names(&mut self, listener: &str, hosts: &[HostMatch]) -> Vec<String> {
        let (names, others): (Vec<&HostMatch>, Vec<&HostMatch>) =
            hosts.iter().partition(|host| matches!(host, HostMatch::Exact(_) | HostMatch::Suffix(_)));
        if !others.is_empty() {
            let detail = "Envoy looks for whole names and for ends of names: those are left out";
            self.none(format!("listeners.{listener}.tls.certificates.hosts"), detail);
        }
        names.into_iter().map(ToString::to_string).collect()
    }

    fn datagrams(&mut self, number: usize, listener: &Listener, mut address: Value) -> Option<Value> {
        let subject = format!("listeners.{}", listener.name);
        let Serves::Stream(router) = &listener.serves else { return None };
        let all = router.routes.iter().find(|route| route.rule == StreamRule::default());
        let Some(cluster) = all.and_then(|route| match &route.action {
            StreamAction::Cluster(name) => Some(name),
            StreamAction::Split(_) => None,
        }) else {
            self.none(subject, "datagrams go to one cluster: the listener is left out");
            return None;
        };
        if router.routes.len() > 1 {
            self.none(
                format!("{subject}.routes"),
                "datagrams go to one cluster: that of the route without a match",
            );
        }
        if address.get("socket_address").is_none() {
            self.none(subject, "datagrams need an IP address and a port: the listener is left out");
            return None;
        }
        address["socket_address"]["protocol"] = json!("UDP");
        let rule = self.setup.keys.get(cluster);
        let by_source = match rule {
            Some(KeyRule::Source) => true,
            Some(KeyRule::Text(parts)) => *parts == [KeyPart::Source],
            Some(KeyRule::Envoy(policies)) => policies.iter().any(|policy| policy.of == KeyPart::Source),
            _ => false,
        };
        if rule.is_some() && !by_source {
            self.none(format!("keys.{cluster}"), "datagrams are told apart by where they come from");
        }
        self.taken(subject, "udp_proxy");
        let filters = udp::filters(number, cluster, by_source);
        Some(json!({ "name": listener.name, "address": address, "listener_filters": filters }))
    }

    fn http(&mut self, number: usize, listener: &Listener, router: &RouterConfig) -> Value {
        unsaid::router(&listener.name, router, &mut self.report);
        let mut hosts = Vec::new();
        for (i, group) in host_groups(&router.routes).iter().enumerate() {
            let domains: Vec<String> = if group.hosts.is_empty() {
                vec!["*".to_owned()]
            } else {
                group.hosts.iter().map(ToString::to_string).collect()
            };
            let routes: Vec<Value> =
                group.routes.iter().flat_map(|&route| self.route(&router.routes[route])).collect();
            hosts.push(json!({ "name": format!("host_{i}"), "domains": domains, "routes": routes }));
        }
        json!({ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!("{TYPES}/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": format!("listener_{number}"),
                "route_config": { "name": format!("routes_{number}"), "virtual_hosts": hosts },
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": format!("{TYPES}/envoy.extensions.filters.http.router.v3.Router") },
                }],
            },
        }] })
    }

    fn stream(&mut self, number: usize, router: &StreamRouterConfig) -> Vec<Value> {
        let mut chains = Vec::new();
        for route in &router.routes {
            let StreamAction::Cluster(cluster) = &route.action else {
                self.none(format!("routes.{}", route.name), "splits of connections are not written");
                continue;
            };
            let mut chain = json!({ "filters": [{
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": format!("{TYPES}/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"),
                    "stat_prefix": format!("listener_{number}"),
                    "cluster": cluster,
                },
            }] });
            if !route.rule.sni.is_empty() {
                let names: Vec<String> = route.rule.sni.iter().map(ToString::to_string).collect();
                chain["filter_chain_match"] = json!({ "server_names": names });
            }
            chains.push(chain);
        }
        chains
    }
}

/// Where to listen, if that is an address.
fn bind(text: &str) -> Option<Value> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Some(json!({ "pipe": { "path": path } }));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "" | "*" => "0.0.0.0",
        host => host,
    };
    host.parse::<std::net::IpAddr>().ok()?;
    Some(json!({ "socket_address": { "address": host, "port_value": port } }))
}

const TYPES: &str = "type.googleapis.com";
