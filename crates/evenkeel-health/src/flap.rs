//! Keeping out an endpoint that comes and goes.

use std::time::Duration;

use evenkeel_types::Timestamp;
use thiserror::Error;

use crate::regressions::Regressions;

/// How flapping is damped.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct FlapConfig {
    /// How long a quiet endpoint takes to halve its penalty. From 1 ms to 24 h.
    ///
    /// Default 60 s: with `suppress` 3 and `reuse` 1, three flaps within moments cost 95 quiet seconds. (Routers have
    /// 15 min, since a route that flaps costs the whole internet.)
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub half_life: Duration,
    /// From this penalty on the endpoint is kept out, inclusive. Default 3: the third flap in a row, for one is an
    /// outage and two are its echo. Above `reuse`, at most 1000.
    pub suppress: f64,
    /// At this penalty it may come back. Default 1, what one flap costs. Above 0.
    pub reuse: f64,
    /// So long at most a quiet endpoint is kept out, however bad it was: the penalty is capped accordingly, as in
    /// RFC 2439. Default 5 min. At least so long that `suppress` can be reached, at most 24 h.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_suppress: Duration,
    /// Going down counts as a flap only if the endpoint came up so recently. Default `None`: every time counts.
    ///
    /// memcached's proxy has such a span: who dies later than that died of something else.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub flap_within: Option<Duration>,
    /// What each point of penalty multiplies waits by, see [`FlapDamper::wait`]. Default 1.5, as memcached's proxy. From
    /// 1 (no effect) to 10.
    pub wait_multiplier: f64,
    /// The longest that a wait becomes by that, unless it was longer before. Default 5 min. At most 24 h.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_wait: Duration,
}

impl Default for FlapConfig {
    fn default() -> Self {
        Self {
            half_life: Duration::from_secs(60),
            suppress: 3.0,
            reuse: 1.0,
            max_suppress: Duration::from_secs(300),
            flap_within: None,
            wait_multiplier: 1.5,
            max_wait: Duration::from_secs(300),
        }
    }
}

impl FlapConfig {
    fn validate(&self) -> Result<(), FlapConfigError> {
        if !(SHORTEST..=LONGEST).contains(&self.half_life) {
            return Err(FlapConfigError::HalfLife(self.half_life));
        }
        let (suppress, reuse) = (self.suppress, self.reuse);
        // Comparisons that NaN fails.
        if !(reuse > 0.0 && suppress > reuse && suppress <= 1000.0) {
            return Err(FlapConfigError::Thresholds { suppress, reuse });
        }
        let max_suppress = self.max_suppress;
        if max_suppress > LONGEST || self.ceiling() < suppress {
            return Err(FlapConfigError::MaxSuppress { max_suppress, needed: self.decay_time(suppress) });
        }
        if self.flap_within.is_some_and(|span| span.is_zero()) {
            return Err(FlapConfigError::FlapWithin);
        }
        if !(1.0..=10.0).contains(&self.wait_multiplier) {
            return Err(FlapConfigError::WaitMultiplier(self.wait_multiplier));
        }
        if self.max_wait.is_zero() || self.max_wait > LONGEST {
            return Err(FlapConfigError::MaxWait(self.max_wait));
        }
        Ok(())
    }

    /// The penalty that is down to `reuse` after `max_suppress`.
    fn ceiling(&self) -> f64 {
        let half_lives = self.max_suppress.as_secs_f64() / self.half_life.as_secs_f64();
        (self.reuse * libm::exp2(half_lives)).min(MOST_PENALTY)
    }

    /// How long a penalty takes to decay to `reuse`, rounded up to a nanosecond.
    fn decay_time(&self, penalty: f64) -> Duration {
        let half_lives = libm::log2(penalty / self.reuse).max(0.0);
        let nanos = libm::ceil(half_lives * self.half_life.as_nanos() as f64);
        Duration::from_nanos(nanos as u64)
    }
}

/// The settings of flap damping do not make sense together.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum FlapConfigError {
    /// The half-life is out of range.
    #[error("flap.half_life {0:?} is out of range: allowed are 1ms to 24h")]
    HalfLife(Duration),
    /// The endpoint would be kept out for ever, or never.
    #[error("flap.suppress {suppress} and flap.reuse {reuse}: allowed is 0 < reuse < suppress <= 1000")]
    Thresholds {
        /// The configured upper threshold.
        suppress: f64,
        /// The configured lower threshold.
        reuse: f64,
    },
    /// The penalty's cap would lie below `suppress`, so that nothing was ever suppressed; or the span is above a day.
    #[error("flap.max_suppress {max_suppress:?} is out of range: allowed are {needed:?} to 24h")]
    MaxSuppress {
        /// The configured span.
        max_suppress: Duration,
        /// The shortest that makes sense with the thresholds and the half-life.
        needed: Duration,
    },
    /// No endpoint goes down within no time. Leave it out to count every time.
    #[error("flap.flap_within is zero: allowed is any longer span; leave it out to count every time")]
    FlapWithin,
    /// The multiplier is out of range.
    #[error("flap.wait_multiplier {0} is out of range: allowed are 1 to 10")]
    WaitMultiplier(f64),
    /// The longest wait is out of range.
    #[error("flap.max_wait {0:?} is out of range: allowed is more than 0s, up to 24h")]
    MaxWait(Duration),
}

/// A change of whether an endpoint is kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum FlapChange {
    /// It is kept out now.
    Suppressed {
        /// Until when, if it stays quiet.
        until: Timestamp,
    },
    /// It may come back.
    Released,
}

/// The penalty of one endpoint: one more for every flap, and half of it gone every half-life.
///
/// ```text
///             flap, below suppress   flap, suppress reached   tick before release   tick at release
/// Free        stay                   Suppressed               stay                  –
/// Suppressed  stay, longer           stay, longer             stay                  Free
/// ```
///
/// One damper serves an endpoint whoever noticed the flap: its checks ([`down`](Self::down) and [`up`](Self::up)), its
/// breaker or its ejections (a [`flap`](Self::flap) for each), discovery that takes it off the list and puts it back.
/// Several sources that see one outage may each count: give a part of a point for each then, with
/// [`flap_by`](Self::flap_by). Its state is two numbers, the penalty and its time. The cap on the penalty makes that an
/// endpoint which is quiet is never out for longer than `max_suppress`; one that goes on flapping stays out.
///
/// `now` may go backwards; the later one counts. All operations are O(1).
///
/// Sources: RFC 2439, "BGP Route Flap Damping"; the flap handling of memcached's proxy,
/// <https://github.com/memcached/memcached/pull/1058>.
///
/// ```
/// use evenkeel_health::{FlapConfig, FlapDamper};
/// use evenkeel_types::Timestamp;
///
/// let mut damper = FlapDamper::new(FlapConfig::default())?;
/// let now = Timestamp::from_secs(100);
/// assert_eq!([damper.flap(now), damper.flap(now)], [None, None]);
/// assert!(damper.flap(now).is_some(), "the third is one too many");
/// assert!(damper.is_suppressed(Timestamp::from_secs(195)));
/// assert!(!damper.is_suppressed(Timestamp::from_secs(196)));
/// # Ok::<(), evenkeel_health::FlapConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FlapDamper {
    config: FlapConfig,
    penalty: f64,
    /// When the penalty was that.
    at: Timestamp,
    regressions: Regressions,
    suppressed: bool,
    up_since: Option<Timestamp>,
}

impl FlapDamper {
    /// An endpoint without a history.
    ///
    /// # Errors
    ///
    /// [`FlapConfigError`] if the settings do not fit together.
    pub fn new(config: FlapConfig) -> Result<Self, FlapConfigError> {
        config.validate()?;
        Ok(Self {
            config,
            penalty: 0.0,
            at: Timestamp::ORIGIN,
            regressions: Regressions::NONE,
            suppressed: false,
            up_since: None,
        })
    }

    /// Goes by other settings from now on. `Some` if that sets it free, or if it was due to be free already.
    ///
    /// The penalty stays as far as it has faded by the old settings, and is at most what the new ones allow. What is kept out
    /// comes back when the new settings say; what is free is kept out by its next flap at the earliest.
    ///
    /// # Errors
    ///
    /// [`FlapConfigError`] if the settings do not fit together. Nothing has changed then.
    pub fn set_config(
        &mut self,
        config: FlapConfig,
        now: Timestamp,
    ) -> Result<Option<FlapChange>, FlapConfigError> {
        config.validate()?;
        let released = self.tick(now);
        self.config = config;
        self.penalty = self.penalty.min(self.config.ceiling());
        Ok(released.or_else(|| self.tick(self.at)))
    }

    /// The endpoint came up.
    pub fn up(&mut self, now: Timestamp) -> Option<FlapChange> {
        let change = self.tick(now);
        self.up_since = Some(self.at);
        change
    }

    /// The endpoint went down: a flap, unless it had been up for longer than `flap_within`.
    pub fn down(&mut self, now: Timestamp) -> Option<FlapChange> {
        self.regressions.note(now, self.at);
        let now = self.at.max(now);
        let counts = match (self.config.flap_within, self.up_since.take()) {
            (None, _) => true,
            (Some(span), Some(since)) => now.saturating_since(since) <= span,
            // It was never seen to come up, so it is an old one.
            (Some(_), None) => false,
        };
        if counts { self.flap(now) } else { self.tick(now) }
    }

    /// The endpoint flapped, by whatever evidence.
    pub fn flap(&mut self, now: Timestamp) -> Option<FlapChange> {
        self.flap_by(now, 1.0)
    }

    /// The same with so many points. Only what is above 0 counts, and 1000 at most.
    pub fn flap_by(&mut self, now: Timestamp, points: f64) -> Option<FlapChange> {
        let was_suppressed = self.suppressed;
        let released = self.tick(now);
        let points = if points > 0.0 { points.min(MOST_PENALTY) } else { 0.0 };
        self.penalty = (self.penalty + points).min(self.config.ceiling());
        self.suppressed |= points > 0.0 && self.penalty >= self.config.suppress;
        match (was_suppressed, self.suppressed) {
            // One that was released and flaps at once was never seen to be free.
            (false, true) => Some(FlapChange::Suppressed { until: self.release_at() }),
            (true, true) => None,
            _ => released,
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Timestamp) -> Option<FlapChange> {
        self.regressions.note(now, self.at);
        let now = self.at.max(now);
        let is_over = self.suppressed && now >= self.release_at();
        self.penalty = self.penalty(now);
        self.at = now;
        if !is_over {
            return None;
        }
        self.suppressed = false;
        // Rounding must not leave it above.
        self.penalty = self.penalty.min(self.config.reuse);
        Some(FlapChange::Released)
    }

    /// Whether it is kept out at `now`. Pure.
    #[must_use]
    pub fn is_suppressed(&self, now: Timestamp) -> bool {
        self.suppressed && self.at.max(now) < self.release_at()
    }

    /// The penalty at `now`. Pure.
    #[must_use]
    pub fn penalty(&self, now: Timestamp) -> f64 {
        let age = now.saturating_since(self.at).as_nanos() as f64;
        self.penalty * libm::exp2(-age / self.config.half_life.as_nanos() as f64)
    }

    /// A wait of this endpoint (an ejection's, a breaker's, the one to its next check), longer the more it flapped:
    /// `base * wait_multiplier^penalty`, at most `max_wait`, and never shorter than `base`.
    #[must_use]
    pub fn wait(&self, base: Duration, now: Timestamp) -> Duration {
        let factor = libm::pow(self.config.wait_multiplier, self.penalty(now));
        let longest = self.config.max_wait.max(base);
        let nanos = base.as_nanos() as f64 * factor;
        if nanos >= longest.as_nanos() as f64 {
            longest
        } else {
            Duration::from_nanos(nanos as u64).max(base)
        }
    }

    /// How often a call came with an earlier time than one before it. Such a call counts as if it had come at the latest one.
    #[must_use]
    pub const fn clock_regressions(&self) -> u64 {
        self.regressions.count()
    }

    /// When it may come back, if it is kept out.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.suppressed.then(|| self.release_at())
    }

    fn release_at(&self) -> Timestamp {
        self.at.saturating_add(self.config.decay_time(self.penalty))
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_PENALTY: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn damper() -> FlapDamper {
        FlapDamper::new(FlapConfig::default()).unwrap()
    }

    /// The table of the type's documentation.
    #[test]
    fn every_state_meets_every_event() {
        let free = damper;
        let suppressed = || {
            let mut damper = damper();
            let _ = damper.flap_by(at(0), 4.0);
            damper
        };
        let release = at(120);
        assert_eq!(suppressed().next_deadline(), Some(release), "two half-lives from 4 to 1");

        let until = at(60).saturating_add(FlapConfig::default().decay_time(3.0));
        assert_eq!(free().flap_by(at(60), 2.9), None);
        assert_eq!(free().flap_by(at(60), 3.0), Some(FlapChange::Suppressed { until }));
        assert_eq!(free().tick(at(60)), None);

        let mut longer = suppressed();
        assert_eq!(longer.flap(at(60)), None, "2 + 1");
        assert!(longer.next_deadline() > Some(release));
        let mut little = suppressed();
        assert_eq!(little.flap_by(at(119), 0.01), None);
        assert!(little.is_suppressed(at(119)), "below suppress, above reuse");
        assert_eq!(suppressed().tick(Timestamp::from_millis(119_999)), None);
        assert_eq!(suppressed().tick(release), Some(FlapChange::Released), "inclusive");
        assert_eq!(suppressed().flap_by(release, 0.5), Some(FlapChange::Released));
        assert_eq!(suppressed().flap_by(release, 2.0), None, "suppressed again, without a moment in between");
        assert!(!suppressed().is_suppressed(release), "without a tick too");
    }

    #[test]
    fn a_quiet_endpoint_is_never_out_for_longer_than_the_maximum() {
        let mut damper = damper();
        for second in 0..1_000 {
            let _ = damper.flap_by(at(second), 1e300);
        }
        let until = damper.next_deadline().unwrap();
        assert!(until <= at(999 + 300) && until > at(999 + 299), "{until:?}");
    }

    #[test]
    fn only_who_dies_young_flaps() {
        let config = FlapConfig { flap_within: Some(Duration::from_secs(10)), ..FlapConfig::default() };
        let mut damper = FlapDamper::new(config).unwrap();
        let _ = damper.down(at(0));
        assert_eq!(damper.penalty(at(0)), 0.0, "it was never seen to come up");
        let _ = damper.up(at(100));
        let _ = damper.down(at(111));
        assert_eq!(damper.penalty(at(111)), 0.0);
        let _ = damper.up(at(120));
        let _ = damper.down(at(130));
        assert_eq!(damper.penalty(at(130)), 1.0, "inclusive");
        let _ = damper.down(at(130));
        assert_eq!(damper.penalty(at(130)), 1.0, "down again without up");
    }

    #[test]
    fn waits_grow_with_the_penalty() {
        let mut damper = damper();
        let base = Duration::from_secs(10);
        assert_eq!(damper.wait(base, at(0)), base);
        let _ = damper.flap_by(at(0), 2.0);
        assert_eq!(damper.wait(base, at(0)), Duration::from_millis(22_500));
        assert_eq!(damper.wait(base, at(60)), Duration::from_secs(15));
        let _ = damper.flap_by(at(60), 1e9);
        assert_eq!(damper.wait(base, at(60)), Duration::from_secs(300));
        assert_eq!(damper.wait(Duration::MAX, at(60)), Duration::MAX);
        assert_eq!(damper.wait(Duration::ZERO, at(60)), Duration::ZERO);
    }

    #[test]
    fn nonsense_points_count_nothing() {
        let mut damper = damper();
        for points in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(damper.flap_by(at(1), points), None);
            assert_eq!(damper.penalty(at(1)), 0.0, "{points}");
        }
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        let refused = |change: fn(&mut FlapConfig)| {
            let mut config = FlapConfig::default();
            change(&mut config);
            FlapDamper::new(config).err()
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(
            refused(|c| c.half_life = Duration::ZERO),
            Some(FlapConfigError::HalfLife(Duration::ZERO))
        );
        let thresholds = |suppress, reuse| Some(FlapConfigError::Thresholds { suppress, reuse });
        assert_eq!(refused(|c| c.reuse = 0.0), thresholds(3.0, 0.0));
        assert_eq!(refused(|c| c.reuse = 3.0), thresholds(3.0, 3.0));
        assert_eq!(refused(|c| c.suppress = f64::INFINITY), thresholds(f64::INFINITY, 1.0));
        assert!(refused(|c| c.suppress = f64::NAN).is_some());
        assert!(refused(|c| c.reuse = f64::NAN).is_some());
        assert!(matches!(
            refused(|c| c.max_suppress = Duration::from_secs(95)),
            Some(FlapConfigError::MaxSuppress { needed, .. }) if needed.as_secs() == 95
        ));
        assert_eq!(refused(|c| c.max_suppress = Duration::from_secs(96)), None);
        assert!(refused(|c| c.max_suppress = Duration::MAX).is_some());
        assert_eq!(refused(|c| c.flap_within = Some(Duration::ZERO)), Some(FlapConfigError::FlapWithin));
        assert_eq!(refused(|c| c.wait_multiplier = 0.9), Some(FlapConfigError::WaitMultiplier(0.9)));
        assert_eq!(refused(|c| c.max_wait = Duration::MAX), Some(FlapConfigError::MaxWait(Duration::MAX)));
    }
}
