//! The windows of ratio rules.

mod count;
mod stripe;
mod time;

use evenkeel_types::{Now, Timestamp};

use crate::Window as Settings;
use crate::lazy_now::LazyNow;
use crate::sync::AtomicU64;
use crate::word::Term;
pub(crate) use count::{CountWindow, MAX_COUNT_SIZE, Place};
pub(crate) use time::{MAX_BUCKETS, Step, TimeShape, TimeWindow};

/// What a window holds; `failures` stands for whatever its rule takes for bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) failures: u64,
    pub(crate) requests: u64,
}

/// What a window looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Count(u32),
    Time(TimeShape),
}

impl Shape {
    pub(crate) fn new(window: Settings, stripes: u32) -> Self {
        match window {
            Settings::Count { size } => Self::Count(size),
            Settings::Time { span, buckets } => Self::Time(TimeShape::new(span, buckets, stripes)),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Window {
    Count(CountWindow),
    Time(TimeShape, TimeWindow<Box<[AtomicU64]>>),
}

impl Window {
    pub(crate) fn new(shape: Shape) -> Self {
        match shape {
            Shape::Count(size) => Self::Count(CountWindow::new(size)),
            Shape::Time(shape) => Self::Time(shape, TimeWindow::new(shape)),
        }
    }

    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::Count(window) => Self::Count(window.copy()),
            Self::Time(shape, window) => Self::Time(*shape, window.copy()),
        }
    }

    /// Adds one request. Returns what is left to do, which is nothing after a good one with nothing bad in the window.
    #[inline(always)]
    pub(crate) fn begin<N: Now>(&self, bad: bool, term: Term<'_>, now: &mut LazyNow<N>) -> Option<Rest> {
        match self {
            Self::Count(window) => {
                let place = window.take_place();
                if !bad && window.holds_no_failure(place, term) { None } else { Some(Rest::Fill(place)) }
            }
            Self::Time(shape, window) => {
                let now = now.read();
                let added = if bad { None } else { window.add_good(*shape, term, now) };
                match added {
                    Some(_) if !window.may_hold_bad() => None,
                    Some(step) => Some(Rest::Judge(step)),
                    None => Some(Rest::Add(now)),
                }
            }
        }
    }

    /// Does the rest. Returns what the window holds, if there can be a verdict.
    #[inline(never)]
    pub(crate) fn finish(&self, rest: Rest, bad: bool, term: Term<'_>) -> Option<Counts> {
        match (self, rest) {
            (Self::Count(window), Rest::Fill(place)) => window.fill(place, bad, term),
            (Self::Time(shape, window), Rest::Add(now)) => {
                window.bad(*shape, window.add(*shape, bad, term, now), term)
            }
            (Self::Time(shape, window), Rest::Judge(step)) => window.bad(*shape, step, term),
            _ => None,
        }
    }

    pub(crate) fn counts(&self, term: Term<'_>, now: Timestamp) -> Counts {
        match self {
            Self::Count(window) => window.counts(term),
            Self::Time(shape, window) => window.counts(*shape, term, now),
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
