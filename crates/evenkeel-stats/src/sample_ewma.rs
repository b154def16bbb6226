//! An average that counts samples, and knows when the last one came.

use std::fmt;
use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};

use crate::stamped::{Stamped, UNOBSERVED, tick_of};
use crate::sync::{AtomicU64, Ordering};
use crate::time_constant::kept;
use crate::{Reading, TimeConstant};

/// An average in which every sample has the same say, as long as samples come; what is old by time fades besides.
///
/// ```text
/// observe:   m = x + (m - x) (1 - gain) w,   w = exp(-dt / tau)
/// ```
///
/// and the first sample sets it. So with many samples within `tau` a single one counts for `gain`, and after a long
/// silence for almost everything: what was slow a minute ago need not answer a hundred times to be believed. It is of
/// durations, or of plain numbers that are at least one. Unlike [`PeakEwma`](crate::PeakEwma) it does not jump up; reading
/// does not age it, and the age of the last sample is there for those who trust an old average less. It is one word and one
/// compare-and-swap, with the range and the steps of time of `PeakEwma`.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_stats::{SampleEwma, TimeConstant};
/// use evenkeel_types::{Ratio, Timestamp};
///
/// let latency = SampleEwma::new(Ratio::percent(50)?, TimeConstant::default());
/// latency.observe(Duration::from_millis(10), Timestamp::from_secs(1));
/// latency.observe(Duration::from_millis(20), Timestamp::from_secs(1));
/// assert_eq!(latency.get(), Some(Duration::from_millis(15)));
/// latency.observe(Duration::from_millis(40), Timestamp::from_secs(300));
/// assert_eq!(latency.get(), Some(Duration::from_millis(40)));
/// # Ok::<(), evenkeel_types::InvalidRatio>(())
/// ```
pub struct SampleEwma {
    /// What is kept of the old average beside a sample of the same time.
    keep: f64,
    /// In nanoseconds.
    tau: f64,
    state: AtomicU64,
}

impl SampleEwma {
    /// An average without a sample, in which a new sample counts for `gain` of the whole.
    #[must_use]
    pub fn new(gain: Ratio, tau: TimeConstant) -> Self {
        Self { keep: 1.0 - gain.as_f64(), tau: tau.nanos(), state: AtomicU64::new(UNOBSERVED) }
    }

    /// Takes in a sample of `now`. Zero counts as one nanosecond.
    pub fn observe(&self, sample: Duration, now: Timestamp) {
        self.update(Stamped::new(sample, now), |_| true);
    }

    /// Takes in a number of `now`. What is below one, or no number, counts as one.
    pub fn observe_number(&self, sample: f64, now: Timestamp) {
        self.update(Stamped::of_number(sample, now), |_| true);
    }

    /// Takes in what was at least so much, or a failure that took so long: counts only above what is left of the average by
    /// time, `m w`, and never lowers that.
    pub fn raise(&self, floor: Duration, now: Timestamp) {
        let sample = Stamped::new(floor, now);
        self.update(sample, |last| f64::from(sample.nanos) > self.faded(last, sample.tick));
    }

    /// What is left of the average by time, and the average itself; `None` before the first sample.
    #[inline]
    #[must_use]
    pub fn faded_reading(&self, now: Timestamp) -> Option<Reading> {
        self.reading(now, |average, age| average * kept(age, self.tau))
    }

    /// The average; `None` before the first sample.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        let last = Stamped::unpack(self.state.load(Ordering::Relaxed))?;
        Some(Duration::from_nanos(last.nanos as u64))
    }

    /// The average, and what `aged` makes of it and its age, which is in nanoseconds; `None` before the first sample.
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
        let elapsed = last.until(sample.tick);
        let keep = self.keep * kept(elapsed, self.tau);
        let (before, after) = (f64::from(last.nanos), f64::from(sample.nanos));
        let nanos = (after + (before - after) * keep) as f32;
        Stamped { nanos, tick: if elapsed == 0.0 { last.tick } else { sample.tick } }
    }

    fn faded(&self, last: Stamped, tick: u64) -> f64 {
        f64::from(last.nanos) * kept(last.until(tick), self.tau)
    }
}

impl fmt::Debug for SampleEwma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SampleEwma").field("keep", &self.keep).field("average", &self.get()).finish()
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

    fn ewma(percent: u32) -> SampleEwma {
        SampleEwma::new(Ratio::percent(percent).unwrap(), TimeConstant::default())
    }

    #[test]
    fn every_sample_has_the_same_say() {
        let ewma = ewma(5);
        assert_eq!((ewma.get(), ewma.reading(at(0), |nanos, _| nanos)), (None, None));
        ewma.observe(ms(100), at(1));
        ewma.observe(ms(200), at(1));
        assert_eq!(ewma.get(), Some(ms(105)));
        ewma.raise(ms(104), at(1));
        assert_eq!(ewma.get(), Some(ms(105)), "a floor below the average says nothing");
        ewma.raise(ms(305), at(1));
        assert_eq!(ewma.get(), Some(ms(115)));
    }

    #[test]
    fn what_is_old_fades() {
        let ewma = ewma(50);
        ewma.observe(ms(100), at(0));
        ewma.observe(ms(200), at(10));
        let expected = 200e6 - 100e6 * 0.5 * libm::exp(-1.0);
        assert!((ewma.faded_reading(at(10)).unwrap().last - expected).abs() < 20_000.0, "{ewma:?}");
        let reading = ewma.faded_reading(at(20)).unwrap();
        assert!((reading.present - reading.last * libm::exp(-1.0)).abs() < 20_000.0, "{reading:?}");
        ewma.raise(ms(80), at(20));
        let raised = ewma.get().unwrap();
        assert!(raised > ms(70) && raised < ms(181), "above the 67 that were left: {raised:?}");
        ewma.observe(ms(7), at(500));
        assert_eq!(ewma.get(), Some(ms(7)));
    }

    #[test]
    fn numbers_are_at_least_one() {
        for (number, expected) in
            [(3.0, 3.0), (0.5, 1.0), (-7.0, 1.0), (f64::NAN, 1.0), (f64::INFINITY, 2_f64.powi(62))]
        {
            let ewma = ewma(50);
            ewma.observe_number(number, at(1));
            assert_eq!(ewma.reading(at(1), |number, _| number).unwrap().present, expected, "{number}");
        }
    }

    #[test]
    fn age_runs_from_the_last_sample() {
        let ewma = ewma(50);
        ewma.observe(ms(8), at(10));
        ewma.observe(ms(8), at(5));
        let reading = ewma.reading(at(11), |nanos, age| nanos + age).unwrap();
        assert_eq!(reading.last, 8e6);
        assert!((reading.present - 1.008e9).abs() < 3e5, "to a tick: {reading:?}");
        assert_eq!(ewma.reading(at(9), |_, age| age).unwrap().present, 0.0, "never negative");
    }
}
