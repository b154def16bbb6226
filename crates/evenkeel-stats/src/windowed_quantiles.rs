//! Latency quantiles of the last while.

use std::fmt;
use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};

use crate::InvalidWindow;
use crate::quantiles::{Quantiles, count_of, quantile_of};
use crate::sync::{AtomicU64, Ordering};

/// The quantiles of the last one to two windows: two [`Quantiles`], of which one is filled while the other is kept.
///
/// A duration counts in window `floor(now / w)`, and what is read covers that window, as far as it has come, and the
/// one before it. Whoever enters a new window empties the older histogram, O(1 024); in that very moment others may
/// still read some of it, and what they record may be forgotten, which a statistic can bear. A time before that of the
/// latest record counts as that.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_stats::WindowedQuantiles;
/// use evenkeel_types::{Ratio, Timestamp};
///
/// let latency = WindowedQuantiles::new(Duration::from_secs(60))?;
/// latency.record(Duration::from_millis(5), Timestamp::from_secs(59));
/// assert!(latency.quantile(Ratio::HALF, Timestamp::from_secs(119)).is_some());
/// assert!(latency.quantile(Ratio::HALF, Timestamp::from_secs(120)).is_none());
/// # Ok::<(), evenkeel_stats::InvalidWindow>(())
/// ```
pub struct WindowedQuantiles {
    /// In nanoseconds.
    width: u64,
    newest: AtomicU64,
    halves: [Quantiles; 2],
}

impl WindowedQuantiles {
    /// Nothing recorded, windows of `width`. Allocates 16 KiB once.
    ///
    /// # Errors
    ///
    /// [`InvalidWindow::NoWidth`] if `width` is zero.
    pub fn new(width: Duration) -> Result<Self, InvalidWindow> {
        if width.is_zero() {
            return Err(InvalidWindow::NoWidth);
        }
        let width = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self { width, newest: AtomicU64::new(0), halves: [Quantiles::new(), Quantiles::new()] })
    }

    /// Counts a duration that ended at `now`.
    pub fn record(&self, duration: Duration, now: Timestamp) {
        self.half(self.enter(self.number_of(now))).record(duration);
    }

    /// How many durations the last one to two windows hold.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> u64 {
        self.with_current(now, count_of)
    }

    /// The quantile of the last one to two windows, as [`Quantiles::quantile`]. Changes nothing.
    #[must_use]
    pub fn quantile(&self, q: Ratio, now: Timestamp) -> Option<Duration> {
        self.with_current(now, |halves| quantile_of(halves, q))
    }

    fn with_current<R>(&self, now: Timestamp, read: impl FnOnce(&[&Quantiles]) -> R) -> R {
        let newest = self.newest.load(Ordering::Acquire);
        match self.number_of(now).saturating_sub(newest) {
            0 => read(&[&self.halves[0], &self.halves[1]]),
            1 => read(&[self.half(newest)]),
            _ => read(&[]),
        }
    }

    /// Makes `number` the newest window, unless there is a newer one, and empties what is too old. Returns the newest.
    fn enter(&self, number: u64) -> u64 {
        let newest = self.newest.load(Ordering::Acquire);
        if number <= newest {
            return newest;
        }
        let before = self.newest.fetch_max(number, Ordering::AcqRel);
        if before < number {
            self.half(number).reset();
            if number - before > 1 {
                self.half(number - 1).reset();
            }
        }
        number.max(before)
    }

    const fn half(&self, number: u64) -> &Quantiles {
        &self.halves[(number % 2) as usize]
    }

    const fn number_of(&self, now: Timestamp) -> u64 {
        now.as_nanos() / self.width
    }
}

impl fmt::Debug for WindowedQuantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowedQuantiles")
            .field("width", &Duration::from_nanos(self.width))
            .field("halves", &self.halves)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_window_is_kept_for_one_more() {
        let latency = WindowedQuantiles::new(Duration::from_secs(10)).unwrap();
        let counts = |times: [u64; 4]| times.map(|secs| latency.count(at(secs)));
        latency.record(Duration::from_millis(1), at(9));
        assert_eq!(counts([9, 10, 19, 20]), [1, 1, 1, 0]);
        latency.record(Duration::from_millis(2), at(10));
        assert_eq!(counts([10, 19, 20, 30]), [2, 2, 1, 0]);
        latency.record(Duration::from_millis(3), at(20));
        assert_eq!(counts([20, 29, 30, 40]), [2, 2, 1, 0]);
        // 2 ms lies in [1966080, 2031616).
        assert_eq!(latency.quantile(Ratio::HALF, at(20)), Some(Duration::from_nanos(2_031_615)));
    }

    #[test]
    fn a_pause_empties_both_and_time_going_back_neither() {
        let latency = WindowedQuantiles::new(Duration::from_secs(10)).unwrap();
        latency.record(Duration::from_millis(1), at(5));
        latency.record(Duration::from_millis(1), at(15));
        latency.record(Duration::from_millis(1), at(45));
        assert_eq!(latency.count(at(45)), 1);
        latency.record(Duration::from_millis(1), at(5));
        assert_eq!(latency.count(at(5)), 2);
        latency.record(Duration::from_millis(1), Timestamp::MAX);
        assert_eq!(latency.count(Timestamp::MAX), 1);
    }

    #[test]
    fn refuses_a_window_without_width() {
        assert_eq!(WindowedQuantiles::new(Duration::ZERO).err(), Some(InvalidWindow::NoWidth));
    }
}
