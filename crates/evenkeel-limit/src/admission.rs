use std::time::Duration;

use evenkeel_types::{Outcome, RandomSource, Ratio, Timestamp, Verdict};

use crate::config::percent;
use crate::draw::happens;
use crate::error::{LimitConfigError, check, check_span};
use crate::sliding::Sliding;
use crate::throttle::Throttled;

/// Admission by the success rate.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct AdmissionConfig {
    /// How far back it looks, 1 s to 1 h, in 30 parts. Default 30 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub window: Duration,
    /// Above this success rate nothing is turned away; above 0. Default 0.95.
    pub success_rate: Ratio,
    /// 1 makes the probability proportional to what is missing, more makes small misses weigh more; 1 to 100. Default 1.
    pub aggression: f64,
    /// Below so many requests a second, on average over the window, nothing is turned away. Default 0.
    pub min_per_second: u32,
    /// Never more likely than this, below 1. Default 0.8.
    pub max_probability: Ratio,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            success_rate: percent(95),
            aggression: 1.0,
            min_per_second: 0,
            max_probability: percent(80),
        }
    }
}

/// Turns requests away with a probability that grows as their success rate falls. Shared by all threads.
///
/// ```text
/// p = min(max_probability, (max(0, n - s / success_rate) / (n + 1)) ^ (1 / aggression))
/// ```
///
/// with n answers in the window, s of them good. A failure and an overload are not good; a neutral outcome does not count. What
/// is turned away here does not count either. Source: the admission control filter of Envoy.
#[derive(Debug)]
pub struct Admission {
    config: AdmissionConfig,
    window: Sliding<2>,
}

impl Admission {
    /// Nothing counted.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &AdmissionConfig) -> Result<Self, LimitConfigError> {
        let windows = Duration::from_secs(1)..=Duration::from_secs(3600);
        check_span(windows.contains(&config.window), "window", config.window, "1s to 1h")?;
        let rate = config.success_rate;
        check(rate > Ratio::ZERO, "success_rate", rate.as_f64(), "above 0, at most 1")?;
        check((1.0..=100.0).contains(&config.aggression), "aggression", config.aggression, "1 to 100")?;
        let most = config.max_probability;
        check(most < Ratio::ONE, "max_probability", most.as_f64(), "0 to below 1")?;
        Ok(Self { config: config.clone(), window: Sliding::new(config.window, 30) })
    }

    /// The probability with which a request is turned away now.
    #[must_use]
    pub fn probability(&self, now: Timestamp) -> f64 {
        let (answers, good) = self.counts(now);
        let (answers, good) = (answers as f64, good as f64);
        if answers < f64::from(self.config.min_per_second) * self.config.window.as_secs_f64() {
            return 0.0;
        }
        let missing = answers - good / self.config.success_rate.as_f64();
        let share = missing.max(0.0) / (answers + 1.0);
        let probability = match self.config.aggression {
            1.0 => share,
            aggression => libm::pow(share, 1.0 / aggression),
        };
        probability.clamp(0.0, self.config.max_probability.as_f64())
    }

    /// Whether to let a request in.
    ///
    /// # Errors
    ///
    /// [`Throttled`]: turn it away.
    pub fn try_admit(&self, draws: &mut impl RandomSource, now: Timestamp) -> Result<(), Throttled> {
        let probability = self.probability(now);
        if happens(probability, draws) { Err(Throttled { probability }) } else { Ok(()) }
    }

    /// Says how a request went that was let in.
    pub fn record(&self, outcome: &Outcome, now: Timestamp) {
        match outcome.verdict() {
            Verdict::Neutral => return,
            // Before the answer, so that nobody sees a good one less.
            Verdict::Success => self.window.add(GOOD, now),
            Verdict::Failure | Verdict::Overload { .. } => {}
        }
        self.window.add(ANSWERS, now);
    }

    /// Answers in the window, and the good ones.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> (u64, u64) {
        (self.window.count(ANSWERS, now), self.window.counted(GOOD))
    }
}

const ANSWERS: usize = 0;
const GOOD: usize = 1;
