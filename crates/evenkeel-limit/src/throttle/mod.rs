//! Clients that hold back by themselves when a service turns requests away.

mod accepts;
mod nack;

use evenkeel_types::{Outcome, RandomSource, Timestamp, Verdict};
use thiserror::Error;

pub use accepts::{Accepts, AcceptsConfig};
pub use nack::{NackConfig, NackFilter};

use crate::LimitConfigError;

/// How a client throttles itself.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum ThrottleConfig {
    /// By requests and accepts, as in Google's SRE book.
    Accepts(AcceptsConfig),
    /// By an average of accepts, as Finagle.
    Nack(NackConfig),
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self::Accepts(AcceptsConfig::default())
    }
}

/// Either of the two.
#[derive(Debug)]
pub enum Throttle {
    /// By requests and accepts.
    Accepts(Accepts),
    /// By an average of accepts.
    Nack(NackFilter),
}

impl Throttle {
    /// Nothing known, so that everything is sent.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &ThrottleConfig) -> Result<Self, LimitConfigError> {
        Ok(match config {
            ThrottleConfig::Accepts(config) => Self::Accepts(Accepts::new(config)?),
            ThrottleConfig::Nack(config) => Self::Nack(NackFilter::new(config)?),
        })
    }

    /// The probability with which a request is held back now.
    #[must_use]
    pub fn probability(&self, now: Timestamp) -> f64 {
        match self {
            Self::Accepts(throttle) => throttle.probability(now),
            Self::Nack(filter) => filter.probability(),
        }
    }

    /// Asks to send a request.
    ///
    /// # Errors
    ///
    /// [`Throttled`]: do not send it.
    pub fn try_send(&self, draws: &mut impl RandomSource, now: Timestamp) -> Result<(), Throttled> {
        match self {
            Self::Accepts(throttle) => throttle.try_send(draws, now),
            Self::Nack(filter) => filter.try_send(draws, now),
        }
    }

    /// Says how a request went that was sent.
    pub fn record(&self, outcome: &Outcome, now: Timestamp) {
        match self {
            Self::Accepts(throttle) => throttle.record(outcome, now),
            Self::Nack(filter) => filter.record(outcome, now),
        }
    }
}

/// A request is held back here because too many are turned away there.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("held back with probability {probability:.3}")]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Throttled {
    /// How likely that was, below 1.
    pub probability: f64,
}

/// Whether the service took the request on: whatever it made of it then, unless it said "too much".
fn was_accepted(outcome: &Outcome) -> bool {
    !matches!(outcome.verdict(), Verdict::Overload { .. })
}
