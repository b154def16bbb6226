use evenkeel_types::{Ratio, Timestamp};

use crate::sync::{AtomicU64, Ordering};

/// A quantile of the loads of all endpoints, counted anew every 10 ms by one of the picks; the others do not wait.
#[derive(Debug)]
pub(crate) struct Threshold {
    quantile: Ratio,
    /// In nanoseconds.
    due: AtomicU64,
    /// The bits of a float.
    value: AtomicU64,
}

impl Threshold {
    pub(crate) fn new(quantile: Ratio) -> Self {
        Self { quantile, due: AtomicU64::new(0), value: AtomicU64::new(0) }
    }

    /// The threshold at `now`; `loads` gives all loads if it is due.
    #[inline]
    pub(crate) fn at<I: Iterator<Item = f64>>(&self, now: Timestamp, loads: impl FnOnce() -> I) -> f64 {
        let due = self.due.load(Ordering::Relaxed);
        if now.as_nanos() >= due {
            self.renew(now, due, loads);
        }
        f64::from_bits(self.value.load(Ordering::Relaxed))
    }

    #[cold]
    #[inline(never)]
    fn renew<I: Iterator<Item = f64>>(&self, now: Timestamp, due: u64, loads: impl FnOnce() -> I) {
        let next = now.as_nanos().saturating_add(INTERVAL);
        if self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let value = quantile_of(loads(), self.quantile);
            self.value.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}

/// The smallest load that the share `quantile` of all does not exceed, rounded up by a sixteenth at most where it is 64 or
/// more. Zero for none.
fn quantile_of(loads: impl Iterator<Item = f64>, quantile: Ratio) -> f64 {
    let mut counts = [0_u32; BUCKETS];
    let mut total = 0_u64;
    for load in loads {
        counts[bucket_of(load as u32)] += 1;
        total += 1;
    }
    let mut seen = 0_u64;
    for (bucket, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
        seen += u64::from(count);
        if quantile.is_reached_by(seen, total) {
            return end_of(bucket);
        }
    }
    0.0
}

/// Loads below 64 by themselves, then 16 buckets for each octave.
const fn bucket_of(load: u32) -> usize {
    if load < EXACT {
        return load as usize;
    }
    let octave = load.ilog2();
    (EXACT + (octave - 6) * 16 + ((load >> (octave - 4)) & 15)) as usize
}

/// The largest load of a bucket. Loads by weight have fractions: those count too.
fn end_of(bucket: usize) -> f64 {
    let bucket = bucket as u32;
    if bucket < EXACT {
        return f64::from(bucket) + FRACTION;
    }
    let (octave, within) = (6 + (bucket - EXACT) / 16, (bucket - EXACT) % 16);
    let end = u64::from(16 + within + 1) << (octave - 4);
    (end - 1) as f64 + FRACTION
}

const INTERVAL: u64 = 10_000_000;
const EXACT: u32 = 64;
const FRACTION: f64 = 0.999;
/// 64 and 26 octaves.
const BUCKETS: usize = 64 + 26 * 16;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_load_has_a_bucket_that_ends_at_or_above_it() {
        for load in (0..5000).chain([u32::MAX - 1, u32::MAX]) {
            let end = end_of(bucket_of(load));
            assert!(end >= f64::from(load) && end <= f64::from(load) * 17.0 / 16.0 + 1.0, "{load} {end}");
        }
        assert_eq!(bucket_of(u32::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_small_loads_are_exact() {
        let loads = [0.0, 1.0, 1.0, 2.0, 9.0];
        for (percent, expected) in
            [(0, 0.0), (20, 0.0), (21, 1.0), (60, 1.0), (80, 2.0), (81, 9.0), (100, 9.0)]
        {
            let value = quantile_of(loads.into_iter(), Ratio::percent(percent).unwrap());
            assert_eq!(value - FRACTION, expected, "{percent}");
        }
        assert_eq!(quantile_of(std::iter::empty(), Ratio::HALF), 0.0);
    }

    #[test]
    fn it_is_counted_when_due_and_not_before() {
        let threshold = Threshold::new(Ratio::ONE);
        let value =
            |millis, load: f64| threshold.at(Timestamp::from_millis(millis), || [load].into_iter()).floor();
        assert_eq!([value(0, 3.0), value(9, 5.0), value(10, 5.0), value(2, 9.0)], [3.0, 3.0, 5.0, 5.0]);
    }
}
