use std::time::Duration;

use evenkeel_types::RandomSource;
use thiserror::Error;

/// How a [`Registrar`](crate::Registrar) keeps an endpoint in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RegistrarConfig {
    /// The time to live to ask for; the store may grant another, which then counts. Renewed at a third of it. The
    /// default is 15 s: a crash is noticed in a quarter of a minute, and two renewals 5 s apart may get lost. (etcd
    /// grants no less than 2 s, ZooKeeper 4 to 40 s by default.)
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub ttl: Duration,
    /// How long readers are given to hear of the drain before the entry is removed. The default is 5 s: twice the usual
    /// delay of a watch, or one poll of DNS at Envoy's rate.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub propagation: Duration,
    /// How a drain is announced.
    pub announce: Announce,
    /// How long an order may go without an answer; then it counts as failed. The default is 5 s, a third of the time to
    /// live, so that one hanging connection does not cost the lease.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub request_timeout: Duration,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// How long to try to remove the entry before giving up: the process wants to stop, and a lease ends by itself. The
    /// default is 30 s, the time that Kubernetes gives a process to stop.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub remove_for: Duration,
}

impl Default for RegistrarConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(15),
            propagation: Duration::from_secs(5),
            announce: Announce::default(),
            request_timeout: Duration::from_secs(5),
            backoff: Backoff::default(),
            remove_for: Duration::from_secs(30),
        }
    }
}

/// How the entry says that its endpoint drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Announce {
    /// By weight zero and by the announced state. The default: readers understand one or the other.
    #[default]
    WeightAndState,
    /// By weight zero alone, for stores without a state.
    Weight,
    /// By the state alone, for stores in which a weight of zero is not allowed (xDS).
    State,
    /// Not at all: the entry is removed, and then `propagation` is waited for before the registrar is gone, so that
    /// nobody is sent to a process that has stopped.
    Nothing,
}

/// Waits after failures: doubled from one to the next, and drawn from the upper half, so that a fleet does not come back
/// in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Backoff {
    /// The first. The default is 500 ms, as in etcd's client.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub min: Duration,
    /// The longest. The default is 30 s: a store that comes back is not left alone for longer.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(500), max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after so many failures in a row; adapters may use it for their own connections.
    #[must_use]
    pub fn delay(&self, failures: u32, draws: &mut impl RandomSource) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.min.saturating_mul(1 << doublings).min(self.max);
        let half = u64::try_from((full / 2).as_nanos()).unwrap_or(u64::MAX);
        let drawn = (u128::from(draws.next_u64()) * (u128::from(half) + 1)) >> 64;
        (full / 2).saturating_add(Duration::from_nanos(u64::try_from(drawn).unwrap_or(u64::MAX)))
    }
}

impl RegistrarConfig {
    /// Whether the settings can stand; [`Registrar::new`](crate::Registrar::new) asks.
    ///
    /// # Errors
    ///
    /// [`InvalidRegistrarConfig`] with the field.
    pub fn validate(&self) -> Result<(), InvalidRegistrarConfig> {
        if self.ttl < Duration::from_secs(1) {
            return Err(InvalidRegistrarConfig::Ttl { given: self.ttl });
        }
        for (field, value) in [
            ("request_timeout", self.request_timeout),
            ("backoff.min", self.backoff.min),
            ("remove_for", self.remove_for),
        ] {
            if value.is_zero() {
                return Err(InvalidRegistrarConfig::Zero { field });
            }
        }
        if self.backoff.min > self.backoff.max {
            return Err(InvalidRegistrarConfig::Backoff { min: self.backoff.min, max: self.backoff.max });
        }
        Ok(())
    }
}

/// Settings of a registrar that cannot stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRegistrarConfig {
    /// Below that, scheduling and one lost packet look like a crash.
    #[error("ttl is {given:?}: at least 1 s is needed")]
    Ttl {
        /// What was given.
        given: Duration,
    },
    /// A time of no length.
    #[error("{field} is zero: give more")]
    Zero {
        /// Which.
        field: &'static str,
    },
    /// The first wait is longer than the longest.
    #[error("backoff.min of {min:?} is above backoff.max, which is {max:?}")]
    Backoff {
        /// The first.
        min: Duration,
        /// The longest.
        max: Duration,
    },
}
