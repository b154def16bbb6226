//! The windows of ratio rules.

mod count;
mod time;

use evenkeel_types::{Now, Timestamp};

use crate::lazy_now::LazyNow;
use crate::rules::RatioRule;
use crate::word::Term;
use crate::{Reason, Window as Shape};
pub(crate) use count::MAX_COUNT_SIZE;
use count::{CountWindow, Place};
pub(crate) use time::MAX_BUCKETS;
use time::{Step, TimeWindow};

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) failures: u64,
    pub(crate) requests: u64,
}

/// A ratio rule with the window that it looks at.
#[derive(Debug)]
pub(crate) struct Watch {
    rule: RatioRule,
    window: Window,
}

impl Watch {
    pub(crate) fn new(rule: RatioRule) -> Self {
        Self { rule, window: Window::new(rule.window()) }
    }

    /// Adds one outcome. Returns what is left to do, which is nothing after a success with no failure in the window.
    #[inline(always)]
    pub(crate) fn begin<N: Now>(&self, failed: bool, term: Term<'_>, now: &mut LazyNow<N>) -> Option<Rest> {
        match &self.window {
            Window::Count(window) => {
                let place = window.take_place();
                if !failed && window.holds_no_failure(place, term) { None } else { Some(Rest::Fill(place)) }
            }
            Window::Time(window) => {
                let now = now.read();
                let added = if failed { None } else { window.add_success(term, now) };
                match added {
                    Some(step) if !window.may_hold_failure(step) => None,
                    Some(step) => Some(Rest::Judge(step)),
                    None => Some(Rest::Add(now)),
                }
            }
        }
    }

    /// Does the rest. Returns the reason to trip, if there is one now.
    #[inline(never)]
    pub(crate) fn finish(&self, rest: Rest, failed: bool, term: Term<'_>) -> Option<Reason> {
        let counts = match (&self.window, rest) {
            (Window::Count(window), Rest::Fill(place)) => window.fill(place, failed, term),
            (Window::Time(window), Rest::Add(now)) => window.failures(window.add(failed, term, now), term),
            (Window::Time(window), Rest::Judge(step)) => window.failures(step, term),
            _ => None,
        };
        self.rule.judge(counts?)
    }

    pub(crate) fn counts(&self, term: Term<'_>, now: Timestamp) -> Counts {
        match &self.window {
            Window::Count(window) => window.counts(term),
            Window::Time(window) => window.counts(term, now),
        }
    }
}

/// What is left to do for an outcome. It fits two registers: a reason would not, and be written out for every success.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rest {
    /// A place is taken in a count window, and nothing written there.
    Fill(Place),
    /// A time window knows nothing of it yet.
    Add(Timestamp),
    /// A time window has counted it in this step.
    Judge(Step),
}

#[derive(Debug)]
enum Window {
    Count(CountWindow),
    Time(TimeWindow),
}

impl Window {
    fn new(shape: Shape) -> Self {
        match shape {
            Shape::Count { size } => Self::Count(CountWindow::new(size)),
            Shape::Time { span, buckets } => Self::Time(TimeWindow::new(span, buckets)),
        }
    }
}
