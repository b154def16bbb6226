//! Laws that hold for every sequence of samples, at times in any order.

use std::time::Duration;

use evenkeel_stats::{
    Counts, Ewma, PeakEwma, Quantiles, RollingCounter, TimeConstant, WindowShape, WindowedQuantiles,
};
use evenkeel_types::{Ratio, Timestamp};
use proptest::prelude::*;

/// Times of every size: near each other, and anywhere.
fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![0_u64..100_000_000_000, any::<u64>()].prop_map(Timestamp::from_nanos)
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![0_u64..10_000_000_000, any::<u64>()].prop_map(Duration::from_nanos)
}

proptest! {
    #[test]
    fn an_average_lies_within_its_samples(
        samples in prop::collection::vec((-1e9_f64..1e9, time()), 1..60), tau in 1_u64..=u64::MAX,
    ) {
        let mut ewma = Ewma::new(TimeConstant::new(Duration::from_nanos(tau)).unwrap());
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for (sample, now) in samples {
            ewma.observe(sample, now);
            (low, high) = (low.min(sample), high.max(sample));
            let mean = ewma.get().unwrap();
            prop_assert!(mean >= low - 1e-6 && mean <= high + 1e-6, "{} outside {}..{}", mean, low, high);
        }
    }

    #[test]
    fn a_peak_estimate_lies_between_its_last_and_its_largest_sample(
        samples in prop::collection::vec((duration(), time()), 1..60), tau in 1_u64..=u64::MAX, asked in time(),
    ) {
        let ewma = PeakEwma::new(TimeConstant::new(Duration::from_nanos(tau)).unwrap());
        let mut largest = 0.0_f64;
        for (rtt, now) in samples {
            ewma.observe(rtt, now);
            let rtt = (rtt.as_nanos() as f64).clamp(1.0, (1_u64 << 62) as f64);
            largest = largest.max(rtt);
            // Single precision rounds to 6e-8.
            prop_assert!(ewma.nanos(asked) <= largest * 1.000_000_1);
            prop_assert!(ewma.nanos(now) >= rtt * 0.999_999_9);
            prop_assert_eq!(ewma.get(asked), ewma.get(asked));
        }
    }

    #[test]
    fn an_idle_estimate_only_falls(
        rtt in duration(), start in 0_u64..1 << 50, mut ages in prop::collection::vec(0_u64..1 << 51, 1..20),
    ) {
        let now = Timestamp::from_nanos(start);
        let ewma = PeakEwma::with_initial(TimeConstant::default(), rtt, now);
        ages.sort_unstable();
        let mut last = ewma.nanos(now);
        for age in ages {
            let nanos = ewma.nanos(now.saturating_add(Duration::from_nanos(age)));
            prop_assert!(nanos <= last);
            last = nanos;
        }
    }

    /// Against the plain definition: a list of bucket numbers.
    #[test]
    fn a_rolling_window_counts_its_buckets(
        buckets in 1_u16..12, width in 1_u64..50,
        results in prop::collection::vec((0_u64..2_000, any::<bool>()), 0..80), ahead in 0_u64..2_000,
    ) {
        let shape = WindowShape { buckets, width: Duration::from_nanos(width) };
        let window = RollingCounter::new(shape).unwrap();
        let (mut newest, mut list) = (0, Vec::new());
        for (nanos, success) in results {
            let now = Timestamp::from_nanos(nanos);
            if success { window.record_success(now) } else { window.record_failure(now) }
            newest = newest.max(nanos / width);
            list.push((newest, success));
            for asked in [nanos, nanos + ahead] {
                let end = newest.max(asked / width);
                let expected = list.iter().filter(|(number, _)| number + u64::from(buckets) > end).fold(
                    Counts::default(),
                    |sum, &(_, success)| Counts {
                        successes: sum.successes + u64::from(success),
                        failures: sum.failures + u64::from(!success),
                    },
                );
                prop_assert_eq!(window.counts(Timestamp::from_nanos(asked)), expected);
            }
        }
    }

    #[test]
    fn nothing_panics_at_any_time(
        samples in prop::collection::vec((duration(), time(), any::<bool>()), 0..40),
        width in duration(), buckets in any::<u16>(),
    ) {
        let window = RollingCounter::new(WindowShape { buckets, width });
        let quantiles = WindowedQuantiles::new(width);
        for (duration, now, success) in samples {
            if let Ok(window) = &window {
                if success { window.record_success(now) } else { window.record_failure(now) }
                prop_assert!(window.counts(now).total() > 0);
                prop_assert!(window.counts(now).failures_reach(Ratio::ZERO));
            }
            if let Ok(quantiles) = &quantiles {
                quantiles.record(duration, now);
                prop_assert!(quantiles.quantile(Ratio::ONE, now).is_some());
            }
        }
    }

    #[test]
    fn a_quantile_is_true_to_a_thirty_second(
        mut micros in prop::collection::vec(2_u64..3_600_000_000, 1..200), percent in 0_u32..=100,
    ) {
        let quantiles = Quantiles::new();
        for &value in &micros {
            quantiles.record(Duration::from_micros(value));
        }
        micros.sort_unstable();
        let rank = (micros.len() * percent as usize).div_ceil(100).max(1);
        let exact = Duration::from_micros(micros[rank - 1]);
        let found = quantiles.quantile(Ratio::percent(percent).unwrap()).unwrap();
        prop_assert!(found >= exact && found < exact + exact / 32 + Duration::from_nanos(1), "{:?} {:?}", found, exact);
    }
}
