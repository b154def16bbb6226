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
/// The time never goes back: a `now` before the newest step counts in the newest step. So a comparison tells that the
/// newest step still lasts; only who begins another one divides.
///
/// A success looks at the other buckets only if there may be a failure in them, which one word tells. A failure corrects
/// that word *before* it counts as a request, and reads the requests afterwards; a success counts as a request, and
/// reads that word afterwards. In the one order of these `SeqCst` operations the later of the two knows of the earlier,
/// so that neither leaves the verdict to the other.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    width: u64,
    newest: AtomicU64,
    /// The first step whose window holds no failure of any epoch.
    failure_free_from: AtomicU64,
    requests: Box<[AtomicU64]>,
    failures: Box<[AtomicU64]>,
}

impl TimeWindow {
    pub(crate) fn new(span: Duration, buckets: u32) -> Self {
        let width = (span / buckets.max(1)).as_nanos();
        Self {
            width: u64::try_from(width).unwrap_or(u64::MAX).max(1),
            newest: AtomicU64::new(0),
            failure_free_from: AtomicU64::new(0),
            requests: empty(buckets),
            failures: empty(buckets),
        }
    }

    /// Adds one success, if its step and its bucket have begun; `None`, and nothing is done, if not.
    #[inline]
    pub(crate) fn add_success(&self, term: Term<'_>, now: Timestamp) -> Option<Step> {
        let step = Step(self.newest.load(Ordering::Relaxed));
        if now.as_nanos() >= step.end(self.width) {
            return None;
        }
        let cell = self.requests.get(step.slot())?;
        let seen = cell.load(Ordering::Acquire);
        if !is_open(seen, step.tag(term)) {
            return None;
        }
        add_one(cell, seen);
        Some(step)
    }

    /// Adds one outcome; not if the term is over, or the bucket full. Returns the step to judge.
    pub(crate) fn add(&self, failed: bool, term: Term<'_>, now: Timestamp) -> Step {
        let step = self.roll(now);
        if failed {
            self.expect_failure(step);
        }
        if self.add_to(&self.requests, failed, step, term) && failed {
            self.add_to(&self.failures, failed, step, term);
        }
        step
    }

    /// False if there is none in the window that ends with `step`.
    #[inline]
    pub(crate) fn may_hold_failure(&self, step: Step) -> bool {
        step.number() < self.failure_free_from.load(Ordering::SeqCst)
    }

    /// What the window holds that ends with `step`, or with the newest if the failure began another one meanwhile. `None`
    /// if there is no failure in it.
    pub(crate) fn failures(&self, step: Step, term: Term<'_>) -> Option<Counts> {
        if !self.may_hold_failure(step) {
            return None;
        }
        let step = step.max(Step(self.newest.load(Ordering::Acquire)));
        let failures = sum(&self.failures, step, term);
        (failures > 0).then(|| Counts { failures, requests: sum(&self.requests, step, term) })
    }

    pub(crate) fn counts(&self, term: Term<'_>, now: Timestamp) -> Counts {
        let newest = Step(self.newest.load(Ordering::Relaxed));
        let step = newest.max(self.step_of(now));
        Counts { failures: sum(&self.failures, step, term), requests: sum(&self.requests, step, term) }
    }

    fn step_of(&self, now: Timestamp) -> Step {
        let number = now.as_nanos() / self.width;
        Step(number << SLOT_BITS | (number % self.requests.len() as u64))
    }

    /// The step of `now`, or the newest if that is later.
    fn roll(&self, now: Timestamp) -> Step {
        let newest = Step(self.newest.load(Ordering::Relaxed));
        if now.as_nanos() < newest.end(self.width) {
            return newest;
        }
        let step = self.step_of(now);
        Step(self.newest.fetch_max(step.0, Ordering::AcqRel)).max(step)
    }

    /// To be called before a failure is added in `step`.
    fn expect_failure(&self, step: Step) {
        let free_from = step.number() + self.failures.len() as u64;
        if self.failure_free_from.load(Ordering::SeqCst) < free_from {
            self.failure_free_from.fetch_max(free_from, Ordering::SeqCst);
        }
    }

    /// Whether it was added: not if the term is over or the bucket is full.
    fn add_to(&self, ring: &[AtomicU64], failed: bool, mut step: Step, term: Term<'_>) -> bool {
        loop {
            let Some(cell) = ring.get(step.slot()) else { return false };
            let seen = cell.load(Ordering::Acquire);
            let tag = step.tag(term);
            if is_open(seen, tag) {
                add_one(cell, seen);
                return true;
            }
            if tag_of(seen) == tag {
                return false;
            }
            if !term.holds() {
                return false;
            }
            let newest = Step(self.newest.load(Ordering::Acquire));
            if newest.number().saturating_sub(step.number()) >= ring.len() as u64 {
                step = newest;
                if failed {
                    self.expect_failure(step);
                }
                continue;
            }
            let first = tag << COUNT_BITS | 1;
            if cell.compare_exchange(seen, first, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }
}

/// A step and its bucket, `number 54 | slot 10`: in the order of time, and no division finds the bucket again. Steps of
/// 10 ms and more need no more than 41 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step(u64);

impl Step {
    #[inline]
    const fn number(self) -> u64 {
        self.0 >> SLOT_BITS
    }

    #[inline]
    const fn slot(self) -> usize {
        (self.0 & SLOT_MASK) as usize
    }

    /// The first nanosecond after it.
    #[inline]
    const fn end(self, width: u64) -> u64 {
        (self.number() + 1).saturating_mul(width)
    }

    #[inline]
    fn tag(self, term: Term<'_>) -> u64 {
        tag(self.number(), term)
    }
}

/// Adds to a count whose tag was right when it was `seen`. Should it have rolled on since, the one is taken off again;
/// if someone was faster, it stays: the price for a thread that slept between two instructions for a whole window.
#[inline]
fn add_one(cell: &AtomicU64, seen: u64) {
    let before = cell.fetch_add(1, Ordering::SeqCst);
    if tag_of(before) != tag_of(seen) {
        take_off(cell, before);
    }
}

#[cold]
#[inline(never)]
fn take_off(cell: &AtomicU64, before: u64) {
    let _ = cell.compare_exchange(before + 1, before, Ordering::AcqRel, Ordering::Relaxed);
}

/// What the buckets of the window that ends with `step` hold, from the newest to the oldest.
fn sum(ring: &[AtomicU64], step: Step, term: Term<'_>) -> u64 {
    let mut number = step.number();
    let mut slot = step.slot();
    let mut sum = 0;
    for _ in ring {
        let Some(cell) = ring.get(slot) else { break };
        let value = cell.load(Ordering::SeqCst);
        sum += if tag_of(value) == tag(number, term) { value & COUNT_MASK } else { 0 };
        if number == 0 {
            break;
        }
        number -= 1;
        slot = slot.checked_sub(1).unwrap_or(ring.len() - 1);
    }
    sum
}

/// Steps and epochs both only grow; the factor keeps a later epoch from meeting the tag of a later step.
#[inline]
fn tag(step: u64, term: Term<'_>) -> u64 {
    step.wrapping_add(1).wrapping_add(u64::from(term.epoch()).wrapping_mul(EPOCH_FACTOR)) & TAG_MASK
}

#[inline]
const fn tag_of(value: u64) -> u64 {
    value >> COUNT_BITS
}

/// Whether it has this tag and is not full, in one comparison. A bucket counts to 134 million (2^27) and then no further,
/// so that a count never runs into its tag.
#[inline]
const fn is_open(value: u64, tag: u64) -> bool {
    value >> (COUNT_BITS - 1) == tag << 1
}

fn empty(buckets: u32) -> Box<[AtomicU64]> {
    (0..buckets).map(|_| AtomicU64::new(0)).collect()
}

/// As many as a [`Step`] has slots for; a verdict adds them all up.
pub(crate) const MAX_BUCKETS: u32 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const COUNT_BITS: u32 = 28;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const TAG_MASK: u64 = (1 << (u64::BITS - COUNT_BITS)) - 1;
/// 2^36 divided by the golden ratio: multiples of it lie far apart modulo 2^36.
const EPOCH_FACTOR: u64 = 0x9_E377_9B97;
