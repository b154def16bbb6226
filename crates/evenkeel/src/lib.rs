//! Load balancing as a library: pick an endpoint per request.
//!
//! A [`Cluster`] holds endpoints, what is known about their health, and a policy. Call [`pick`](Cluster::pick) for each
//! request, send the request wherever that says, and report how it went. Nothing here does IO or needs a runtime.
//!
//! ```
//! use evenkeel::{BreakerConfig, Cluster, Endpoint, Outcome, PolicyConfig, Request, Tried};
//!
//! let cluster = Cluster::<()>::builder("users")
//!     .policy(PolicyConfig::least_request())
//!     .breaker(BreakerConfig::default())
//!     .build()?;
//! cluster.apply([
//!     Endpoint::new("users-1".parse()?, "10.0.0.1:8080".parse()?),
//!     Endpoint::new("users-2".parse()?, "10.0.0.2:8080".parse()?),
//! ])?;
//!
//! // A request, and a retry elsewhere if it fails.
//! let mut tried = Tried::default();
//! let answer = loop {
//!     let pick = cluster.pick(&Request::new().excluding(&tried))?;
//!     let answer = send(pick.endpoint().address());
//!     tried.add(&pick);
//!     pick.finish(Outcome::from(&answer));
//!     if answer.is_ok() || tried.len() == 2 {
//!         break answer;
//!     }
//! };
//! assert!(answer.is_ok());
//! # fn send(_: evenkeel::Address) -> Result<(), std::io::Error> { Ok(()) }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to go from here
//!
//! - The set of endpoints: [`Cluster::apply`], or [`Cluster::follow`] a [`Registry`].
//! - How to choose: [`PolicyConfig`]; a policy of your own: [`Policy`].
//! - Which part of a large fleet to use: [`ClusterBuilder::subset`].
//! - What went wrong: [`PickError`], [`Cluster::explain`], [`Cluster::report`].
//! - What to do about trouble: a breaker, outlier detection, slow start, limits and a budget of retries, all on
//!   [`ClusterBuilder`]; the operator's word: [`Handle::set_admin_for`], [`Handle::force_breaker`].
//! - Which cluster: [`Router`], and [`router::StreamRouter`] for connections.
//! - Tiers that fail over, and zones: [`FailoverMode`], [`LocalityConfig`]; what happened to a pick: [`Pick::way`].
//! - The last nanoseconds: [`Cluster::picker`].
//! - Configuration in TOML: [`ClusterConfig`].
//!
//! # Other crates
//!
//! | for | take |
//! |---|---|
//! | a tower `Service`: hyper, axum, tonic, reqwest | [`evenkeel-tower`](https://docs.rs/evenkeel-tower) |
//! | a proxy with pingora | [`evenkeel-pingora`](https://docs.rs/evenkeel-pingora) |
//! | one configuration file for all of it, reloaded while running | [`evenkeel-config`](https://docs.rs/evenkeel-config) |
//! | active checks over the network | [`evenkeel-probe`](https://docs.rs/evenkeel-probe) |
//! | endpoints from files, DNS, Kubernetes | `evenkeel-file`, `evenkeel-dns`, `evenkeel-kube` |
//! | endpoints from xDS, etcd, Consul, ZooKeeper | `evenkeel-xds`, `evenkeel-etcd`, `evenkeel-consul`, `evenkeel-zookeeper` |
//! | endpoints from a source of one's own | [`Registry`]; over HTTP `evenkeel-adapter` |
//! | metrics, traces, dashboards | [`evenkeel-metrics`](https://docs.rs/evenkeel-metrics) |
//! | configuration of nginx, HAProxy or Envoy | [`evenkeel-convert`](https://docs.rs/evenkeel-convert) |
//! | a fleet in virtual time, to compare policies | `evenkeel-sim` |
//! | one part alone | `evenkeel-balance`, `evenkeel-breaker`, `evenkeel-health`, `evenkeel-limit`, `evenkeel-route`, `evenkeel-registry`, `evenkeel-stats` |
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `config` | yes | [`ClusterConfig::from_toml`], and `serde` |
//! | `http` | no | requests and header maps of the crate `http` are routed and edited |
//! | `serde` | with `config` | configuration, reports and explanations serialise |
//! | `schema` | no | JSON Schemas of the settings, for editors and checks |
//!
//! Needs Rust 1.89. What every other crate needs, and its features, is in
//! [docs/crates.md](https://github.com/evenkeel/evenkeel/blob/main/docs/crates.md).

mod applied;
mod apply;
mod avoid;
mod builder;
mod choose;
mod clock;
mod cluster;
mod config;
mod control;
mod driver;
mod edit;
mod entry;
mod error;
mod explain;
mod factor;
mod failover_mode;
mod follow;
mod freshness;
mod grant;
mod handle;
mod lanes;
mod live;
mod locality_config;
mod moment;
#[cfg(feature = "serde")]
mod named_policy;
mod names;
mod node;
mod observer;
mod outliers;
mod parts;
mod pick;
mod pick_at;
mod picker;
mod planner;
mod renewal;
mod report;
mod request;
mod roster;
pub mod router;
mod settings_together;
mod shared;
mod shares;
mod snapshot;
mod subset;
mod sync;
mod tally;
mod tier_machine;
mod tier_report;
mod update;
mod way;
mod words;
mod zone_choice;
mod zone_shares;
mod zones;

pub use applied::Applied;
pub use builder::ClusterBuilder;
pub use clock::{Clock, ManualClock, MonotonicClock};
pub use cluster::Cluster;
#[cfg(feature = "config")]
pub use config::ConfigError;
pub use config::{BuildError, ClusterConfig, LatencyConfig};
pub use driver::Driver;
pub use error::{ApplyError, Panic, PanicAnswer, PickError, Shortage};
pub use explain::{Candidate, ExplainedCost, ExplainedShare, ExplainedTier, Explanation};
pub use failover_mode::{
    BackupFailoverConfig, EnvoyFailoverConfig, FailoverMode, FailoverModeError, GrpcFailoverConfig,
};
pub use follow::Following;
pub use freshness::Freshness;
pub use handle::{ForceBreakerError, Handle};
pub use live::Live;
pub use locality_config::{
    ClientRegionConfig, EnvoyZoneConfig, JointZonesConfig, LoadAwareZonesConfig, LocalityConfig,
    LocalityConfigError, NearestZonesConfig, ZoneAwareConfig, ZoneBy, ZoneCallers, ZoneWay, ZoneWeight,
    ZoneWeightsConfig,
};
pub use observer::{Notice, Observer, OutlierNotice, TierNotice};
pub use pick::Pick;
pub use pick_at::PickAtError;
pub use picker::Picker;
pub use renewal::Renewal;
pub use report::{BudgetReport, CauseReport, ClusterReport, EndpointReport};
pub use request::{Request, Tried};
pub use router::Router;
pub use settings_together::WouldBeIgnored;
pub use subset::OutsideSubset;
pub use tier_report::{TierReport, ZoneReport};
pub use way::Way;

/// The crate of the policies, whole: tables, compatible modes, hash functions.
pub use evenkeel_balance as balance;
pub use evenkeel_balance::hash::{HashFunction, HotKeySettings, KeySettings, MissingKey};
pub use evenkeel_balance::subset::{
    ApertureConfig, DeterministicSubsetConfig, HashedBy, InvalidSubset, LabelFallback, LabelSubsetConfig,
    LoadAperture, LoadApertureConfig, RandomSubsetConfig, Resized, SubsetConfig, SubsetFallback,
};
pub use evenkeel_balance::{
    AnchorConfig, IpHashConfig, JumpConfig, KetamaConfig, MaglevConfig, ModuloConfig, MultiProbeConfig,
    RendezvousConfig, RingHashConfig,
};
pub use evenkeel_balance::{
    Caller, Choices, Event, InvalidPolicy, LeastRequestConfig, LoadReport, Mask, Members, Observation,
    Observed, Policy, PolicyConfig, View, Wants,
};
pub use evenkeel_balance::{
    FirstAvailableConfig, PickFirstConfig, RoomPer, ShortestExpectedDelayConfig, Shuffle,
    SmoothWeightedRoundRobinConfig, TurnOrder,
};
pub use evenkeel_breaker as breaker;
pub use evenkeel_breaker::{
    BreakerConfig, Force, ForceError, HalfOpen, Owner, Reason as BreakerReason, Rule, State as BreakerState,
    Transition as BreakerTransition, Window,
};
pub use evenkeel_health::outlier::{
    self, Brake, Ejection, EjectionCaps, EjectionReason, EjectionTime, FailureShare, LatencyRule,
    OutlierConfig, OutlierConfigError, OutlierState, OutlierStatus, OutlierTotals, Probation, Return,
    ReturnBy, SuccessRate,
};
pub use evenkeel_health::{
    AdminState, Cause, CheckResult, CheckState, Curve, RiseFallConfig, SlowStartConfig, SlowStartConfigError,
    Start, Status, Warmth,
};
pub use evenkeel_limit as limit;
pub use evenkeel_limit::{Extra, LedgerConfig, LedgerRefusal, LimitConfig, LimitConfigError};
pub use evenkeel_registry::{
    CatalogConfig, Held, HoldReason, Lease, LeaseLost, RegisterError, Registry, ServiceName, SourceError,
    SourceName, SourceState, SourceStatus, UpdateError, Watch,
};
/// The crate of rules, splits, affinity and retries, whole.
pub use evenkeel_route as route;
pub use evenkeel_route::failover::{
    BackupMode, FailoverConfig, FailoverError, FailoverOrder, OnPanic, StaticResponse, TierHappened,
};
pub use evenkeel_types::{
    Address, Announced, Classify, Endpoint, EndpointId, HttpStatus, Labels, Locality, Origin, Outcome,
    Priority, RandomSource, Ratio, Timestamp, Verdict, Weight,
};

/// The first program of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The example of the page on subsets, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/subsetting.md")]
struct Subsetting;
