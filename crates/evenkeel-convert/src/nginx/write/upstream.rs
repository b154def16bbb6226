//! A cluster as an `upstream` block.

use std::fmt::Write;
use std::time::Duration;

use evenkeel::{ClusterConfig, PolicyConfig};
use evenkeel_balance::compat::nginx::{Method, NginxConfig};
use evenkeel_limit::LimitConfig;
use evenkeel_types::{Announced, Endpoint};

use super::{Writer, quoted};
use crate::key_rule::{KeyPart, KeyRule};
use crate::nginx::key;
use crate::nginx::units::time_text;
use crate::report::{Tells, Verdict};
use crate::unsaid;

impl Writer<'_> {
    pub(super) fn upstream(&mut self, cluster: &ClusterConfig) -> String {
        if let [only] = cluster.endpoints.as_slice()
            && only.address().to_string() == cluster.name
            && matches!(&cluster.policy, PolicyConfig::Nginx(config) if *config == NginxConfig::default())
        {
            self.direct.push(cluster.name.clone());
            self.report.add(
                None,
                format!("clusters.{}", cluster.name),
                Verdict::Taken,
                "proxy_pass names its address",
            );
            return String::new();
        }
        let name = safe_name(&cluster.name);
        if name != cluster.name {
            self.differs(
                format!("clusters.{}", cluster.name),
                &format!("upstream {name}: nginx takes no such name"),
            );
            self.names.insert(cluster.name.clone(), name.clone());
        }
        let mut text = format!("\n    upstream {name} {{\n");
        if let Some(method) = self.method(cluster) {
            let _ = writeln!(text, "        {method};");
        }
        let (max_fails, fail_timeout) = match &cluster.policy {
            PolicyConfig::Nginx(config) => (config.max_fails, config.fail_timeout),
            _ => (1, Duration::from_secs(10)),
        };
        let max_conns = match &cluster.endpoint_limit {
            Some(LimitConfig::Fixed(fixed)) if fixed.limit > 0 => Some(fixed.limit),
            Some(_) => {
                self.none(
                    format!("clusters.{}.endpoint_limit", cluster.name),
                    "max_conns is a fixed number above 0",
                );
                None
            }
            None => None,
        };
        let allows_backup = match &cluster.policy {
            PolicyConfig::Nginx(config) => config.method.allows_backup(),
            _ => !text.contains("hash"),
        };
        for endpoint in &cluster.endpoints {
            let Some(mut line) = self.server(cluster, endpoint, allows_backup) else { continue };
            if max_fails != 1 {
                let _ = write!(line, " max_fails={max_fails}");
            }
            if fail_timeout != Duration::from_secs(10) {
                let _ = write!(line, " fail_timeout={}", time_text(fail_timeout));
            }
            if let Some(conns) = max_conns {
                let _ = write!(line, " max_conns={conns}");
            }
            let _ = writeln!(text, "        {line};");
        }
        if cluster.endpoints.is_empty() {
            self.none(format!("clusters.{}", cluster.name), "an upstream needs servers: add them");
            text.push_str("        server 127.0.0.1:1 down;\n");
        }
        unsaid::cluster(cluster, &["endpoint_limit"], &mut self.report);
        text.push_str("    }\n");
        text
    }

    fn method(&mut self, cluster: &ClusterConfig) -> Option<String> {
        let subject = format!("clusters.{}.policy", cluster.name);
        let near = "another program's policy: the same shares, other picks";
        match &cluster.policy {
            PolicyConfig::Nginx(config) => {
                self.report.add(None, subject.clone(), Verdict::Taken, "");
                match config.method {
                    Method::RoundRobin => None,
                    Method::IpHash => Some("ip_hash".to_owned()),
                    Method::LeastConn => Some("least_conn".to_owned()),
                    Method::Hash => self.key(cluster).map(|key| format!("hash {key}")),
                    Method::HashConsistent => self.key(cluster).map(|key| format!("hash {key} consistent")),
                    _ => {
                        self.none(subject, "a method that nginx's writer does not know");
                        None
                    }
                }
            }
            PolicyConfig::RoundRobin(_) | PolicyConfig::SmoothWeightedRoundRobin(_) => {
                self.differs(
                    subject,
                    "nginx's round robin: the same shares, and a server that fails gets less for a while",
                );
                None
            }
            PolicyConfig::LeastConnections(_) | PolicyConfig::ShortestExpectedDelay(_) => {
                self.differs(subject, "least_conn: equals take turns");
                Some("least_conn".to_owned())
            }
            PolicyConfig::LeastRequest(_) => {
                self.differs(subject, "random two least_conn: nginx draws by weight");
                Some("random two least_conn".to_owned())
            }
            PolicyConfig::Random(_) | PolicyConfig::WeightedRandom(_) => {
                self.differs(subject, "random: the same shares");
                Some("random".to_owned())
            }
            PolicyConfig::IpHash(_) => {
                self.differs(subject, "ip_hash: other places for the same addresses");
                Some("ip_hash".to_owned())
            }
            PolicyConfig::RingHash(_)
            | PolicyConfig::Ketama(_)
            | PolicyConfig::Maglev(_)
            | PolicyConfig::Rendezvous(_)
            | PolicyConfig::Jump(_)
            | PolicyConfig::Anchor(_)
            | PolicyConfig::MultiProbe(_) => {
                self.differs(subject, "hash consistent: other places for the same keys");
                self.key(cluster).map(|key| format!("hash {key} consistent"))
            }
            PolicyConfig::Haproxy(_) | PolicyConfig::Envoy(_) => {
                self.differs(subject, near);
                if self.setup.keys.contains_key(&cluster.name) {
                    return self.key(cluster).map(|key| format!("hash {key} consistent"));
                }
                let is_least = match &cluster.policy {
                    PolicyConfig::Haproxy(config) => {
                        config.balance == evenkeel_balance::compat::haproxy::Balance::LeastConn
                    }
                    PolicyConfig::Envoy(config) => {
                        matches!(config.policy, evenkeel_balance::compat::envoy::EnvoyPolicy::LeastRequest(_))
                    }
                    _ => false,
                };
                is_least.then(|| "least_conn".to_owned())
            }
            other => {
                self.none(subject, &format!("nginx has nothing like {}: round robin", other.name()));
                None
            }
        }
    }

    fn key(&mut self, cluster: &ClusterConfig) -> Option<String> {
        let found = match self.setup.keys.get(&cluster.name) {
            Some(KeyRule::Text(parts)) => {
                parts.iter().map(key::written).collect::<Option<Vec<_>>>().map(|all| all.concat())
            }
            Some(KeyRule::Source) => Some("${remote_addr}".to_owned()),
            Some(KeyRule::UrlParam(name)) => key::written(&KeyPart::Query(name.clone())),
            Some(KeyRule::Header { name, domain_only: false }) => {
                key::written(&KeyPart::Header(name.clone()))
            }
            Some(KeyRule::Sample(part)) => key::written(part),
            Some(KeyRule::Uri(_)) => Some("${request_uri}".to_owned()),
            Some(KeyRule::Envoy(policies)) => policies.first().and_then(|policy| key::written(&policy.of)),
            _ => None,
        };
        if found.is_none() {
            self.none(
                format!("keys.{}", cluster.name),
                "nginx hashes a text of variables: round robin is written instead",
            );
        }
        found.map(|text| quoted(&text))
    }

    fn server(
        &mut self,
        cluster: &ClusterConfig,
        endpoint: &Endpoint,
        allows_backup: bool,
    ) -> Option<String> {
        let subject = format!("clusters.{}.endpoints.{}", cluster.name, endpoint.id());
        let mut line = format!("server {}", quoted(&endpoint.address().to_string()));
        let weight = endpoint.weight().get();
        if weight > 1 {
            let _ = write!(line, " weight={weight}");
        }
        let is_down = !endpoint.announced().is_usable() || weight == 0;
        if is_down {
            line.push_str(" down");
        }
        if weight == 0 || is_down && endpoint.announced() != Announced::Down {
            self.differs(subject.clone(), "down: nginx knows no drain");
        }
        if endpoint.announced() == Announced::Degraded {
            self.differs(subject.clone(), "nginx knows no degraded servers");
        }
        match endpoint.priority().get() {
            0 => {}
            _ if !allows_backup => {
                self.none(subject, "it is left out: nginx takes no backup with this method");
                return None;
            }
            1 => line.push_str(" backup"),
            _ => {
                line.push_str(" backup");
                self.differs(subject.clone(), "nginx has one tier of backups");
            }
        }
        if endpoint.labels().is_some() || endpoint.locality().is_some() || endpoint.addresses().count() > 1 {
            self.none(subject, "labels, localities and further addresses are left out");
        }
        Some(line)
    }
}

/// Letters, digits and a few signs.
fn safe_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect()
}
