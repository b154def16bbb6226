//! The share of calls that failed of late.

use std::fmt;

use evenkeel_types::Timestamp;

use crate::TimeConstant;
use crate::stamped::{TICK_BITS, TICK_MASK, nanos_between, tick_of};
use crate::sync::{AtomicU64, Ordering};
use crate::time_constant::kept;

/// The share of calls that failed of late, from 0 to 1: by calls while there are some, by time while there are none.
///
/// ```text
/// record:   e = e w,  w = exp(-dt / tau)
///           e = e + (1 - e) / 8      if it failed
///           e = e - e / 8            otherwise
/// share:    e w
/// ```
///
/// Counting calls makes a burst of failures within a microsecond visible, which an average by time alone hides; losing
/// by time means that an endpoint which nobody asks any more, because it failed, is forgiven and asked again. It is one
/// word and one compare-and-swap: 28 bits of share and 35 bits of time in steps of 0.26 ms, as in
/// [`PeakEwma`](crate::PeakEwma), with the same care for times that go back. While nothing fails, recording is one load.
///
/// ```
/// use evenkeel_stats::{FailureShare, TimeConstant};
/// use evenkeel_types::Timestamp;
///
/// let failures = FailureShare::new(TimeConstant::default());
/// let now = Timestamp::from_secs(60);
/// for _ in 0..8 {
///     failures.record_failure(now);
/// }
/// assert!((0.65..0.66).contains(&failures.share(now)));
/// assert!(failures.share(Timestamp::from_secs(90)) < 0.05, "forgiven by time");
/// ```
pub struct FailureShare {
    /// In nanoseconds, converted once.
    tau: f64,
    state: AtomicU64,
}

impl FailureShare {
    /// Nothing has failed so far.
    #[must_use]
    pub fn new(tau: TimeConstant) -> Self {
        Self { tau: tau.nanos(), state: AtomicU64::new(0) }
    }

    /// Counts a call that went well.
    pub fn record_success(&self, now: Timestamp) {
        self.record(0.0, now);
    }

    /// Counts a call that did not.
    pub fn record_failure(&self, now: Timestamp) {
        self.record(1.0, now);
    }

    /// The share at `now`. Changes nothing.
    #[inline]
    #[must_use]
    pub fn share(&self, now: Timestamp) -> f64 {
        let word = self.state.load(Ordering::Relaxed);
        if word >> TICK_BITS == 0 { 0.0 } else { self.decayed(word, tick_of(now)) }
    }

    fn record(&self, target: f64, now: Timestamp) {
        let tick = tick_of(now);
        let mut word = self.state.load(Ordering::Relaxed);
        loop {
            if target == 0.0 && word >> TICK_BITS == 0 {
                return;
            }
            let before = self.decayed(word, tick);
            let share = before + (target - before) / SAMPLES;
            // A share of nothing has no time: the very first record takes the time it comes with.
            let is_later = word >> TICK_BITS == 0 || nanos_between(word & TICK_MASK, tick) > 0.0;
            let stamp = if is_later { tick } else { word & TICK_MASK };
            let next = (((share * UNITS) as u64) << TICK_BITS) | stamp;
            match self.state.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => word = present,
            }
        }
    }

    #[inline]
    fn decayed(&self, word: u64, tick: u64) -> f64 {
        let share = (word >> TICK_BITS) as f64 / UNITS;
        share * kept(nanos_between(word & TICK_MASK, tick), self.tau)
    }
}

impl fmt::Debug for FailureShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = (self.state.load(Ordering::Relaxed) >> TICK_BITS) as f64 / UNITS;
        f.debug_struct("FailureShare").field("tau_nanos", &self.tau).field("last", &last).finish()
    }
}

/// A call counts for one in eight: three failures in a row are a third, and one alone is no verdict.
const SAMPLES: f64 = 8.0;

/// One is 2^28, the largest share that 29 bits hold.
const UNITS: f64 = (1_u64 << 28) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn calls_move_it_by_an_eighth_and_time_by_the_exponential() {
        let failures = FailureShare::new(TimeConstant::default());
        failures.record_success(at(100));
        assert_eq!(failures.share(at(100)), 0.0);
        failures.record_failure(at(100));
        assert_eq!(failures.share(at(100)), 0.125);
        assert!((failures.share(at(110)) - 0.125 * libm::exp(-1.0)).abs() < 1e-6);
        failures.record_success(at(100));
        assert_eq!(failures.share(at(100)), 0.125 * 0.875);
    }

    #[test]
    fn it_stays_between_none_and_all_and_ends_at_none() {
        let failures = FailureShare::new(TimeConstant::default());
        for _ in 0..10_000 {
            failures.record_failure(at(1));
        }
        assert!((0.999..=1.0).contains(&failures.share(at(1))));
        for _ in 0..1_000 {
            failures.record_success(at(1));
        }
        assert_eq!(failures.share(at(1)), 0.0, "successes alone bring it back to nothing");
    }

    #[test]
    fn a_time_that_goes_back_counts_as_the_latest() {
        let failures = FailureShare::new(TimeConstant::default());
        failures.record_failure(at(100));
        failures.record_failure(at(50));
        assert_eq!(failures.share(at(50)), failures.share(at(100)));
        assert!(failures.share(at(100)) > 0.2, "both count");
    }

    #[test]
    fn the_first_failure_counts_at_any_time() {
        // Half the range of ticks away from the origin, where a stamp of zero would lie in the future.
        for secs in [0, 1, 52 * 86_400, 103 * 86_400 + 80_000, 6_000_000_000] {
            let failures = FailureShare::new(TimeConstant::default());
            failures.record_failure(at(secs));
            assert!(failures.share(at(secs.saturating_add(20))) < 0.02, "{secs}");
        }
    }
}
