use std::time::Duration;

use evenkeel_types::Ratio;

use crate::row::MAX_ROW;
use crate::window::{Counts, MAX_BUCKETS, MAX_COUNT_SIZE};
use crate::{BreakerConfig, ConfigError, HalfOpen, Reason, Rule, Window};

/// A [`BreakerConfig`] that has been checked: thousands of breakers share one.
///
/// ```
/// use std::sync::Arc;
/// use evenkeel_breaker::{Breaker, BreakerConfig, Rules};
///
/// let rules = Arc::new(Rules::new(&BreakerConfig::default())?);
/// let breakers: Vec<Breaker> = (0..1000).map(|_| Breaker::with_rules(&rules)).collect();
/// # Ok::<(), evenkeel_breaker::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    consecutive: Option<u32>,
    ratios: Box<[RatioRule]>,
    open_for: Duration,
    half_open: HalfOpen,
}

impl Rules {
    /// Checks `config`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that makes no sense, and what is allowed.
    pub fn new(config: &BreakerConfig) -> Result<Self, ConfigError> {
        check_number_of_rules(config.rules.len())?;
        let mut consecutive: Option<u32> = None;
        let mut ratios = Vec::new();
        for rule in &config.rules {
            match *rule {
                Rule::Consecutive { failures } => {
                    check_row(failures)?;
                    consecutive = Some(consecutive.map_or(failures, |least| least.min(failures)));
                }
                Rule::Ratio { failures, min_requests, window } => {
                    ratios.push(RatioRule::new(failures, min_requests, window)?);
                }
            }
        }
        check_waits(config)?;
        Ok(Self {
            consecutive,
            ratios: ratios.into(),
            open_for: config.open_for,
            half_open: config.half_open,
        })
    }

    pub(crate) fn consecutive_is_reached(&self, failures: u32) -> bool {
        self.consecutive.is_some_and(|limit| failures >= limit)
    }

    pub(crate) fn ratios(&self) -> &[RatioRule] {
        &self.ratios
    }

    pub(crate) fn open_for(&self) -> Duration {
        self.open_for
    }

    pub(crate) fn half_open(&self) -> &HalfOpen {
        &self.half_open
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RatioRule {
    limit: Ratio,
    min_requests: u32,
    window: Window,
}

impl RatioRule {
    fn new(limit: Ratio, min_requests: u32, window: Window) -> Result<Self, ConfigError> {
        if limit == Ratio::ZERO {
            return Err(ConfigError::ZeroRatio);
        }
        if min_requests == 0 {
            return Err(ConfigError::ZeroMinRequests);
        }
        check_window(window, min_requests)?;
        Ok(Self { limit, min_requests, window })
    }

    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// The reason to trip, if these counts are one.
    pub(crate) fn judge(&self, counts: Counts) -> Option<Reason> {
        let Counts { failures, requests } = counts;
        let enough = requests >= u64::from(self.min_requests);
        (enough && self.limit.is_reached_by(failures, requests))
            .then_some(Reason::Ratio { failures, requests })
    }
}

fn check_number_of_rules(rules: usize) -> Result<(), ConfigError> {
    match rules {
        0 => Err(ConfigError::NoRules),
        1..=MAX_RULES => Ok(()),
        _ => Err(ConfigError::TooManyRules(rules)),
    }
}

fn check_row(failures: u32) -> Result<(), ConfigError> {
    if (1..=MAX_ROW).contains(&failures) { Ok(()) } else { Err(ConfigError::ConsecutiveFailures(failures)) }
}

fn check_window(window: Window, min_requests: u32) -> Result<(), ConfigError> {
    match window {
        Window::Count { size } if !(1..=MAX_COUNT_SIZE).contains(&size) => Err(ConfigError::WindowSize(size)),
        Window::Count { size } if min_requests > size => {
            Err(ConfigError::MinRequestsBeyondWindow { min_requests, size })
        }
        Window::Time { buckets, .. } if !(1..=MAX_BUCKETS).contains(&buckets) => {
            Err(ConfigError::WindowBuckets(buckets))
        }
        Window::Time { span, buckets } if span > MAX_SPAN || span < MIN_BUCKET * buckets => {
            Err(ConfigError::WindowSpan { span, buckets })
        }
        Window::Count { .. } | Window::Time { .. } => Ok(()),
    }
}

fn check_waits(config: &BreakerConfig) -> Result<(), ConfigError> {
    let HalfOpen { max_concurrent, successes_needed, lease } = config.half_open;
    if config.open_for < RESOLUTION {
        return Err(ConfigError::OpenFor(config.open_for));
    }
    if !(1..=MAX_PROBES).contains(&max_concurrent) {
        return Err(ConfigError::MaxConcurrent(max_concurrent));
    }
    if !(1..=MAX_ROW).contains(&successes_needed) {
        return Err(ConfigError::SuccessesNeeded(successes_needed));
    }
    if lease < RESOLUTION {
        return Err(ConfigError::Lease(lease));
    }
    Ok(())
}

/// Each outcome is judged by every rule.
const MAX_RULES: usize = 8;
/// A look for a free slot reads them all.
const MAX_PROBES: u32 = 1024;
/// What looks further back than a day is a report.
const MAX_SPAN: Duration = Duration::from_secs(24 * 60 * 60);
/// Keeps the tags of buckets unique for 21 years of idling (2^36 × 10 ms).
const MIN_BUCKET: Duration = Duration::from_millis(10);
/// Of deadlines in the state word.
const RESOLUTION: Duration = Duration::from_millis(1);
