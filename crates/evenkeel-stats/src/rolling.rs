//! Successes and failures of the last seconds.

use std::fmt;
use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};
use thiserror::Error;

use crate::sync::{AtomicU64, Ordering};

/// The shape of a [`RollingCounter`]: how many buckets, and how wide each is.
///
/// The default is 10 buckets of 1 s. Ten keep the uncertainty of the span at a tenth of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct WindowShape {
    /// How many buckets. Default 10; 1 gives a fixed window that starts from nothing again and again.
    pub buckets: u16,
    /// How long each lasts. Default 1 s.
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub width: Duration,
}

impl Default for WindowShape {
    fn default() -> Self {
        Self { buckets: 10, width: Duration::from_secs(1) }
    }
}

/// The window has no extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidWindow {
    /// There is no bucket to count in. Give at least one.
    #[error("the window has no buckets")]
    NoBuckets,
    /// A bucket lasts no time. Give the width of one bucket, not of the window.
    #[error("a bucket of the window has no width")]
    NoWidth,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Counts {
    /// Calls that went well.
    pub successes: u64,
    /// Calls that did not.
    pub failures: u64,
}

impl Counts {
    /// All calls.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.successes.saturating_add(self.failures)
    }

    /// Whether the failures are at least this share of all; of no calls at all only zero is.
    #[must_use]
    pub const fn failures_reach(self, share: Ratio) -> bool {
        share.is_reached_by(self.failures, self.total())
    }
}

/// Successes and failures within a sliding window: a ring of `B` buckets of width `w`.
///
/// A result counts in bucket `floor(now / w)`. The window that is read at `now` is the current bucket, as far as it has
/// come, and the `B - 1` before it: a span from `(B - 1) w` (exclusive) to `B w`, by where in its bucket `now` lies. So
/// what is counted leaves after that time, with the bucket in which it was.
///
/// Each bucket is one word: 27 bits for each count, and 10 bits that say which lap round the ring they belong to, so
/// that the first result of a new lap replaces the old counts in one compare-and-swap and no reader meets half of each.
/// Whoever first enters a new bucket clears it and those that were skipped, `B` at most, however long the pause was.
/// Above 134 million results in one bucket a count stays where it is. A time before that of the latest result counts as
/// that: a result is counted in the newest bucket and never lost. Reading takes the time and writes nothing.
///
/// Recording is lock-free: two loads and one compare-and-swap.
///
/// ```
/// use evenkeel_stats::{Counts, RollingCounter, WindowShape};
/// use evenkeel_types::{Ratio, Timestamp};
///
/// let window = RollingCounter::new(WindowShape::default())?;
/// window.record_success(Timestamp::from_secs(20));
/// window.record_failure(Timestamp::from_secs(25));
/// assert_eq!(window.counts(Timestamp::from_secs(29)), Counts { successes: 1, failures: 1 });
/// assert_eq!(window.counts(Timestamp::from_secs(30)), Counts { successes: 0, failures: 1 });
/// assert!(window.counts(Timestamp::from_secs(30)).failures_reach(Ratio::HALF));
/// # Ok::<(), evenkeel_stats::InvalidWindow>(())
/// ```
pub struct RollingCounter {
    /// In nanoseconds.
    width: u64,
    /// The number of the newest bucket that anyone entered.
    newest: AtomicU64,
    ring: Box<[AtomicU64]>,
}

impl RollingCounter {
    /// An empty window. Allocates its buckets once, 8 bytes each.
    ///
    /// # Errors
    ///
    /// [`InvalidWindow`] without buckets, or with buckets of no width.
    pub fn new(shape: WindowShape) -> Result<Self, InvalidWindow> {
        if shape.buckets == 0 {
            return Err(InvalidWindow::NoBuckets);
        }
        if shape.width.is_zero() {
            return Err(InvalidWindow::NoWidth);
        }
        let width = u64::try_from(shape.width.as_nanos()).unwrap_or(u64::MAX);
        let ring = (0..shape.buckets).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { width, newest: AtomicU64::new(0), ring })
    }

    /// Counts a call that went well.
    pub fn record_success(&self, now: Timestamp) {
        self.record(now, Tally::with_success);
    }

    /// Counts a call that did not.
    pub fn record_failure(&self, now: Timestamp) {
        self.record(now, Tally::with_failure);
    }

    /// What was recorded within the window that ends at `now`. O(B).
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> Counts {
        let newest = self.newest.load(Ordering::Acquire);
        let number = self.number_of(now).max(newest);
        let oldest = number.saturating_sub(self.ring.len() as u64 - 1);
        (oldest..=newest).fold(Counts::default(), |sum, number| self.tally(number).added_to(sum))
    }

    fn record(&self, now: Timestamp, count: fn(Tally) -> Tally) {
        let mut number = self.enter(self.number_of(now));
        loop {
            let (slot, lap) = self.place_of(number);
            let word = slot.load(Ordering::Acquire);
            let found = Tally::unpack(word);
            if found.lap != lap {
                // Another lap is in the slot: if it is a newer one, it has been published or is about to be.
                let newest = self.newest.load(Ordering::Acquire);
                if newest > number {
                    number = newest;
                    continue;
                }
            }
            let next = count(found.of_lap(lap)).pack();
            if slot.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Makes `number` the newest bucket, unless there is a newer one. Returns the newest.
    ///
    /// The slots that come into use are emptied first and published then, so that a published bucket holds nothing from
    /// earlier laps, not even from one that bears the same 10 bits.
    fn enter(&self, number: u64) -> u64 {
        let mut newest = self.newest.load(Ordering::Acquire);
        while newest < number {
            let oldest = number.saturating_sub(self.ring.len() as u64 - 1);
            for unused in oldest.max(newest + 1)..=number {
                self.clear(unused, newest);
            }
            match self.newest.compare_exchange(newest, number, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return number,
                Err(present) => newest = present,
            }
        }
        newest
    }

    /// Empties the slot of the coming bucket `number`, as long as `newest` is the newest.
    fn clear(&self, number: u64, newest: u64) {
        let (slot, lap) = self.place_of(number);
        let empty = Tally::EMPTY.of_lap(lap).pack();
        loop {
            let word = slot.load(Ordering::Acquire);
            if word == empty || self.newest.load(Ordering::Acquire) != newest {
                return;
            }
            if slot.compare_exchange_weak(word, empty, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    fn tally(&self, number: u64) -> Tally {
        let (slot, lap) = self.place_of(number);
        Tally::unpack(slot.load(Ordering::Acquire)).of_lap(lap)
    }

    fn place_of(&self, number: u64) -> (&AtomicU64, u64) {
        let buckets = self.ring.len() as u64;
        (&self.ring[(number % buckets) as usize], (number / buckets) & LAP_MASK)
    }

    const fn number_of(&self, now: Timestamp) -> u64 {
        now.as_nanos() / self.width
    }
}

impl fmt::Debug for RollingCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = self.newest.load(Ordering::Acquire);
        let now = Timestamp::from_nanos(newest.saturating_mul(self.width));
        f.debug_struct("RollingCounter")
            .field("buckets", &self.ring.len())
            .field("width", &Duration::from_nanos(self.width))
            .field("counts", &self.counts(now))
            .finish()
    }
}

/// The unpacked word of one bucket.
#[derive(Clone, Copy)]
struct Tally {
    lap: u64,
    successes: u64,
    failures: u64,
}

impl Tally {
    const EMPTY: Self = Self { lap: 0, successes: 0, failures: 0 };

    const fn unpack(word: u64) -> Self {
        Self {
            lap: word >> (2 * COUNT_BITS),
            successes: (word >> COUNT_BITS) & COUNT_MASK,
            failures: word & COUNT_MASK,
        }
    }

    const fn pack(self) -> u64 {
        (self.lap << (2 * COUNT_BITS)) | (self.successes << COUNT_BITS) | self.failures
    }

    /// This, if it belongs to `lap`; else nothing counted in that lap.
    const fn of_lap(self, lap: u64) -> Self {
        if self.lap == lap { self } else { Self { lap, ..Self::EMPTY } }
    }

    fn with_success(self) -> Self {
        Self { successes: (self.successes + 1).min(COUNT_MASK), ..self }
    }

    fn with_failure(self) -> Self {
        Self { failures: (self.failures + 1).min(COUNT_MASK), ..self }
    }

    const fn added_to(self, sum: Counts) -> Counts {
        Counts { successes: sum.successes + self.successes, failures: sum.failures + self.failures }
    }
}

/// Two counts of 27 bits leave 10 for the lap. They only tell a bucket from its neighbours in time: that a pause of
/// 1 024 laps brings nothing back is the care of `enter`.
const COUNT_BITS: u32 = 27;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const LAP_MASK: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn window(buckets: u16) -> RollingCounter {
        RollingCounter::new(WindowShape { buckets, width: Duration::from_secs(1) }).unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn counts(successes: u64, failures: u64) -> Counts {
        Counts { successes, failures }
    }

    #[test]
    fn a_result_leaves_with_its_bucket() {
        let window = window(10);
        window.record_success(at(20_000));
        window.record_success(at(20_999));
        window.record_failure(at(21_000));
        assert_eq!(window.counts(at(29_999)), counts(2, 1));
        assert_eq!(window.counts(at(30_000)), counts(0, 1));
        assert_eq!(window.counts(at(31_000)), counts(0, 0));
    }

    #[test]
    fn one_bucket_is_a_fixed_window() {
        let window = window(1);
        window.record_failure(at(999));
        assert_eq!(window.counts(at(999)), counts(0, 1));
        assert_eq!(window.counts(at(1_000)), counts(0, 0));
        window.record_success(at(1_000));
        assert_eq!(window.counts(at(1_999)), counts(1, 0));
    }

    #[test]
    fn reading_writes_nothing() {
        let window = window(2);
        window.record_failure(at(500));
        assert_eq!(window.counts(Timestamp::MAX), counts(0, 0));
        assert_eq!(window.counts(at(500)), counts(0, 1));
    }

    #[test]
    fn time_going_back_neither_loses_nor_revives() {
        let window = window(3);
        window.record_success(at(1_000));
        window.record_success(at(9_000));
        window.record_failure(at(1_000));
        assert_eq!(window.counts(at(1_000)), counts(1, 1), "counted in the newest bucket");
        assert_eq!(window.counts(at(11_999)), counts(1, 1));
        assert_eq!(window.counts(at(12_000)), counts(0, 0));
    }

    /// A ring whose steps were cast to 32 bits, or whose laps repeat, would show old counts again.
    #[test]
    fn a_pause_of_any_length_clears_everything() {
        let lap = 4_u64;
        for laps in [1, 2, 1_024, 2 * 1_024, 1 << 32, 1 << 40] {
            for rest in 0..4 {
                let window =
                    RollingCounter::new(WindowShape { buckets: 4, width: Duration::from_nanos(1) }).unwrap();
                for nanos in 0..4 {
                    window.record_failure(Timestamp::from_nanos(nanos));
                }
                let later = Timestamp::from_nanos(laps * lap + 3 + rest);
                assert_eq!(window.counts(later), counts(0, 0), "{laps} laps");
                window.record_success(later);
                assert_eq!(window.counts(later), counts(1, 0), "{laps} laps and {rest}");
            }
        }
    }

    #[test]
    fn the_end_of_time_is_an_ordinary_time() {
        let window = RollingCounter::new(WindowShape { buckets: 3, width: Duration::from_nanos(1) }).unwrap();
        window.record_success(Timestamp::MAX);
        window.record_failure(Timestamp::MAX);
        assert_eq!(window.counts(Timestamp::MAX), counts(1, 1));
    }

    #[test]
    fn a_full_count_stays_and_does_not_spill_into_its_neighbour() {
        let full = Tally { lap: 5, successes: 3, failures: COUNT_MASK };
        let after = Tally::unpack(full.with_failure().pack());
        assert_eq!((after.lap, after.successes, after.failures), (5, 3, COUNT_MASK));
        let full = Tally { lap: 5, successes: COUNT_MASK, failures: 3 };
        let after = Tally::unpack(full.with_success().pack());
        assert_eq!((after.lap, after.successes, after.failures), (5, COUNT_MASK, 3));
    }

    #[test]
    fn refuses_a_window_without_extent() {
        let refused = |buckets, width| RollingCounter::new(WindowShape { buckets, width }).err();
        assert_eq!(refused(0, Duration::from_secs(1)), Some(InvalidWindow::NoBuckets));
        assert_eq!(refused(1, Duration::ZERO), Some(InvalidWindow::NoWidth));
        assert_eq!(refused(1, Duration::MAX), None);
    }
}
