//! Counters that never fall.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::family::Families;
use crate::metric::{Kind, Metric};

/// What every counter has come to, by its labels, of which the cluster's name is the first.
///
/// A cluster that is replaced by another of its name begins to count at zero, while its series goes on. Prometheus takes a fall for a
/// restart; OpenTelemetry's sums of differences take it for a number below zero. So what was counted before is added.
#[derive(Debug, Default)]
pub(crate) struct Totals(BTreeMap<(Metric, Vec<Cow<'static, str>>), Total>);

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    /// By those who count no longer.
    before: f64,
    /// By the one who counts now, when it was last asked.
    last: f64,
}

impl Totals {
    /// Raises what was just counted to what was counted in all. Where a number is lower than last time, whoever counts has begun anew.
    pub(crate) fn raise(&mut self, families: &mut Families) {
        for (metric, sample) in families.counted() {
            let total = self.0.entry((metric, sample.labels.clone())).or_default();
            if sample.value < total.last {
                total.before += total.last;
            }
            total.last = sample.value;
            sample.value += total.before;
        }
    }

    /// These are the last numbers of somebody who counts no longer.
    pub(crate) fn close(&mut self, mut families: Families) {
        self.raise(&mut families);
        for (metric, sample) in families.counted() {
            if let Some(total) = self.0.get_mut(&(metric, sample.labels.clone())) {
                *total = Total { before: sample.value, last: 0.0 };
            }
        }
    }
}

impl Families {
    fn counted(&mut self) -> impl Iterator<Item = (Metric, &mut crate::family::Sample)> {
        self.families_mut()
            .iter_mut()
            .filter(|family| family.metric.kind() == Kind::Counter)
            .flat_map(|family| family.samples.iter_mut().map(|sample| (family.metric, sample)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(total: &mut Totals, value: f64) -> f64 {
        let mut families = one(value);
        total.raise(&mut families);
        families.of(Metric::Updates)[0].value
    }

    fn one(value: f64) -> Families {
        let mut families = Families::default();
        families.add(Metric::Updates, ["users".into()], value);
        families.add(Metric::Membership, ["users".into()], value);
        families
    }

    #[test]
    fn what_was_counted_before_is_added() {
        let mut totals = Totals::default();
        assert_eq!((at(&mut totals, 3.0), at(&mut totals, 5.0)), (3.0, 5.0));
        // The last two were counted after the last look.
        totals.close(one(7.0));
        assert_eq!((at(&mut totals, 0.0), at(&mut totals, 9.0)), (7.0, 16.0));
        // Begun anew, and nobody said so.
        assert_eq!((at(&mut totals, 1.0), at(&mut totals, 2.0)), (17.0, 18.0));
        let mut gauge = one(0.0);
        totals.raise(&mut gauge);
        assert_eq!(gauge.of(Metric::Membership)[0].value, 0.0, "a gauge may fall");
    }
}
