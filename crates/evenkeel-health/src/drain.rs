//! Taking an endpoint out of service without losing a request.

use std::time::Duration;

use evenkeel_types::Timestamp;
use thiserror::Error;

use crate::regressions::Regressions;

/// How endpoints are drained.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct DrainConfig {
    /// How long requests in flight may take before they are cut off, from the beginning of the drain, notice included.
    ///
    /// Default 300 s, AWS's deregistration delay: longer than any request that a person waits for. At most 7 days.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub limit: Duration,
    /// How long the endpoint goes on taking requests after it has said that it leaves.
    ///
    /// Default zero: right where whoever drains also picks, for then nobody else has to hear of it. A server that is
    /// checked from outside turns its health signal first and needs at least one check interval here, better `fall`
    /// of them, or it refuses requests of balancers that do not know yet. Must be shorter than `limit`.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub notice: Duration,
    /// The interval at which others check this endpoint, if any do: then `notice` must be at least that. Default `None`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub check_interval: Option<Duration>,
    /// Whether requests of sessions that live there are still taken until the drain is over. Default true, as HAProxy:
    /// a session that moves may be a session that is lost.
    pub sticky: bool,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { limit: Duration::from_secs(300), notice: Duration::ZERO, check_interval: None, sticky: true }
    }
}

impl DrainConfig {
    const fn validate(&self) -> Result<(), DrainConfigError> {
        let Self { limit, notice, check_interval, sticky: _ } = *self;
        if limit.is_zero() || limit.as_nanos() > LONGEST.as_nanos() {
            return Err(DrainConfigError::Limit(limit));
        }
        if notice.as_nanos() >= limit.as_nanos() {
            return Err(DrainConfigError::NoticeTooLong { notice, limit });
        }
        match check_interval {
            Some(interval) if notice.as_nanos() < interval.as_nanos() => {
                return Err(DrainConfigError::NoticeTooShort { notice, interval });
            }
            _ => {}
        }
        Ok(())
    }
}

/// The settings of a drain do not make sense together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DrainConfigError {
    /// The limit is zero, which would cut off every request, or longer than a week. For "at once", use
    /// [`Drain::begin_until`] with the present.
    #[error("drain.limit {0:?} is out of range: allowed is more than 0s, up to 7 days")]
    Limit(Duration),
    /// Nothing would be left for requests in flight.
    #[error("drain.notice {notice:?} is not shorter than drain.limit {limit:?}")]
    NoticeTooLong {
        /// The configured notice.
        notice: Duration,
        /// The configured limit.
        limit: Duration,
    },
    /// Checkers from outside cannot have seen the signal in time.
    #[error(
        "drain.notice {notice:?} is shorter than drain.check_interval {interval:?}: allowed is that or more"
    )]
    NoticeTooShort {
        /// The configured notice.
        notice: Duration,
        /// The interval of the checks from outside.
        interval: Duration,
    },
}

/// Where a drain is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum DrainState {
    /// In service.
    #[default]
    Active,
    /// The health signal says that it leaves; requests are still taken, until others have heard.
    Announced {
        /// When it stops taking requests.
        until: Timestamp,
    },
    /// No new requests; those in flight go on.
    Draining {
        /// When they are cut off.
        until: Timestamp,
    },
    /// Over: it can be closed.
    Drained(DrainEnd),
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum DrainEnd {
    /// Nothing was in flight any more.
    Clean,
    /// The deadline came first: what is in flight is to be cut off.
    Forced,
}

/// A change of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DrainChange {
    /// Where it was.
    pub before: DrainState,
    /// Where it is.
    pub after: DrainState,
}

/// The drain of one endpoint.
///
/// ```text
///            begin                    cancel   notice over   idle     deadline
/// Active     Announced, or Draining   stay     –             –        –
/// Announced  stay, new deadline       Active   Draining      stay     Drained(Forced)
/// Draining   stay, new deadline       Active   –             Clean    Drained(Forced)
/// Drained    stay                     Active   –             stay     stay
/// ```
///
/// "Idle" is a [`tick`](Self::tick) with nothing in flight. While requests of sessions are taken, count the sessions as
/// in flight too, or the first quiet moment ends the drain. The health signal, to be handed to
/// [`Standing::set_draining`](crate::Standing::set_draining) or to checkers from outside, is
/// [`is_leaving`](Self::is_leaving): it turns first. The deadline is inclusive and holds without a tick too: a drain
/// cannot hang. `now` may go backwards; the later one counts.
///
/// ```
/// use evenkeel_health::{Drain, DrainConfig, DrainEnd, DrainState};
/// use evenkeel_types::Timestamp;
///
/// let mut drain = Drain::new(&DrainConfig::default())?;
/// let _ = drain.begin(Timestamp::from_secs(10));
/// assert!(!drain.accepts_new(Timestamp::from_secs(10)) && drain.accepts_sticky(Timestamp::from_secs(10)));
/// assert_eq!(drain.tick(Timestamp::from_secs(11), 3), None, "three requests are in flight");
/// assert!(drain.tick(Timestamp::from_secs(12), 0).is_some());
/// assert_eq!(drain.state(Timestamp::from_secs(12)), DrainState::Drained(DrainEnd::Clean));
/// # Ok::<(), evenkeel_health::DrainConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    limit: Duration,
    notice: Duration,
    sticky: bool,
    phase: Phase,
    latest: Timestamp,
    regressions: Regressions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Active,
    /// Refuses from the first moment on, and cuts off at the second; those are equal if there is nothing in between.
    Leaving {
        refuses: Timestamp,
        ends: Timestamp,
    },
    Over(DrainEnd),
}

impl Drain {
    /// An endpoint in service.
    ///
    /// # Errors
    ///
    /// [`DrainConfigError`] if the spans do not fit together.
    pub const fn new(config: &DrainConfig) -> Result<Self, DrainConfigError> {
        if let Err(error) = config.validate() {
            return Err(error);
        }
        let DrainConfig { limit, notice, check_interval: _, sticky } = *config;
        Ok(Self {
            limit,
            notice,
            sticky,
            phase: Phase::Active,
            latest: Timestamp::ORIGIN,
            regressions: Regressions::NONE,
        })
    }

    /// Goes by other settings from now on. A drain under way keeps its notice and its deadline, which others may have been told;
    /// [`begin`](Self::begin) sets them anew. Whether it takes requests of sessions changes at once.
    ///
    /// # Errors
    ///
    /// [`DrainConfigError`] if the spans do not fit together. Nothing has changed then.
    pub const fn set_config(&mut self, config: &DrainConfig) -> Result<(), DrainConfigError> {
        if let Err(error) = config.validate() {
            return Err(error);
        }
        (self.limit, self.notice, self.sticky) = (config.limit, config.notice, config.sticky);
        Ok(())
    }

    /// Begins to drain, with the configured limit. On a drain that goes on, the deadline is set anew.
    pub fn begin(&mut self, now: Timestamp) -> Option<DrainChange> {
        let ends = self.latest.max(now).saturating_add(self.limit);
        self.begin_until(now, ends)
    }

    /// Begins to drain, with this deadline; one that is not in the future ends it at once. On a drain that goes on, the
    /// deadline is set anew, and no second notice is given.
    pub fn begin_until(&mut self, now: Timestamp, ends: Timestamp) -> Option<DrainChange> {
        self.turn(now, |drain| {
            let refuses = match drain.phase {
                Phase::Active => drain.latest.saturating_add(drain.notice),
                Phase::Leaving { refuses, .. } => refuses,
                Phase::Over(_) => return,
            };
            drain.phase = Phase::Leaving { refuses: refuses.min(ends), ends };
            drain.end_if_due();
        })
    }

    /// Back into service, from wherever it is.
    pub fn cancel(&mut self, now: Timestamp) -> Option<DrainChange> {
        self.turn(now, |drain| drain.phase = Phase::Active)
    }

    /// Lets time pass, with so many requests (and sessions, if those are to be waited for) in flight.
    pub fn tick(&mut self, now: Timestamp, in_flight: usize) -> Option<DrainChange> {
        self.turn(now, |drain| {
            if in_flight == 0
                && let Phase::Leaving { refuses, .. } = drain.phase
                && drain.latest >= refuses
            {
                drain.phase = Phase::Over(DrainEnd::Clean);
            }
        })
    }

    /// Where it is at `now`. Pure.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> DrainState {
        let now = self.latest.max(now);
        match self.phase {
            Phase::Active => DrainState::Active,
            Phase::Leaving { ends, .. } if now >= ends => DrainState::Drained(DrainEnd::Forced),
            Phase::Leaving { refuses, .. } if now < refuses => DrainState::Announced { until: refuses },
            Phase::Leaving { ends, .. } => DrainState::Draining { until: ends },
            Phase::Over(end) => DrainState::Drained(end),
        }
    }

    /// How often a call came with an earlier time than one before it. Such a call counts as if it had come at the latest one.
    #[must_use]
    pub const fn clock_regressions(&self) -> u64 {
        self.regressions.count()
    }

    /// The health signal: whether it leaves, or has left.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        !matches!(self.phase, Phase::Active)
    }

    /// Whether it takes requests that could as well go elsewhere.
    ///
    /// While it is announced it does, for those who do not know yet; whoever knows picks another.
    #[must_use]
    pub fn accepts_new(&self, now: Timestamp) -> bool {
        matches!(self.state(now), DrainState::Active | DrainState::Announced { .. })
    }

    /// Whether it takes requests of sessions that live there.
    #[must_use]
    pub fn accepts_sticky(&self, now: Timestamp) -> bool {
        match self.state(now) {
            DrainState::Active | DrainState::Announced { .. } => true,
            DrainState::Draining { .. } => self.sticky,
            DrainState::Drained(_) => false,
        }
    }

    /// When to come back: the end of the notice, or the deadline. In between, tick whenever a request ends.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Leaving { refuses, .. } if self.latest < refuses => Some(refuses),
            Phase::Leaving { ends, .. } => Some(ends),
            _ => None,
        }
    }

    fn turn(&mut self, now: Timestamp, act: impl FnOnce(&mut Self)) -> Option<DrainChange> {
        let before = self.state(self.latest);
        self.regressions.note(now, self.latest);
        self.latest = self.latest.max(now);
        self.end_if_due();
        act(self);
        let after = self.state(self.latest);
        (before != after).then_some(DrainChange { before, after })
    }

    fn end_if_due(&mut self) {
        if let Phase::Leaving { ends, .. } = self.phase
            && self.latest >= ends
        {
            self.phase = Phase::Over(DrainEnd::Forced);
        }
    }
}

const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn config() -> DrainConfig {
        DrainConfig { limit: secs(60), notice: secs(10), ..DrainConfig::default() }
    }

    const ANNOUNCED: DrainState = DrainState::Announced { until: at(10) };
    const DRAINING: DrainState = DrainState::Draining { until: at(60) };
    const CLEAN: DrainState = DrainState::Drained(DrainEnd::Clean);
    const FORCED: DrainState = DrainState::Drained(DrainEnd::Forced);

    /// The table of the type's documentation: what follows at 20 s, or at the moment that the column names.
    #[test]
    fn every_state_meets_every_event() {
        let reach: [fn(&mut Drain); 5] = [
            |_| (),
            |drain| {
                let _ = drain.begin(at(0));
            },
            |drain| {
                let _ = drain.begin(at(0));
                let _ = drain.tick(at(10), 1);
            },
            |drain| {
                let _ = drain.begin(at(0));
                let _ = drain.tick(at(15), 0);
            },
            |drain| {
                let _ = drain.begin(at(0));
                let _ = drain.tick(at(60), 1);
            },
        ];
        let all = |event: fn(&mut Drain) -> Option<DrainChange>| {
            reach.map(|reach| {
                let mut drain = Drain::new(&config()).unwrap();
                reach(&mut drain);
                let before = drain.state(drain.latest);
                let change = event(&mut drain);
                let after = drain.state(drain.latest);
                assert_eq!(change, (before != after).then_some(DrainChange { before, after }));
                after
            })
        };
        let active = DrainState::Active;
        assert_eq!(all(|drain| drain.tick(at(5), 1)), [active, ANNOUNCED, DRAINING, CLEAN, FORCED]);
        assert_eq!(all(|drain| drain.tick(at(5), 0)), [active, ANNOUNCED, CLEAN, CLEAN, FORCED]);
        assert_eq!(all(|drain| drain.tick(at(10), 1)), [active, DRAINING, DRAINING, CLEAN, FORCED]);
        assert_eq!(all(|drain| drain.tick(at(10), 0)), [active, CLEAN, CLEAN, CLEAN, FORCED]);
        assert_eq!(all(|drain| drain.tick(at(60), 1)), [active, FORCED, FORCED, CLEAN, FORCED]);
        assert_eq!(all(|drain| drain.tick(at(60), 0)), [active, FORCED, FORCED, CLEAN, FORCED]);
        assert_eq!(all(|drain| drain.cancel(at(5))), [active; 5]);
        let begun = DrainState::Announced { until: at(15) };
        // Draining was reached at 10 s, so that is when the new minute begins, although `now` is 5 s.
        let longer = DrainState::Draining { until: at(70) };
        assert_eq!(all(|drain| drain.begin(at(5))), [begun, ANNOUNCED, longer, CLEAN, FORCED]);
        let at_once = all(|drain| drain.begin_until(at(5), at(5)));
        assert_eq!(at_once, [FORCED, FORCED, FORCED, CLEAN, FORCED]);
    }

    #[test]
    fn the_signal_turns_first() {
        let mut drain = Drain::new(&config()).unwrap();
        assert!(!drain.is_leaving() && drain.accepts_new(at(0)));
        let _ = drain.begin(at(0));
        assert!(drain.is_leaving() && drain.accepts_new(at(9)) && drain.accepts_sticky(at(9)));
        assert_eq!(drain.next_deadline(), Some(at(10)));
        assert!(!drain.accepts_new(at(10)) && drain.accepts_sticky(at(10)), "without a tick too");
        let _ = drain.tick(at(10), 1);
        assert_eq!(drain.next_deadline(), Some(at(60)));
        assert!(!drain.accepts_sticky(at(60)));
        let _ = drain.tick(at(60), 1);
        assert_eq!(drain.next_deadline(), None);
    }

    #[test]
    fn sessions_can_be_turned_away() {
        let mut drain = Drain::new(&DrainConfig { sticky: false, ..DrainConfig::default() }).unwrap();
        let _ = drain.begin(at(0));
        assert!(!drain.accepts_sticky(at(0)));
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        let refused = |change: fn(&mut DrainConfig)| {
            let mut config = config();
            change(&mut config);
            Drain::new(&config).err()
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|c| c.limit = Duration::ZERO), Some(DrainConfigError::Limit(Duration::ZERO)));
        assert_eq!(refused(|c| c.limit = Duration::MAX), Some(DrainConfigError::Limit(Duration::MAX)));
        let (notice, limit) = (secs(60), secs(60));
        assert_eq!(refused(|c| c.notice = secs(60)), Some(DrainConfigError::NoticeTooLong { notice, limit }));
        let (notice, interval) = (secs(10), secs(11));
        assert_eq!(
            refused(|c| c.check_interval = Some(secs(11))),
            Some(DrainConfigError::NoticeTooShort { notice, interval })
        );
    }
}
