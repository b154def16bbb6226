//! The windows of ratio rules.

mod count;
mod time;

use evenkeel_types::{Now, Timestamp};

use crate::lazy_now::LazyNow;
use crate::rules::RatioRule;
use crate::word::Term;
use crate::{Reason, Window as Shape};
use count::CountWindow;
pub(crate) use count::MAX_COUNT_SIZE;
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
    #[inline]
    pub(crate) fn record<N: Now>(
        &self,
        failed: bool,
        term: Term<'_>,
        now: &mut LazyNow<N>,
    ) -> Option<Reason> {
        let counts = match &self.window {
            Window::Count(window) => window.record(failed, term),
            Window::Time(window) => window.record(failed, term, now.read()),
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
