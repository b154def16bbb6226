//! A case as the reader of HAProxy gives it.

use evenkeel::PolicyConfig;
use evenkeel_balance::compat::haproxy::Balance;
use evenkeel_convert::Dialect;
use evenkeel_types::Announced;

use super::directives::Section;
use crate::programs::converted::{Converted, NAME};

impl Section {
    /// Puts what the reader gives in the place of what the directives say.
    pub(super) fn convert(&mut self, lines: &[&str]) -> Result<(), String> {
        let has_servers = lines.iter().any(|line| line.split_whitespace().next() == Some("server"));
        let others = lines.iter().filter(|line| !line.starts_with("backend"));
        let mut text = format!("backend {NAME}\n    mode http\n");
        others.for_each(|line| text.push_str(&format!("    {line}\n")));
        if !has_servers {
            self.servers.iter().zip(&self.names).for_each(|(server, name)| {
                text.push_str(&format!("    server {name} 10.0.0.1:80 weight {}", server.weight));
                for (is_set, word) in [(server.is_backup, "backup"), (server.is_disabled, "disabled")] {
                    text.push_str(&if is_set { format!(" {word}") } else { String::new() });
                }
                for (value, word) in [(server.id, "id"), (server.max_connections, "maxconn")] {
                    text.push_str(&value.map_or_else(String::new, |value| format!(" {word} {value}")));
                }
                text.push('\n');
            });
        }
        let converted = Converted::read(Dialect::Haproxy, &text)?;
        let cluster = converted.cluster()?;
        let PolicyConfig::Haproxy(config) = &cluster.policy else {
            return Err(format!("evenkeel-convert gives the policy {}", cluster.policy.name()));
        };
        if cluster.endpoints.len() != self.servers.len() {
            return Err(format!("{} endpoints of {} servers", cluster.endpoints.len(), self.servers.len()));
        }
        (self.config.balance, self.config.hash_type) = (config.balance, config.hash_type);
        self.config.hash_balance_factor = config.hash_balance_factor;
        let backups: Vec<u8> = cluster
            .endpoints
            .iter()
            .map(|endpoint| endpoint.priority().get())
            .filter(|&tier| tier > 0)
            .collect();
        // Of a single one it is not to be seen whether all are used together.
        if backups.len() > 1 {
            self.config.uses_all_backups = backups.iter().all(|&tier| tier == 1);
        }
        // That of the first stands for all.
        let shared = self.servers.first().and_then(|first| first.max_connections);
        for (server, endpoint) in self.servers.iter_mut().zip(&cluster.endpoints) {
            server.weight = endpoint.weight().get();
            server.is_backup = endpoint.priority().get() > 0;
            server.is_disabled = endpoint.announced() == Announced::Down;
            if server.max_connections == shared {
                server.max_connections = config.maxconn;
            } else {
                converted.must_tell("maxconn")?;
            }
        }
        self.rule = converted.rule().cloned();
        let takes_turns = [Balance::RoundRobin, Balance::StaticRr, Balance::LeastConn, Balance::First];
        if self.rule.is_none() && !takes_turns.contains(&config.balance) {
            converted.must_tell("balance")?;
        }
        Ok(())
    }
}
