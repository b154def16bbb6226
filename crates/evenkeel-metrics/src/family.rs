use std::borrow::Cow;

use crate::metric::Metric;

/// One number with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The values of the labels, in the order of [`Metric::labels`].
    pub labels: Vec<Cow<'static, str>>,
    /// The number. Never negative; whole for everything that is counted.
    pub value: f64,
}

/// All samples of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Which metric.
    pub metric: Metric,
    /// Its samples, in a stable order.
    pub samples: Vec<Sample>,
}

/// Everything that is exported at one moment, in the order of [`Metric::ALL`].
#[derive(Clone, Debug, PartialEq)]
pub struct Families(Vec<Family>);

impl Default for Families {
    fn default() -> Self {
        Self(Metric::ALL.iter().map(|&metric| Family { metric, samples: Vec::new() }).collect())
    }
}

impl Families {
    /// The families that have samples.
    pub fn iter(&self) -> impl Iterator<Item = &Family> {
        self.0.iter().filter(|family| !family.samples.is_empty())
    }

    /// The samples of one metric.
    #[must_use]
    pub fn of(&self, metric: Metric) -> &[Sample] {
        self.0.get(metric as usize).map_or(&[], |family| &family.samples)
    }

    /// How many samples there are in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|family| family.samples.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn families_mut(&mut self) -> &mut [Family] {
        &mut self.0
    }

    pub(crate) fn add<const N: usize>(&mut self, metric: Metric, labels: [Cow<'static, str>; N], value: f64) {
        debug_assert_eq!(metric.labels().len(), N, "{metric:?}");
        if let Some(family) = self.0.get_mut(metric as usize) {
            family.samples.push(Sample { labels: labels.into(), value });
        }
    }
}

/// One if it is so.
pub(crate) fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// Exact up to 2^53, which no count here reaches.
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}
