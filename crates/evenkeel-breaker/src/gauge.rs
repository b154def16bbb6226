//! What a rule has measured.

use std::sync::Arc;

use evenkeel_types::{Now, Ratio, Timestamp};

use crate::Reason;
use crate::chart::{Chart, Sums};
use crate::ewma::{Ewma, Fade};
use crate::lazy_now::LazyNow;
use crate::overdue::{Age, Overdue};
use crate::rules::{Bad, GaugeRule, Measure};
use crate::window::{Counts, Window};
use crate::word::Term;

/// A rule with what it measures by.
#[derive(Debug)]
pub(crate) struct Gauge {
    pub(crate) rule: GaugeRule,
    pub(crate) meter: Meter,
}

#[derive(Debug)]
pub(crate) enum Meter {
    Window(Window),
    Fading(Fade, Ewma),
    Chart(Chart, Sums),
    /// Shared with a successor: what begins at the one may end at the other.
    Overdue(Age, Arc<Overdue>),
}

/// How a request went, as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Counts as bad in rules of failures; `None`: does not count in them at all.
    pub(crate) failed: Option<bool>,
    pub(crate) slow: bool,
}

impl Gauge {
    pub(crate) fn new(rule: GaugeRule) -> Self {
        let meter = match rule.measure {
            Measure::Window(shape) => Meter::Window(Window::new(shape)),
            Measure::Fading(fade) => Meter::Fading(fade, Ewma::new(fade)),
            Measure::Chart(chart) => Meter::Chart(chart, Sums::new()),
            Measure::Overdue(age) => Meter::Overdue(age, Arc::new(Overdue::new())),
        };
        Self { rule, meter }
    }

    /// The same counts under a rule of the same shape.
    pub(crate) fn copy(&self, rule: GaugeRule) -> Self {
        let meter = match &self.meter {
            Meter::Window(window) => Meter::Window(window.copy()),
            Meter::Fading(fade, ewma) => Meter::Fading(*fade, ewma.copy()),
            Meter::Chart(chart, sums) => Meter::Chart(*chart, sums.copy()),
            Meter::Overdue(age, overdue) => Meter::Overdue(*age, Arc::clone(overdue)),
        };
        Self { rule, meter }
    }

    /// The window, if that is how it measures failures.
    #[inline]
    pub(crate) fn window_of_failures(&self) -> Option<&Window> {
        match &self.meter {
            Meter::Window(window) if self.rule.bad == Bad::Failed => Some(window),
            _ => None,
        }
    }

    /// Takes a sample. Returns the reason to trip, if it gives one.
    pub(crate) fn see<N: Now>(&self, sample: Sample, term: Term<'_>, now: &mut LazyNow<N>) -> Option<Reason> {
        let bad = match self.rule.bad {
            Bad::Failed => sample.failed,
            Bad::Slow => Some(sample.slow),
        };
        match (&self.meter, bad) {
            (Meter::Overdue(age, overdue), _) => self.judge_overdue(overdue.overdue(*age, term, now.read())),
            (_, None) => None,
            (Meter::Window(window), Some(bad)) => {
                let rest = window.begin(bad, term, now)?;
                self.rule.judge(window.finish(rest, bad, term)?)
            }
            (Meter::Fading(fade, ewma), Some(bad)) => {
                let (share, requests) = ewma.add(*fade, bad, term, || now.read())?;
                self.rule.judge_share(share, requests)
            }
            (Meter::Chart(chart, sums), Some(bad)) => {
                sums.add(chart, bad, term)?.then_some(Reason::Statistical)
            }
        }
    }

    /// A request begins at `start`, which is the latest time known.
    pub(crate) fn begin(&self, term: Term<'_>, start: Timestamp) {
        if let Meter::Overdue(age, overdue) = &self.meter {
            overdue.begin(*age, term, start);
        }
    }

    /// A request that began at `start` has ended.
    pub(crate) fn end(&self, term: Term<'_>, start: Timestamp) {
        if let Meter::Overdue(age, overdue) = &self.meter {
            overdue.end(*age, term, start);
        }
    }

    /// The later of `now` and what is known.
    pub(crate) fn latest(&self, now: Timestamp) -> Timestamp {
        match &self.meter {
            Meter::Overdue(_, overdue) => overdue.latest(now),
            _ => now,
        }
    }

    /// The reason to trip that it has at `now` without anything having ended.
    pub(crate) fn pending(&self, term: Term<'_>, now: Timestamp) -> Option<Reason> {
        match &self.meter {
            Meter::Overdue(age, overdue) => self.judge_overdue(overdue.overdue(*age, term, now)),
            _ => None,
        }
    }

    /// When it will have one.
    pub(crate) fn due(&self, term: Term<'_>) -> Option<Timestamp> {
        match &self.meter {
            Meter::Overdue(age, overdue) => overdue.due(*age, term, self.rule.requests()),
            _ => None,
        }
    }

    fn judge_overdue(&self, requests: u64) -> Option<Reason> {
        (requests >= self.rule.requests()).then_some(Reason::Overdue { requests })
    }

    pub(crate) fn counts(&self, bad: Bad, term: Term<'_>, now: Timestamp) -> Option<Counts> {
        match &self.meter {
            Meter::Window(window) if self.rule.bad == bad => Some(window.counts(term, now)),
            _ => None,
        }
    }

    pub(crate) fn average(&self, term: Term<'_>) -> Option<Ratio> {
        match &self.meter {
            Meter::Fading(_, ewma) => Some(ewma.read(term).0),
            _ => None,
        }
    }

    pub(crate) fn evidence(&self, term: Term<'_>) -> Option<Ratio> {
        match &self.meter {
            Meter::Chart(_, sums) => Some(sums.evidence(term)),
            _ => None,
        }
    }

    /// How many are overdue, and how many under way.
    pub(crate) fn overdue(&self, term: Term<'_>, now: Timestamp) -> Option<(u64, u64)> {
        match &self.meter {
            Meter::Overdue(age, overdue) => Some((overdue.overdue(*age, term, now), overdue.under_way(term))),
            _ => None,
        }
    }
}
