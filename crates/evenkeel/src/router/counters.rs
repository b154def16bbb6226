//! What happened on a route: counted where no two busy threads write one line, read by whoever asks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lanes;

/// What is counted of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// The route answered by itself: it has no arms.
    Answered,
    Limited,
    Unsent,
    Retried,
    Hedged,
    Mirrored,
    FellBack,
    Stayed,
    Moved,
}

const KINDS: usize = 9;

/// The counters of one route. Made when the first request comes by, so that thousands of unused routes cost nothing.
#[derive(Debug)]
pub(crate) struct Counters {
    arms: usize,
    /// All stripes in one piece: one step from here to a count.
    stripes: OnceLock<Box<[AtomicU64]>>,
}

impl Counters {
    pub(crate) const fn new(arms: usize) -> Self {
        Self { arms, stripes: OnceLock::new() }
    }

    pub(crate) const fn arms(&self) -> usize {
        self.arms
    }

    pub(crate) fn add(&self, what: Count) {
        self.add_at(what as usize);
    }

    pub(crate) fn add_arm(&self, arm: u32) {
        self.add_at(KINDS + arm as usize);
    }

    fn add_at(&self, at: usize) {
        let stripes = self.stripes.get_or_init(|| self.zeroes());
        let stripe = lanes::ordinal() as usize % STRIPES;
        if let Some(count) = stripes.get(stripe * self.stride() + at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From one stripe to the next: a cache line lies between what two threads write, wherever the piece begins.
    const fn stride(&self) -> usize {
        KINDS + self.arms + LINE
    }

    #[cold]
    fn zeroes(&self) -> Box<[AtomicU64]> {
        (0..STRIPES * self.stride()).map(|_| AtomicU64::new(0)).collect()
    }

    /// All requests that the route took: each of them was limited, answered, or sent to an arm.
    pub(crate) fn matched(&self) -> u64 {
        let arms = (0..self.arms).map(|arm| self.read_arm(arm));
        arms.fold(self.read(Count::Limited).wrapping_add(self.read(Count::Answered)), u64::wrapping_add)
    }

    pub(crate) fn read(&self, what: Count) -> u64 {
        self.read_at(what as usize)
    }

    pub(crate) fn read_arm(&self, arm: usize) -> u64 {
        self.read_at(KINDS + arm)
    }

    fn read_at(&self, at: usize) -> u64 {
        let Some(stripes) = self.stripes.get() else { return 0 };
        let counts = stripes.iter().skip(at).step_by(self.stride());
        counts.fold(0, |sum: u64, count| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }
}

const STRIPES: usize = 8;
/// A cache line of counts.
const LINE: usize = 8;
