//! Requests under way for too long.

use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::sync::{AtomicU64, Ordering};
use crate::word::{EPOCH_BITS, Term};

/// When a request is overdue: in steps of a sixth of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    after: u64,
    width: u64,
}

impl Age {
    pub(crate) fn new(after: Duration) -> Self {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX).max(PARTS);
        Self { after, width: after / PARTS }
    }

    fn step_of(self, time: Timestamp) -> u64 {
        time.as_nanos() / self.width
    }

    /// The first step of which not every request is overdue.
    fn first_young(self, now: Timestamp) -> u64 {
        now.as_nanos().saturating_sub(self.after) / self.width
    }

    /// When every request of `step` is overdue.
    fn due(self, step: u64) -> Timestamp {
        Timestamp::from_nanos((step + 1).saturating_mul(self.width).saturating_add(self.after))
    }
}

/// How many requests are under way, and how many of them began in each of the last steps.
///
/// ```text
/// begun    epoch 15 | requests 49
/// ended    epoch 15 | requests 49
/// young    step 44 | requests 20         (eight of them; step s in place s mod 8)
/// ```
///
/// What has begun, has not ended and is not young is overdue. Nothing moves from one to the other: when a step's place goes
/// to a newer one, its requests are no longer young, which is what overdue means. A request is taken off the young where
/// it was counted, if its step still holds its place. Memory does not depend on how many requests there are or how long
/// they take.
///
/// A request is young before it has begun, and has ended before it is taken off the young. Who looks reads what has begun
/// first, then the young, then what has ended. So a request that it finds begun and not young was not young any more by
/// age, or it is found to have ended: one that begins or ends meanwhile is never taken for an overdue one. It may hide one
/// from this look, not from the next. One count of what is under way in place of two would not do: whoever reads it
/// before the young misses an end, whoever reads it after them a beginning.
#[derive(Debug)]
pub(crate) struct Overdue {
    begun: AtomicU64,
    ended: AtomicU64,
    newest: AtomicU64,
    young: [AtomicU64; PLACES],
}

impl Overdue {
    pub(crate) fn new() -> Self {
        Self {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            young: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The latest time anybody has named.
    pub(crate) fn latest(&self, now: Timestamp) -> Timestamp {
        now.max(Timestamp::from_nanos(self.newest.fetch_max(now.as_nanos(), Ordering::AcqRel)))
    }

    /// Counts a request that begins at `start`, which is what [`latest`](Self::latest) said.
    pub(crate) fn begin(&self, age: Age, term: Term<'_>, start: Timestamp) {
        self.count_young(age, term, start);
        add_one(&self.begun, term);
    }

    /// Takes a request off that began at `start` and in this term.
    pub(crate) fn end(&self, age: Age, term: Term<'_>, start: Timestamp) {
        add_one(&self.ended, term);
        let tag = tag(age.step_of(start), term);
        let cell = &self.young[place(age.step_of(start))];
        let mut seen = cell.load(Ordering::Acquire);
        while seen >> COUNT_BITS == tag && seen & COUNT_MASK > 0 {
            match cell.compare_exchange_weak(seen, seen - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// How many are overdue at `now`.
    pub(crate) fn overdue(&self, age: Age, term: Term<'_>, now: Timestamp) -> u64 {
        let begun = count(&self.begun, term);
        if begun == 0 {
            return 0;
        }
        let newest = age.step_of(now.max(Timestamp::from_nanos(self.newest.load(Ordering::Acquire))));
        let young = self.sum(term, age.first_young(now), newest);
        begun.saturating_sub(young).saturating_sub(count(&self.ended, term))
    }

    pub(crate) fn under_way(&self, term: Term<'_>) -> u64 {
        let begun = count(&self.begun, term);
        begun.saturating_sub(count(&self.ended, term))
    }

    /// When `requests` of those that are under way will be overdue.
    pub(crate) fn due(&self, age: Age, term: Term<'_>, requests: u64) -> Option<Timestamp> {
        // The other way about than `overdue`: what begins or ends meanwhile may bring the deadline forward, and never
        // puts it off.
        let ended = count(&self.ended, term);
        let latest = Timestamp::from_nanos(self.newest.load(Ordering::Acquire));
        let newest = age.step_of(latest);
        let oldest = newest.saturating_sub(PLACES as u64 - 1);
        let mut young = [0; PLACES];
        for (count, step) in young.iter_mut().zip(oldest..=newest) {
            *count = self.sum(term, step, step);
        }
        let under_way = count(&self.begun, term).saturating_sub(ended);
        let mut overdue = under_way.saturating_sub(young.iter().sum());
        if overdue >= requests {
            return Some(latest);
        }
        (oldest..=newest).zip(young).find_map(|(step, count)| {
            overdue += count;
            (overdue >= requests).then(|| age.due(step))
        })
    }

    /// The requests under way that began in these steps.
    fn sum(&self, term: Term<'_>, first: u64, last: u64) -> u64 {
        let first = first.max(last.saturating_sub(PLACES as u64 - 1));
        let of = |step: u64| {
            let seen = self.young[place(step)].load(Ordering::Acquire);
            if seen >> COUNT_BITS == tag(step, term) { seen & COUNT_MASK } else { 0 }
        };
        (first..=last).map(of).sum()
    }

    fn count_young(&self, age: Age, term: Term<'_>, start: Timestamp) {
        let step = age.step_of(start);
        let (cell, tag) = (&self.young[place(step)], tag(step, term));
        let mut seen = cell.load(Ordering::Acquire);
        loop {
            let count = if seen >> COUNT_BITS == tag { seen & COUNT_MASK } else { 0 };
            // A thread that slept for a whole ring finds a newer step in its place; then its request is overdue indeed.
            let slept = age.step_of(Timestamp::from_nanos(self.newest.load(Ordering::Acquire)))
                >= step + PLACES as u64;
            if slept || !term.holds() {
                return;
            }
            let next = tag << COUNT_BITS | (count + 1).min(COUNT_MASK);
            match cell.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

fn count(cell: &AtomicU64, term: Term<'_>) -> u64 {
    let seen = cell.load(Ordering::Acquire);
    if seen >> REQUEST_BITS == u64::from(term.epoch()) { seen & REQUEST_MASK } else { 0 }
}

/// Not if the term is over.
fn add_one(cell: &AtomicU64, term: Term<'_>) {
    let mut seen = cell.load(Ordering::Acquire);
    loop {
        let is_of = seen >> REQUEST_BITS == u64::from(term.epoch());
        if !is_of && !term.holds() {
            return;
        }
        let requests = if is_of { seen & REQUEST_MASK } else { 0 };
        let next = u64::from(term.epoch()) << REQUEST_BITS | (requests + 1).min(REQUEST_MASK);
        match cell.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

fn place(step: u64) -> usize {
    (step % PLACES as u64) as usize
}

/// Steps and epochs both only grow; the factor keeps them apart.
fn tag(step: u64, term: Term<'_>) -> u64 {
    step.wrapping_add(1).wrapping_add(u64::from(term.epoch()).wrapping_mul(EPOCH_FACTOR)) & TAG_MASK
}

/// The limit is six steps long; the one that is filling and the one that is ending make eight.
const PARTS: u64 = 6;
const PLACES: usize = 8;
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const TAG_MASK: u64 = (1 << (u64::BITS - COUNT_BITS)) - 1;
const REQUEST_BITS: u32 = u64::BITS - EPOCH_BITS;
const REQUEST_MASK: u64 = (1 << REQUEST_BITS) - 1;
/// 2^44 divided by the golden ratio.
const EPOCH_FACTOR: u64 = 0x9E3_779B_97F5;
