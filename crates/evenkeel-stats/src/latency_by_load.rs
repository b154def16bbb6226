//! How long calls take at the load that there is.

use std::fmt;
use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::Reading;
use crate::stamped::{Stamped, UNOBSERVED, nanos_of, tick_of};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

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
/// let latency = LatencyByLoad::new(Duration::from_secs(10));
/// let now = Timestamp::from_secs(1);
/// latency.record(0, Duration::from_millis(10), now);
/// latency.record(6, Duration::from_millis(70), now);
/// let expected = |load| latency.expected(load, Duration::from_secs(1), now, |nanos, _| nanos).map(|r| r.last / 1e6);
/// assert_eq!(expected(1).map(f64::round), Some(10.0), "the nearest load that is known");
/// assert_eq!(expected(5).map(f64::round), Some(70.0));
/// ```
pub struct LatencyByLoad {
    /// In nanoseconds.
    horizon: f64,
    levels: Box<[Level]>,
}

impl LatencyByLoad {
    /// Nothing recorded. What is older than `horizon` is forgotten when something new comes.
    #[must_use]
    pub fn new(horizon: Duration) -> Self {
        let horizon = horizon.as_nanos() as f64;
        Self { horizon, levels: (0..LEVELS).map(|_| Level::new()).collect() }
    }

    /// Takes in how long a call took that met `load` others in flight. Zero counts as one nanosecond.
    pub fn record(&self, load: u32, latency: Duration, now: Timestamp) {
        self.levels[level_of(load)].record(latency, now, self.horizon);
    }

    /// What a call takes that meets `load` others, by the nearest load of which something not older than `fresh` is
    /// known (the lower one of two), else by the nearest of which anything is known. `None` before the first sample.
    /// `aged` makes of the median and its age, both in nanoseconds, what counts at present.
    #[inline]
    #[must_use]
    pub fn expected(
        &self,
        load: u32,
        fresh: Duration,
        now: Timestamp,
        aged: impl FnOnce(f64, f64) -> f64,
    ) -> Option<Reading> {
        let (tick, fresh) = (tick_of(now), fresh.as_nanos() as f64);
        let own = level_of(load);
        let mut stale: Option<Stamped> = None;
        for level in nearest(own) {
            let Some(median) = Stamped::unpack(self.levels[level].median.load(Ordering::Relaxed)) else {
                continue;
            };
            if median.until(tick) <= fresh {
                return Some(reading(median, tick, aged));
            }
            stale = stale.or(Some(median));
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
        let last = Stamped::unpack(self.median.load(Ordering::Relaxed));
        let elapsed = last.map_or(0.0, |last| last.until(tick));
        if elapsed > horizon {
            // Another who does the same may lose its sample: one of many.
            self.samples.iter().for_each(|sample| sample.store(0, Ordering::Relaxed));
        }
        let place = self.recorded.fetch_add(1, Ordering::Relaxed) as usize % SAMPLES;
        let own = nanos_of(latency).to_bits();
        self.samples[place].store(own, Ordering::Relaxed);
        let nanos = f32::from_bits(self.median_bits().unwrap_or(own));
        let tick = last.filter(|_| elapsed == 0.0).map_or(tick, |last| last.tick);
        self.median.store(Stamped { nanos, tick }.pack(), Ordering::Relaxed);
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

/// All levels, the nearest first, the lower one of two equally near.
fn nearest(own: usize) -> impl Iterator<Item = usize> {
    (0..2 * LEVELS).filter_map(move |step| {
        let distance = step.div_ceil(2);
        let level = if step % 2 == 1 { own.checked_sub(distance) } else { Some(own + distance) };
        level.filter(|&level| level < LEVELS)
    })
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
        let reading = latency.expected(load, FRESH, at(now), |nanos, _| nanos)?;
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
    fn the_nearest_load_that_is_fresh_answers() {
        let latency = LatencyByLoad::new(HORIZON);
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
        let latency = LatencyByLoad::new(HORIZON);
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
        let latency = LatencyByLoad::new(HORIZON);
        (0..9).for_each(|_| latency.record(0, ms(1000), at(1)));
        latency.record(0, ms(20), at(10));
        assert_eq!(expected(&latency, 0, 10), Some(1000), "one of ten within the horizon");
        latency.record(0, ms(20), at(22));
        assert_eq!(expected(&latency, 0, 22), Some(20));
    }

    #[test]
    fn age_is_that_of_the_latest_sample() {
        let latency = LatencyByLoad::new(HORIZON);
        latency.record(0, ms(1), at(100));
        latency.record(0, ms(1), at(50));
        let age = latency.expected(0, FRESH, at(103), |_, age| age).unwrap().present;
        assert!((age - 3e9).abs() < 1e6, "{age}");
    }
}
