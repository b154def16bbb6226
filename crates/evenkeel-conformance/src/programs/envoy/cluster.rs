use std::net::SocketAddr;

use evenkeel_balance::compat::envoy::{
    LevelHealth, LevelLoad, LocalityHosts, Share, Weighted, WeightsTooLarge, priority_loads, shares,
    shares_by_locality, socket_text,
};
use serde_json::Value;

use crate::Case;

/// The cluster of a case, as far as it matters to picks.
pub(super) struct Cluster<'a> {
    /// The cluster object.
    pub(super) config: &'a Value,
    hosts: Vec<Host>,
    loads: Vec<LevelLoad>,
}

/// One server, with what its endpoint entry says.
struct Host {
    text: String,
    weight: u32,
    health: Health,
    priority: usize,
    locality: [String; 3],
    locality_weight: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Healthy,
    Degraded,
    Unhealthy,
    Draining,
}

impl<'a> Cluster<'a> {
    pub(super) fn of(case: &'a Case) -> Self {
        let config = &case.0["config"];
        let by_name =
            flag(&config["common_lb_config"]["consistent_hashing_lb_config"], "use_hostname_for_hashing");
        let entries = entries(config);
        let host = |(index, server): (usize, &Value)| {
            let (group, entry) = entry_of(&entries, case.servers().len(), index, server);
            Host::of(server, group, entry, by_name)
        };
        let hosts: Vec<Host> = case.servers().iter().enumerate().map(host).collect();
        let loads = loads(config, &hosts);
        Self { config, hosts, loads }
    }

    /// The name of the balancing policy.
    pub(super) fn policy(&self) -> &'a str {
        self.config["lb_policy"].as_str().unwrap_or("ROUND_ROBIN")
    }

    /// The text that stands for a server in hashes.
    pub(super) fn text(&self, server: u32) -> &str {
        self.hosts.get(server as usize).map_or("", |host| &host.text)
    }

    /// What each priority level gets.
    pub(super) fn loads(&self) -> &[LevelLoad] {
        &self.loads
    }

    /// The servers of a level that get its healthy share, with their weights: all of them in panic.
    pub(super) fn usable_in(&self, level: usize) -> Vec<Weighted> {
        let in_panic = self.loads.get(level).is_some_and(|load| load.in_panic);
        let is_usable = |host: &Host| host.priority == level && (in_panic || host.health == Health::Healthy);
        self.select(is_usable)
    }

    /// Every server that may get requests at all.
    pub(super) fn usable(&self) -> Vec<u32> {
        let is_usable = |host: &Host| {
            self.loads.get(host.priority).is_some_and(|load| {
                load.healthy > 0 && (load.in_panic || host.health == Health::Healthy)
                    || load.degraded > 0 && host.health == Health::Degraded
            })
        };
        self.select(is_usable).into_iter().map(|(server, _)| server).collect()
    }

    /// The level that gets every request, if there is one, and only its healthy servers, or all of them in panic.
    pub(super) fn only_level(&self) -> Option<usize> {
        let level = self.loads.iter().position(|load| load.healthy == 100)?;
        (!self.is_locality_weighted()).then_some(level)
    }

    /// The parts of the usable servers of a level, in the order in which Envoy builds its tables.
    pub(super) fn shares_in(&self, level: usize) -> Result<Vec<Share>, WeightsTooLarge> {
        let usable = self.usable_in(level);
        if !self.is_locality_weighted() {
            return shares(&usable);
        }
        let mut names: Vec<&[String; 3]> =
            self.hosts.iter().filter(|host| host.priority == level).map(|host| &host.locality).collect();
        names.sort_unstable();
        names.dedup();
        let locality = |name: &[String; 3]| {
            let is_here = |host: &Host| host.priority == level && host.locality == *name;
            let mut weights =
                self.hosts.iter().filter(|&host| is_here(host)).filter_map(|host| host.locality_weight);
            let hosts = usable.iter().copied().filter(|&(server, _)| is_here(&self.hosts[server as usize]));
            // Of several entries for one locality the last one's weight stands.
            LocalityHosts { weight: weights.next_back().unwrap_or(0), hosts: hosts.collect() }
        };
        shares_by_locality(&names.into_iter().map(locality).collect::<Vec<_>>())
    }

    fn is_locality_weighted(&self) -> bool {
        self.config["common_lb_config"]["locality_weighted_lb_config"].is_object()
    }

    fn select(&self, is_wanted: impl Fn(&Host) -> bool) -> Vec<Weighted> {
        let wanted = (0..).zip(&self.hosts).filter(|(_, host)| is_wanted(host));
        wanted.map(|(server, host)| (server, host.weight)).collect()
    }
}

impl Host {
    fn of(server: &Value, group: &Value, entry: &Value, by_name: bool) -> Self {
        let address = server["addr"].as_str().unwrap_or_default();
        let key = entry["metadata"]["filter_metadata"]["envoy.lb"]["hash_key"]
            .as_str()
            .or(server["hash_key"].as_str())
            .filter(|key| !key.is_empty());
        let name = Some(host_name(entry)).filter(|name| by_name && !name.is_empty());
        let text = key.or(name).map_or_else(|| canonical(address), str::to_owned);
        let locality = ["region", "zone", "sub_zone"].map(|part| {
            let part = &group["locality"][part];
            part.as_str().unwrap_or_default().to_owned()
        });
        Self {
            text,
            weight: number(&entry["load_balancing_weight"]).or(number(&server["weight"])).unwrap_or(1),
            health: Health::of(entry["health_status"].as_str().or(server["health"].as_str())),
            priority: number(&group["priority"]).or(number(&server["priority"])).unwrap_or(0) as usize,
            locality,
            locality_weight: number(&group["load_balancing_weight"])
                .filter(|_| group["locality"].is_object()),
        }
    }
}

impl Health {
    fn of(mark: Option<&str>) -> Self {
        match mark {
            Some("UNHEALTHY" | "TIMEOUT") => Self::Unhealthy,
            Some("DEGRADED") => Self::Degraded,
            Some("DRAINING") => Self::Draining,
            _ => Self::Healthy,
        }
    }
}

/// A group of endpoint entries, which is a locality, and one of its entries.
type Entry<'a> = (&'a Value, &'a Value);

/// All endpoint entries in order.
fn entries(config: &Value) -> Vec<Entry<'_>> {
    let list = |value: &'_ Value| value.as_array().map_or(0, Vec::len);
    let groups = &config["load_assignment"]["endpoints"];
    let entries = |group| {
        let group = &groups[group];
        (0..list(&group["lb_endpoints"])).map(move |entry| (group, &group["lb_endpoints"][entry]))
    };
    (0..list(groups)).flat_map(entries).collect()
}

/// The entry that a server came from: by its place, or by name where a name stands for several servers.
fn entry_of<'a>(entries: &[Entry<'a>], servers: usize, index: usize, server: &Value) -> Entry<'a> {
    let is_it = |entry: &&Entry<'_>| {
        let address = &entry.1["endpoint"]["address"]["socket_address"];
        let text = format!("{}:{}", address["address"].as_str().unwrap_or_default(), address["port_value"]);
        [&server["dns"], &server["addr"]].iter().any(|mark| mark.as_str() == Some(&text))
    };
    let found = if entries.len() == servers { entries.get(index) } else { entries.iter().find(is_it) };
    found.copied().unwrap_or((&Value::Null, &Value::Null))
}

/// The name of a host: given, or the one that was resolved.
fn host_name(entry: &Value) -> &str {
    let endpoint = &entry["endpoint"];
    let given = endpoint["hostname"].as_str().filter(|name| !name.is_empty());
    given.or(endpoint["address"]["socket_address"]["address"].as_str()).unwrap_or_default()
}

fn canonical(address: &str) -> String {
    address.parse::<SocketAddr>().map_or_else(|_| address.to_owned(), socket_text)
}

/// A field that is set: numbers may be written as text, as JSON for protocol buffers does with 64 bits.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn number(value: &Value) -> Option<u32> {
    whole(value).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

fn flag(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap_or(false)
}

fn loads(config: &Value, hosts: &[Host]) -> Vec<LevelLoad> {
    let levels = hosts.iter().map(|host| host.priority + 1).max().unwrap_or(0);
    let count = |level: usize, is_meant: fn(Health) -> bool| {
        hosts.iter().filter(|host| host.priority == level && is_meant(host.health)).count() as u32
    };
    let health: Vec<LevelHealth> = (0..levels)
        .map(|level| LevelHealth {
            hosts: count(level, |health| health != Health::Draining),
            healthy: count(level, |health| health == Health::Healthy),
            degraded: count(level, |health| health == Health::Degraded),
        })
        .collect();
    let policy = &config["load_assignment"]["policy"];
    let overprovisioning = number(&policy["overprovisioning_factor"]).unwrap_or(140);
    let threshold = config["common_lb_config"]["healthy_panic_threshold"]["value"].as_f64();
    // Envoy cuts the threshold down to a whole number.
    priority_loads(&health, overprovisioning, threshold.unwrap_or(50.0) as u32)
}
