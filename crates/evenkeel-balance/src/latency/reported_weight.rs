use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::LoadReport;
use crate::sync::{AtomicU64, Ordering};

/// The weight that an endpoint earns by its reports, and since when it may be used.
///
/// Three words: the time of the last report is published last, so whoever sees a report sees since when reports have come.
#[derive(Debug, Default)]
pub(crate) struct ReportedWeight {
    /// The bits of a float.
    weight: AtomicU64,
    /// When reports began to come without a gap, one more than in nanoseconds.
    since: AtomicU64,
    /// When the last one came, likewise; zero before the first.
    updated: AtomicU64,
}

/// From when to when a reported weight is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) blackout: Duration,
    pub(crate) expiration: Duration,
}

impl ReportedWeight {
    /// Takes in a weight. After a silence as long as the expiration the blackout begins anew.
    pub(crate) fn update(&self, weight: f64, at: Timestamp, validity: Validity) {
        let stamp = at.as_nanos().saturating_add(1);
        let updated = self.updated.load(Ordering::Acquire);
        if updated == 0 || between(updated, stamp) >= validity.expiration {
            self.since.store(stamp, Ordering::Relaxed);
        }
        self.weight.store(weight.to_bits(), Ordering::Relaxed);
        self.updated.fetch_max(stamp, Ordering::Release);
    }

    /// The weight, if it may be used at `now`.
    pub(crate) fn at(&self, now: Timestamp, validity: Validity) -> Option<f64> {
        let stamp = now.as_nanos().saturating_add(1);
        let updated = self.updated.load(Ordering::Acquire);
        if updated == 0 || between(updated, stamp) >= validity.expiration {
            return None;
        }
        let is_usable = between(self.since.load(Ordering::Relaxed), stamp) >= validity.blackout;
        is_usable.then(|| f64::from_bits(self.weight.load(Ordering::Relaxed)))
    }
}

const fn between(earlier: u64, later: u64) -> Duration {
    Duration::from_nanos(later.saturating_sub(earlier))
}

/// Queries a second for each unit of utilisation, errors counting as so much more utilisation. `None` for a report that
/// says nothing: without traffic, without load, or with figures that are none.
pub(crate) fn weight_of(report: &LoadReport, error_penalty: f64) -> Option<f64> {
    let LoadReport { queries_per_second: queries, errors_per_second: errors, utilisation, .. } = *report;
    let is_figure = |figure: f64| figure.is_finite() && figure > 0.0;
    if !is_figure(queries) || !is_figure(utilisation) || !(errors == 0.0 || is_figure(errors)) {
        return None;
    }
    let weight = queries / (utilisation + errors / queries * error_penalty);
    is_figure(weight).then_some(weight)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const VALIDITY: Validity =
        Validity { blackout: Duration::from_secs(10), expiration: Duration::from_secs(180) };

    #[test]
    fn the_formula_and_what_says_nothing() {
        for (queries, errors, utilisation, penalty, expected) in [
            (100.0, 0.0, 0.5, 1.0, Some(200.0)),
            (100.0, 50.0, 0.5, 1.0, Some(100.0)),
            (100.0, 50.0, 0.5, 0.0, Some(200.0)),
            (100.0, 100.0, 0.5, 3.0, Some(100.0 / 3.5)),
            (0.0, 0.0, 0.5, 1.0, None),
            (100.0, 0.0, 0.0, 1.0, None),
            (-1.0, 0.0, 0.5, 1.0, None),
            (100.0, -1.0, 0.5, 1.0, None),
            (100.0, 0.0, -0.5, 1.0, None),
            (f64::NAN, 0.0, 0.5, 1.0, None),
            (100.0, f64::NAN, 0.5, 1.0, None),
            (100.0, 0.0, f64::NAN, 1.0, None),
            (f64::INFINITY, 0.0, 0.5, 1.0, None),
            (100.0, f64::INFINITY, 0.5, 1.0, None),
            (100.0, 0.0, f64::INFINITY, 1.0, None),
            (1e300, 0.0, 1e-300, 1.0, None),
            (1e-300, 1e300, 1.0, 1.0, None),
        ] {
            let report = LoadReport::new(queries, errors, utilisation);
            assert_eq!(weight_of(&report, penalty), expected, "{report:?} {penalty}");
        }
    }

    #[test]
    fn a_weight_is_used_from_the_blackout_to_the_expiration() {
        // Reports at these seconds, and whether one may be used at the last figure.
        for (reports, now, expected) in [
            (&[][..], 1000, false),
            (&[100], 100, false),
            (&[100], 109, false),
            (&[100], 110, true),
            (&[100, 105], 110, true),
            (&[100], 279, true),
            (&[100], 280, false),
            (&[100, 280], 285, false),
            (&[100, 280], 290, true),
            (&[100, 279], 280, true),
            // Times that go back count as the latest known.
            (&[100, 50], 110, true),
            (&[100], 50, false),
        ] {
            let reported = ReportedWeight::default();
            for &at in reports {
                reported.update(7.0, Timestamp::from_secs(at), VALIDITY);
            }
            let weight = reported.at(Timestamp::from_secs(now), VALIDITY);
            assert_eq!(weight, expected.then_some(7.0), "{reports:?} at {now}");
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// A report that ends a silence is not used before its blackout is over, whatever a reader catches of the three
    /// words.
    #[test]
    fn a_report_after_a_silence_waits_for_the_blackout() {
        loom::model(|| {
            let validity =
                Validity { blackout: Duration::from_nanos(10), expiration: Duration::from_nanos(100) };
            let reported = Arc::new(ReportedWeight::default());
            reported.update(1.0, Timestamp::from_nanos(0), validity);
            assert_eq!(reported.at(Timestamp::from_nanos(50), validity), Some(1.0));
            let writers: Vec<_> = [1000, 1001]
                .into_iter()
                .map(|at| {
                    let reported = Arc::clone(&reported);
                    thread::spawn(move || reported.update(2.0, Timestamp::from_nanos(at), validity))
                })
                .collect();
            assert_eq!(reported.at(Timestamp::from_nanos(1005), validity), None);
            for writer in writers {
                writer.join().expect("a writer ends");
            }
            assert_eq!(reported.at(Timestamp::from_nanos(1011), validity), Some(2.0));
        });
    }
}
