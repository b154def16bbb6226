use std::time::Duration;

use evenkeel_types::{Outcome, RandomSource, Ratio, Timestamp};

use crate::config::percent;
use crate::draw::happens;
use crate::error::{LimitConfigError, check, check_span};
use crate::sliding::Sliding;
use crate::sync::{AtomicU64, Ordering};
use crate::throttle::accepts::check_probability;
use crate::throttle::{Throttled, was_accepted};

/// Throttling by an average of accepts.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct NackConfig {
    /// The time constant of the average, 1 ms to 1 h. Default 2 min.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub window: Duration,
    /// The share of requests turned away that is tolerated, above 0 and below 1. Default 0.5.
    pub threshold: Ratio,
    /// Never more likely than this, below 1. Default 0.75.
    pub max_probability: Ratio,
    /// With fewer answers than this in the last second a request turned away counts as accepted. Default 5: a client that sends
    /// little is not what overloads anybody, and learns too slowly that it is over.
    pub min_per_second: u32,
}

impl Default for NackConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(120),
            threshold: Ratio::HALF,
            max_probability: percent(75),
            min_per_second: 5,
        }
    }
}

/// Throttling by an average of accepts. Shared by all threads.
///
/// ```text
/// answer:  w = exp(-dt / window),  a = x (1 - w) + a w       x = 0 if turned away, else 1; a = 1 at first
/// p = min(max_probability, 1 - a / (1 - threshold))          if a < 1 - threshold, else 0
/// ```
///
/// Source: `NackAdmissionFilter` of Finagle. Time is kept in steps of a millisecond, `a` in single precision.
#[derive(Debug)]
pub struct NackFilter {
    /// In milliseconds.
    window: f64,
    accept_threshold: f64,
    max_probability: f64,
    min_per_second: u64,
    /// Milliseconds modulo 2^32, then the bits of `a`; zero before the first answer.
    average: AtomicU64,
    answers: Sliding<1>,
}

impl NackFilter {
    /// Everything was accepted so far.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &NackConfig) -> Result<Self, LimitConfigError> {
        let windows = Duration::from_millis(1)..=Duration::from_secs(3600);
        check_span(windows.contains(&config.window), "nack.window", config.window, "1ms to 1h")?;
        let threshold = config.threshold;
        let is_share = threshold > Ratio::ZERO && threshold < Ratio::ONE;
        check(is_share, "nack.threshold", threshold.as_f64(), "above 0 and below 1")?;
        check_probability("nack.max_probability", config.max_probability)?;
        Ok(Self {
            window: config.window.as_secs_f64() * 1e3,
            accept_threshold: 1.0 - threshold.as_f64(),
            max_probability: config.max_probability.as_f64(),
            min_per_second: u64::from(config.min_per_second),
            average: AtomicU64::new(0),
            answers: Sliding::new(Duration::from_secs(1), 10),
        })
    }

    /// The share of requests that are accepted, as it was at the latest answer.
    #[must_use]
    pub fn accepted(&self) -> f64 {
        match self.average.load(Ordering::Relaxed) {
            0 => 1.0,
            word => f64::from(f32::from_bits(word as u32)),
        }
    }

    /// The probability with which a request is held back now.
    #[must_use]
    pub fn probability(&self) -> f64 {
        let accepted = self.accepted();
        if accepted >= self.accept_threshold {
            return 0.0;
        }
        (1.0 - accepted / self.accept_threshold).clamp(0.0, self.max_probability)
    }

    /// Whether to send a request.
    ///
    /// # Errors
    ///
    /// [`Throttled`]: do not send it.
    pub fn try_send(&self, draws: &mut impl RandomSource, _now: Timestamp) -> Result<(), Throttled> {
        let probability = self.probability();
        if happens(probability, draws) { Err(Throttled { probability }) } else { Ok(()) }
    }

    /// Says how a request went that was sent.
    pub fn record(&self, outcome: &Outcome, now: Timestamp) {
        self.answers.add(0, now);
        let few = self.answers.counted(0) < self.min_per_second;
        let sample = if few || was_accepted(outcome) { 1.0 } else { 0.0 };
        let millis = (now.as_nanos() / 1_000_000) as u32;
        let next = |word| Some(u64::from(millis_of(word, millis)) << 32 | self.absorb(word, sample, millis));
        let _ = self.average.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The bits of the new average; its smallest value is above zero, so that the word is never zero.
    fn absorb(&self, word: u64, sample: f64, millis: u32) -> u64 {
        let (average, elapsed) = match word {
            0 => (1.0, 0),
            _ => (f64::from(f32::from_bits(word as u32)), since((word >> 32) as u32, millis)),
        };
        let kept = libm::exp(-f64::from(elapsed) / self.window);
        let next = sample * (1.0 - kept) + average * kept;
        u64::from((next as f32).max(f32::MIN_POSITIVE).to_bits())
    }
}

/// Zero if `millis` is the earlier one.
fn since(before: u32, millis: u32) -> u32 {
    let elapsed = millis.wrapping_sub(before);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

fn millis_of(word: u64, millis: u32) -> u32 {
    let before = (word >> 32) as u32;
    if word != 0 && since(before, millis) == 0 { before } else { millis }
}
