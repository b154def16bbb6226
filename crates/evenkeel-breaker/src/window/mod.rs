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
use time::TimeWindow;

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

    /// Adds one outcome. Returns the reason to trip, if there is one now.
    #[inline(always)]
    pub(crate) fn record<N: Now>(
        &self,
        failed: bool,
        term: Term<'_>,
        now: &mut LazyNow<N>,
    ) -> Option<Reason> {
        match &self.window {
            Window::Count(window) => {
                let place = window.take_place();
                if !failed && window.holds_no_failure(place, term) {
                    return None;
                }
                self.fill(window, place, failed, term)
            }
            Window::Time(window) => self.add(window, failed, term, now.read()),
        }
    }

    #[inline(never)]
    fn fill(&self, window: &CountWindow, place: Place, failed: bool, term: Term<'_>) -> Option<Reason> {
        self.rule.judge(window.fill(place, failed, term)?)
    }

    #[inline(never)]
    fn add(&self, window: &TimeWindow, failed: bool, term: Term<'_>, now: Timestamp) -> Option<Reason> {
        self.rule.judge(window.record(failed, term, now)?)
    }

    pub(crate) fn counts(&self, term: Term<'_>, now: Timestamp) -> Counts {
        match &self.window {
            Window::Count(window) => window.counts(term),
            Window::Time(window) => window.counts(term, now),
        }
    }
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
