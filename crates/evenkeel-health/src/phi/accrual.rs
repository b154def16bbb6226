//! The detector of one endpoint.

use std::time::Duration;

use evenkeel_types::Timestamp;

use super::config::{PhiConfig, PhiConfigError};
use super::history::History;
use crate::regressions::Regressions;

/// A change of suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum PhiChange {
    /// Its heartbeats are missed.
    Suspected,
    /// A heartbeat came after all.
    Trusted,
}

/// The phi accrual failure detector of one endpoint, over heartbeats that somebody else receives.
///
/// ```text
///           heartbeat                  tick, phi below threshold   tick, threshold reached
/// No beat   Trusted                    stay                        –
/// Trusted   stay, interval learnt      stay                        Suspected
/// Suspect   Trusted, nothing learnt    stay                        stay
/// ```
///
/// An endpoint that was never heard of is trusted: no sample is no evidence. The first heartbeat after an outage is not
/// learned, or one outage would make the next one look usual. Whether it is suspect depends on the heartbeats and
/// on `now` alone: ticks only report it. `now` may go backwards; the later one counts. A heartbeat is O(1), an answer is
/// a handful of floating point operations, [`suspect_at`](Self::suspect_at) some 60 of those.
///
/// Sources: N. Hayashibara et al., "The φ accrual failure detector", 2004; Akka's `PhiAccrualFailureDetector`,
/// <https://doc.akka.io/docs/akka/current/typed/failure-detector.html>.
///
/// ```
/// use evenkeel_health::{PhiAccrual, PhiConfig};
/// use evenkeel_types::Timestamp;
///
/// let mut detector = PhiAccrual::new(PhiConfig::default())?;
/// for second in 0..20 {
///     detector.heartbeat(Timestamp::from_secs(second));
/// }
/// assert!(detector.phi(Timestamp::from_secs(20)) < 0.01);
/// assert!(detector.is_available(Timestamp::from_secs(23)));
/// assert!(!detector.is_available(Timestamp::from_secs(25)));
/// # Ok::<(), evenkeel_health::PhiConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PhiAccrual {
    config: PhiConfig,
    history: History,
    last: Option<Timestamp>,
    latest: Timestamp,
    regressions: Regressions,
    suspected: bool,
}

impl PhiAccrual {
    /// An endpoint that was not heard of yet.
    ///
    /// # Errors
    ///
    /// [`PhiConfigError`] if a setting is out of range.
    pub fn new(config: PhiConfig) -> Result<Self, PhiConfigError> {
        config.validate()?;
        let history = History::of_estimate(config.first_estimate, config.max_samples);
        Ok(Self {
            config,
            history,
            last: None,
            latest: Timestamp::ORIGIN,
            regressions: Regressions::NONE,
            suspected: false,
        })
    }

    /// Goes by other settings from now on. `Some` if the endpoint became suspect by that, or trusted again.
    ///
    /// The intervals that are known stay, the last of them if fewer are to be kept; the first estimate counts only where no
    /// heartbeat has come.
    ///
    /// # Errors
    ///
    /// [`PhiConfigError`] if a setting is out of range. Nothing has changed then.
    pub fn set_config(
        &mut self,
        config: PhiConfig,
        now: Timestamp,
    ) -> Result<Option<PhiChange>, PhiConfigError> {
        config.validate()?;
        self.regressions.note(now, self.latest);
        self.latest = self.latest.max(now);
        if self.last.is_none() {
            self.history = History::of_estimate(config.first_estimate, config.max_samples);
        } else {
            self.history.keep(config.max_samples);
        }
        self.config = config;
        if self.suspected && self.is_available(self.latest) {
            self.suspected = false;
            return Ok(Some(PhiChange::Trusted));
        }
        Ok(self.tick(self.latest))
    }

    /// A heartbeat came. `Some` if the endpoint was suspected.
    pub fn heartbeat(&mut self, now: Timestamp) -> Option<PhiChange> {
        self.regressions.note(now, self.latest);
        self.latest = self.latest.max(now);
        if let Some(last) = self.last
            && self.is_available(self.latest)
        {
            self.history.learn(self.latest.saturating_since(last));
        }
        self.last = Some(self.latest);
        std::mem::take(&mut self.suspected).then_some(PhiChange::Trusted)
    }

    /// Lets time pass. `Some` if the endpoint became suspect.
    pub fn tick(&mut self, now: Timestamp) -> Option<PhiChange> {
        self.regressions.note(now, self.latest);
        self.latest = self.latest.max(now);
        let became = !self.suspected && !self.is_available(self.latest);
        self.suspected |= became;
        became.then_some(PhiChange::Suspected)
    }

    /// How suspect it is; 0 without a heartbeat. Pure. It never falls between two heartbeats.
    #[must_use]
    pub fn phi(&self, now: Timestamp) -> f64 {
        let Some(last) = self.last else { return 0.0 };
        self.phi_after(self.latest.max(now).saturating_since(last))
    }

    /// Whether phi is below the threshold. Pure.
    #[must_use]
    pub fn is_available(&self, now: Timestamp) -> bool {
        self.phi(now) < self.config.threshold
    }

    /// The first moment at which it is suspect, unless a heartbeat comes before; `None` if it was never heard of, or if
    /// that is after the end of time.
    #[must_use]
    pub fn suspect_at(&self) -> Option<Timestamp> {
        let last = self.last?;
        let suspect = |nanos| self.phi_after(Duration::from_nanos(nanos)) >= self.config.threshold;
        let longest = Timestamp::MAX.saturating_since(last).as_nanos();
        let (mut low, mut high) = (0, u64::try_from(longest).unwrap_or(u64::MAX));
        if !suspect(high) {
            return None;
        }
        // The first suspect one is in low ..= high.
        while low < high {
            let middle = low + (high - low) / 2;
            if suspect(middle) { high = middle } else { low = middle + 1 }
        }
        Some(last.saturating_add(Duration::from_nanos(low)))
    }

    /// How often a call came with an earlier time than one before it. Such a call counts as if it had come at the latest one.
    #[must_use]
    pub const fn clock_regressions(&self) -> u64 {
        self.regressions.count()
    }

    /// When to tick: the moment of [`suspect_at`](Self::suspect_at), until it was reported.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.suspected { None } else { self.suspect_at() }
    }

    /// The mean interval and its deviation, as they are used.
    #[must_use]
    pub fn usual_interval(&self) -> (Duration, Duration) {
        let span = |secs: f64| Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX);
        (span(self.history.mean()), span(self.deviation()))
    }

    /// How many intervals are kept; the two of the first estimate are among them until they are displaced.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.history.len()
    }

    fn phi_after(&self, elapsed: Duration) -> f64 {
        let pause = self.config.acceptable_pause.as_secs_f64();
        // Beats of one moment have a mean of zero: an interval counts as a microsecond at least.
        let mean = self.history.mean().max(1e-6);
        self.config.form.phi(elapsed.as_secs_f64(), mean, self.deviation(), pause)
    }

    fn deviation(&self) -> f64 {
        self.history.deviation().max(self.config.min_deviation.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn beating() -> PhiAccrual {
        let mut detector = PhiAccrual::new(PhiConfig::default()).unwrap();
        for second in 1..=10 {
            assert_eq!(detector.heartbeat(at(second)), None);
        }
        detector
    }

    /// The table of the type's documentation.
    #[test]
    fn every_state_meets_every_event() {
        let silent = || PhiAccrual::new(PhiConfig::default()).unwrap();
        let suspect = || {
            let mut detector = beating();
            assert_eq!(detector.tick(at(20)), Some(PhiChange::Suspected));
            detector
        };
        assert_eq!(silent().heartbeat(at(1)), None);
        assert_eq!(silent().tick(Timestamp::MAX), None);
        assert!(silent().is_available(Timestamp::MAX) && silent().next_deadline().is_none());

        let mut trusted = beating();
        assert_eq!((trusted.samples(), trusted.heartbeat(at(11)), trusted.samples()), (11, None, 12));
        assert_eq!(beating().tick(at(12)), None);

        let mut back = suspect();
        assert_eq!(back.tick(at(21)), None, "told once");
        assert_eq!(back.next_deadline(), None);
        assert_eq!((back.heartbeat(at(22)), back.samples()), (Some(PhiChange::Trusted), 11), "not learnt");
        assert_eq!(back.heartbeat(at(23)), None);
        assert_eq!(back.samples(), 12, "the second one is");

        let mut unticked = beating();
        assert_eq!(unticked.heartbeat(at(1_000)), None);
        assert_eq!(unticked.samples(), 11, "not learnt, although nobody ticked");
    }

    #[test]
    fn the_moment_of_suspicion_is_exact() {
        let detector = beating();
        let moment = detector.suspect_at().unwrap();
        assert!(!detector.is_available(moment));
        assert!(detector.is_available(moment.saturating_sub(Duration::from_nanos(1))));
    }

    #[test]
    fn time_going_back_is_harmless() {
        let mut detector = beating();
        let before = detector.phi(at(10));
        assert_eq!(detector.phi(at(3)), before);
        assert_eq!(detector.heartbeat(at(3)), None);
        assert_eq!(detector.tick(at(3)), None);
    }

    #[test]
    fn beats_of_one_moment_are_no_trouble() {
        let mut detector = PhiAccrual::new(PhiConfig { max_samples: 2, ..PhiConfig::default() }).unwrap();
        for _ in 0..10 {
            let _ = detector.heartbeat(at(5));
        }
        assert!(detector.phi(Timestamp::MAX).is_finite());
        assert!(detector.suspect_at().is_some());
    }
}
