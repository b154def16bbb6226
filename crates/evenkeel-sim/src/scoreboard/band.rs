use std::fmt;

use serde::Serialize;

use crate::report::{CaseReport, Report};

/// One thing that a published result says, and what came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Band {
    /// `S1` to `S12`.
    pub id: &'static str,
    /// What is looked at.
    pub what: String,
    /// What came out, as the mean over seeds.
    pub value: f64,
    /// The least that is allowed.
    pub low: f64,
    /// The most.
    pub high: f64,
    /// Why it is known to miss, if it is.
    pub known: Option<&'static str>,
}

impl Band {
    /// Whether it came out as published. What could not be measured did not.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.low <= self.value && self.value <= self.high
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.is_met(), self.known) {
            (true, _) => "met   ",
            (false, None) => "MISSED",
            (false, Some(_)) => "missed, as known",
        };
        let Self { id, what, .. } = self;
        write!(f, "{id:<4} {verdict} {what}: {} in {}", short(self.value), self.range())
    }
}

impl Band {
    /// The band, in words.
    #[must_use]
    pub fn range(&self) -> String {
        match (self.low.is_finite(), self.high.is_finite()) {
            (true, true) => format!("{} to {}", short(self.low), short(self.high)),
            (true, false) => format!("{} or more", short(self.low)),
            (false, _) => format!("at most {}", short(self.high)),
        }
    }
}

/// Four digits.
#[must_use]
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = 3 - (value.abs().log10().floor() as i32);
    format!("{value:.*}", digits.clamp(0, 6) as usize)
}

/// The bands of one scenario, as they are gathered.
#[derive(Debug)]
pub(crate) struct Bands {
    id: &'static str,
    known: &'static [(&'static str, &'static str)],
    pub(crate) all: Vec<Band>,
}

impl Bands {
    pub(crate) const fn new(id: &'static str, known: &'static [(&'static str, &'static str)]) -> Self {
        Self { id, known, all: Vec::new() }
    }

    pub(crate) fn within(&mut self, what: impl Into<String>, value: f64, low: f64, high: f64) {
        let what = what.into();
        let known = self.known.iter().find(|(name, _)| *name == what).map(|&(_, why)| why);
        self.all.push(Band { id: self.id, what, value, low, high, known });
    }

    pub(crate) fn at_least(&mut self, what: impl Into<String>, value: f64, low: f64) {
        self.within(what, value, low, f64::INFINITY);
    }

    pub(crate) fn at_most(&mut self, what: impl Into<String>, value: f64, high: f64) {
        self.within(what, value, f64::NEG_INFINITY, high);
    }

    /// Within a share of a published number.
    pub(crate) fn near(&mut self, what: impl Into<String>, value: f64, published: f64, share: f64) {
        self.within(what, value, published * (1.0 - share), published * (1.0 + share));
    }
}

/// The mean over seeds of a metric; NaN, which is in no band, if it was not measured.
pub(crate) fn mean(case: Option<&CaseReport>, policy: &str, metric: &str) -> f64 {
    case.and_then(|case| case.policy(policy)).map_or(f64::NAN, |policy| policy.mean(metric))
}

/// The case of a value of the sweep.
pub(crate) fn case<'a>(report: &'a Report, value: &str) -> Option<&'a CaseReport> {
    report.cases.iter().find(|case| case.label.ends_with(&format!("= {value}")))
}

/// The mean over seeds of the share of requests that ended well in a window, of those that arrived in it.
pub(crate) fn goodput(case: Option<&CaseReport>, policy: &str, window: &str) -> f64 {
    let runs = case.and_then(|case| case.policy(policy)).map(|policy| &policy.runs);
    let shares = runs.into_iter().flatten().filter_map(|run| {
        let window = run.windows.iter().find(|own| own.name == window)?;
        Some(window.succeeded as f64 / window.arrived.max(1) as f64)
    });
    let shares: Vec<f64> = shares.collect();
    shares.iter().sum::<f64>() / shares.len() as f64
}
