//! Checks.

use evenkeel::ClusterConfig;
use evenkeel_probe::ProbeConfig;
use serde_json::{Map, Value, json};

use super::{Writer, time_text};
use crate::report::Tells;

impl Writer<'_> {
    pub(super) fn check(&mut self, cluster: &ClusterConfig, value: &mut Map<String, Value>) {
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
