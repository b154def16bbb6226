//! An average that forgets exponentially with time.

use evenkeel_types::Timestamp;

use crate::TimeConstant;

/// An exponentially weighted moving average by time: an old value loses weight with age, not with the number of
/// samples.
///
/// With `w = exp(-dt / tau)` and `dt` since the last sample, a sample `x` makes of the average `m`
///
/// ```text
/// m' = x (1 - w) + m w
/// ```
///
/// and the first sample sets it. Samples of the same instant have no weight against what is there already: a burst of
/// failures within a microsecond hides, which is why a rule on consecutive failures belongs beside any rule on such an
/// average. Reading does not change it and does not age it.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_stats::{Ewma, TimeConstant};
/// use evenkeel_types::Timestamp;
///
/// let mut rate = Ewma::new(TimeConstant::new(Duration::from_secs(1))?);
/// assert_eq!(rate.get(), None);
/// rate.observe(1.0, Timestamp::from_secs(5));
/// rate.observe(0.0, Timestamp::from_secs(6));
/// assert!((rate.get().unwrap_or_default() - 0.367_879_44).abs() < 1e-8);
/// # Ok::<(), evenkeel_stats::ZeroTimeConstant>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ewma {
    tau: TimeConstant,
    last: Option<(f64, Timestamp)>,
}

impl Ewma {
    /// An average without a sample.
    #[must_use]
    pub const fn new(tau: TimeConstant) -> Self {
        Self { tau, last: None }
    }

    /// An average that starts at `value`, as if that had been observed at `now`. One that is not finite is ignored.
    #[must_use]
    pub fn with_initial(tau: TimeConstant, value: f64, now: Timestamp) -> Self {
        let mut ewma = Self::new(tau);
        ewma.observe(value, now);
        ewma
    }

    /// Takes in a sample. A time before that of the last sample counts as that; a sample that is not finite is ignored.
    pub fn observe(&mut self, sample: f64, now: Timestamp) {
        if !sample.is_finite() {
            return;
        }
        self.last = Some(match self.last {
            None => (sample, now),
            Some((mean, stamp)) => {
                let keep = self.tau.keep(now.saturating_since(stamp));
                (sample * (1.0 - keep) + mean * keep, stamp.max(now))
            }
        });
    }

    /// The average; `None` before the first sample.
    #[must_use]
    pub fn get(&self) -> Option<f64> {
        self.last.map(|(mean, _)| mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn follows_the_formula() {
        let mut ewma = Ewma::new(TimeConstant::default());
        ewma.observe(100.0, at(0));
        ewma.observe(0.0, at(10));
        assert_eq!(ewma.get(), Some(100.0 * libm::exp(-1.0)));
        ewma.observe(50.0, at(20));
        let expected = 50.0 * (1.0 - libm::exp(-1.0)) + 100.0 * libm::exp(-1.0) * libm::exp(-1.0);
        assert_eq!(ewma.get(), Some(expected));
    }

    #[test]
    fn the_past_and_the_unspeakable_change_nothing() {
        let mut ewma = Ewma::with_initial(TimeConstant::default(), 7.0, at(100));
        ewma.observe(9.0, at(50));
        ewma.observe(f64::NAN, at(200));
        ewma.observe(f64::INFINITY, at(200));
        assert_eq!(ewma.get(), Some(7.0));
        assert_eq!(Ewma::with_initial(TimeConstant::default(), f64::NAN, at(0)).get(), None);
    }
}
