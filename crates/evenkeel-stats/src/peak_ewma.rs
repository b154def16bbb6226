//! Latency that follows every rise at once and forgets by and by.

use std::fmt;
use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::TimeConstant;
use crate::sync::{AtomicU64, Ordering};
use crate::time_constant::kept;

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
        Self { tau: tau.nanos(), state: AtomicU64::new(Sample::new(cost, now).pack()) }
    }

    /// Takes in the time that a call took, and that ended at `now`. Zero counts as one nanosecond.
    pub fn observe(&self, rtt: Duration, now: Timestamp) {
        let sample = Sample::new(rtt, now);
        let mut word = self.state.load(Ordering::Relaxed);
        loop {
            let next = Sample::unpack(word).map_or(sample, |last| self.absorb(last, sample)).pack();
            if next == word {
                return;
            }
            match self.state.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => word = present,
            }
        }
    }

    /// The estimate at `now`, decayed since the last sample; `None` before the first. Changes nothing.
    #[must_use]
    pub fn get(&self, now: Timestamp) -> Option<Duration> {
        self.decayed(now).map(|nanos| Duration::from_nanos(nanos as u64))
    }

    /// The same in nanoseconds, for those who compare loads; zero before the first sample.
    #[must_use]
    pub fn nanos(&self, now: Timestamp) -> f64 {
        self.decayed(now).unwrap_or(0.0)
    }

    fn decayed(&self, now: Timestamp) -> Option<f64> {
        let last = Sample::unpack(self.state.load(Ordering::Relaxed))?;
        Some(f64::from(last.cost) * kept(last.until(tick_of(now)), self.tau))
    }

    fn absorb(&self, last: Sample, sample: Sample) -> Sample {
        let elapsed = last.until(sample.tick);
        let tick = if elapsed == 0.0 { last.tick } else { sample.tick };
        let cost = if sample.cost > last.cost {
            sample.cost
        } else {
            let keep = kept(elapsed, self.tau);
            (f64::from(sample.cost) * (1.0 - keep) + f64::from(last.cost) * keep) as f32
        };
        Sample { cost, tick }
    }
}

impl fmt::Debug for PeakEwma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = Sample::unpack(self.state.load(Ordering::Relaxed));
        f.debug_struct("PeakEwma").field("tau_nanos", &self.tau).field("last", &last).finish()
    }
}

/// The unpacked word: nanoseconds, at least one, and the time in ticks, modulo their range.
#[derive(Clone, Copy, Debug)]
struct Sample {
    cost: f32,
    tick: u64,
}

impl Sample {
    fn new(cost: Duration, now: Timestamp) -> Self {
        Self { cost: (cost.as_nanos() as f64).clamp(1.0, LARGEST_COST) as f32, tick: tick_of(now) }
    }

    /// How many nanoseconds before `tick` this sample was; zero if it was after it.
    fn until(self, tick: u64) -> f64 {
        let ticks = tick.wrapping_sub(self.tick) & TICK_MASK;
        if ticks > TICK_MASK - TICKS_BACK { 0.0 } else { (ticks << TICK_SHIFT) as f64 }
    }

    /// Costs are at least one, so their bits minus those of 1.0 fit 29 bits, and the one that is added keeps the word
    /// apart from [`UNOBSERVED`].
    fn pack(self) -> u64 {
        let cost = self.cost.to_bits().saturating_sub(ONE_BITS) + 1;
        (u64::from(cost) << TICK_BITS) | self.tick
    }

    fn unpack(word: u64) -> Option<Self> {
        let cost = (word >> TICK_BITS) as u32;
        let cost = cost.checked_sub(1)? + ONE_BITS;
        Some(Self { cost: f32::from_bits(cost), tick: word & TICK_MASK })
    }
}

const fn tick_of(now: Timestamp) -> u64 {
    (now.as_nanos() >> TICK_SHIFT) & TICK_MASK
}

const UNOBSERVED: u64 = 0;

/// 35 of the 64 bits: what a full single-precision mantissa and a six-bit exponent leave.
const TICK_BITS: u32 = 35;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;

/// A tick is 2^18 ns: 0.003 % of the default time constant, and 104 days in 35 bits.
const TICK_SHIFT: u32 = 18;

/// 2^22 ticks, 18 min: how far behind the last sample a time is taken for out of order. Far above what threads do to
/// each other; small, because what a wrapped silence is mistaken for lasts as long.
const TICKS_BACK: u64 = 1 << 22;

const ONE_BITS: u32 = 1.0_f32.to_bits();

/// 2^62 ns, 146 years: the largest power of two whose code fits 29 bits with one to spare.
const LARGEST_COST: f64 = (1_u64 << 62) as f64;

#[cfg(test)]
mod tests {
    use super::*;

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
