use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_route::retry::{Hedge, HedgeConfig, HedgePolicy, RetryOn};
use evenkeel_stats::WindowedQuantiles;
use evenkeel_types::{Ratio, Timestamp};

use super::error::{RouterError, RouterProblem};

/// When a request is sent a second time before the first has been answered.
///
/// Only requests that may be done twice are sent twice at a time. All are sent again as soon as an attempt has ended so that another is
/// worth it; what must not be done twice, if no endpoint has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RouteHedgeConfig {
    /// Attempts that may be under way together, the first one included: 2 to 5. Default 2.
    pub attempts: u32,
    /// Endings that are not the answer: the others are waited for, and the next attempt begins at once.
    pub on: RetryOn,
    /// How long an attempt is waited for alone. Default: as long as 95 % of the requests of this route took in the last ten to
    /// twenty seconds, at least 10 ms: a twentieth more load, as in "The Tail at Scale" (Dean and Barroso, 2013).
    pub after: HedgeAfter,
}

impl Default for RouteHedgeConfig {
    fn default() -> Self {
        Self { attempts: 2, on: RetryOn::default(), after: HedgeAfter::default() }
    }
}

/// How long an attempt is waited for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum HedgeAfter {
    /// So long.
    Fixed(
        #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        Duration,
    ),
    /// As long as this share of the requests of the route took. Before a hundred were measured the next attempt begins only when
    /// one has failed.
    Quantile {
        /// The share, above 0 and below 1.
        share: Ratio,
        /// The least, whatever was measured.
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        #[cfg_attr(feature = "serde", serde(default = "least", with = "evenkeel_types::human_duration"))]
        at_least: Duration,
    },
}

impl Default for HedgeAfter {
    fn default() -> Self {
        Self::Quantile { share: Ratio::percent(95).unwrap_or(Ratio::HALF), at_least: least() }
    }
}

pub(crate) const fn least() -> Duration {
    Duration::from_millis(10)
}

/// The hedges of a route, and how long its requests take.
pub(crate) struct RouteHedge {
    config: RouteHedgeConfig,
    policy: HedgePolicy,
    took: Option<WindowedQuantiles>,
    measured: AtomicU64,
    /// The last quantile that was read, in nanoseconds: reading it walks through a histogram.
    delay: AtomicU64,
}

impl RouteHedge {
    pub(crate) fn new(config: &RouteHedgeConfig, field: &str) -> Result<Arc<Self>, RouterError> {
        let refused =
            |problem: RouterProblem, name: &str| RouterError::new(format!("{field}{name}"), problem);
        let policy = HedgePolicy::new(&HedgeConfig { attempts: config.attempts, on: config.on.clone() })
            .map_err(|error| refused(error.into(), ""))?;
        let took = match config.after {
            HedgeAfter::Fixed(delay) if delay.is_zero() => {
                let problem = RouterProblem::Setting(" is 0: every request would be sent twice");
                return Err(refused(problem, ".after.fixed"));
            }
            HedgeAfter::Fixed(_) => None,
            HedgeAfter::Quantile { share, .. } if share == Ratio::ZERO || share == Ratio::ONE => {
                let problem = RouterProblem::Setting(" is out of range: allowed is above 0 and below 1");
                return Err(refused(problem, ".after.quantile.share"));
            }
            HedgeAfter::Quantile { .. } => WindowedQuantiles::new(WINDOW).ok(),
        };
        let delay = match config.after {
            HedgeAfter::Fixed(delay) => u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX),
            HedgeAfter::Quantile { .. } => u64::MAX,
        };
        Ok(Arc::new(Self {
            config: config.clone(),
            policy,
            took,
            measured: AtomicU64::new(0),
            delay: AtomicU64::new(delay),
        }))
    }

    pub(crate) const fn config(&self) -> &RouteHedgeConfig {
        &self.config
    }

    /// The hedges of a request that is sent now. As long as it is not known how long to wait, and for what must not be done
    /// twice, the next attempt begins only when one has failed.
    pub(crate) fn begin(&self, now: Timestamp, may_repeat: bool) -> Hedge {
        match self.delay.load(Ordering::Relaxed) {
            _ if !may_repeat => self.policy.begin_once(now),
            u64::MAX => self.policy.begin(Duration::MAX, now),
            delay => self.policy.begin(Duration::from_nanos(delay), now),
        }
    }

    /// How long an attempt took that was answered.
    pub(crate) fn record(&self, took: Duration, now: Timestamp) {
        let (Some(window), HedgeAfter::Quantile { share, at_least }) = (&self.took, self.config.after) else {
            return;
        };
        window.record(took, now);
        // Often enough: a quantile moves slowly.
        if self.measured.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1 {
            let known = window.quantile(share, now).filter(|_| window.count(now) >= LEAST_MEASURED);
            let delay = known
                .map_or(u64::MAX, |delay| u64::try_from(delay.max(at_least).as_nanos()).unwrap_or(u64::MAX));
            self.delay.store(delay, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for RouteHedge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteHedge").field("config", &self.config).finish_non_exhaustive()
    }
}

const WINDOW: Duration = Duration::from_secs(10);
const EVERY: u64 = 50;
const LEAST_MEASURED: u64 = 100;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_what_was_measured() {
        let hedge = RouteHedge::new(&RouteHedgeConfig::default(), "hedge").unwrap();
        let now = Timestamp::from_secs(1);
        for millis in 1..=99 {
            hedge.record(Duration::from_millis(millis), now);
            assert!(hedge.begin(now, true).next_deadline().is_none(), "too few are known");
        }
        hedge.record(Duration::from_millis(100), now);
        let until = hedge.begin(now, true).next_deadline().unwrap();
        let delay = until.saturating_since(now);
        assert!(delay.abs_diff(Duration::from_millis(95)) < Duration::from_millis(3), "{delay:?}");
        let fast = RouteHedge::new(&RouteHedgeConfig::default(), "hedge").unwrap();
        (0..100).for_each(|_| fast.record(Duration::from_micros(1), now));
        assert_eq!(fast.begin(now, true).next_deadline(), Some(now.saturating_add(least())));
        assert_eq!(fast.begin(now, false).next_deadline(), None, "never two at a time");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |config: RouteHedgeConfig| RouteHedge::new(&config, "hedge").unwrap_err().to_string();
        let default = RouteHedgeConfig::default;
        assert!(refused(RouteHedgeConfig { attempts: 1, ..default() }).starts_with("hedge.attempts is 1"));
        let after = HedgeAfter::Fixed(Duration::ZERO);
        assert!(refused(RouteHedgeConfig { after, ..default() }).starts_with("hedge.after.fixed is 0"));
        let after = HedgeAfter::Quantile { share: Ratio::ONE, at_least: least() };
        assert!(refused(RouteHedgeConfig { after, ..default() }).starts_with("hedge.after.quantile.share"));
    }
}
