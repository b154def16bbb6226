use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_types::Ratio;

use crate::chart::Chart;
use crate::check;
use crate::ewma::Fade;
use crate::overdue::Age;
use crate::window::{Counts, Shape, TimeShape};
use crate::{Backoff, Wait};
use crate::{BreakerConfig, Combine, ConfigError, HalfOpen, Initial, Overload, Ramp, Reason, Rule};

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
#[derive(Clone, PartialEq)]
pub struct Rules {
    pub(crate) consecutive: Option<u32>,
    pub(crate) gauges: Box<[GaugeRule]>,
    pub(crate) combine: Combine,
    pub(crate) slow_call_duration: Option<Duration>,
    pub(crate) wait: Wait,
    pub(crate) half_open: HalfOpen,
    pub(crate) overload: Overload,
    pub(crate) ramp: Option<Ramp>,
    pub(crate) initial: Initial,
    pub(crate) dry_run: bool,
    wait_of: Option<WaitOf>,
}

impl Rules {
    /// Checks `config`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that makes no sense, and what is allowed.
    pub fn new(config: &BreakerConfig) -> Result<Self, ConfigError> {
        check::rules(config)?;
        check::waits(config)?;
        let rows = config.rules.iter().filter_map(|rule| match *rule {
            Rule::Consecutive { failures } => Some(failures),
            _ => None,
        });
        // One row for all of them: the shortest is reached first, the longest last.
        let consecutive = match config.combine {
            Combine::Any => rows.min(),
            Combine::All => rows.max(),
        };
        let gauges = config.rules.iter().filter_map(|rule| GaugeRule::new(rule, config.stripes));
        Ok(Self {
            consecutive,
            gauges: gauges.collect(),
            combine: config.combine,
            slow_call_duration: config.slow_call_duration,
            wait: Wait::new(config.open_for, config.backoff, config.seed),
            half_open: config.half_open,
            overload: config.overload,
            ramp: config.ramp,
            initial: config.initial,
            dry_run: config.dry_run || config.initial == Initial::DryRun,
            wait_of: None,
        })
    }

    /// The same with open times of your own: a function of how often in a row it has opened before, from 0.
    ///
    /// It is called once for each trip, on the thread that trips, and for [`Breaker::peek`](crate::Breaker::peek) where that
    /// has to know; it must be quick and always answer the same. `open_for` and the growth and jitter of a backoff are not
    /// looked at any more, its `forget` is. It cannot be written in a configuration file.
    #[must_use]
    pub fn with_wait(mut self, wait: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        self.wait_of = Some(WaitOf(Arc::new(wait)));
        self
    }

    /// How long a breaker of this `salt` stays open when it has opened `attempt` times in a row before.
    ///
    /// Pure: the same arguments give the same answer, on every platform.
    #[must_use]
    pub fn open_for(&self, attempt: u32, salt: u64) -> Duration {
        match &self.wait_of {
            Some(WaitOf(wait)) => wait(attempt),
            None => self.wait.of(attempt, salt),
        }
    }

    pub(crate) fn backoff(&self) -> Option<&Backoff> {
        self.wait.backoff()
    }

    /// Whether every open time is `open_for`, to which no memory is needed.
    pub(crate) fn waits_alike(&self) -> bool {
        self.wait_of.is_none() && self.wait.backoff().is_none() && !self.overload.open_for_retry_after
    }

    pub(crate) fn counts_attempts(&self) -> bool {
        self.wait_of.is_some() || self.wait.backoff().is_some()
    }

    pub(crate) fn consecutive_is_reached(&self, failures: u32) -> Option<Reason> {
        self.consecutive.filter(|limit| failures >= *limit).map(|_| Reason::Consecutive { failures })
    }

    /// The shape of the one window of a breaker that has the ten buckets in its own box.
    #[inline]
    pub(crate) fn ten(&self) -> Option<TimeShape> {
        match self.gauges.first()?.measure {
            Measure::Window(Shape::Time(shape)) => Some(shape),
            _ => None,
        }
    }

    /// Whether a rule may trip by the clock alone. Where all have to agree an outcome has to be there for the others.
    pub(crate) fn may_trip_between_outcomes(&self) -> bool {
        self.combine == Combine::Any || self.gauges.len() + usize::from(self.consecutive.is_some()) == 1
    }

    pub(crate) fn looks_at_slow(&self) -> bool {
        self.slow_call_duration.is_some()
    }

    pub(crate) fn looks_at_overdue(&self) -> bool {
        self.gauges.iter().any(|gauge| matches!(gauge.measure, Measure::Overdue(_)))
    }

    /// Whether the counts of a breaker with these rules mean the same to one with those.
    pub(crate) fn counts_as(&self, other: &Self) -> bool {
        let shape = |rules: &Self| -> Vec<_> {
            rules.gauges.iter().map(|gauge| (gauge.bad, gauge.measure)).collect()
        };
        shape(self) == shape(other) && self.slow_call_duration == other.slow_call_duration
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("consecutive", &self.consecutive)
            .field("gauges", &self.gauges)
            .field("combine", &self.combine)
            .field("half_open", &self.half_open)
            .finish_non_exhaustive()
    }
}

/// A function of the user's.
#[derive(Clone)]
struct WaitOf(Arc<dyn Fn(u32) -> Duration + Send + Sync>);

impl PartialEq for WaitOf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A rule that measures more than a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GaugeRule {
    pub(crate) bad: Bad,
    pub(crate) measure: Measure,
    limit: Ratio,
    min_requests: u32,
}

/// What a rule takes for bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    Failed,
    Slow,
}

/// How a rule measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measure {
    Window(Shape),
    Fading(Fade),
    Chart(Chart),
    Overdue(Age),
}

impl GaugeRule {
    fn new(rule: &Rule, stripes: u32) -> Option<Self> {
        let one = |bad, measure, limit, min_requests| Some(Self { bad, measure, limit, min_requests });
        match *rule {
            Rule::Consecutive { .. } => None,
            Rule::Ratio { failures, min_requests, window } => {
                one(Bad::Failed, Measure::Window(Shape::new(window, stripes)), failures, min_requests)
            }
            Rule::SlowRatio { slow, min_requests, window } => {
                one(Bad::Slow, Measure::Window(Shape::new(window, stripes)), slow, min_requests)
            }
            Rule::Ewma { failures, min_requests, over } => {
                one(Bad::Failed, Measure::Fading(Fade::new(over)), failures, min_requests)
            }
            Rule::Statistical { tolerated, requests_per_false_trip } => {
                let chart = Chart::new(tolerated, requests_per_false_trip);
                one(Bad::Failed, Measure::Chart(chart), Ratio::ONE, 1)
            }
            Rule::Overdue { requests, after } => {
                one(Bad::Failed, Measure::Overdue(Age::new(after)), Ratio::ONE, requests)
            }
        }
    }

    /// The reason to trip, if these counts are one.
    pub(crate) fn judge(&self, counts: Counts) -> Option<Reason> {
        let Counts { failures, requests } = counts;
        let enough = requests >= u64::from(self.min_requests);
        (enough && self.limit.is_reached_by(failures, requests)).then_some(match self.bad {
            Bad::Failed => Reason::Ratio { failures, requests },
            Bad::Slow => Reason::Slow { slow: failures, requests },
        })
    }

    /// The reason to trip, if such a share of so many requests is one.
    pub(crate) fn judge_share(&self, failures: Ratio, requests: f64) -> Option<Reason> {
        (requests >= f64::from(self.min_requests) && failures >= self.limit)
            .then_some(Reason::Ewma { failures })
    }

    /// The number of overdue requests that trips it.
    pub(crate) fn requests(&self) -> u64 {
        u64::from(self.min_requests)
    }
}
