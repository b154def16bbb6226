//! Scenario files: who sends what to whom, and what goes wrong meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::balance::ProbePoolConfig;
use evenkeel::limit::{HedgeConfig as LearntHedge, ThrottleConfig};
use evenkeel::route::retry::RetryConfig;
use evenkeel::{
    BreakerConfig, FailoverMode, LatencyConfig, LeastRequestConfig, LedgerConfig, LimitConfig,
    LocalityConfig, OutlierConfig, OutsideSubset, PolicyConfig, SlowStartConfig, SubsetConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arrivals::ArrivalsConfig;
use crate::fault::{DeployConfig, FaultConfig, ScalingConfig};
use crate::named_policy;
use crate::work::WorkConfig;

/// One scenario: a file.
///
/// Times are those of the virtual clock, from 0s. Everything that is drawn comes from streams of the seed, one for each
/// source, so that all policies meet the same requests.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name, for reports.
    pub name: String,
    /// What it shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Who published it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// How long requests arrive. Those under way at the end are still answered.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub duration: Duration,
    /// Requests that arrive before this are not counted. Default: a third of the duration.
    #[schemars(with = "Option<evenkeel_types::HumanDuration>")]
    #[serde(
        default,
        with = "evenkeel_types::human_duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub warm_up: Option<Duration>,
    /// Which seeds to run: `1-5`, `1,3,7`. Default: 1-5.
    #[serde(default = "default_seeds")]
    pub seeds: String,
    /// From a client to a server, and the same back. Default: no time.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(default, with = "evenkeel_types::human_duration")]
    pub network: Duration,
    /// What is added to `network` between two zones. Default: nothing.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(default, with = "evenkeel_types::human_duration")]
    pub cross_zone: Duration,
    /// After this a client gives a request up: an error that took so long. Default: never.
    #[schemars(with = "Option<evenkeel_types::HumanDuration>")]
    #[serde(
        default,
        with = "evenkeel_types::human_duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
    /// Whether the server stops to work on what a client has given up. Default: yes.
    #[serde(default = "yes")]
    pub timeout_cancels: bool,
    /// A success that took longer is no goodput. Default: any success is.
    #[schemars(with = "Option<evenkeel_types::HumanDuration>")]
    #[serde(
        default,
        with = "evenkeel_types::human_duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub objective: Option<Duration>,
    /// Each arrival is so many requests at once, and takes as long as the slowest. Default: 1, at most 10000.
    #[serde(default = "one")]
    pub fan_out: u32,
    /// Keys of requests. Default: none have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeysConfig>,
    /// Whether answers carry a report of the server's load: queries and failures a second and utilisation of the last span, and the
    /// requests that are there as the answer comes. Default: no.
    #[serde(default)]
    pub load_reports: bool,
    /// Who sends.
    #[serde(default)]
    pub clients: ClientsConfig,
    /// When requests arrive.
    pub arrivals: ArrivalsConfig,
    /// What a request asks of a server.
    pub work: WorkConfig,
    /// Who serves: groups of equal servers, numbered from 0 through all groups.
    pub servers: Vec<ServersConfig>,
    /// What goes wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultConfig>,
    /// A rolling restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployConfig>,
    /// An autoscaler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingConfig>,
    /// Spans of time that are counted by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowConfig>,
    /// If set, reports hold a time series in steps of this.
    #[schemars(with = "Option<evenkeel_types::HumanDuration>")]
    #[serde(
        default,
        with = "evenkeel_types::human_duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub series: Option<Duration>,
    /// Whether to run though more work arrives than the servers can do, where nothing sheds it. Default: such a scenario is
    /// refused.
    #[serde(default)]
    pub allow_overload: bool,
    /// What all policies below share, unless they say otherwise.
    #[serde(default)]
    pub defaults: PolicyEntry,
    /// Policies by name. `--policy` takes these, and the names of evenkeel's own.
    #[serde(default)]
    pub policies: BTreeMap<String, PolicyEntry>,
    /// The same scenario with several values of one field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepConfig>,
}

/// Who sends.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientsConfig {
    /// How many, each with a cluster of its own; requests are drawn uniformly among them. Default: 1, at most 10000.
    pub count: u32,
    /// Their zones, in turn. Default: none.
    pub zones: Vec<String>,
}

impl Default for ClientsConfig {
    fn default() -> Self {
        Self { count: 1, zones: Vec::new() }
    }
}

/// A group of equal servers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServersConfig {
    /// How many. At most 100000 in all.
    pub count: u32,
    /// How requests share them.
    pub discipline: Discipline,
    /// How many requests it works on at full speed. Default: 1. Of no meaning for `delay`.
    #[serde(default = "one_core")]
    pub cores: f64,
    /// Everything takes so many times as long. Default: 1.
    #[serde(default = "one_core")]
    pub slowdown: f64,
    /// Above this many requests at once further ones wait in line. Default: `fifo`, the cores; `sharing`, no bound. Not for
    /// `delay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// A request that finds so many at the server is refused at once. Default: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_limit: Option<u32>,
    /// The weight that clients know. Default: 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// The failover tier, to 128. Default: 0, the first.
    #[serde(default)]
    pub priority: u8,
    /// The zone. Default: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Work of its own, instead of the scenario's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkConfig>,
    /// Neighbours that take capacity now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub antagonist: Option<AntagonistConfig>,
}

/// How requests share a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Discipline {
    /// First come, first served, one on each core.
    Fifo,
    /// All at once, each at min(1, cores / n) of full speed: processor sharing.
    Sharing,
    /// Each takes its time, however many there are.
    Delay,
}

/// A server's capacity is drawn anew now and then.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AntagonistConfig {
    /// How long a state lasts, exponentially distributed with this mean.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub every: Duration,
    /// What is drawn from.
    pub states: Vec<CapacityConfig>,
}

/// A state of a server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CapacityConfig {
    /// How probable, beside the others.
    pub share: f64,
    /// The cores, uniformly distributed from the first to the second. Default: those of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<[f64; 2]>,
    /// The slowdown, likewise. Default: that of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowdown: Option<[f64; 2]>,
}

/// Keys.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    /// How many different ones. At most 10000000.
    pub count: u32,
    /// How unequal: the n-th is drawn in proportion to n^-exponent. Default: 0, all alike.
    #[serde(default)]
    pub zipf: f64,
}

/// A span that is counted by itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// For reports.
    pub name: String,
    /// The start.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub from: Duration,
    /// The end.
    #[schemars(with = "evenkeel_types::HumanDuration")]
    #[serde(with = "evenkeel_types::human_duration")]
    pub to: Duration,
}

/// The same scenario with several values of one field.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepConfig {
    /// Its path: `arrivals.load`, `servers.0.cores`.
    pub field: String,
    /// What it is set to, in turn.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub values: Vec<toml::Value>,
}

/// How clients choose and what they do about trouble. What is absent is taken from `defaults`, then from evenkeel.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyEntry {
    /// One of evenkeel's policies, by name or as a table. Default: the one that has this entry's name.
    #[serde(deserialize_with = "named_policy::optional", skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyConfig>,
    /// Prequal over probes: clients ask servers for their load.
    pub probes: Option<ProbePoolConfig>,
    /// Least request over what servers say of their load when they are polled.
    pub polled: Option<PolledConfig>,
    /// As [`evenkeel::ClusterConfig::subset`]. A random subset without a seed differs between clients.
    pub subset: Option<SubsetConfig>,
    /// As [`evenkeel::ClusterConfig::outside_subset`].
    pub outside_subset: Option<OutsideSubset>,
    /// As [`evenkeel::ClusterConfig::failover`].
    pub failover: Option<FailoverMode>,
    /// As [`evenkeel::ClusterConfig::locality`]; `own` is replaced by the zone of the client.
    pub locality: Option<LocalityConfig>,
    /// As [`evenkeel::ClusterConfig::breaker`].
    pub breaker: Option<BreakerConfig>,
    /// As [`evenkeel::ClusterConfig::outlier`].
    pub outlier: Option<OutlierConfig>,
    /// As [`evenkeel::ClusterConfig::slow_start`].
    pub slow_start: Option<SlowStartConfig>,
    /// As [`evenkeel::ClusterConfig::endpoint_limit`].
    pub endpoint_limit: Option<LimitConfig>,
    /// As [`evenkeel::ClusterConfig::limit`].
    pub limit: Option<LimitConfig>,
    /// As [`evenkeel::ClusterConfig::budget`]: bounds retries and hedges.
    pub budget: Option<LedgerConfig>,
    /// As [`evenkeel::ClusterConfig::latency`].
    pub latency: Option<LatencyConfig>,
    /// Sends again what has failed.
    pub retries: Option<RetryConfig>,
    /// Holds requests back while servers refuse or fail.
    pub throttle: Option<ThrottleConfig>,
    /// Sends a second request besides a slow one.
    pub hedge: Option<HedgeEntry>,
}

/// When a second request is sent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HedgeEntry {
    /// After this time.
    After {
        /// How long the first one may take.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        delay: Duration,
    },
    /// After a quantile of the latencies of late.
    Learnt(LearntHedge),
}

/// Loads that servers tell when they are asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolledConfig {
    /// How often each client asks all servers, from a time of its own on. Default: at every pick, without any delay, which only
    /// a simulation can.
    #[schemars(with = "Option<evenkeel_types::HumanDuration>")]
    #[serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// How to choose by what they said.
    pub rule: LeastRequestConfig,
    /// The first of the least loaded gets all, in the order of the servers, instead of `rule`, which has equals share: how a plain
    /// search for the minimum herds.
    pub first_of_least: bool,
}

fn default_seeds() -> String {
    "1-5".to_owned()
}

const fn yes() -> bool {
    true
}

const fn one() -> u32 {
    1
}

const fn one_core() -> f64 {
    1.0
}
