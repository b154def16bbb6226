//! Latency that follows every rise at once and forgets by and by.

use std::fmt;
use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::stamped::{Stamped, UNOBSERVED, tick_of};
use crate::sync::{AtomicU64, Ordering};
use crate::time_constant::kept;
use crate::{Reading, TimeConstant};

/// The peak EWMA of Twitter's Finagle: a latency estimate that jumps up at once and comes down slowly.
///
/// ```text
/// observe(rtt):   w = exp(-dt / tau)
///                 cost = rtt                        if rtt > cost
///                 cost = rtt (1 - w) + cost w       otherwise
/// get:            cost w
/// ```
///
/// A server that gets slow is found out by its first slow answer, and one that nobody asks becomes attractive again,
/// because reading lets the estimate decay. Unlike Finagle's, reading does not *write* that decay: an answer below the
/// estimate is averaged with it, and does not count as a new peak only because somebody looked in between. Feed it
/// successes only: a fast failure must not look like a fast server.
///
/// The state is one word and one compare-and-swap, so no reader sees the cost of one sample with the time of another.
/// The word holds the cost as a single-precision float of nanoseconds (1 ns to 146 years, to 6e-8) and the time in 35
/// bits of 2^18 ns (0.26 ms). So decay moves in steps of 0.26 ms, and samples within one step count only if they are
/// peaks; time constants should be some hundred times longer. Those 35 bits wrap after 104 days. A time up to 18 min
/// before that of the last sample counts as that; all else counts as later, modulo 104 days. So after a silence of that
/// length the estimate may pass for fresh, for 18 min at most, and after a clock that leapt back by more it starts
/// anew: neither lasts.
///
/// Source: `PeakEwma.scala` in the package `loadbalancer` of `finagle-core`, <https://github.com/twitter/finagle>.
/// `observe` and `nanos` cost one exponential each (some 10 ns).
///
/// ```
/// use std::time::Duration;
/// use evenkeel_stats::{PeakEwma, TimeConstant};
/// use evenkeel_types::Timestamp;
///
/// let latency = PeakEwma::new(TimeConstant::default());
/// let start = Timestamp::from_secs(100);
/// latency.observe(Duration::from_millis(5), start);
/// latency.observe(Duration::from_millis(80), start);
/// assert_eq!(latency.get(start), Some(Duration::from_millis(80)), "a peak counts at once");
///
/// let later = start.saturating_add(Duration::from_secs(60));
/// assert!(latency.get(later) < Some(Duration::from_millis(1)), "an idle endpoint is forgiven");
/// ```
pub struct PeakEwma {
    /// In nanoseconds, converted once.
    tau: f64,
    state: AtomicU64,
}

impl PeakEwma {
    /// An estimate without a sample.
    #[must_use]
    pub fn new(tau: TimeConstant) -> Self {
        Self { tau: tau.nanos(), state: AtomicU64::new(UNOBSERVED) }
    }

    /// An estimate that starts at `cost`, as if that had been observed at `now`.
    ///
    /// For a new endpoint, seeded with what its peers take: at zero it would be flooded, at infinity never tried.
    #[must_use]
    pub fn with_initial(tau: TimeConstant, cost: Duration, now: Timestamp) -> Self {
        Self { tau: tau.nanos(), state: AtomicU64::new(Stamped::new(cost, now).pack()) }
    }

    /// Takes in the time that a call took, and that ended at `now`. Zero counts as one nanosecond.
    pub fn observe(&self, rtt: Duration, now: Timestamp) {
        let sample = Stamped::new(rtt, now);
        self.update(|last| Some(last.map_or(sample, |last| self.absorb(last, sample))));
    }

    /// Takes in a time that a call took at least, or that a failed call took: counts if it lies above the estimate at
    /// `now` or if there is none, and changes nothing otherwise. So a fast failure never makes anything look faster.
    pub fn raise(&self, rtt: Duration, now: Timestamp) {
        let sample = Stamped::new(rtt, now);
        self.update(|last| match last {
            None => Some(sample),
            Some(last) if f64::from(sample.nanos) > self.decayed(last, sample.tick) => {
                Some(self.absorb(last, sample))
            }
            Some(_) => None,
        });
    }

    /// The estimate at `now`, decayed since the last sample; `None` before the first. Changes nothing.
    #[must_use]
    pub fn get(&self, now: Timestamp) -> Option<Duration> {
        self.reading(now).map(|reading| Duration::from_nanos(reading.present as u64))
    }

    /// The same in nanoseconds, for those who compare loads; zero before the first sample.
    #[must_use]
    pub fn nanos(&self, now: Timestamp) -> f64 {
        self.reading(now).map_or(0.0, |reading| reading.present)
    }

    /// The estimate at `now` and what it was at the last sample, of one moment; `None` before the first sample.
    #[inline]
    #[must_use]
    pub fn reading(&self, now: Timestamp) -> Option<Reading> {
        let last = Stamped::unpack(self.state.load(Ordering::Relaxed))?;
        Some(Reading { last: f64::from(last.nanos), present: self.decayed(last, tick_of(now)) })
    }

    /// One compare-and-swap loop for all that writes; `None` from `next` leaves the word alone.
    fn update(&self, next: impl Fn(Option<Stamped>) -> Option<Stamped>) {
        let mut word = self.state.load(Ordering::Relaxed);
        while let Some(next) = next(Stamped::unpack(word)).map(Stamped::pack) {
            if next == word {
                return;
            }
            match self.state.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => word = present,
            }
        }
    }

    #[inline]
    fn decayed(&self, last: Stamped, tick: u64) -> f64 {
        f64::from(last.nanos) * kept(last.until(tick), self.tau)
    }

    fn absorb(&self, last: Stamped, sample: Stamped) -> Stamped {
        let elapsed = last.until(sample.tick);
        let tick = if elapsed == 0.0 { last.tick } else { sample.tick };
        let nanos = if sample.nanos > last.nanos {
            sample.nanos
        } else {
            let keep = kept(elapsed, self.tau);
            (f64::from(sample.nanos) * (1.0 - keep) + f64::from(last.nanos) * keep) as f32
        };
        Stamped { nanos, tick }
    }
}

impl fmt::Debug for PeakEwma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = Stamped::unpack(self.state.load(Ordering::Relaxed));
        f.debug_struct("PeakEwma").field("tau_nanos", &self.tau).field("last", &last).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamped::TICK_SHIFT;

    /// 2^30 ns, about a second: a whole number of ticks, so that expected values are exact.
    const TAU: Duration = Duration::from_nanos(1 << 30);

    fn ewma() -> PeakEwma {
        PeakEwma::new(TimeConstant::new(TAU).unwrap())
    }

    fn at(taus: u32) -> Timestamp {
        Timestamp::ORIGIN.saturating_add(TAU * taus)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn rises_at_once_and_falls_by_the_formula() {
        let ewma = ewma();
        assert_eq!(ewma.get(at(1)), None);
        ewma.observe(ms(20), at(1));
        ewma.observe(ms(100), at(1));
        assert_eq!(ewma.get(at(1)), Some(ms(100)));
        ewma.observe(ms(50), at(2));
        // 50 (1 - 1/e) + 100/e = 68.393972 ms, to the 8 ns that a single-precision float has there.
        assert_eq!(ewma.get(at(2)), Some(Duration::from_nanos(68_393_976)));
    }

    #[test]
    fn reading_decays_and_writes_nothing() {
        let ewma = ewma();
        ewma.observe(ms(100), at(0));
        // 100/e and 100/e^2 ms.
        assert_eq!(ewma.get(at(1)), Some(Duration::from_nanos(36_787_944)));
        assert_eq!(ewma.get(at(2)), Some(Duration::from_nanos(13_533_528)));
        assert_eq!(ewma.get(at(0)), Some(ms(100)));
        assert_eq!(ewma.nanos(at(1_000)), 0.0);
    }

    #[test]
    fn raising_never_lowers() {
        let ewma = ewma();
        ewma.raise(ms(30), at(0));
        assert_eq!(ewma.get(at(0)), Some(ms(30)), "better than nothing");
        ewma.raise(ms(1), at(0));
        ewma.raise(ms(10), at(1));
        assert_eq!(ewma.get(at(0)), Some(ms(30)), "10 is below the 11 of then");
        ewma.raise(ms(20), at(1));
        let reading = ewma.reading(at(1)).unwrap();
        assert!((reading.present - 23_678_794.0).abs() < 4.0, "20 (1 - 1/e) + 30/e: {reading:?}");
        assert_eq!(reading.last, reading.present, "of the same moment");
    }

    #[test]
    fn time_going_back_counts_as_no_time() {
        let ewma = ewma();
        ewma.observe(ms(100), at(10));
        ewma.observe(ms(1), at(5));
        assert_eq!(ewma.get(at(5)), Some(ms(100)));
        assert_eq!(ewma.get(at(10)), Some(ms(100)));
        ewma.observe(ms(200), at(5));
        assert_eq!(
            ewma.get(at(11)),
            Some(Duration::from_nanos(73_575_888)),
            "a peak of the past counts from the latest"
        );
    }

    #[test]
    fn the_extremes_fit_the_word() {
        for nanos in [0, 1, 2, 1 << 24, 1 << 62, u64::MAX] {
            let rtt = Duration::from_nanos(nanos);
            let ewma = PeakEwma::with_initial(TimeConstant::default(), rtt, Timestamp::MAX);
            assert_eq!(ewma.get(Timestamp::MAX), Some(Duration::from_nanos(nanos.clamp(1, 1 << 62))));
        }
        let ewma = PeakEwma::with_initial(TimeConstant::default(), Duration::MAX, Timestamp::ORIGIN);
        assert_eq!(ewma.get(Timestamp::ORIGIN), Some(Duration::from_nanos(1 << 62)));
    }

    #[test]
    fn weeks_without_a_sample_are_weeks() {
        let day = Duration::from_secs(86_400);
        let ewma = PeakEwma::with_initial(TimeConstant::default(), ms(100), Timestamp::ORIGIN);
        for days in [1, 30, 60, 100, 104] {
            assert_eq!(
                ewma.get(Timestamp::ORIGIN.saturating_add(day * days)),
                Some(Duration::ZERO),
                "{days}"
            );
        }
    }

    #[test]
    fn no_leap_of_the_clock_stops_it_from_learning() {
        let hour = Duration::from_secs(3_600);
        for hours in [1, 24, 1_000, 2_000, 2_502, 2_503, 10_000] {
            let late = Timestamp::ORIGIN.saturating_add(hour * hours);
            for (before, after) in [(Timestamp::ORIGIN, late), (late, Timestamp::ORIGIN)] {
                let ewma = PeakEwma::with_initial(TimeConstant::default(), ms(100), before);
                for second in 0..1_200 {
                    ewma.observe(ms(1), after.saturating_add(Duration::from_secs(second)));
                }
                let end = after.saturating_add(Duration::from_secs(1_200));
                assert!(ewma.get(end) < Some(ms(2)), "{hours} h: {ewma:?}");
            }
        }
    }

    /// The first sample of each tick moves a steady estimate; the sum of small steps is that of one large one.
    #[test]
    fn small_steps_add_up() {
        let ewma = PeakEwma::with_initial(TimeConstant::new(TAU).unwrap(), ms(100), at(0));
        for tick in 1..=4096_u64 {
            ewma.observe(ms(50), Timestamp::from_nanos(tick << TICK_SHIFT));
        }
        let estimate = ewma.nanos(at(1));
        assert!((estimate - 68_393_972.0).abs() < 4_000.0, "{estimate}");
    }
}
