use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evenkeel::router::{Action, KeySource, RouteConfig, RouterConfig, StreamAction, StreamRouterConfig};
use evenkeel::{ClusterConfig, FailoverMode, LocalityConfig, PolicyConfig};
use evenkeel_balance::compat::envoy::{EnvoyPolicy, RingFunction};
use evenkeel_health::Curve;
use evenkeel_limit::LimitConfig;
use evenkeel_probe::ProbeConfig;
use evenkeel_route::matching::{HostMatch, HttpRule, PathMatch, StreamRule, ValueMatch};
use evenkeel_route::retry::RetryConfig;
use evenkeel_route::split::HeaderChange;
use evenkeel_types::{Address, Announced, Endpoint};
use serde_json::{Map, Value, json};

use super::{transport, udp};
use crate::conversion::Written;
use crate::host_groups::host_groups;
use crate::key_rule::{EnvoyHash, KeyPart, KeyRule};
use crate::report::{Report, Verdict};
use crate::setup::{Listener, Serves, Setup};
use crate::tls::{SYSTEM_ROOTS, UpstreamTls};
use crate::unsaid;

/// Writes a bootstrap of Envoy, in JSON, which is YAML too.
pub(crate) fn write(setup: &Setup) -> Written {
    let mut writer = Writer { setup, report: Report::default() };
    let listeners: Vec<Value> = setup
        .listeners
        .iter()
        .enumerate()
        .filter_map(|(number, listener)| writer.listener(number, listener))
        .collect();
    let clusters: Vec<Value> = setup.clusters.iter().map(|cluster| writer.cluster(cluster)).collect();
    let root = json!({ "static_resources": { "listeners": listeners, "clusters": clusters } });
    let text = serde_json::to_string_pretty(&root).unwrap_or_default() + "\n";
    Written { text, report: writer.report }
}

struct Writer<'a> {
    setup: &'a Setup,
    report: Report,
}

const SAID: [&str; 6] =
    ["match.headers", "match.query", "match.methods", "match.fraction", "mirror", "timeout"];

impl Writer<'_> {
    fn none(&mut self, subject: impl Into<String>, detail: &str) {
        self.report.add(None, subject, Verdict::NoEquivalent, detail);
    }

    fn differs(&mut self, subject: impl Into<String>, detail: &str) {
        self.report.add(None, subject, Verdict::Differs, detail);
    }

    fn taken(&mut self, subject: impl Into<String>, detail: &str) {
        self.report.add(None, subject, Verdict::Taken, detail);
    }

    fn listener(&mut self, number: usize, listener: &Listener) -> Option<Value> {
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
        let by_source = self.setup.keys.get(cluster).is_some();
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

    /// One route of Envoy for each path.
    fn route(&mut self, route: &RouteConfig) -> Vec<Value> {
        unsaid::route(route, &SAID, &mut self.report);
        if !unsaid::is_sayable(route, &SAID) {
            return Vec::new();
        }
        let subject = format!("routes.{}", route.name);
        let paths = if route.rule.paths.is_empty() { vec![PathMatch::Any] } else { route.rule.paths.clone() };
        let methods: Vec<Option<&String>> = if route.rule.methods.is_empty() {
            vec![None]
        } else {
            route.rule.methods.iter().map(Some).collect()
        };
        let mut all = Vec::new();
        for path in &paths {
            for method in &methods {
                let Some(matches) = matching(path, method.map(String::as_str), &route.rule) else {
                    self.none(
                        format!("{subject}.match"),
                        "templates and some tests are left out: write a regex",
                    );
                    continue;
                };
                let mut value = Map::new();
                value.insert("name".into(), json!(route.name));
                value.insert("match".into(), matches);
                let (field, action) = self.action(route);
                value.insert(field.into(), action);
                for (field, changes) in
                    [("request", &route.headers.request), ("response", &route.headers.response)]
                {
                    self.headers(field, changes, &mut value);
                }
                all.push(Value::Object(value));
            }
        }
        self.taken(subject, "a route");
        all
    }

    fn action(&mut self, route: &RouteConfig) -> (&'static str, Value) {
        let mut value = Map::new();
        let mut clusters = Vec::new();
        match &route.action {
            Action::Cluster(name) => {
                clusters.push(name.clone());
                value.insert("cluster".into(), json!(name));
            }
            Action::Split(split) => {
                clusters.extend(split.arms.iter().map(|arm| arm.cluster.clone()));
                let arms: Vec<Value> = split
                    .arms
                    .iter()
                    .map(|arm| json!({ "name": arm.cluster, "weight": arm.weight }))
                    .collect();
                value.insert("weighted_clusters".into(), json!({ "clusters": arms }));
                if split.stickiness != evenkeel_route::split::Stickiness::Drawn || !split.canaries.is_empty()
                {
                    self.differs(
                        format!("routes.{}.action.split", route.name),
                        "drawn for each request, without canaries",
                    );
                }
            }
            Action::Redirect(redirect) => return self.redirect(route, redirect),
            Action::Respond(answer) => {
                let mut response = json!({ "status": answer.status });
                if !answer.body.is_empty() {
                    response["body"] = json!({ "inline_string": answer.body });
                }
                return ("direct_response", response);
            }
            Action::Ramp(_) | Action::BlueGreen(_) => {
                self.none(
                    format!("routes.{}.action", route.name),
                    "Envoy moves nobody by itself: requests are answered 503",
                );
                return ("direct_response", json!({ "status": 503 }));
            }
        }
        value.insert("timeout".into(), json!(time_text(route.timeout.unwrap_or_default())));
        if let Some(retry) = &route.retry {
            value.insert("retry_policy".into(), retry_policy(retry));
        }
        if let Some(mirror) = &route.mirror {
            let share = json!({ "numerator": mirror.share.parts_per_million(), "denominator": "MILLION" });
            value.insert(
                "request_mirror_policies".into(),
                json!([{ "cluster": mirror.cluster, "runtime_fraction": { "default_value": share } }]),
            );
        }
        let policies = match clusters.first().and_then(|name| self.setup.keys.get(name)) {
            Some(KeyRule::Envoy(policies)) => policies.clone(),
            _ => route.key.iter().filter_map(part_of).map(|of| EnvoyHash { of, terminal: true }).collect(),
        };
        let policies: Vec<Value> = policies.iter().filter_map(hash_policy).collect();
        if !policies.is_empty() {
            value.insert("hash_policy".into(), json!(policies));
        }
        ("route", Value::Object(value))
    }

    fn redirect(
        &mut self,
        route: &RouteConfig,
        redirect: &evenkeel::router::Redirect,
    ) -> (&'static str, Value) {
        let code = match redirect.status {
            301 => "MOVED_PERMANENTLY",
            302 => "FOUND",
            303 => "SEE_OTHER",
            307 => "TEMPORARY_REDIRECT",
            _ => "PERMANENT_REDIRECT",
        };
        let mut value = json!({ "response_code": code });
        let Some((scheme, rest)) = redirect.location.split_once("://") else {
            self.none(format!("routes.{}.action.redirect", route.name), "Envoy needs a scheme and a host");
            return ("direct_response", json!({ "status": 404 }));
        };
        value["scheme_redirect"] = json!(scheme);
        let (host, path) = match rest.find(['/', '{']) {
            Some(0) => ("", rest),
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let path = match path.strip_prefix("{host}") {
            Some(path) => path,
            None => {
                value["host_redirect"] = json!(host);
                path
            }
        };
        if path != "{path}{query}" {
            if path.contains('{') {
                self.none(
                    format!("routes.{}.action.redirect", route.name),
                    "the path is kept, or another one for all",
                );
            }
            value["path_redirect"] = json!(if path.is_empty() { "/" } else { path });
        }
        ("redirect", value)
    }

    fn headers(&mut self, side: &str, changes: &[HeaderChange], value: &mut Map<String, Value>) {
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        for change in changes {
            let (name, text, action) = match change {
                HeaderChange::Add { name, value } => (name, value, "APPEND_IF_EXISTS_OR_ADD"),
                HeaderChange::Set { name, value } => (name, value, "OVERWRITE_IF_EXISTS_OR_ADD"),
                HeaderChange::SetIfAbsent { name, value } => (name, value, "ADD_IF_ABSENT"),
                HeaderChange::Remove { name } => {
                    remove.push(json!(name));
                    continue;
                }
            };
            add.push(json!({ "header": { "key": name, "value": text.replace('%', "%%") }, "append_action": action }));
        }
        if !add.is_empty() {
            value.insert(format!("{side}_headers_to_add"), json!(add));
        }
        if !remove.is_empty() {
            value.insert(format!("{side}_headers_to_remove"), json!(remove));
        }
    }

    fn cluster(&mut self, cluster: &ClusterConfig) -> Value {
        let mut value = Map::new();
        let has_names =
            cluster.endpoints.iter().any(|endpoint| matches!(endpoint.address(), Address::Host(..)));
        value.insert("name".into(), json!(cluster.name));
        value.insert("type".into(), json!(if has_names { "STRICT_DNS" } else { "STATIC" }));
        value.insert("connect_timeout".into(), json!("5s"));
        let zones = self.policy(cluster, &mut value);
        let mut common =
            value.remove("common_lb_config").and_then(|value| value.as_object().cloned()).unwrap_or_default();
        let mut policy = json!({});
        match &cluster.failover {
            Some(FailoverMode::Envoy(failover)) => {
                common.insert(
                    "healthy_panic_threshold".into(),
                    json!({ "value": failover.panic_threshold_percent }),
                );
                policy["overprovisioning_factor"] = json!(failover.overprovisioning_percent);
                if failover.fail_traffic_on_panic {
                    common.insert("zone_aware_lb_config".into(), json!({ "fail_traffic_on_panic": true }));
                }
                self.taken(
                    format!("clusters.{}.failover", cluster.name),
                    "healthy_panic_threshold, overprovisioning_factor",
                );
            }
            other => {
                common.insert("healthy_panic_threshold".into(), json!({ "value": 0 }));
                if other.is_some() || cluster.endpoints.iter().any(|endpoint| endpoint.priority().get() > 0) {
                    self.differs(
                        format!("clusters.{}.failover", cluster.name),
                        "Envoy spills to the next tier below 72 % of usable endpoints",
                    );
                }
            }
        }
        if !zones.is_empty() {
            common.insert("locality_weighted_lb_config".into(), json!({}));
        }
        value.insert("common_lb_config".into(), Value::Object(common));
        let mut assignment =
            json!({ "cluster_name": cluster.name, "endpoints": self.endpoints(cluster, &zones) });
        if policy != json!({}) {
            assignment["policy"] = policy;
        }
        value.insert("load_assignment".into(), assignment);
        self.limits(cluster, &mut value);
        if let Some(tls) = self.setup.upstream_tls.get(&cluster.name) {
            value.insert("transport_socket".into(), transport::upstream(tls));
            self.upstream_tls(&cluster.name, tls);
        }
        self.check(cluster, &mut value);
        unsaid::cluster(
            cluster,
            &["failover", "locality", "outlier", "slow_start", "limit", "budget"],
            &mut self.report,
        );
        Value::Object(value)
    }

    fn upstream_tls(&mut self, cluster: &str, tls: &UpstreamTls) {
        let subject = format!("upstream_tls.{cluster}");
        if !tls.insecure && tls.ca_file.is_none() {
            let detail = format!("trusted_ca {SYSTEM_ROOTS}: put right where the system keeps its roots");
            self.differs(format!("{subject}.ca_file"), &detail);
        }
        if tls.alpn.iter().any(|name| name == "h2") {
            self.differs(
                format!("{subject}.alpn"),
                "offered, and HTTP/1.1 is spoken: add http2_protocol_options",
            );
        }
        self.taken(subject, "transport_socket");
    }

    /// Writes the policy; the weights of zones, if they count.
    fn policy(
        &mut self,
        cluster: &ClusterConfig,
        value: &mut Map<String, Value>,
    ) -> BTreeMap<[String; 3], u32> {
        let subject = format!("clusters.{}.policy", cluster.name);
        let mut zones = BTreeMap::new();
        let slow = cluster.slow_start.as_ref().map(|slow| {
            let aggression = if let Curve::Power { aggression } = slow.curve { aggression } else { 1.0 };
            json!({
                "slow_start_window": time_text(slow.window),
                "aggression": { "default_value": aggression, "runtime_key": "slow_start.aggression" },
                "min_weight_percent": { "value": slow.min_factor.as_f64() * 100.0 },
            })
        });
        let mut is_turns = None;
        let name = match &cluster.policy {
            PolicyConfig::Envoy(config) => {
                self.taken(subject, "");
                for zone in &config.locality_weights {
                    zones
                        .insert([zone.region.clone(), zone.zone.clone(), zone.sub_zone.clone()], zone.weight);
                }
                if config.use_hostname {
                    let hashing =
                        json!({ "consistent_hashing_lb_config": { "use_hostname_for_hashing": true } });
                    value.insert("common_lb_config".into(), hashing);
                }
                match &config.policy {
                    EnvoyPolicy::RoundRobin(_) => {
                        is_turns = Some("round_robin_lb_config");
                        "ROUND_ROBIN"
                    }
                    EnvoyPolicy::LeastRequest(settings) => {
                        is_turns = Some("least_request_lb_config");
                        value.insert("least_request_lb_config".into(), json!({
                            "choice_count": settings.choice_count,
                            "active_request_bias": { "default_value": settings.active_request_bias, "runtime_key": "least_request.bias" },
                        }));
                        "LEAST_REQUEST"
                    }
                    EnvoyPolicy::RingHash(settings) => {
                        let function = match settings.hash_function {
                            RingFunction::XxHash => "XX_HASH",
                            RingFunction::MurmurHash2 => "MURMUR_HASH_2",
                        };
                        value.insert(
                            "ring_hash_lb_config".into(),
                            json!({
                                "minimum_ring_size": settings.minimum_ring_size,
                                "maximum_ring_size": settings.maximum_ring_size,
                                "hash_function": function,
                            }),
                        );
                        "RING_HASH"
                    }
                    EnvoyPolicy::Maglev(settings) => {
                        value.insert("maglev_lb_config".into(), json!({ "table_size": settings.table_size }));
                        "MAGLEV"
                    }
                }
            }
            other => {
                let (name, turns) = match other {
                    PolicyConfig::LeastRequest(_)
                    | PolicyConfig::LeastConnections(_)
                    | PolicyConfig::PeakEwma(_)
                    | PolicyConfig::ShortestExpectedDelay(_) => {
                        ("LEAST_REQUEST", Some("least_request_lb_config"))
                    }
                    PolicyConfig::Random(_) | PolicyConfig::WeightedRandom(_) => ("RANDOM", None),
                    PolicyConfig::RingHash(_) | PolicyConfig::Ketama(_) => ("RING_HASH", None),
                    PolicyConfig::Maglev(_)
                    | PolicyConfig::Rendezvous(_)
                    | PolicyConfig::Jump(_)
                    | PolicyConfig::Anchor(_)
                    | PolicyConfig::MultiProbe(_)
                    | PolicyConfig::Modulo(_) => ("MAGLEV", None),
                    _ if self.setup.keys.contains_key(&cluster.name) => ("MAGLEV", None),
                    _ => ("ROUND_ROBIN", Some("round_robin_lb_config")),
                };
                is_turns = turns;
                self.differs(
                    subject,
                    &format!("{name}: the nearest that Envoy has to {}, with other picks", other.name()),
                );
                name
            }
        };
        value.insert("lb_policy".into(), json!(name));
        if let Some(LocalityConfig::Weights(config)) = &cluster.locality {
            for zone in &config.weights {
                let at = &zone.at;
                zones.insert([at.region().into(), at.zone().into(), at.sub_zone().into()], zone.weight);
            }
        } else if cluster.locality.is_some() {
            self.none(
                format!("clusters.{}.locality", cluster.name),
                "say it with zone_aware_lb_config and the node's locality",
            );
        }
        match (slow, is_turns) {
            (Some(slow), Some(field)) => {
                let config = value.entry(field).or_insert_with(|| json!({}));
                config["slow_start_config"] = slow;
            }
            (Some(_), None) => self
                .none(format!("clusters.{}.slow_start", cluster.name), "hash policies and RANDOM have none"),
            _ => {}
        }
        zones
    }

    fn endpoints(&mut self, cluster: &ClusterConfig, zones: &BTreeMap<[String; 3], u32>) -> Vec<Value> {
        let mut groups: Vec<(u8, [String; 3], Vec<Value>)> = Vec::new();
        for endpoint in &cluster.endpoints {
            let locality = endpoint.locality();
            let part = |text: Option<&str>| text.unwrap_or("").to_owned();
            let place = [
                part(locality.map(evenkeel::Locality::region)),
                part(locality.map(evenkeel::Locality::zone)),
                part(locality.map(evenkeel::Locality::sub_zone)),
            ];
            let priority = endpoint.priority().get();
            let value = self.endpoint(cluster, endpoint);
            // Groups keep the order of the endpoints, which rotations go by.
            match groups.last_mut() {
                Some((tier, other, values)) if *tier == priority && *other == place => values.push(value),
                _ => groups.push((priority, place, vec![value])),
            }
        }
        groups
            .into_iter()
            .map(|(priority, place, values)| {
                let mut group = json!({ "lb_endpoints": values });
                if priority > 0 {
                    group["priority"] = json!(priority);
                }
                if place.iter().any(|part| !part.is_empty()) {
                    group["locality"] = json!({ "region": place[0], "zone": place[1], "sub_zone": place[2] });
                }
                if let Some(&weight) = zones.get(&place).filter(|&&weight| weight > 0) {
                    group["load_balancing_weight"] = json!(weight);
                }
                group
            })
            .collect()
    }

    fn endpoint(&mut self, cluster: &ClusterConfig, endpoint: &Endpoint) -> Value {
        let address = match endpoint.address() {
            Address::Socket(address) => {
                json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
            }
            Address::Host(name, port) => {
                json!({ "socket_address": { "address": name.as_str(), "port_value": port } })
            }
            Address::Unix(path) => json!({ "pipe": { "path": path.display().to_string() } }),
            _ => json!({}),
        };
        let mut inner = json!({ "address": address });
        if let Some(name) = endpoint.hostname() {
            inner["hostname"] = json!(name);
        }
        let mut value = json!({ "endpoint": inner });
        let subject = format!("clusters.{}.endpoints.{}", cluster.name, endpoint.id());
        match endpoint.weight().get() {
            1 => {}
            0 => {
                value["health_status"] = json!("DRAINING");
                self.differs(subject, "DRAINING: Envoy's weights begin at 1");
                return value;
            }
            weight => value["load_balancing_weight"] = json!(weight),
        }
        match endpoint.announced() {
            Announced::Unknown => {}
            Announced::Up => value["health_status"] = json!("HEALTHY"),
            Announced::Degraded => value["health_status"] = json!("DEGRADED"),
            Announced::Draining => value["health_status"] = json!("DRAINING"),
            _ => value["health_status"] = json!("UNHEALTHY"),
        }
        if let Some(labels) = endpoint.labels() {
            let labels: Map<String, Value> = labels
                .iter()
                .map(|(key, text)| {
                    (if key == "envoy.lb.hash_key" { "hash_key" } else { key }.to_owned(), json!(text))
                })
                .collect();
            value["metadata"] = json!({ "filter_metadata": { "envoy.lb": labels } });
        }
        value
    }

    fn limits(&mut self, cluster: &ClusterConfig, value: &mut Map<String, Value>) {
        let mut thresholds = Map::new();
        match &cluster.limit {
            Some(LimitConfig::Fixed(fixed)) => {
                drop(thresholds.insert("max_requests".into(), json!(fixed.limit)));
            }
            Some(_) => {
                self.none(format!("clusters.{}.limit", cluster.name), "add the filter adaptive_concurrency");
            }
            None => {}
        }
        if let Some(budget) = &cluster.budget {
            let percent = (budget.total.ratio * 100.0).min(100.0);
            thresholds.insert("retry_budget".into(), json!({ "budget_percent": { "value": percent } }));
            self.differs(
                format!("clusters.{}.budget", cluster.name),
                "retry_budget: a share of what is in flight",
            );
        }
        if !thresholds.is_empty() {
            value.insert("circuit_breakers".into(), json!({ "thresholds": [thresholds] }));
        }
        if let Some(outlier) = &cluster.outlier {
            let enforced = |is_on: bool| if is_on { 100 } else { 0 };
            value.insert("outlier_detection".into(), json!({
                "interval": time_text(outlier.interval),
                "consecutive_5xx": outlier.consecutive_failures.unwrap_or(5),
                "enforcing_consecutive_5xx": enforced(outlier.consecutive_failures.is_some()),
                "consecutive_gateway_failure": outlier.consecutive_gateway_failures.unwrap_or(5),
                "enforcing_consecutive_gateway_failure": enforced(outlier.consecutive_gateway_failures.is_some()),
                "consecutive_local_origin_failure": outlier.consecutive_local_failures.unwrap_or(5),
                "enforcing_consecutive_local_origin_failure": enforced(outlier.consecutive_local_failures.is_some()),
                "split_external_local_origin_errors": outlier.split_local_origin,
                "enforcing_success_rate": enforced(outlier.success_rate.is_some()),
                "success_rate_request_volume": outlier.success_rate.map_or(100, |rate| rate.min_requests),
                "enforcing_failure_percentage": enforced(outlier.failure_share.is_some()),
                "failure_percentage_threshold": outlier.failure_share.map_or(85, |share| (share.threshold.as_f64() * 100.0) as u32),
                "failure_percentage_request_volume": outlier.failure_share.map_or(50, |share| share.min_requests),
                "base_ejection_time": time_text(outlier.ejection.base),
                "max_ejection_time": time_text(outlier.ejection.max),
                "max_ejection_percent": (outlier.caps.max_ejected_ratio.as_f64() * 100.0) as u32,
                "always_eject_one_host": outlier.caps.at_least_one,
            }));
            self.differs(format!("clusters.{}.outlier", cluster.name), "outlier_detection: the same counts, another test of success rates, no probation and no brake");
        }
    }

    fn check(&mut self, cluster: &ClusterConfig, value: &mut Map<String, Value>) {
        let Some(check) = self.setup.checks.get(&cluster.name) else { return };
        let subject = format!("checks.{}", cluster.name);
        let schedule = &check.schedule;
        let mut health = Map::new();
        let timeout = match &check.probe {
            ProbeConfig::Http(http) => {
                let ranges = |statuses: &evenkeel_probe::Statuses| -> Vec<Value> {
                    let text = statuses.to_string();
                    let parts = text.split(", ").filter(|part| !part.is_empty());
                    parts.filter_map(|part| {
                        let (first, last) = part.split_once('-').unwrap_or((part, part));
                        Some(json!({ "start": first.parse::<u16>().ok()?, "end": last.parse::<u16>().ok()? + 1 }))
                    }).collect()
                };
                let mut probe = json!({ "path": http.path, "expected_statuses": ranges(&http.expected) });
                if http.method != "GET" {
                    probe["method"] = json!(http.method);
                }
                if let Some(host) = &http.host {
                    probe["host"] = json!(host);
                }
                // Envoy takes nothing that is expected and retriable.
                if !http.retriable.is_empty() {
                    probe["retriable_statuses"] = json!(ranges(&http.retriable));
                }
                if http.body.is_some() || !http.headers.is_empty() {
                    self.none(
                        format!("{subject}.probe"),
                        "body and headers are left out: write receive and request_headers_to_add",
                    );
                }
                health.insert("http_health_check".into(), probe);
                health.insert("reuse_connection".into(), json!(http.reuse_connection));
                http.timeout
            }
            ProbeConfig::Tcp(tcp) => {
                let hex = |payload: &evenkeel_probe::Payload| -> Value {
                    let text: String = payload.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                    json!({ "text": text })
                };
                let mut probe = json!({});
                if let Some(send) = &tcp.send {
                    probe["send"] = hex(send);
                }
                if let Some(expect) = &tcp.expect {
                    probe["receive"] = json!([hex(expect)]);
                }
                health.insert("tcp_health_check".into(), probe);
                tcp.timeout
            }
            ProbeConfig::Grpc(grpc) => {
                let mut probe = json!({ "service_name": grpc.service });
                if let Some(authority) = &grpc.authority {
                    probe["authority"] = json!(authority);
                }
                health.insert("grpc_health_check".into(), probe);
                if !value.contains_key("typed_extension_protocol_options") {
                    self.differs(
                        format!("{subject}.probe"),
                        "give the cluster HTTP/2, which the check needs",
                    );
                }
                grpc.timeout
            }
            _ => {
                self.none(subject, "checks are by HTTP, TCP or gRPC");
                return;
            }
        };
        health.insert("timeout".into(), json!(time_text(schedule.timeout.unwrap_or(timeout))));
        health.insert("interval".into(), json!(time_text(schedule.interval)));
        health.insert("healthy_threshold".into(), json!(schedule.thresholds.rise));
        health.insert("unhealthy_threshold".into(), json!(schedule.thresholds.fall));
        if let Some(time) = schedule.no_traffic_interval {
            health.insert("no_traffic_interval".into(), json!(time_text(time)));
        }
        if let Some(time) = schedule.fast_interval {
            health.insert("unhealthy_edge_interval".into(), json!(time_text(time)));
        }
        if let Some(time) = schedule.down_interval {
            health.insert("unhealthy_interval".into(), json!(time_text(time)));
        }
        let jitter = (schedule.jitter.as_f64() * 200.0) as u32;
        if jitter > 0 {
            health.insert("interval_jitter_percent".into(), json!(jitter));
        }
        if check.port.is_some() {
            self.none(format!("{subject}.port"), "give the endpoints a health_check_config");
        }
        value.insert("health_checks".into(), json!([health]));
        self.taken(subject, "health_checks");
    }
}

const TYPES: &str = "type.googleapis.com";

fn matching(path: &PathMatch, method: Option<&str>, rule: &HttpRule) -> Option<Value> {
    let mut value = match path {
        PathMatch::Any => json!({ "prefix": "/" }),
        PathMatch::Exact(path) => json!({ "path": path }),
        PathMatch::RawPrefix(path) => json!({ "prefix": path }),
        PathMatch::Prefix(path) => json!({ "path_separated_prefix": path }),
        PathMatch::Regex(pattern) => json!({ "safe_regex": { "regex": pattern } }),
        _ => return None,
    };
    let mut headers = Vec::new();
    if let Some(method) = method {
        headers.push(json!({ "name": ":method", "string_match": { "exact": method } }));
    }
    for header in &rule.headers {
        let mut test = value_match(&header.test)?;
        test["name"] = json!(header.name);
        if header.invert {
            test["invert_match"] = json!(true);
        }
        headers.push(test);
    }
    if !headers.is_empty() {
        value["headers"] = json!(headers);
    }
    let mut query = Vec::new();
    for parameter in &rule.query {
        let mut test = value_match(&parameter.test)?;
        if parameter.invert || test.get("range_match").is_some() || parameter.test == ValueMatch::Absent {
            return None;
        }
        test["name"] = json!(parameter.name);
        query.push(test);
    }
    if !query.is_empty() {
        value["query_parameters"] = json!(query);
    }
    if let Some(fraction) = rule.fraction {
        let share = json!({ "numerator": fraction.share.parts_per_million(), "denominator": "MILLION" });
        value["runtime_fraction"] = json!({ "default_value": share });
    }
    Some(value)
}

fn value_match(test: &ValueMatch) -> Option<Value> {
    Some(match test {
        ValueMatch::Present => json!({ "present_match": true }),
        ValueMatch::Absent => json!({ "present_match": false }),
        ValueMatch::Exact(text) => json!({ "string_match": { "exact": text } }),
        ValueMatch::Prefix(text) => json!({ "string_match": { "prefix": text } }),
        ValueMatch::Suffix(text) => json!({ "string_match": { "suffix": text } }),
        ValueMatch::Contains(text) => json!({ "string_match": { "contains": text } }),
        ValueMatch::Regex(text) => json!({ "string_match": { "safe_regex": { "regex": text } } }),
        ValueMatch::Range { from, to } => json!({ "range_match": { "start": from, "end": to } }),
        _ => return None,
    })
}

fn retry_policy(retry: &RetryConfig) -> Value {
    let mut words = Vec::new();
    for (is_on, word) in [
        (retry.on.connect_failed, "connect-failure"),
        (retry.on.refused, "refused-stream"),
        (retry.on.reset, "reset"),
    ] {
        if is_on {
            words.push(word);
        }
    }
    for (code, word) in [
        (1, "cancelled"),
        (4, "deadline-exceeded"),
        (8, "resource-exhausted"),
        (13, "internal"),
        (14, "unavailable"),
    ] {
        if retry.on.grpc_codes.contains(&code) {
            words.push(word);
        }
    }
    let mut value = json!({ "num_retries": retry.attempts.saturating_sub(1) });
    let is_all = retry.on.connect_failed && retry.on.refused && retry.on.reset;
    let whole =
        |first, last| retry.on.statuses.iter().any(|range| (range.first, range.last) == (first, last));
    let mut codes: Vec<u16> = Vec::new();
    if is_all && whole(500, 599) {
        words.push("5xx");
    } else if is_all && whole(502, 504) {
        words.push("gateway-error");
    }
    for range in &retry.on.statuses {
        let is_said = is_all && [(500, 599), (502, 504)].contains(&(range.first, range.last));
        if !is_said {
            codes.extend(range.first..=range.last);
        }
    }
    if !codes.is_empty() {
        words.push("retriable-status-codes");
        value["retriable_status_codes"] = json!(codes);
    }
    value["retry_on"] = json!(words.join(","));
    if let Some(time) = retry.per_try_timeout {
        value["per_try_timeout"] = json!(time_text(time));
    }
    value["retry_back_off"] = json!({ "base_interval": time_text(retry.backoff.base), "max_interval": time_text(retry.backoff.max) });
    value
}

fn part_of(source: &KeySource) -> Option<KeyPart> {
    Some(match source {
        KeySource::Header(name) => KeyPart::Header(name.clone()),
        KeySource::Cookie(name) => KeyPart::Cookie(name.clone()),
        KeySource::Query(name) => KeyPart::Query(name.clone()),
        KeySource::Source => KeyPart::Source,
        KeySource::Path => KeyPart::Header(":path".to_owned()),
        _ => return None,
    })
}

fn hash_policy(policy: &EnvoyHash) -> Option<Value> {
    let mut value = match &policy.of {
        KeyPart::Header(name) => json!({ "header": { "header_name": name } }),
        KeyPart::Cookie(name) => json!({ "cookie": { "name": name } }),
        KeyPart::Query(name) => json!({ "query_parameter": { "name": name } }),
        KeyPart::Source => json!({ "connection_properties": { "source_ip": true } }),
        _ => return None,
    };
    if policy.terminal {
        value["terminal"] = json!(true);
    }
    Some(value)
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

fn time_text(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        return format!("{}s", time.as_secs());
    }
    let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    format!("{}s", text.trim_end_matches('0'))
}
