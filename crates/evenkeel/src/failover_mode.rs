use std::time::Duration;

use evenkeel_route::failover::{
    BackupMode, Failover, FailoverConfig, FailoverError, OnPanic, StaticResponse,
};
use thiserror::Error;

/// How requests are shared among the failover tiers of a cluster. Unset, the first tier with a usable endpoint takes all.
///
/// Shares go to endpoints that are usable; when nobody takes a request where its share sends it, it goes on to the other tiers,
/// so a pick never fails while one endpoint is usable, but where `on_panic` says that it must.
///
/// ```
/// use evenkeel::{Cluster, FailoverConfig, FailoverMode, Ratio};
///
/// let failover = FailoverConfig { panic_threshold: Ratio::percent(30)?, ..FailoverConfig::default() };
/// let cluster = Cluster::<()>::builder("users").failover(FailoverMode::Spill(failover)).build()?;
/// # let _ = cluster;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "mode", rename_all = "snake_case")
)]
pub enum FailoverMode {
    /// What a tier cannot take goes to the next one, without steps, and comes back slowly. The one to use.
    Spill(FailoverConfig),
    /// Whole percents, as Envoy computes them. Endpoints count, not their weights.
    Envoy(EnvoyFailoverConfig),
    /// All requests to one tier, as gRPC's priority policy (A56).
    Grpc(GrpcFailoverConfig),
    /// All requests to the first tier while one of its endpoints is usable, then to backups, as HAProxy and nginx.
    Backup(BackupFailoverConfig),
}

/// Envoy's settings of priorities.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EnvoyFailoverConfig {
    /// What a whole tier can take, in percent of all requests: 100 to 100,000. Default 140.
    #[cfg_attr(feature = "serde", serde(alias = "overprovisioning_factor"))]
    pub overprovisioning_percent: u32,
    /// Below this share of usable endpoints, in whole percent, a tier is in panic; 0 to 100. Default 50.
    pub panic_threshold_percent: u32,
    /// Whether requests of a tier in panic are refused. Default no: all its endpoints are used.
    pub fail_traffic_on_panic: bool,
}

impl Default for EnvoyFailoverConfig {
    fn default() -> Self {
        Self { overprovisioning_percent: 140, panic_threshold_percent: 50, fail_traffic_on_panic: false }
    }
}

/// gRPC's settings of priorities, as far as they concern a library that holds no connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct GrpcFailoverConfig {
    /// How long a tier in which nobody is usable, but somebody is starting, may take before the next one is used.
    /// Default 10 s, as in A56.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub failover_timeout: Duration,
}

impl Default for GrpcFailoverConfig {
    fn default() -> Self {
        Self { failover_timeout: Duration::from_secs(10) }
    }
}

/// Backups as HAProxy and nginx mean them. The first tier holds the primaries, all others are backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct BackupFailoverConfig {
    /// Who takes over. Default [`BackupMode::First`], as HAProxy without `option allbackups`. Of several backup tiers the
    /// first with a usable endpoint counts. A retry never returns to what it tried, so [`BackupMode::Nginx`] does what
    /// [`BackupMode::All`] does: the backups are asked as if nothing had been tried, since none was.
    pub takes: BackupMode,
}

/// Settings of a failover that make no sense; the text begins with the field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FailoverModeError {
    /// As the machine of spill tells.
    #[error(transparent)]
    Spill(#[from] FailoverError),
    /// A whole tier must be able to take everything.
    #[error("overprovisioning_percent is {0}: allowed are 100 to 100000")]
    Overprovisioning(u32),
    /// More than everything.
    #[error("panic_threshold_percent is {0}: allowed are 0 to 100")]
    PanicThreshold(u32),
    /// No time at all.
    #[error("failover_timeout is zero: a tier that starts would never be waited for; 10s is usual")]
    ZeroTimeout,
}

impl FailoverMode {
    /// As it is written in a configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Spill(_) => "spill",
            Self::Envoy(_) => "envoy",
            Self::Grpc(_) => "grpc",
            Self::Backup(_) => "backup",
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`FailoverModeError`] names the first that makes no sense.
    pub fn check(&self) -> Result<(), FailoverModeError> {
        match self {
            Self::Spill(config) => Ok(Failover::new(config).map(|_| ())?),
            Self::Envoy(config) if !(100..=100_000).contains(&config.overprovisioning_percent) => {
                Err(FailoverModeError::Overprovisioning(config.overprovisioning_percent))
            }
            Self::Envoy(config) if config.panic_threshold_percent > 100 => {
                Err(FailoverModeError::PanicThreshold(config.panic_threshold_percent))
            }
            Self::Grpc(config) if config.failover_timeout.is_zero() => Err(FailoverModeError::ZeroTimeout),
            Self::Envoy(_) | Self::Grpc(_) | Self::Backup(_) => Ok(()),
        }
    }

    /// What requests of a tier in panic are answered, if that is configured.
    pub(crate) const fn response(&self) -> Option<&StaticResponse> {
        match self {
            Self::Spill(FailoverConfig { on_panic: OnPanic::StaticResponse(response), .. }) => Some(response),
            _ => None,
        }
    }
}
