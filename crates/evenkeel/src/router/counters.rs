//! What happened on a route: counted where no two busy threads write one line, read by whoever asks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lanes;

/// What is counted of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Matched,
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
    stripes: OnceLock<Box<[Box<[AtomicU64]>]>>,
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
        let stripes = self.stripes.get_or_init(|| {
            // Room in front and behind, so that what two threads write lies on different lines wherever it is put.
            let length = APART + KINDS + self.arms + APART;
            (0..STRIPES).map(|_| (0..length).map(|_| AtomicU64::new(0)).collect()).collect()
        });
        if let Some(count) = stripes[lanes::ordinal() as usize % STRIPES].get(APART + at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self, what: Count) -> u64 {
        self.read_at(what as usize)
    }

    pub(crate) fn read_arm(&self, arm: usize) -> u64 {
        self.read_at(KINDS + arm)
    }

    fn read_at(&self, at: usize) -> u64 {
        let Some(stripes) = self.stripes.get() else { return 0 };
        let counts = stripes.iter().filter_map(|stripe| stripe.get(APART + at));
        counts.fold(0, |sum: u64, count| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }
}

const STRIPES: usize = 8;
/// Half a cache line.
const APART: usize = 4;
