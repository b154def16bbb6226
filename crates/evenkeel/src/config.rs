use std::time::Duration;

use evenkeel_balance::subset::{InvalidSubset, SubsetConfig};
use evenkeel_balance::{InvalidPolicy, PolicyConfig};
use evenkeel_breaker::BreakerConfig;
use evenkeel_health::outlier::{OutlierConfig, OutlierConfigError};
use evenkeel_health::{RiseFallConfig, SlowStartConfig, SlowStartConfigError};
use evenkeel_limit::{LedgerConfig, LimitConfig, LimitConfigError};
use evenkeel_types::Endpoint;
use thiserror::Error;

use crate::error::ApplyError;
use crate::failover_mode::{FailoverMode, FailoverModeError};
use crate::locality_config::{LocalityConfig, LocalityConfigError};
use crate::settings_together::WouldBeIgnored;
use crate::subset::OutsideSubset;

/// Everything about a cluster that can be written down.
///
/// ```
/// # #[cfg(feature = "config")] {
/// use evenkeel::{Cluster, ClusterConfig};
///
/// let config = ClusterConfig::from_toml(r#"
///     name = "users"
///     policy = { type = "least_request", choices = 2 }
///
///     [breaker]
///     open_for = "5s"
///     rules = [{ consecutive = { failures = 5 } }]
///
///     [[endpoints]]
///     id = "users-1"
///     address = "10.0.0.1:8080"
///     weight = 3
/// "#)?;
/// let cluster: Cluster<()> = Cluster::from_config(config)?;
/// assert_eq!(cluster.len(), 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ClusterConfig {
    /// The name of the cluster, for reports and logs.
    pub name: String,
    /// How to choose; in a file a name, or a table with `type` and settings. Default: the less loaded of two distinct random
    /// ones.
    #[cfg_attr(feature = "serde", serde(default, deserialize_with = "crate::named_policy::deserialize"))]
    pub policy: PolicyConfig,
    /// Which part of the endpoints this client uses. Default: all of them.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub subset: Option<SubsetConfig>,
    /// What becomes of endpoints outside the subset when nothing inside is usable. Default: they are the last resort,
    /// except outside a label subset.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub outside_subset: Option<OutsideSubset>,
    /// How requests are shared among failover tiers. Default: the first tier with a usable endpoint takes all.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub failover: Option<FailoverMode>,
    /// How the requests of a tier are shared among its zones. Default: zones make no difference.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub locality: Option<LocalityConfig>,
    /// The circuit breaker that each endpoint gets. Default: none, since what counts as a failure is the caller's word.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub breaker: Option<BreakerConfig>,
    /// Who behaves worse than its peers goes out for a while. Default: nobody is judged, for the same reason.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub outlier: Option<OutlierConfig>,
    /// How endpoints start that return, or are new in a running cluster. Default: with their whole share at once.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub slow_start: Option<SlowStartConfig>,
    /// How many requests may be in flight at each endpoint. One that has so many is passed over: busy, not broken. Default:
    /// as many as there are.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub endpoint_limit: Option<LimitConfig>,
    /// How many requests may be in flight in the cluster. Default: as many as there are.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub limit: Option<LimitConfig>,
    /// How much may be sent besides first attempts: retries and hedges. Default: any amount, since only who sends again
    /// needs it.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub budget: Option<LedgerConfig>,
    /// How many check results in a row turn an endpoint up or down. Default: 2 up, 3 down, as HAProxy.
    #[cfg_attr(feature = "serde", serde(default))]
    pub health: RiseFallConfig,
    /// Whether latencies are estimated, which costs a clock read at the pick and one at the end. Default: not.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub latency: Option<LatencyConfig>,
    /// The seed of all draws. Default: from the operating system, so that processes do not start in step.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub seed: Option<u64>,
    /// The seed of key hashes: equal over a fleet, so that all its members send a key to the same endpoint, and not
    /// public where clients choose the keys. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub hash_seed: u64,
    /// The most endpoints that an update may bring. Default: 100 000; a source gone wild is refused, not obeyed.
    #[cfg_attr(feature = "serde", serde(default = "default_max_endpoints"))]
    pub max_endpoints: usize,
    /// Endpoints that are there from the start.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub endpoints: Vec<Endpoint>,
}

impl ClusterConfig {
    /// The defaults under this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            policy: PolicyConfig::default(),
            subset: None,
            outside_subset: None,
            failover: None,
            locality: None,
            breaker: None,
            outlier: None,
            slow_start: None,
            endpoint_limit: None,
            limit: None,
            budget: None,
            health: RiseFallConfig::default(),
            latency: None,
            seed: None,
            hash_seed: 0,
            max_endpoints: default_max_endpoints(),
            endpoints: Vec::new(),
        }
    }

    /// Reads TOML.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the line, the key, and what is allowed there. Unknown and misspelt keys are errors.
    #[cfg(feature = "config")]
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::new(&error))
    }
}

/// How latencies are estimated: peak EWMA, which follows a rise at once and a fall by the decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LatencyConfig {
    /// The time constant: after it, 37 % of an old peak is left. Default 10 s, as Finagle.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub decay: Duration,
}

impl Default for LatencyConfig {
    fn default() -> Self {
        Self { decay: Duration::from_secs(10) }
    }
}

#[cfg(feature = "config")]
/// The text is not a configuration: the message has the line, the key, and what is allowed there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ConfigError(String);

#[cfg(feature = "config")]
impl ConfigError {
    pub(crate) fn new(error: &toml::de::Error) -> Self {
        Self(error.to_string().trim_end().to_owned())
    }
}

/// A cluster cannot be built from these settings.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The name is empty.
    #[error("name: a cluster needs a name, for its reports and logs")]
    NoName,
    /// The policy's settings are out of range.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// The subset's settings are out of range.
    #[error(transparent)]
    Subset(#[from] InvalidSubset),
    /// `outside_subset` is set and there is no subset.
    #[error(
        "outside_subset: there is no subset that endpoints could be outside of; set subset, or leave this out"
    )]
    OutsideOfNothing,
    /// The settings of the failover are out of range.
    #[error("failover.{0}")]
    Failover(#[from] FailoverModeError),
    /// The settings of zones are out of range.
    #[error("locality.{0}")]
    Locality(#[from] LocalityConfigError),
    /// A setting would have no effect beside the others.
    #[error(transparent)]
    WouldBeIgnored(#[from] WouldBeIgnored),
    /// The breaker's settings are out of range.
    #[error("breaker.{0}")]
    Breaker(#[from] evenkeel_breaker::ConfigError),
    /// The settings of outlier detection are out of range.
    #[error("outlier.{0}")]
    Outlier(#[from] OutlierConfigError),
    /// The settings of slow start are out of range.
    #[error(transparent)]
    SlowStart(#[from] SlowStartConfigError),
    /// The settings of a limit or of the budget are out of range.
    #[error("{field}.{error}")]
    Limit {
        /// `endpoint_limit`, `limit` or `budget`.
        field: &'static str,
        /// What is wrong there.
        error: LimitConfigError,
    },
    /// The thresholds of the health checks are out of range.
    #[error("health.{0}")]
    Health(#[from] evenkeel_health::ConfigError),
    /// The decay of latencies is zero.
    #[error("latency.decay: must be above zero; 10s is usual")]
    ZeroDecay,
    /// `max_endpoints` is out of range.
    #[error("max_endpoints = {0} is out of range: allowed are 1 to 10000000")]
    MaxEndpoints(usize),
    /// There are endpoints in the configuration, and a builder cannot make payloads for them.
    #[error(
        "endpoints: a builder has no payloads for them; use Cluster::from_config, or take them out and apply them"
    )]
    EndpointsWithoutPayloads,
    /// The endpoints that should be there from the start were refused.
    #[error(transparent)]
    Endpoints(#[from] ApplyError),
}

pub(crate) const fn default_max_endpoints() -> usize {
    100_000
}
