//! The windows of ratio rules.

mod count;
mod time;

use evenkeel_types::{Now, Timestamp};

use crate::Window as Shape;
use crate::lazy_now::LazyNow;
use crate::word::Term;
use count::CountWindow;
pub(crate) use count::MAX_COUNT_SIZE;
use time::TimeWindow;

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) failures: u64,
    pub(crate) requests: u64,
}

#[derive(Debug)]
pub(crate) enum Window {
    Count(CountWindow),
    Time(TimeWindow),
}

impl Window {
    pub(crate) fn new(shape: Shape) -> Self {
        match shape {
            Shape::Count { size } => Self::Count(CountWindow::new(size)),
            Shape::Time { span, buckets } => Self::Time(TimeWindow::new(span, buckets)),
        }
    }

    /// Adds one outcome. Returns what the window holds then, if there is a failure in it.
    #[inline]
    pub(crate) fn record<N: Now>(
        &self,
        failed: bool,
        term: Term<'_>,
        now: &mut LazyNow<N>,
    ) -> Option<Counts> {
        match self {
            Self::Count(window) => window.record(failed, term),
            Self::Time(window) => window.record(failed, term, now.read()),
        }
    }

    pub(crate) fn counts(&self, term: Term<'_>, now: Timestamp) -> Counts {
        match self {
            Self::Count(window) => window.counts(term),
            Self::Time(window) => window.counts(term, now),
        }
    }
}
