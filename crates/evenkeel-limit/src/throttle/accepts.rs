use std::time::Duration;

use evenkeel_types::{Outcome, RandomSource, Ratio, Timestamp};

use crate::config::percent;
use crate::draw::happens;
use crate::error::{LimitConfigError, check, check_span};
use crate::sliding::Sliding;
use crate::throttle::{Throttled, was_accepted};

/// Throttling by requests and accepts.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct AcceptsConfig {
    /// How many requests for each accepted one are fine: above 1, at most 100. Default 2, as in the book: half of what is sent
    /// may be turned away before anything is held back, so that a service that recovers shows it soon.
    pub k: f64,
    /// How far back it looks, 1 s to 1 h. Default 2 min.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub window: Duration,
    /// Never more likely than this, below 1. Default 0.9: one in ten goes out, or no news would come back.
    pub max_probability: Ratio,
}

impl Default for AcceptsConfig {
    fn default() -> Self {
        Self { k: 2.0, window: Duration::from_secs(120), max_probability: percent(90) }
    }
}

/// Throttling by requests and accepts. Shared by all threads.
///
/// ```text
/// p = min(max_probability, max(0, (requests - k × accepts) / (requests + 1)))
/// ```
///
/// over the window. Requests are all that somebody wanted to send, also those held back; accepts are answers other than
/// "too much" (429, 503). One that is never recorded was not accepted. Source: "Site Reliability Engineering" (Google, 2016),
/// chapter 21, "Client-Side Throttling".
#[derive(Debug)]
pub struct Accepts {
    k: f64,
    max_probability: f64,
    window: Sliding<2>,
}

impl Accepts {
    /// Nothing counted.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &AcceptsConfig) -> Result<Self, LimitConfigError> {
        check(config.k > 1.0 && config.k <= 100.0, "accepts.k", config.k, "above 1, at most 100")?;
        let windows = Duration::from_secs(1)..=Duration::from_secs(3600);
        check_span(windows.contains(&config.window), "accepts.window", config.window, "1s to 1h")?;
        check_probability("accepts.max_probability", config.max_probability)?;
        let max_probability = config.max_probability.as_f64();
        Ok(Self { k: config.k, max_probability, window: Sliding::new(config.window, 10) })
    }

    /// The probability with which a request is held back now.
    #[must_use]
    pub fn probability(&self, now: Timestamp) -> f64 {
        let requests = self.window.count(REQUESTS, now) as f64;
        let accepts = self.window.counted(ACCEPTS) as f64;
        ((requests - self.k * accepts) / (requests + 1.0)).clamp(0.0, self.max_probability)
    }

    /// Counts a request, and says whether to send it.
    ///
    /// # Errors
    ///
    /// [`Throttled`]: do not send it.
    pub fn try_send(&self, draws: &mut impl RandomSource, now: Timestamp) -> Result<(), Throttled> {
        let probability = self.probability(now);
        self.window.add(REQUESTS, now);
        if happens(probability, draws) { Err(Throttled { probability }) } else { Ok(()) }
    }

    /// Says how a request went that was sent.
    pub fn record(&self, outcome: &Outcome, now: Timestamp) {
        if was_accepted(outcome) {
            self.window.add(ACCEPTS, now);
        }
    }

    /// Requests and accepts in the window.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> (u64, u64) {
        (self.window.count(REQUESTS, now), self.window.counted(ACCEPTS))
    }
}

/// What holds requests back for certain gets no news.
pub(crate) fn check_probability(field: &str, most: Ratio) -> Result<(), LimitConfigError> {
    check(most < Ratio::ONE, field, most.as_f64(), "0 to below 1")
}

const REQUESTS: usize = 0;
const ACCEPTS: usize = 1;
