//! Latency quantiles in fixed memory.

use std::fmt;
use std::time::Duration;

use evenkeel_types::Ratio;

use crate::sync::{AtomicU64, Ordering};

/// A histogram of durations with logarithmic buckets: quantiles to 1/32, in 8 KiB, whatever is recorded.
///
/// Each power of two from 1.024 µs (2^10 ns) to 73 min (2^42 ns) is cut into 32 equal buckets, so that a bucket is
/// never wider than 1/32 of what lies in it. Below and above, a duration counts in the first or last bucket. This is
/// the idea of Gil Tene's HdrHistogram, <http://hdrhistogram.org>, with a fixed range and five bits of precision.
///
/// Recording is one relaxed addition, O(1); a quantile reads all 1 024 buckets. Histograms can be merged, and the
/// merged one is exactly that of all samples together, unlike an average of quantiles.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_stats::Quantiles;
/// use evenkeel_types::Ratio;
///
/// let latency = Quantiles::new();
/// for millis in 1..=100 {
///     latency.record(Duration::from_millis(millis));
/// }
/// let p99 = latency.quantile(Ratio::percent(99)?).unwrap_or_default();
/// assert!(p99 >= Duration::from_millis(99) && p99 < Duration::from_millis(99) * 33 / 32);
/// # Ok::<(), evenkeel_types::InvalidRatio>(())
/// ```
pub struct Quantiles {
    buckets: Box<[AtomicU64]>,
}

impl Quantiles {
    /// Nothing recorded. Allocates 8 KiB once.
    #[must_use]
    pub fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts a duration.
    pub fn record(&self, duration: Duration) {
        self.buckets[bucket_of(duration)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        count_of(&[self])
    }

    /// The smallest recorded duration that at least the share `q` of all does not exceed, rounded up to the end of its
    /// bucket: never below the true one, and above it by less than 1/32 within the range. `None` if nothing was
    /// recorded.
    ///
    /// `q` zero gives the smallest, one the largest. While others record, it is the quantile of what was seen in passing.
    #[must_use]
    pub fn quantile(&self, q: Ratio) -> Option<Duration> {
        quantile_of(&[self], q)
    }

    /// Adds all that `other` holds.
    pub fn merge_from(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            let count = theirs.load(Ordering::Relaxed);
            if count > 0 {
                mine.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Forgets everything. What others record at the same time may be forgotten too, or not.
    pub fn reset(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }
}

impl Default for Quantiles {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quantiles")
            .field("count", &self.count())
            .field("median", &self.quantile(Ratio::HALF))
            .field("largest", &self.quantile(Ratio::ONE))
            .finish()
    }
}

pub(crate) fn count_of(histograms: &[&Quantiles]) -> u64 {
    (0..BUCKETS).map(|index| count_in(histograms, index)).sum()
}

/// The quantile of several histograms taken together.
pub(crate) fn quantile_of(histograms: &[&Quantiles], q: Ratio) -> Option<Duration> {
    let total = count_of(histograms);
    let (mut seen, mut largest) = (0_u64, None);
    for index in 0..BUCKETS {
        let count = count_in(histograms, index);
        if count > 0 {
            seen = seen.saturating_add(count);
            largest = Some(end_of(index));
            if q.is_reached_by(seen, total) {
                return largest;
            }
        }
    }
    // Only if someone has reset it since the total was taken.
    largest
}

fn count_in(histograms: &[&Quantiles], index: usize) -> u64 {
    histograms.iter().map(|histogram| histogram.buckets[index].load(Ordering::Relaxed)).sum()
}

const fn bucket_of(duration: Duration) -> usize {
    let nanos = duration.as_nanos();
    let nanos = if nanos < SMALLEST as u128 {
        SMALLEST
    } else if nanos > LARGEST as u128 {
        LARGEST
    } else {
        nanos as u64
    };
    let octave = nanos.ilog2();
    let within = (nanos >> (octave - PRECISION)) & (PER_OCTAVE - 1);
    (octave - FIRST_OCTAVE) as usize * PER_OCTAVE as usize + within as usize
}

/// The largest duration of a bucket, in whole nanoseconds.
const fn end_of(index: usize) -> Duration {
    let octave = FIRST_OCTAVE + index as u32 / PER_OCTAVE as u32;
    let within = index as u64 % PER_OCTAVE;
    Duration::from_nanos(((PER_OCTAVE + within + 1) << (octave - PRECISION)) - 1)
}

/// Five bits of precision: 32 buckets an octave, a relative error below 1/32.
const PRECISION: u32 = 5;
const PER_OCTAVE: u64 = 1 << PRECISION;

/// From 2^10 ns, 1.024 µs: nothing that crosses a network is faster …
const FIRST_OCTAVE: u32 = 10;
/// … to 2^42 ns, 73 min: no request that anybody waits for is slower.
const END_OCTAVE: u32 = 42;
const SMALLEST: u64 = 1 << FIRST_OCTAVE;
const LARGEST: u64 = (1 << END_OCTAVE) - 1;
const BUCKETS: usize = (END_OCTAVE - FIRST_OCTAVE) as usize * PER_OCTAVE as usize;

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(percent: u32) -> Ratio {
        Ratio::percent(percent).unwrap()
    }

    #[test]
    fn quantiles_are_the_ends_of_their_buckets() {
        let latency = Quantiles::new();
        assert_eq!(latency.quantile(Ratio::HALF), None);
        for micros in [10, 20, 30, 40] {
            latency.record(Duration::from_micros(micros));
        }
        assert_eq!(latency.count(), 4);
        // 10 µs lies in [9984, 10240), 20 in [19968, 20480), 30 in [29696, 30208), 40 in [39936, 40960).
        let quantile = |q| latency.quantile(percent(q)).unwrap().as_nanos();
        assert_eq!([quantile(0), quantile(25), quantile(26)], [10_239, 10_239, 20_479]);
        assert_eq!([quantile(50), quantile(75), quantile(100)], [20_479, 30_207, 40_959]);
    }

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for index in 0..BUCKETS {
            let end = end_of(index);
            assert_eq!(bucket_of(end), index);
            assert_eq!(bucket_of(end + Duration::from_nanos(1)), (index + 1).min(BUCKETS - 1));
        }
        assert_eq!(bucket_of(Duration::ZERO), 0);
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
        assert_eq!(BUCKETS, 1_024);
    }

    #[test]
    fn merging_is_recording_both_and_reset_is_recording_none() {
        let (left, right, both) = (Quantiles::new(), Quantiles::new(), Quantiles::new());
        for micros in 1..1_000 {
            let half = if micros % 3 == 0 { &left } else { &right };
            half.record(Duration::from_micros(micros));
            both.record(Duration::from_micros(micros));
        }
        left.merge_from(&right);
        for q in 0..=100 {
            assert_eq!(left.quantile(percent(q)), both.quantile(percent(q)));
        }
        left.reset();
        assert_eq!((left.count(), left.quantile(Ratio::ONE)), (0, None));
    }
}
