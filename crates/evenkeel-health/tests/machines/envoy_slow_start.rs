use std::collections::BTreeMap;

use evenkeel_health::{EnvoySlowStart, EnvoySlowStartConfig};
use evenkeel_scenario::{Action, Fact, Machine};
use evenkeel_types::Timestamp;

use super::settings;

#[derive(Debug)]
struct Hosts {
    config: EnvoySlowStartConfig,
    hosts: BTreeMap<String, Host>,
    last: String,
    entered: bool,
}

#[derive(Debug)]
struct Host {
    slow_start: EnvoySlowStart,
    weight: f64,
    healthy: bool,
}

impl Host {
    fn effective(&self, now: Timestamp) -> f64 {
        if self.healthy { self.weight * self.slow_start.factor(now) } else { 0.0 }
    }
}

pub(crate) fn make(config: &str, _seed: u64) -> Result<Box<dyn Machine>, String> {
    let config: EnvoySlowStartConfig = settings(config)?;
    EnvoySlowStart::new(&config).map_err(|error| error.to_string())?;
    Ok(Box::new(Hosts { config, hosts: BTreeMap::new(), last: "host".into(), entered: false }))
}

impl Machine for Hosts {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        if matches!(action.verb(), "set" | "reload") {
            self.config = action.changed(&self.config, &[])?;
            for host in self.hosts.values_mut() {
                host.slow_start.set_config(&self.config).map_err(|error| error.to_string())?;
            }
            return action.no_more();
        }
        let name = action.bare(0).unwrap_or("host").to_owned();
        self.last.clone_from(&name);
        let fresh = || EnvoySlowStart::new(&self.config).map_err(|error| error.to_string());
        let host = match self.hosts.entry(name) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(Host { slow_start: fresh()?, weight: 1.0, healthy: false })
            }
        };
        host.weight = action.number("weight")?.unwrap_or(host.weight);
        self.entered = false;
        match action.verb() {
            "add" | "pass" | "up" => {
                host.healthy = true;
                self.entered = host.slow_start.pass(now);
            }
            "fail" | "down" => {
                host.healthy = false;
                host.slow_start.fail(now);
            }
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn picture(&mut self, _now: Timestamp) -> String {
        format!("{self:?}")
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        let (host, fact) = name.rsplit_once('.').unwrap_or((&self.last, name));
        let host = self.hosts.get(host)?;
        let total: f64 = self.hosts.values().map(|host| host.effective(now)).sum();
        Some(match fact {
            "factor" => host.slow_start.factor(now).into(),
            "warming" => host.slow_start.is_warming(now).into(),
            "healthy" => host.healthy.into(),
            "share" => Fact::optional((total > 0.0).then(|| host.effective(now) / total)),
            "deadline" | "next_deadline" => Fact::optional(host.slow_start.next_deadline()),
            "entered" => self.entered.into(),
            _ => return None,
        })
    }
}
