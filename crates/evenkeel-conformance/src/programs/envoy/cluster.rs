use std::net::SocketAddr;

use evenkeel::{FailoverMode, LocalityConfig, PolicyConfig};
use evenkeel_balance::compat::envoy::{
    EnvoyPolicy, LevelHealth, LevelLoad, LocalityHosts, LocalityWeight, Share, Weighted, WeightsTooLarge,
    priority_loads, shares, shares_by_locality, socket_text,
};
use evenkeel_convert::{Dialect, KeyRule};
use evenkeel_types::{Address, Announced, Endpoint, Locality};
use serde_json::{Value, json};

use crate::Case;
use crate::programs::converted::{Converted, NAME};

/// The cluster of a case, as the reader of Envoy gives it, as far as it matters to picks.
pub(super) struct Cluster {
    converted: Converted,
    policy: PolicyConfig,
    hosts: Vec<Host>,
    loads: Vec<LevelLoad>,
    /// Whether a level in panic gives no host.
    fails_in_panic: bool,
    /// The weights of localities in each level, if they count.
    weights: Option<Vec<(usize, LocalityWeight)>>,
}

/// One server, with what its endpoint entry says.
struct Host {
    text: String,
    weight: u32,
    health: Health,
    priority: usize,
    locality: Locality,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Healthy,
    Degraded,
    Unhealthy,
    Draining,
}

impl Cluster {
    pub(super) fn of(case: &Case) -> Result<Self, String> {
        let converted = Converted::read(Dialect::Envoy, &source(&case.0["config"]))?;
        let cluster = converted.cluster()?;
        let policy = cluster.policy.clone();
        let by_name = matches!(&policy, PolicyConfig::Envoy(config) if config.use_hostname);
        let mut hosts = Vec::new();
        for (index, server) in case.servers().iter().enumerate() {
            let endpoint = endpoint_of(&cluster.endpoints, case.servers().len(), index, server);
            let endpoint = endpoint.ok_or_else(|| format!("no endpoint is server {index}"))?;
            hosts.push(Host::of(server, endpoint, by_name));
        }
        let Some(FailoverMode::Envoy(failover)) = &cluster.failover else {
            return Err("evenkeel-convert gives no failover of Envoy".to_owned());
        };
        let each = hosts.iter().map(|host| (host.priority, host.health, 1));
        let levels = level_health(each);
        let loads =
            priority_loads(&levels, failover.overprovisioning_percent, failover.panic_threshold_percent);
        let weights = match (&policy, &cluster.locality) {
            (PolicyConfig::Envoy(config), _) if !config.locality_weights.is_empty() => {
                Some(weights_of_levels(&case.0["config"], &config.locality_weights, &converted)?)
            }
            (_, Some(LocalityConfig::Weights(_))) => Some(Vec::new()),
            _ => None,
        };
        let has_table = matches!(
            &policy,
            PolicyConfig::Envoy(config) if matches!(config.policy, EnvoyPolicy::RingHash(_) | EnvoyPolicy::Maglev(_))
        );
        // Envoy's tables do not look at it.
        let fails_in_panic = failover.fail_traffic_on_panic && !has_table;
        Ok(Self { policy, hosts, loads, fails_in_panic, weights, converted })
    }

    /// What is balanced by; none for draws that nobody can repeat.
    pub(super) const fn policy(&self) -> Option<&EnvoyPolicy> {
        match &self.policy {
            PolicyConfig::Envoy(config) => Some(&config.policy),
            _ => None,
        }
    }

    /// Whether all policies of the route are known to the reader; then what makes the hash of a request, if anything does.
    pub(super) fn rule(&self) -> Option<Option<&KeyRule>> {
        (!self.converted.is_told("hash_policy")).then(|| self.converted.rule())
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
        if in_panic && self.fails_in_panic {
            return Vec::new();
        }
        let is_usable = |host: &Host| host.priority == level && (in_panic || host.health == Health::Healthy);
        self.select(is_usable)
    }

    /// Every server that may get requests at all.
    pub(super) fn usable(&self) -> Vec<u32> {
        let is_usable = |host: &Host| {
            self.loads.get(host.priority).is_some_and(|load| {
                if load.in_panic && self.fails_in_panic {
                    return false;
                }
                load.healthy > 0 && (load.in_panic || host.health == Health::Healthy)
                    || load.degraded > 0 && host.health == Health::Degraded
            })
        };
        self.select(is_usable).into_iter().map(|(server, _)| server).collect()
    }

    /// The level that gets every request, if there is one, and only its healthy servers, or all of them in panic.
    pub(super) fn only_level(&self) -> Option<usize> {
        let level = self.loads.iter().position(|load| load.healthy == 100)?;
        self.weights.is_none().then_some(level)
    }

    /// The parts of the usable servers of a level, in the order in which Envoy builds its tables.
    pub(super) fn shares_in(&self, level: usize) -> Result<Vec<Share>, WeightsTooLarge> {
        let usable = self.usable_in(level);
        let Some(weights) = &self.weights else { return shares(&usable) };
        let mut names: Vec<&Locality> =
            self.hosts.iter().filter(|host| host.priority == level).map(|host| &host.locality).collect();
        names.sort_unstable_by_key(|name| (name.region(), name.zone(), name.sub_zone()));
        names.dedup();
        let locality = |name: &Locality| {
            let is_here = |host: &Host| host.priority == level && host.locality == *name;
            // Of several entries of one locality the last one counts.
            let mut weights = weights.iter().rev();
            let weight = weights.find(|(at, zone)| {
                *at == level
                    && (zone.region.as_str(), zone.zone.as_str(), zone.sub_zone.as_str())
                        == (name.region(), name.zone(), name.sub_zone())
            });
            let hosts = usable.iter().copied().filter(|&(server, _)| is_here(&self.hosts[server as usize]));
            LocalityHosts { weight: weight.map_or(0, |(_, zone)| zone.weight), hosts: hosts.collect() }
        };
        shares_by_locality(&names.into_iter().map(locality).collect::<Vec<_>>())
    }

    fn select(&self, is_wanted: impl Fn(&Host) -> bool) -> Vec<Weighted> {
        let wanted = (0..).zip(&self.hosts).filter(|(_, host)| is_wanted(host));
        wanted.map(|(server, host)| (server, host.weight)).collect()
    }
}

impl Host {
    fn of(server: &Value, endpoint: &Endpoint, by_name: bool) -> Self {
        let address = server["addr"].as_str().unwrap_or_default();
        let key = endpoint.labels().and_then(|labels| labels.get("envoy.lb.hash_key"));
        let resolved = match endpoint.address() {
            Address::Host(name, _) => name.as_str().to_owned(),
            Address::Socket(address) => address.ip().to_string(),
            _ => String::new(),
        };
        let name = || endpoint.hostname().map_or(resolved, str::to_owned);
        let text = match key.filter(|key| !key.is_empty()) {
            Some(key) => key.to_owned(),
            None if by_name => name(),
            None => canonical(address),
        };
        Self {
            text,
            weight: endpoint.weight().get(),
            health: match endpoint.announced() {
                Announced::Down => Health::Unhealthy,
                Announced::Degraded => Health::Degraded,
                Announced::Draining => Health::Draining,
                _ => Health::Healthy,
            },
            priority: usize::from(endpoint.priority().get()),
            locality: endpoint.locality().cloned().unwrap_or_default(),
        }
    }
}

impl Health {
    pub(super) fn of(mark: Option<&str>) -> Self {
        match mark {
            Some("UNHEALTHY" | "TIMEOUT") => Self::Unhealthy,
            Some("DEGRADED") => Self::Degraded,
            Some("DRAINING") => Self::Draining,
            _ => Self::Healthy,
        }
    }
}

/// The priority level that a group or a server names.
pub(super) fn priority_of(value: &Value) -> usize {
    number(&value["priority"]).unwrap_or(0).min(MOST_LEVELS) as usize
}

/// Envoy has no level above this.
const MOST_LEVELS: u32 = 128;

/// A group of endpoint entries, which is a locality, and one of its entries.
pub(super) type Entry<'a> = (&'a Value, &'a Value);

/// All endpoint entries in order.
pub(super) fn entries(config: &Value) -> Vec<Entry<'_>> {
    let list = |value: &'_ Value| value.as_array().map_or(0, Vec::len);
    let groups = &config["load_assignment"]["endpoints"];
    let entries = |group| {
        let group = &groups[group];
        (0..list(&group["lb_endpoints"])).map(move |entry| (group, &group["lb_endpoints"][entry]))
    };
    (0..list(groups)).flat_map(entries).collect()
}

/// The weights of the localities in each level. The reader knows one for all levels, and has to say so if there are more.
fn weights_of_levels(
    config: &Value,
    read: &[LocalityWeight],
    converted: &Converted,
) -> Result<Vec<(usize, LocalityWeight)>, String> {
    let groups = config["load_assignment"]["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
    let mut weights = Vec::new();
    for group in groups.iter().filter(|group| !group["load_balancing_weight"].is_null()) {
        let part = |name: &str| group["locality"][name].as_str().unwrap_or_default().to_owned();
        let zone = LocalityWeight {
            region: part("region"),
            zone: part("zone"),
            sub_zone: part("sub_zone"),
            weight: number(&group["load_balancing_weight"]).unwrap_or(0),
        };
        if !read.contains(&zone) {
            converted.must_tell("load_balancing_weight")?;
        }
        weights.push((priority_of(group), zone));
    }
    Ok(weights)
}

/// The cluster and the route of a case as a whole configuration.
fn source(config: &Value) -> String {
    let mut cluster = config.clone();
    let policies = cluster.as_object_mut().and_then(|cluster| cluster.remove("hash_policy"));
    cluster["name"] = NAME.into();
    let policies = policies.unwrap_or_else(|| json!([{ "header": { "header_name": "x-key" } }]));
    let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": NAME, "hash_policy": policies } });
    let hosts = json!([{ "name": "all", "domains": ["*"], "routes": [route] }]);
    let manager = json!({ "@type": "x.HttpConnectionManager", "route_config": { "virtual_hosts": hosts } });
    let listener = json!({ "name": NAME, "filter_chains": [{ "filters": [{ "typed_config": manager }] }] });
    json!({ "static_resources": { "clusters": [cluster], "listeners": [listener] } }).to_string()
}

/// The endpoint that a server came from: by its place, or by name where a name stands for several servers.
fn endpoint_of<'e>(
    endpoints: &'e [Endpoint],
    servers: usize,
    index: usize,
    server: &Value,
) -> Option<&'e Endpoint> {
    let is_it = |endpoint: &&Endpoint| {
        let text = endpoint.address().to_string();
        [&server["dns"], &server["addr"]].iter().any(|mark| mark.as_str() == Some(&text))
    };
    if endpoints.len() == servers { endpoints.get(index) } else { endpoints.iter().find(is_it) }
}

fn canonical(address: &str) -> String {
    address.parse::<SocketAddr>().map_or_else(|_| address.to_owned(), socket_text)
}

/// A field that is set: numbers may be written as text, as JSON for protocol buffers does with 64 bits.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

pub(super) fn number(value: &Value) -> Option<u32> {
    whole(value).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

pub(super) fn flag(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap_or(false)
}

/// The health of each level, counted from hosts: their level, their mark, and how many they are.
pub(super) fn level_health(hosts: impl Iterator<Item = (usize, Health, u32)>) -> Vec<LevelHealth> {
    let mut levels = Vec::new();
    for (priority, health, count) in hosts {
        levels.resize(levels.len().max(priority + 1), LevelHealth::default());
        let level = &mut levels[priority];
        // Those that drain count apart.
        level.hosts += if health == Health::Draining { 0 } else { count };
        level.draining += if health == Health::Draining { count } else { 0 };
        level.healthy += if health == Health::Healthy { count } else { 0 };
        level.degraded += if health == Health::Degraded { count } else { 0 };
    }
    levels
}

/// In whole percents: Envoy cuts off what is behind the point.
pub(super) fn panic_threshold(config: &Value) -> u32 {
    let threshold = config["common_lb_config"]["healthy_panic_threshold"]["value"].as_f64();
    threshold.unwrap_or(50.0) as u32
}
