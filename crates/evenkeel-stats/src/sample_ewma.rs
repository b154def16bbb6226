//! A latency average that counts samples, and knows when the last one came.

use std::fmt;
use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};

use crate::Reading;
use crate::stamped::{Stamped, UNOBSERVED, tick_of};
use crate::sync::{AtomicU64, Ordering};

/// A latency average in which every sample has the same say, whenever it comes: `m' = m + gain (x - m)`, and the first
/// sample sets it.
///
/// Unlike [`PeakEwma`](crate::PeakEwma) it neither jumps up nor comes down by itself; the age of the last sample is
/// there for those who trust an old average less. It is one word and one compare-and-swap, with the range and the steps
/// of time of `PeakEwma`.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_stats::SampleEwma;
/// use evenkeel_types::{Ratio, Timestamp};
///
/// let latency = SampleEwma::new(Ratio::percent(50)?);
/// latency.observe(Duration::from_millis(10), Timestamp::from_secs(1));
/// latency.observe(Duration::from_millis(20), Timestamp::from_secs(2));
/// assert_eq!(latency.get(), Some(Duration::from_millis(15)));
/// # Ok::<(), evenkeel_types::InvalidRatio>(())
/// ```
pub struct SampleEwma {
    gain: f64,
    state: AtomicU64,
}

impl SampleEwma {
    /// An average without a sample, in which a new sample counts for `gain` of the whole.
    #[must_use]
    pub fn new(gain: Ratio) -> Self {
        Self { gain: gain.as_f64(), state: AtomicU64::new(UNOBSERVED) }
    }

    /// Takes in a sample of `now`. Zero counts as one nanosecond.
    pub fn observe(&self, sample: Duration, now: Timestamp) {
        self.update(Stamped::new(sample, now), |_| true);
    }

    /// Takes in what was at least so much, or a failure that took so long: counts only above the average.
    pub fn raise(&self, floor: Duration, now: Timestamp) {
        let sample = Stamped::new(floor, now);
        self.update(sample, |last| sample.nanos > last.nanos);
    }

    /// The average; `None` before the first sample.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        let last = Stamped::unpack(self.state.load(Ordering::Relaxed))?;
        Some(Duration::from_nanos(last.nanos as u64))
    }

    /// The average, and what `aged` makes of it and its age, both in nanoseconds; `None` before the first sample.
    #[inline]
    #[must_use]
    pub fn reading(&self, now: Timestamp, aged: impl FnOnce(f64, f64) -> f64) -> Option<Reading> {
        let last = Stamped::unpack(self.state.load(Ordering::Relaxed))?;
        let nanos = f64::from(last.nanos);
        Some(Reading { last: nanos, present: aged(nanos, last.until(tick_of(now))) })
    }

    fn update(&self, sample: Stamped, counts: impl Fn(Stamped) -> bool) {
        let mut word = self.state.load(Ordering::Relaxed);
        loop {
            let next = match Stamped::unpack(word) {
                None => sample,
                Some(last) if counts(last) => self.absorb(last, sample),
                Some(_) => return,
            };
            match self.state.compare_exchange_weak(word, next.pack(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => word = present,
            }
        }
    }

    fn absorb(&self, last: Stamped, sample: Stamped) -> Stamped {
        let before = f64::from(last.nanos);
        let nanos = (before + self.gain * (f64::from(sample.nanos) - before)) as f32;
        let tick = if last.until(sample.tick) == 0.0 { last.tick } else { sample.tick };
        Stamped { nanos, tick }
    }
}

impl fmt::Debug for SampleEwma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SampleEwma").field("gain", &self.gain).field("average", &self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn every_sample_has_the_same_say() {
        let ewma = SampleEwma::new(Ratio::percent(5).unwrap());
        assert_eq!((ewma.get(), ewma.reading(at(0), |nanos, _| nanos)), (None, None));
        ewma.observe(ms(100), at(1));
        ewma.observe(ms(200), at(1));
        assert_eq!(ewma.get(), Some(ms(105)));
        ewma.raise(ms(104), at(2));
        assert_eq!(ewma.get(), Some(ms(105)), "a floor below the average says nothing");
        ewma.raise(ms(305), at(2));
        assert_eq!(ewma.get(), Some(ms(115)));
    }

    #[test]
    fn age_runs_from_the_last_sample() {
        let ewma = SampleEwma::new(Ratio::HALF);
        ewma.observe(ms(8), at(10));
        ewma.observe(ms(8), at(5));
        let reading = ewma.reading(at(11), |nanos, age| nanos + age).unwrap();
        assert_eq!(reading.last, 8e6);
        assert!((reading.present - 1.008e9).abs() < 3e5, "to a tick: {reading:?}");
        assert_eq!(ewma.reading(at(9), |_, age| age).unwrap().present, 0.0, "never negative");
    }
}
