use std::time::Duration;

use evenkeel_types::Ratio;
use thiserror::Error;

/// When requests go to the next tier, and when they come back.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct FailoverConfig {
    /// What a whole tier can take, in percent of all requests: 100 to 100,000.
    ///
    /// Default 140, as Envoy: a tier is provisioned so that it bears the loss of 28 % of its endpoints, and nothing
    /// leaves it before.
    #[cfg_attr(feature = "serde", serde(alias = "overprovisioning_factor"))]
    pub overprovisioning_percent: u32,
    /// Below this share of usable endpoints a tier is in panic, if the tiers together cannot take all requests. Default
    /// one half, as Envoy; 0 is never.
    pub panic_threshold: Ratio,
    /// What happens to the requests of a tier in panic. Default [`OnPanic::FailOpen`].
    pub on_panic: OnPanic,
    /// Below this share of usable endpoints a tier is left altogether, while others can take its requests. Default 0:
    /// never, since spilling what it cannot take is enough.
    pub leave_below: Ratio,
    /// From this share on it is used again; not below `leave_below`. Default 0.
    pub return_at: Ratio,
    /// How long a tier must not have got worse before it gets more again. Default 5 s: longer than most endpoints flap.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub min_dwell: Duration,
    /// How long the way from nothing back to everything takes, in equal parts. Default 30 s: connections, caches and
    /// compilers of a tier that did nothing need about that. Zero gives everything back at once.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub return_over: Duration,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        Self {
            overprovisioning_percent: 140,
            panic_threshold: Ratio::HALF,
            on_panic: OnPanic::default(),
            leave_below: Ratio::ZERO,
            return_at: Ratio::ZERO,
            min_dwell: Duration::from_secs(5),
            return_over: Duration::from_secs(30),
        }
    }
}

/// What happens to the requests of a tier in panic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum OnPanic {
    /// All its endpoints are used, healthy or not: checks that fail together are more often wrong than right, and few
    /// endpoints that take everything are the next to fail. Envoy, AWS.
    #[default]
    FailOpen,
    /// Only usable endpoints are used, whatever that does to them; without any, requests are refused. HAProxy, nginx.
    UsableOnly,
    /// Its requests are refused: what must not be answered wrongly. Envoy's `fail_traffic_on_panic`.
    FailClosed,
    /// Its requests get this answer.
    StaticResponse(StaticResponse),
    /// Its requests are answered by the caller from a cache, however old; without one, as `UsableOnly`.
    ServeStale,
}

/// An answer from here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct StaticResponse {
    /// Its status. Default 503.
    pub status: u16,
    /// Its content type. Default `text/plain`.
    pub content_type: String,
    /// Its content. Default none.
    pub body: String,
}

impl Default for StaticResponse {
    fn default() -> Self {
        Self { status: 503, content_type: "text/plain".into(), body: String::new() }
    }
}

/// Settings of a failover that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FailoverError {
    /// A whole tier must be able to take everything.
    #[error("overprovisioning_percent is {0}: allowed are 100 to 100000")]
    Overprovisioning(u32),
    /// A tier would return to be left again.
    #[error("return_at is below leave_below: a tier would be left as soon as it returns")]
    ReturnBelowLeave,
    /// No status of HTTP.
    #[error("on_panic.static_response.status is {0}: allowed are 200 to 599")]
    Status(u16),
    /// Too many tiers.
    #[error("{0} tiers: at most 258 are allowed")]
    TooManyTiers(usize),
}

impl FailoverConfig {
    pub(crate) fn check(&self) -> Result<(), FailoverError> {
        if !(100..=100_000).contains(&self.overprovisioning_percent) {
            return Err(FailoverError::Overprovisioning(self.overprovisioning_percent));
        }
        if self.return_at < self.leave_below {
            return Err(FailoverError::ReturnBelowLeave);
        }
        match &self.on_panic {
            OnPanic::StaticResponse(answer) if !(200..=599).contains(&answer.status) => {
                Err(FailoverError::Status(answer.status))
            }
            _ => Ok(()),
        }
    }
}
