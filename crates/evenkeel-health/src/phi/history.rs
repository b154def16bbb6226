//! The intervals of the last heartbeats.

use std::collections::VecDeque;
use std::time::Duration;

/// A window of intervals with their mean and variance, kept as exact integers: no drift, and the same on every platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    /// In nanoseconds, oldest first.
    intervals: VecDeque<u64>,
    most: usize,
    sum: u128,
    sum_of_squares: u128,
}

impl History {
    /// Two intervals whose mean is the estimate and whose deviation is a quarter of it, as Akka begins.
    pub(super) fn of_estimate(estimate: Duration, most: usize) -> Self {
        let mut history = Self { intervals: VecDeque::new(), most, sum: 0, sum_of_squares: 0 };
        history.learn(estimate - estimate / 4);
        history.learn(estimate + estimate / 4);
        history
    }

    /// Keeps so many from now on, of those that are there the last.
    pub(super) fn keep(&mut self, most: usize) {
        self.most = most;
        while self.intervals.len() > most {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.intervals.pop_front() {
            self.sum -= u128::from(oldest);
            self.sum_of_squares -= u128::from(oldest) * u128::from(oldest);
        }
    }

    pub(super) fn learn(&mut self, interval: Duration) {
        if self.intervals.len() >= self.most {
            self.forget_oldest();
        }
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).min(LONGEST);
        self.intervals.push_back(nanos);
        self.sum += u128::from(nanos);
        self.sum_of_squares += u128::from(nanos) * u128::from(nanos);
    }

    /// In seconds.
    pub(super) fn mean(&self) -> f64 {
        self.sum as f64 / self.count() as f64 / 1e9
    }

    /// The deviation of the whole window, in seconds.
    pub(super) fn deviation(&self) -> f64 {
        let count = self.count();
        // Never negative: by Cauchy and Schwarz, in exact numbers.
        let spread = (count * self.sum_of_squares).saturating_sub(self.sum * self.sum);
        (spread as f64).sqrt() / count as f64 / 1e9
    }

    pub(super) fn len(&self) -> usize {
        self.intervals.len()
    }

    fn count(&self) -> u128 {
        self.intervals.len().max(1) as u128
    }
}

/// 52 days: with [`MOST_SAMPLES`] of them, no sum overflows (52 + 52 + 11 + 11 bits).
const LONGEST: u64 = (1 << 52) - 1;

/// So many intervals are kept at most.
pub(super) const MOST_SAMPLES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_exactly() {
        let mut history = History::of_estimate(Duration::from_secs(1), 3);
        assert_eq!((history.mean(), history.deviation()), (1.0, 0.25));
        for millis in [900, 1_000, 1_100] {
            history.learn(Duration::from_millis(millis));
        }
        assert_eq!(history.len(), 3);
        assert_eq!(history.mean(), 1.0);
        assert!((history.deviation() - 0.081_649_658).abs() < 1e-9);
    }

    #[test]
    fn the_longest_intervals_do_not_overflow() {
        let mut history = History::of_estimate(Duration::from_secs(1), MOST_SAMPLES);
        for _ in 0..2 * MOST_SAMPLES {
            history.learn(Duration::MAX);
        }
        assert_eq!(history.deviation(), 0.0);
    }
}
