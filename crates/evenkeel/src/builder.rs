use std::fmt;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use arc_swap::ArcSwapOption;
use evenkeel_balance::subset::SubsetConfig;
use evenkeel_balance::{BuiltIn, MemberList, Policy, PolicyConfig, Wants};
use evenkeel_breaker::{BreakerConfig, Rules};
use evenkeel_health::outlier::{OutlierConfig, OutlierRules};
use evenkeel_health::{Ramp, RiseFall, RiseFallConfig, SlowStartConfig};
use evenkeel_limit::{Ledger, LedgerConfig, LimitConfig, Limiter};
use evenkeel_stats::TimeConstant;
use evenkeel_types::{Priority, SplitMix64};

use crate::clock::{Clock, MonotonicClock};
use crate::cluster::Cluster;
use crate::config::{BuildError, ClusterConfig, LatencyConfig};
use crate::control::{Control, Slots, Timers};
use crate::failover_mode::FailoverMode;
use crate::locality_config::LocalityConfig;
use crate::names::Names;
use crate::observer::Observer;
use crate::outliers::Outliers;
use crate::planner::Planner;
use crate::roster::{Masks, Roster};
use crate::settings_together as together;
use crate::shared::Shared;
use crate::snapshot::{Part, Snapshot, Tier};
use crate::subset::{OutsideSubset, Rule};
use crate::update::{Index, State};
use crate::way::{Marks, Way};

/// Settings of a cluster that is about to be built, with the clock and the observer that no file can hold.
#[must_use = "a builder does nothing until `build`"]
pub struct ClusterBuilder<T> {
    config: ClusterConfig,
    clock: Option<Box<dyn Clock>>,
    observer: Option<Box<dyn Observer>>,
    payload: PhantomData<fn() -> T>,
}

impl<T> ClusterBuilder<T> {
    /// Everything as it is written. Endpoints in it are refused by [`build`](Self::build), since their payloads cannot be made:
    /// take them out, and apply them.
    pub fn new(config: ClusterConfig) -> Self {
        Self { config, clock: None, observer: None, payload: PhantomData }
    }

    /// How to choose.
    pub fn policy(mut self, policy: PolicyConfig) -> Self {
        self.config.policy = policy;
        self
    }

    /// Uses only a part of the endpoints, chosen anew with each update; the cluster goes on knowing all of them.
    ///
    /// A random subset without a seed takes the cluster's. So whoever sets that must not set the same for all processes,
    /// or all of them use the same endpoints.
    pub fn subset(mut self, subset: SubsetConfig) -> Self {
        self.config.subset = Some(subset);
        self
    }

    /// What becomes of endpoints outside the subset when nothing inside is usable.
    pub fn outside_subset(mut self, outside: OutsideSubset) -> Self {
        self.config.outside_subset = Some(outside);
        self
    }

    /// Shares requests among failover tiers.
    pub fn failover(mut self, failover: FailoverMode) -> Self {
        self.config.failover = Some(failover);
        self
    }

    /// Shares the requests of a tier among its zones.
    pub fn locality(mut self, locality: LocalityConfig) -> Self {
        self.config.locality = Some(locality);
        self
    }

    /// Gives every endpoint a circuit breaker.
    pub fn breaker(mut self, breaker: BreakerConfig) -> Self {
        self.config.breaker = Some(breaker);
        self
    }

    /// Ejects for a while who behaves worse than its peers.
    pub fn outlier(mut self, outlier: OutlierConfig) -> Self {
        self.config.outlier = Some(outlier);
        self
    }

    /// Lets endpoints that return, or are new in a running cluster, start slowly.
    pub fn slow_start(mut self, slow_start: SlowStartConfig) -> Self {
        self.config.slow_start = Some(slow_start);
        self
    }

    /// Limits how many requests may be in flight at each endpoint.
    pub fn endpoint_limit(mut self, limit: LimitConfig) -> Self {
        self.config.endpoint_limit = Some(limit);
        self
    }

    /// Limits how many requests may be in flight in the cluster.
    pub fn limit(mut self, limit: LimitConfig) -> Self {
        self.config.limit = Some(limit);
        self
    }

    /// Bounds what is sent besides first attempts: retries and hedges.
    pub fn budget(mut self, budget: LedgerConfig) -> Self {
        self.config.budget = Some(budget);
        self
    }

    /// How many check results in a row turn an endpoint up or down.
    pub fn health(mut self, health: RiseFallConfig) -> Self {
        self.config.health = health;
        self
    }

    /// Estimates latencies.
    pub fn latency(mut self, latency: LatencyConfig) -> Self {
        self.config.latency = Some(latency);
        self
    }

    /// The seed of all draws: the same seed, inputs and thread order give the same picks.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// The seed of key hashes: equal over a fleet.
    pub fn hash_seed(mut self, seed: u64) -> Self {
        self.config.hash_seed = seed;
        self
    }

    /// The most endpoints that an update may bring.
    pub fn max_endpoints(mut self, max: usize) -> Self {
        self.config.max_endpoints = max;
        self
    }

    /// Where the time comes from. Default: the operating system's monotonic clock.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Who hears what changes.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// The cluster, without endpoints: `apply` brings them. Endpoints in a configuration are for
    /// [`Cluster::from_config`].
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the setting and what is allowed.
    pub fn build(self) -> Result<Cluster<T>, BuildError> {
        let Self { config, clock, observer, payload: _ } = self;
        if config.name.is_empty() {
            return Err(BuildError::NoName);
        }
        if !config.endpoints.is_empty() {
            return Err(BuildError::EndpointsWithoutPayloads);
        }
        if !(1..=MOST_ENDPOINTS).contains(&config.max_endpoints) {
            return Err(BuildError::MaxEndpoints(config.max_endpoints));
        }
        let decay = config.latency.map(|latency| TimeConstant::new(latency.decay)).transpose();
        let rules = config.breaker.as_ref().map(Rules::new).transpose()?.map(Arc::new);
        let seed = config.seed.unwrap_or_else(seed_of_the_process);
        let hash_key = (config.hash_seed, SplitMix64::mix(config.hash_seed));
        let first = empty(&config.policy)?;
        let clock = clock.unwrap_or_else(|| Box::new(MonotonicClock::new()));
        let timers = Timers::new();
        let outliers = config.outlier.map(OutlierRules::new).transpose()?;
        let outliers = outliers
            .map(|rules| Outliers::new(rules, SplitMix64::mix(seed ^ OUTLIERS), clock.now(), &timers));
        let in_field = |field| move |error| BuildError::Limit { field, error };
        if let Some(limit) = &config.endpoint_limit {
            Limiter::new(limit, 0).map_err(in_field("endpoint_limit"))?;
        }
        config.failover.as_ref().map(FailoverMode::check).transpose()?;
        config.locality.as_ref().map(LocalityConfig::check).transpose()?;
        if config.subset.is_none() && config.outside_subset.is_some() {
            return Err(BuildError::OutsideOfNothing);
        }
        let subset =
            config.subset.map(|subset| Rule::new(subset, config.outside_subset, seed)).transpose()?;
        let planner = Planner::new(config.failover, config.locality, hash_key);
        together::check(
            planner.as_ref(),
            subset.as_ref(),
            first.first.policy.wants(),
            config.latency.is_some(),
        )?;
        let limit = config.limit.map(|limit| Limiter::new(&limit, seed).map_err(in_field("limit")));
        let ledger = config.budget.map(|budget| Ledger::new(&budget).map_err(in_field("budget")));
        let mut control = Control {
            name: config.name.into(),
            clock,
            roster: Roster::new(),
            slots: Slots::default(),
            timers,
            planner,
            ramp: config.slow_start.map(Ramp::new).transpose()?,
            reduced: AtomicUsize::new(0),
            endpoint_limit: config.endpoint_limit,
            limit: limit.transpose()?,
            ledger: ledger.transpose()?,
            seed,
            is_plain: AtomicBool::new(false),
            is_heard: AtomicBool::new(false),
            is_timed: config.latency.is_some()
                || outliers.as_ref().is_some_and(|outliers| outliers.rules.config().latency.is_some()),
            outliers,
            rules,
            latency: decay.map_err(|_| BuildError::ZeroDecay)?,
            rise_fall: RiseFall::new(&config.health)?,
            observer,
            listeners: ArcSwapOption::empty(),
            followed: ArcSwapOption::empty(),
            stripes: stripes(),
            hash_key,
        };
        control.is_plain = AtomicBool::new(control.has_no_parts());
        let state = State { subset, policy: config.policy, index: Index::new(hash_key), retired: Vec::new() };
        Ok(Cluster::new(Shared::new(first, Arc::new(control), seed, config.max_endpoints, state)))
    }
}

/// The snapshot before the first update. Building its policy finds settings that are out of range.
fn empty<T>(policy: &PolicyConfig) -> Result<Snapshot<T>, BuildError> {
    let nobody = MemberList::default();
    let first = Tier {
        priority: Priority::HIGHEST,
        part: Part::Inside,
        zone: None,
        way: Way::new(Priority::HIGHEST, Marks::empty()),
        fallback: None,
        policy: BuiltIn::new(policy, &nobody)?,
        wants: Wants::empty(),
        masks: Arc::new(Masks::new(&[], None)),
        nodes: Arc::new([]),
        weights: Arc::new([]),
        striped: false,
        has_stripes: false,
    };
    Ok(Snapshot {
        generation: 0,
        known: false,
        plan: None,
        first,
        rest: Box::default(),
        names: Names::default(),
    })
}

/// As many stripes as cores, at least two: enough that two busy threads seldom meet.
pub(crate) fn stripes() -> u32 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    threads.next_power_of_two().clamp(2, 64) as u32
}

/// Different in every process, as long as nobody sets a seed.
#[expect(clippy::disallowed_methods, reason = "the façade owns the draws; a seed makes them repeatable")]
pub(crate) fn seed_of_the_process() -> u64 {
    std::hash::RandomState::new().hash_one(0_u64)
}

impl<T> From<ClusterConfig> for ClusterBuilder<T> {
    /// Settings that were read from a file, to which a clock or an observer shall be added.
    fn from(config: ClusterConfig) -> Self {
        Self::new(config)
    }
}

impl<T> fmt::Debug for ClusterBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Apart from the draws of picks.
const OUTLIERS: u64 = 0x6f75_746c_6965_7273;
/// What `max_endpoints` may be at most.
const MOST_ENDPOINTS: usize = 10_000_000;
