//! The requests of the last seconds.

use std::time::Duration;

use evenkeel_types::Timestamp;

use super::Counts;
use crate::sync::{AtomicU64, Ordering};
use crate::word::Term;

/// A ring of buckets, each `width` long. Step `s = floor(now / width)` counts in bucket `s mod B`.
///
/// Each bucket is two words, requests and failures, of the form `tag 36 | count 28`. The tag is made of the step and the
/// epoch; a word with another tag reads as zero. So rolling on writes nothing but the bucket that is used next, a leap of
/// the clock clears nothing at all, and idling for months cannot bring an old count back: the tag of a step returns after
/// 2^36 steps of at least 10 ms.
///
/// The time never goes back: a `now` before the newest step counts in the newest step.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    width: u64,
    newest: AtomicU64,
    requests: Box<[AtomicU64]>,
    failures: Box<[AtomicU64]>,
}

impl TimeWindow {
    pub(crate) fn new(span: Duration, buckets: u32) -> Self {
        let width = (span / buckets.max(1)).as_nanos();
        Self {
            width: u64::try_from(width).unwrap_or(u64::MAX).max(1),
            newest: AtomicU64::new(0),
            requests: empty(buckets),
            failures: empty(buckets),
        }
    }

    /// Adds one outcome. Returns what the window holds then, if there is a failure in it; `None` also if the term is over.
    pub(crate) fn record(&self, failed: bool, term: Term<'_>, now: Timestamp) -> Option<Counts> {
        let step = self.roll(now);
        if self.add(&self.requests, step, term) && failed {
            self.add(&self.failures, step, term);
        }
        let failures = self.sum(&self.failures, step, term);
        (failures > 0).then(|| Counts { failures, requests: self.sum(&self.requests, step, term) })
    }

    pub(crate) fn counts(&self, term: Term<'_>, now: Timestamp) -> Counts {
        let step = self.newest.load(Ordering::Relaxed).max(now.as_nanos() / self.width);
        Counts {
            failures: self.sum(&self.failures, step, term),
            requests: self.sum(&self.requests, step, term),
        }
    }

    /// The step of `now`, or the newest if that is later.
    fn roll(&self, now: Timestamp) -> u64 {
        let step = now.as_nanos() / self.width;
        let newest = self.newest.load(Ordering::Relaxed);
        if step > newest { self.newest.fetch_max(step, Ordering::AcqRel).max(step) } else { newest }
    }

    /// Whether it was added: not if the term is over or the bucket is full.
    fn add(&self, ring: &[AtomicU64], mut step: u64, term: Term<'_>) -> bool {
        loop {
            let Some(cell) = cell(ring, step) else { return false };
            let seen = cell.load(Ordering::Acquire);
            let tag = tag(step, term);
            if tag_of(seen) == tag {
                return add_one(cell, seen);
            }
            if !term.holds() {
                return false;
            }
            let newest = self.newest.load(Ordering::Acquire);
            if newest.saturating_sub(step) >= ring.len() as u64 {
                step = newest;
                continue;
            }
            let first = tag << COUNT_BITS | 1;
            if cell.compare_exchange(seen, first, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    fn sum(&self, ring: &[AtomicU64], step: u64, term: Term<'_>) -> u64 {
        let oldest = step.saturating_sub(ring.len() as u64 - 1);
        let counts = (oldest..=step).filter_map(|step| {
            let value = cell(ring, step)?.load(Ordering::Acquire);
            (tag_of(value) == tag(step, term)).then_some(value & COUNT_MASK)
        });
        counts.sum()
    }
}

/// Adds to a count whose tag was right when it was `seen`. Should it have rolled on since, the one is taken off again;
/// if someone was faster, it stays: the price for a thread that slept between two instructions for a whole window.
fn add_one(cell: &AtomicU64, seen: u64) -> bool {
    if seen & COUNT_MASK >= FULL {
        return false;
    }
    let before = cell.fetch_add(1, Ordering::AcqRel);
    if tag_of(before) != tag_of(seen) {
        let _ = cell.compare_exchange(before + 1, before, Ordering::AcqRel, Ordering::Relaxed);
    }
    true
}

fn cell(ring: &[AtomicU64], step: u64) -> Option<&AtomicU64> {
    ring.get((step % ring.len() as u64) as usize)
}

/// Steps and epochs both only grow; the factor keeps a later epoch from meeting the tag of a later step.
fn tag(step: u64, term: Term<'_>) -> u64 {
    step.wrapping_add(1).wrapping_add(u64::from(term.epoch()).wrapping_mul(EPOCH_FACTOR)) & TAG_MASK
}

const fn tag_of(value: u64) -> u64 {
    value >> COUNT_BITS
}

fn empty(buckets: u32) -> Box<[AtomicU64]> {
    (0..buckets).map(|_| AtomicU64::new(0)).collect()
}

const COUNT_BITS: u32 = 28;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// A bucket counts to 134 million and then no further, so that a count never runs into its tag.
const FULL: u64 = 1 << (COUNT_BITS - 1);
const TAG_MASK: u64 = (1 << (u64::BITS - COUNT_BITS)) - 1;
/// 2^36 divided by the golden ratio: multiples of it lie far apart modulo 2^36.
const EPOCH_FACTOR: u64 = 0x9_E377_9B97;
