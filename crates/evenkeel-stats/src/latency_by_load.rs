//! How long calls take at the load that there is.

use std::fmt;
use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::Reading;
use crate::stamped::{Stamped, UNOBSERVED, cost_of, tick_of};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::time_constant::nanos_of;

/// The median latency of the last nine calls that met about so many others in flight, for each number of others.
///
/// A server answers slower the more it has to do, so a latency says little without the load that it was met under: an
/// average over all loads makes the server that has just been emptied look slow, and the one that is being filled fast.
/// Here each load from 0 to 7 has nine samples of its own, each half of an octave above shares nine, and everything from
/// 512 up the last nine. The median of nine ignores four outliers. Samples that are older than the horizon when a new one
/// comes are forgotten, so that nobody must answer five times to be believed after a silence. This is the estimator that Prequal asks for
/// (Wydrowski and others, NSDI 2024), kept on the calling side.
///
/// Memory is 1 KB; recording writes one sample and one median, both single words, so that readers see the median of some
/// samples that were recorded, whoever else records. Time is kept as in
/// [`PeakEwma`](crate::PeakEwma).
///
/// ```
/// use std::time::Duration;
/// use evenkeel_stats::LatencyByLoad;
/// use evenkeel_types::Timestamp;
///
/// let latency = LatencyByLoad::new(Duration::from_secs(1), Duration::from_secs(10));
/// let now = Timestamp::from_secs(1);
/// latency.record(0, Duration::from_millis(10), now);
/// latency.record(6, Duration::from_millis(70), now);
/// let expected = |load| latency.expected(load, now, |nanos, _| nanos).map(|r| r.last / 1e6);
/// assert_eq!(expected(1).map(f64::round), Some(10.0), "the nearest load that is known");
/// assert_eq!(expected(5).map(f64::round), Some(70.0));
/// ```
pub struct LatencyByLoad {
    /// In nanoseconds, like the horizon.
    fresh: f64,
    horizon: f64,
    /// A bit for each level of which anything is known.
    known: AtomicU32,
    levels: Box<[Level]>,
}

impl LatencyByLoad {
    /// Nothing recorded. What is not older than `fresh` goes before what is of a nearer load; what is older than `horizon`
    /// is forgotten when something new comes.
    #[must_use]
    pub fn new(fresh: Duration, horizon: Duration) -> Self {
        Self {
            fresh: nanos_of(fresh),
            horizon: nanos_of(horizon),
            known: AtomicU32::new(0),
            levels: (0..LEVELS).map(|_| Level::new()).collect(),
        }
    }

    /// Takes in how long a call took that met `load` others in flight. Zero counts as one nanosecond.
    pub fn record(&self, load: u32, latency: Duration, now: Timestamp) {
        let level = level_of(load);
        self.levels[level].record(latency, now, self.horizon);
        if self.known.load(Ordering::Relaxed) >> level & 1 == 0 {
            self.known.fetch_or(1 << level, Ordering::Release);
        }
    }

    /// What a call takes that meets `load` others, by the nearest load of which something fresh is known (the lower one of
    /// two), else by the nearest of which anything is known. `None` before the first sample. `aged` makes of the median
    /// and its age, both in nanoseconds, what counts at present.
    #[inline]
    #[must_use]
    pub fn expected(&self, load: u32, now: Timestamp, aged: impl FnOnce(f64, f64) -> f64) -> Option<Reading> {
        let (tick, own) = (tick_of(now), level_of(load));
        let mut known = self.known.load(Ordering::Acquire);
        let mut stale: Option<Stamped> = None;
        while known != 0 {
            let level = nearest(known, own);
            known &= !(1 << level);
            let median = Stamped::unpack(self.levels[level].median.load(Ordering::Relaxed));
            if let Some(median) = median.filter(|median| median.until(tick) <= self.fresh) {
                return Some(reading(median, tick, aged));
            }
            stale = stale.or(median);
        }
        stale.map(|median| reading(median, tick, aged))
    }
}

impl fmt::Debug for LatencyByLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let medians = self.levels.iter().map(|level| level.median.load(Ordering::Relaxed));
        let known = medians.map(|word| Stamped::unpack(word).map(|median| median.nanos));
        f.debug_struct("LatencyByLoad").field("median_nanos", &known.collect::<Vec<_>>()).finish()
    }
}

/// The samples of one load.
struct Level {
    /// Bits of a single-precision number of nanoseconds; zero where there is no sample yet.
    samples: [AtomicU32; SAMPLES],
    recorded: AtomicU32,
    median: AtomicU64,
}

impl Level {
    fn new() -> Self {
        Self {
            samples: std::array::from_fn(|_| AtomicU32::new(0)),
            recorded: AtomicU32::new(0),
            median: AtomicU64::new(UNOBSERVED),
        }
    }

    fn record(&self, latency: Duration, now: Timestamp, horizon: f64) {
        let tick = tick_of(now);
        // Whoever sees a median of this side of the horizon sees that the old samples are gone.
        let last = Stamped::unpack(self.median.load(Ordering::Acquire));
        let elapsed = last.map_or(0.0, |last| last.until(tick));
        if elapsed > horizon {
            // Another who does the same may lose its sample: one of many.
            self.samples.iter().for_each(|sample| sample.store(0, Ordering::Relaxed));
        }
        let place = self.recorded.fetch_add(1, Ordering::Relaxed) as usize % SAMPLES;
        let own = cost_of(latency).to_bits();
        self.samples[place].store(own, Ordering::Relaxed);
        let nanos = f32::from_bits(self.median_bits().unwrap_or(own));
        let tick = last.filter(|_| elapsed == 0.0).map_or(tick, |last| last.tick);
        self.median.store(Stamped { nanos, tick }.pack(), Ordering::Release);
    }

    /// The lower median of the samples there are. Bits of positive floats are in the order of the floats.
    fn median_bits(&self) -> Option<u32> {
        let mut samples: [u32; SAMPLES] =
            std::array::from_fn(|place| self.samples[place].load(Ordering::Relaxed));
        samples.sort_unstable();
        let present = &samples[samples.partition_point(|&bits| bits == 0)..];
        present.get(present.len().saturating_sub(1) / 2).copied()
    }
}

fn reading(median: Stamped, tick: u64, aged: impl FnOnce(f64, f64) -> f64) -> Reading {
    let last = f64::from(median.nanos);
    Reading { last, present: aged(last, median.until(tick)) }
}

/// The bit of `known` that is nearest to `own`, the lower one of two equally near. `known` is not zero.
#[inline]
const fn nearest(known: u32, own: usize) -> usize {
    let up_to_own = known & ((2 << own) - 1);
    let above = known & !((2 << own) - 1);
    if up_to_own == 0 {
        return above.trailing_zeros() as usize;
    }
    let lower = up_to_own.ilog2() as usize;
    let upper = above.trailing_zeros() as usize;
    if above == 0 || own - lower <= upper - own { lower } else { upper }
}

/// One level for each load below 8, then two for each octave.
const fn level_of(load: u32) -> usize {
    if load < 8 {
        return load as usize;
    }
    let octave = load.ilog2();
    let level = 8 + 2 * (octave - 3) + ((load >> (octave - 1)) & 1);
    if (level as usize) < LEVELS { level as usize } else { LEVELS - 1 }
}

/// 8 exact loads, two levels each for the octaves from 8 to 511, one for all above.
const LEVELS: usize = 8 + 2 * 6 + 1;

/// Few enough to be of now, odd so that there is a middle one.
const SAMPLES: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Duration = Duration::from_secs(1);
    const HORIZON: Duration = Duration::from_secs(10);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn expected(latency: &LatencyByLoad, load: u32, now: u64) -> Option<u64> {
        let reading = latency.expected(load, at(now), |nanos, _| nanos)?;
        Some((reading.last / 1e6).round() as u64)
    }

    #[test]
    fn loads_map_to_levels_without_gaps() {
        for (load, level) in [
            (0, 0),
            (7, 7),
            (8, 8),
            (11, 8),
            (12, 9),
            (15, 9),
            (16, 10),
            (511, 19),
            (512, 20),
            (u32::MAX, 20),
        ] {
            assert_eq!(level_of(load), level, "{load}");
        }
        assert!((0..10_000).all(|load| (0..=1).contains(&(level_of(load + 1) - level_of(load)))));
    }

    #[test]
    fn the_nearest_bit_is_found() {
        for known in 1_u32..1 << 8 {
            for own in 0..8 {
                let set = (0..8).filter(|level| known >> level & 1 == 1);
                let expected = set.min_by_key(|&level: &usize| (level.abs_diff(own), level));
                assert_eq!(Some(nearest(known, own)), expected, "{known:b} {own}");
            }
        }
        assert_eq!(nearest(1 << (LEVELS - 1), LEVELS - 1), LEVELS - 1);
    }

    #[test]
    fn the_nearest_load_that_is_fresh_answers() {
        let latency = LatencyByLoad::new(FRESH, HORIZON);
        assert_eq!(expected(&latency, 0, 0), None);
        latency.record(2, ms(20), at(1));
        latency.record(4, ms(40), at(1));
        latency.record(12, ms(90), at(1));
        for (load, millis) in [(0, 20), (2, 20), (3, 20), (4, 40), (5, 40), (100, 90), (u32::MAX, 90)] {
            assert_eq!(expected(&latency, load, 1), Some(millis), "{load}");
        }
        latency.record(12, ms(90), at(10));
        assert_eq!(expected(&latency, 2, 10), Some(90), "what is fresh goes before what is near");
        assert_eq!(expected(&latency, 2, 20), Some(20), "if nothing is fresh, the nearest answers");
    }

    #[test]
    fn the_median_of_the_last_nine_ignores_four_outliers() {
        let latency = LatencyByLoad::new(FRESH, HORIZON);
        for (index, millis) in [5, 900, 5, 800, 6, 700, 6, 600, 6].into_iter().enumerate() {
            latency.record(0, ms(millis), at(index as u64));
        }
        assert_eq!(expected(&latency, 0, 9), Some(6));
        for _ in 0..5 {
            latency.record(0, ms(50), at(10));
        }
        assert_eq!(expected(&latency, 0, 10), Some(50), "five of nine");
    }

    #[test]
    fn after_a_silence_the_first_sample_is_believed() {
        let latency = LatencyByLoad::new(FRESH, HORIZON);
        (0..9).for_each(|_| latency.record(0, ms(1000), at(1)));
        latency.record(0, ms(20), at(10));
        assert_eq!(expected(&latency, 0, 10), Some(1000), "one of ten within the horizon");
        latency.record(0, ms(20), at(22));
        assert_eq!(expected(&latency, 0, 22), Some(20));
    }

    #[test]
    fn age_is_that_of_the_latest_sample() {
        let latency = LatencyByLoad::new(FRESH, HORIZON);
        latency.record(0, ms(1), at(100));
        latency.record(0, ms(1), at(50));
        let age = latency.expected(0, at(103), |_, age| age).unwrap().present;
        assert!((age - 3e9).abs() < 1e6, "{age}");
    }
}
