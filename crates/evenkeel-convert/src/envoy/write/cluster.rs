//! Clusters: policies, endpoints, limits.

use std::collections::BTreeMap;

use evenkeel::{ClusterConfig, FailoverMode, LocalityConfig, PolicyConfig};
use evenkeel_balance::compat::envoy::{EnvoyPolicy, RingFunction};
use evenkeel_health::Curve;
use evenkeel_limit::LimitConfig;
use evenkeel_types::{Address, Announced, Endpoint};
use serde_json::{Map, Value, json};

use super::{Writer, time_text};
use crate::envoy::transport;
use crate::report::Tells;
use crate::tls::{SYSTEM_ROOTS, UpstreamTls};
use crate::unsaid;

impl Writer<'_> {
    pub(super) fn cluster(&mut self, cluster: &ClusterConfig) -> Value {
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
            let why = match &cluster.locality {
                Some(LocalityConfig::ClientRegion(_) | LocalityConfig::Joint(_)) => {
                    "Envoy chooses no zone by the client or the wait of a request"
                }
                _ => "say it with zone_aware_lb_config and the node's locality",
            };
            self.none(format!("clusters.{}.locality", cluster.name), why);
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
}
