//! Clients: each has a cluster of its own, and what a policy entry says it does about trouble.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::limit::{Hedger, Throttle};
use evenkeel::route::retry::RetryPolicy;
use evenkeel::{
    Cluster, ClusterBuilder, ClusterConfig, Endpoint, Locality, LocalityConfig, ManualClock, Picker,
    PolicyConfig,
};
use evenkeel::{EndpointId, Priority, Weight};

use crate::error::{Invalid, ScenarioError};
use crate::foreign::{Desk, Loads, Polled, Probing, name_of};
use crate::scenario::{HedgeEntry, PolicyEntry, Scenario, ServersConfig};
use crate::streams::{Source, Stream};
use crate::work::LONGEST;

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) cluster: Cluster<u32>,
    pub(crate) picker: Picker<u32>,
    pub(crate) throttle: Option<Throttle>,
    pub(crate) hedger: Option<Hedger>,
    pub(crate) desk: Option<Arc<Desk>>,
    pub(crate) loads: Option<Arc<Loads>>,
    pub(crate) draws: Stream,
    /// An index into the zones of the world.
    pub(crate) zone: u32,
}

/// A policy entry with the defaults of the scenario, checked.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) entry: PolicyEntry,
    pub(crate) retries: Option<RetryPolicy>,
}

impl Setup {
    /// The entry of this name, or the policy of evenkeel's that has it.
    pub(crate) fn new(scenario: &Scenario, name: &str) -> Result<Self, ScenarioError> {
        let refused = |error: String| ScenarioError::Policy { policy: name.to_owned(), error };
        let own = scenario.policies.get(name);
        let mut entry = own.cloned().unwrap_or_default().or(&scenario.defaults);
        if own.is_none() {
            let known = name.parse::<PolicyConfig>();
            entry.policy = Some(known.map_err(|_| ScenarioError::NoPolicy(name.to_owned()))?);
            (entry.probes, entry.polled) = (None, None);
        }
        let foreign = u32::from(entry.probes.is_some()) + u32::from(entry.polled.is_some());
        if foreign + u32::from(entry.policy.is_some()) > 1 {
            return Err(refused("policy, probes, polled: only one of them chooses".to_owned()));
        }
        if foreign == 0 && entry.policy.is_none() {
            let known = name.parse::<PolicyConfig>();
            let words = "policy: absent, and evenkeel has none of this name; give it, or probes, or polled";
            entry.policy = Some(known.map_err(|_| refused(words.to_owned()))?);
        }
        if let Some(every) = entry.polled.as_ref().and_then(|polled| polled.every) {
            let is_fine = (Duration::from_millis(1)..=LONGEST).contains(&every);
            let allowed = "1 ms, so that time goes on, to 30 days";
            Invalid::unless(is_fine, "polled.every", format_args!("{every:?}"), allowed)
                .map_err(|invalid| refused(invalid.to_string()))?;
        }
        let tiers = scenario.servers.iter().any(|group| group.priority != scenario.servers[0].priority);
        if entry.probes.is_some() && (tiers || entry.locality.is_some() || entry.subset.is_some()) {
            return Err(refused("probes: not with several priorities, locality or subset".to_owned()));
        }
        if matches!(entry.locality, Some(LocalityConfig::ClientRegion(_))) {
            let words =
                "locality.mode: client_region goes by the addresses of users, which clients here do not have";
            return Err(refused(words.to_owned()));
        }
        let retries = entry.retries.as_ref().map(RetryPolicy::new).transpose();
        let setup = Self {
            name: name.to_owned(),
            retries: retries.map_err(|error| refused(format!("retries.{error}")))?,
            entry,
        };
        // Whatever else is out of range shows when a client is made.
        Client::new(scenario, &setup, 0, 0, &Arc::default(), &Arc::new(Loads::new(0)), &[String::new()])?;
        Ok(setup)
    }
}

impl PolicyEntry {
    /// What this leaves open is as in `other`.
    fn or(self, other: &Self) -> Self {
        let other = other.clone();
        let chooses = self.policy.is_some() || self.probes.is_some() || self.polled.is_some();
        let (policy, probes, polled) = if chooses {
            (self.policy, self.probes, self.polled)
        } else {
            (other.policy, other.probes, other.polled)
        };
        Self {
            policy,
            probes,
            polled,
            subset: self.subset.or(other.subset),
            outside_subset: self.outside_subset.or(other.outside_subset),
            failover: self.failover.or(other.failover),
            locality: self.locality.or(other.locality),
            breaker: self.breaker.or(other.breaker),
            outlier: self.outlier.or(other.outlier),
            slow_start: self.slow_start.or(other.slow_start),
            endpoint_limit: self.endpoint_limit.or(other.endpoint_limit),
            limit: self.limit.or(other.limit),
            budget: self.budget.or(other.budget),
            latency: self.latency.or(other.latency),
            retries: self.retries.or(other.retries),
            throttle: self.throttle.or(other.throttle),
            hedge: self.hedge.or(other.hedge),
        }
    }

    /// What chooses, for one client.
    fn chooser(&self, loads: &Arc<Loads>, desk: Option<&Arc<Desk>>) -> Result<PolicyConfig, String> {
        if let Some(desk) = desk {
            return Ok(PolicyConfig::custom(Probing(Arc::clone(desk))));
        }
        if let Some(polled) = &self.polled {
            let policy = Polled::new(polled.clone(), Arc::clone(loads));
            return Ok(PolicyConfig::custom(policy.map_err(|error| error.to_string())?));
        }
        Ok(self.policy.clone().unwrap_or_default())
    }
}

impl Client {
    /// The client of this number. `shared` are the loads that all clients see at once.
    pub(crate) fn new(
        scenario: &Scenario,
        setup: &Setup,
        seed: u64,
        number: u32,
        clock: &Arc<ManualClock>,
        shared: &Arc<Loads>,
        zones: &[String],
    ) -> Result<Self, ScenarioError> {
        let refused = |error: String| ScenarioError::Policy { policy: setup.name.clone(), error };
        let entry = &setup.entry;
        let desk = entry.probes.clone().map(|config| Desk::new(config).map(Arc::new)).transpose();
        let desk = desk.map_err(|error| refused(format!("probes: {error}")))?;
        let is_polled = entry.polled.as_ref().is_some_and(|polled| polled.every.is_some());
        let loads = if is_polled {
            Arc::new(Loads::new(scenario.server_count() as usize))
        } else {
            Arc::clone(shared)
        };
        let zone = zone_of(scenario, number);
        let mut config = ClusterConfig::new(format!("client-{number}"));
        config.policy = entry.chooser(&loads, desk.as_ref()).map_err(refused)?;
        config.subset = entry.subset.clone();
        config.outside_subset = entry.outside_subset;
        config.failover = entry.failover.clone();
        config.locality = entry.locality.clone().map(|locality| at_home(locality, zone));
        config.breaker = entry.breaker.clone();
        config.outlier = entry.outlier.clone();
        config.slow_start = entry.slow_start.clone();
        config.endpoint_limit = entry.endpoint_limit.clone();
        config.limit = entry.limit.clone();
        config.budget = entry.budget.clone();
        config.latency = entry.latency;
        config.seed = Some(Stream::new(seed, Source::Clusters, number.into()).bits());
        let built = ClusterBuilder::new(config).clock(Arc::clone(clock)).build();
        let cluster: Cluster<u32> = built.map_err(|error| refused(error.to_string()))?;
        let throttle = entry.throttle.as_ref().map(Throttle::new).transpose();
        let hedger = match &entry.hedge {
            Some(HedgeEntry::Learnt(config)) => Hedger::new(config).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            picker: cluster.picker_of_lane(0),
            cluster,
            throttle: throttle.map_err(|error| refused(format!("throttle.{error}")))?,
            hedger: hedger.map_err(|error| refused(format!("hedge.learnt.{error}")))?,
            desk,
            loads: is_polled.then_some(loads),
            draws: Stream::new(seed, Source::Clients, number.into()),
            zone: zones.iter().position(|known| known == zone).unwrap_or_default() as u32,
        })
    }
}

/// The zone of a client: they take turns.
fn zone_of(scenario: &Scenario, client: u32) -> &str {
    let zones = &scenario.clients.zones;
    if zones.is_empty() { "" } else { &zones[client as usize % zones.len()] }
}

fn at_home(mut locality: LocalityConfig, zone: &str) -> LocalityConfig {
    let home = locality_of(zone);
    match &mut locality {
        LocalityConfig::ZoneAware(config) => config.own = home,
        LocalityConfig::EnvoyZoneAware(config) => config.own = home,
        LocalityConfig::Weights(config) => config.own = home,
        LocalityConfig::LoadAware(config) => config.own = home,
        LocalityConfig::Nearest(config) => config.own = home,
        LocalityConfig::Joint(config) => config.own = home,
        // Refused before.
        LocalityConfig::ClientRegion(_) => {}
    }
    locality
}

fn locality_of(zone: &str) -> Locality {
    Locality::new("", zone, "")
}

/// A server as clients know it. `None` for numbers that no id can hold, which there are not.
pub(crate) fn endpoint(server: u32, group: &ServersConfig) -> Option<Endpoint<u32>> {
    let address = format!("10.{}.{}.{}:80", server >> 16 & 255, server >> 8 & 255, server & 255);
    let endpoint = Endpoint::new(id(server)?, address.parse().ok()?)
        .with_weight(Weight::new(group.weight))
        .with_priority(Priority::new(group.priority).ok()?);
    let endpoint =
        if group.zone.is_empty() { endpoint } else { endpoint.with_locality(locality_of(&group.zone)) };
    Some(endpoint.with_payload(server))
}

pub(crate) fn id(server: u32) -> Option<EndpointId> {
    name_of(server).parse().ok()
}
