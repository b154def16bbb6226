//! A policy as `balance`, `hash-type` and what goes with them.

use std::fmt::Write;

use evenkeel::{ClusterConfig, PolicyConfig};
use evenkeel_balance::compat::haproxy::{Balance, Function, HaproxyConfig, HashType, Method};
use evenkeel_limit::LimitConfig;

use super::super::sample::written;
use super::Writer;
use crate::key_rule::{KeyPart, KeyRule};
use crate::report::Tells;

impl Writer<'_> {
    /// Writes the algorithm; the `maxconn` of servers.
    pub(super) fn balance(&mut self, cluster: &ClusterConfig, text: &mut String) -> Option<u32> {
        let subject = format!("clusters.{}.policy", cluster.name);
        let limit = match &cluster.endpoint_limit {
            Some(LimitConfig::Fixed(fixed)) => Some(fixed.limit),
            Some(_) => {
                self.none(format!("clusters.{}.endpoint_limit", cluster.name), "maxconn is a fixed number");
                None
            }
            None => None,
        };
        if limit.is_some() {
            self.differs(
                format!("clusters.{}.endpoint_limit", cluster.name),
                "maxconn: requests wait where all are full",
            );
        }
        let line = match &cluster.policy {
            PolicyConfig::Haproxy(config) => {
                self.taken(subject, "");
                self.haproxy(cluster, config, text);
                return config.maxconn.or(limit);
            }
            PolicyConfig::RoundRobin(_) | PolicyConfig::SmoothWeightedRoundRobin(_) => {
                "roundrobin".to_owned()
            }
            PolicyConfig::StaticMap(_) => "static-rr".to_owned(),
            PolicyConfig::FirstAvailable(_) => "first".to_owned(),
            PolicyConfig::LeastConnections(_) => "leastconn".to_owned(),
            PolicyConfig::LeastRequest(config) => match config.choices {
                evenkeel::Choices::Draw(draws) => format!("random({draws})"),
                evenkeel::Choices::All => "leastconn".to_owned(),
            },
            PolicyConfig::Random(_) | PolicyConfig::WeightedRandom(_) => "random(1)".to_owned(),
            PolicyConfig::IpHash(_) => "source".to_owned(),
            PolicyConfig::Nginx(config) => match config.method {
                evenkeel_balance::compat::nginx::Method::LeastConn => "leastconn".to_owned(),
                evenkeel_balance::compat::nginx::Method::IpHash => "source".to_owned(),
                evenkeel_balance::compat::nginx::Method::Hash
                | evenkeel_balance::compat::nginx::Method::HashConsistent => self.by_key(cluster, text),
                _ => "roundrobin".to_owned(),
            },
            PolicyConfig::Envoy(config) => match &config.policy {
                evenkeel_balance::compat::envoy::EnvoyPolicy::RoundRobin(_) => "roundrobin".to_owned(),
                evenkeel_balance::compat::envoy::EnvoyPolicy::LeastRequest(_) => "random(2)".to_owned(),
                _ => self.by_key(cluster, text),
            },
            PolicyConfig::RingHash(_)
            | PolicyConfig::Ketama(_)
            | PolicyConfig::Maglev(_)
            | PolicyConfig::Rendezvous(_)
            | PolicyConfig::Jump(_)
            | PolicyConfig::Anchor(_)
            | PolicyConfig::MultiProbe(_)
            | PolicyConfig::Modulo(_) => self.by_key(cluster, text),
            other => {
                self.none(subject.clone(), &format!("HAProxy has nothing like {}: leastconn", other.name()));
                "leastconn".to_owned()
            }
        };
        self.differs(subject, &format!("balance {line}: the same idea, other picks"));
        let _ = writeln!(text, "    balance {line}");
        limit
    }

    fn by_key(&mut self, cluster: &ClusterConfig, text: &mut String) -> String {
        text.push_str("    hash-type consistent\n");
        match self.setup.keys.get(&cluster.name).and_then(algorithm) {
            Some((_, line)) => line,
            None => {
                self.none(format!("keys.{}", cluster.name), "HAProxy hashes addresses, targets, headers and parameters: the address is written instead");
                "source".to_owned()
            }
        }
    }

    fn haproxy(&mut self, cluster: &ClusterConfig, config: &HaproxyConfig, text: &mut String) {
        let line = match config.balance {
            Balance::RoundRobin => "roundrobin".to_owned(),
            Balance::StaticRr => "static-rr".to_owned(),
            Balance::LeastConn => "leastconn".to_owned(),
            Balance::First => "first".to_owned(),
            Balance::Source => "source".to_owned(),
            Balance::Uri | Balance::UrlParam | Balance::Hdr | Balance::Hash => {
                match self.setup.keys.get(&cluster.name).and_then(algorithm) {
                    Some((_, line)) => line,
                    None => {
                        self.none(
                            format!("keys.{}", cluster.name),
                            "the key is not known: balance uri is written",
                        );
                        "uri".to_owned()
                    }
                }
            }
        };
        let _ = writeln!(text, "    balance {line}");
        if config.hash_type != HashType::default() {
            let _ = writeln!(text, "    {}", hash_type(config.hash_type));
        }
        if let Some(factor) = config.hash_balance_factor {
            let _ = writeln!(text, "    hash-balance-factor {factor}");
        }
    }
}

/// What `balance` says for a key.
fn algorithm(rule: &KeyRule) -> Option<(Balance, String)> {
    Some(match rule {
        KeyRule::Source => (Balance::Source, "source".to_owned()),
        KeyRule::Uri(key) => {
            let mut line = String::from("uri");
            if let Some(len) = key.len {
                let _ = write!(line, " len {len}");
            }
            if let Some(depth) = key.depth {
                let _ = write!(line, " depth {depth}");
            }
            line.push_str(if key.is_whole { " whole" } else { "" });
            line.push_str(if key.is_path_only { " path-only" } else { "" });
            (Balance::Uri, line)
        }
        KeyRule::UrlParam(name) => (Balance::UrlParam, format!("url_param {name}")),
        KeyRule::Header { name, domain_only } => {
            let flag = if *domain_only { " use_domain_only" } else { "" };
            (Balance::Hdr, format!("hdr({name}){flag}"))
        }
        KeyRule::Sample(part) => (Balance::Hash, format!("hash {}", written(part, &[])?)),
        KeyRule::Converted { of, by } => (Balance::Hash, format!("hash {}", written(of, by)?)),
        KeyRule::Text(parts) => match parts.as_slice() {
            [KeyPart::Source] => (Balance::Source, "source".to_owned()),
            [KeyPart::Target] => (Balance::Uri, "uri whole".to_owned()),
            [part] => (Balance::Hash, format!("hash {}", written(part, &[])?)),
            _ => return None,
        },
        KeyRule::Envoy(policies) => match &policies.first()?.of {
            KeyPart::Source => (Balance::Source, "source".to_owned()),
            part => (Balance::Hash, format!("hash {}", written(part, &[])?)),
        },
    })
}

fn hash_type(hash: HashType) -> String {
    let method = match hash.method {
        Method::MapBased => "map-based",
        Method::Consistent => "consistent",
    };
    if hash == HashType::bare(hash.method) {
        return format!("hash-type {method}");
    }
    let function = match hash.function {
        Function::Sdbm => "sdbm",
        Function::Djb2 => "djb2",
        Function::Wt6 => "wt6",
        Function::Crc32 => "crc32",
        Function::None => "none",
    };
    format!("hash-type {method} {function}{}", if hash.avalanche { " avalanche" } else { "" })
}
