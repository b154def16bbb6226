//! The requests of the last seconds.

use std::time::Duration;

use evenkeel_types::Timestamp;

use super::Counts;
use super::stripe::{PADDING, my_stripe};
use crate::sync::{AtomicU64, Ordering};
use crate::word::Term;

/// A ring of buckets, each `width` long. Step `s = floor(now / width)` counts in bucket `s mod B`.
///
/// ```text
/// bucket   tag 18 | bad 23 | requests 23
/// newest   step 43 | slot 10 | dirty 11
/// ```
///
/// A bucket is one word, so that one `fetch_add` counts a bad request as bad and as a request. Its tag is made of the step
/// and the epoch; a word with another tag reads as zero. Who begins a step empties the buckets that come into use with it,
/// and publishes the step afterwards; so a pause of any length, or a leap of the clock, costs B writes and brings no old
/// count back.
///
/// The time never goes back: a `now` before the newest step counts in the newest step. So a comparison tells that the
/// newest step still lasts; only who begins another one divides.
///
/// *Dirty* is for how many steps more, this one included, a bad request may be in the window; a success looks at the other
/// buckets only if it is not zero. Who brings a bad request sets it *before* it counts, and reads the buckets afterwards; a
/// success counts, and reads it afterwards. In the one order of these `SeqCst` operations the later of the two knows of
/// the earlier, so that neither leaves the verdict to the other.
///
/// With stripes each has a ring of its own, a cache line and more from the next; a verdict adds them up.
#[derive(Debug)]
pub(crate) struct TimeWindow<R> {
    newest: AtomicU64,
    cells: R,
}

/// What a [`TimeWindow`] looks like: shared by all of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeShape {
    width: u64,
    buckets: u32,
    stripes: u32,
}

impl TimeShape {
    pub(crate) fn new(span: Duration, buckets: u32, stripes: u32) -> Self {
        let width = (span / buckets.max(1)).as_nanos();
        Self {
            width: u64::try_from(width).unwrap_or(u64::MAX).max(1),
            buckets: buckets.max(1),
            stripes: stripes.max(1),
        }
    }

    /// Whether ten cells in the breaker's own box will do.
    pub(crate) fn is_ten(self) -> bool {
        self.buckets == 10 && self.stripes == 1
    }

    fn stride(self) -> usize {
        self.buckets as usize + if self.stripes == 1 { 0 } else { PADDING }
    }

    fn step_of(self, now: Timestamp) -> Step {
        self.step(now.as_nanos() / self.width)
    }

    fn step(self, number: u64) -> Step {
        Step(number << SLOT_BITS | (number % u64::from(self.buckets)))
    }

    #[inline]
    fn own_cell(self, step: Step) -> usize {
        if self.stripes == 1 { step.slot() } else { my_stripe(self.stripes) * self.stride() + step.slot() }
    }

    fn cells_of(self, step: Step) -> impl Iterator<Item = usize> {
        (0..self.stripes as usize).map(move |stripe| stripe * self.stride() + step.slot())
    }
}

impl TimeWindow<Box<[AtomicU64]>> {
    pub(crate) fn new(shape: TimeShape) -> Self {
        let cells = shape.stripes as usize * shape.stride();
        Self { newest: AtomicU64::new(0), cells: (0..cells).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl TimeWindow<[AtomicU64; 10]> {
    pub(crate) fn ten() -> Self {
        Self { newest: AtomicU64::new(0), cells: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl<R: AsRef<[AtomicU64]>> TimeWindow<R> {
    /// The same counts in a ring of the same shape.
    pub(crate) fn copy(&self) -> TimeWindow<Box<[AtomicU64]>> {
        let cells = self.cells.as_ref().iter().map(|cell| AtomicU64::new(cell.load(Ordering::Acquire)));
        TimeWindow { newest: AtomicU64::new(self.newest.load(Ordering::Acquire)), cells: cells.collect() }
    }

    /// The same counts in a ring of the same shape, which is one of ten.
    pub(crate) fn copy_ten(&self) -> TimeWindow<[AtomicU64; 10]> {
        let count =
            |index| self.cells.as_ref().get(index).map_or(0, |cell: &AtomicU64| cell.load(Ordering::Acquire));
        let cells = std::array::from_fn(|index| AtomicU64::new(count(index)));
        TimeWindow { newest: AtomicU64::new(self.newest.load(Ordering::Acquire)), cells }
    }

    /// Adds one good request, if its step and its bucket have begun; `None`, and nothing is done, if not.
    #[inline]
    pub(crate) fn add_good(&self, shape: TimeShape, term: Term<'_>, now: Timestamp) -> Option<Step> {
        let step = Newest(self.newest.load(Ordering::Relaxed)).step();
        if now.as_nanos() >= step.end(shape.width) {
            return None;
        }
        let cell = self.cells.as_ref().get(shape.own_cell(step))?;
        let seen = cell.load(Ordering::Acquire);
        if !is_open(seen, step.tag(term)) {
            return None;
        }
        add(cell, seen, ONE_REQUEST);
        Some(step)
    }

    /// Adds one request; not if the term is over, or the bucket full. Returns the step to judge.
    pub(crate) fn add(&self, shape: TimeShape, bad: bool, term: Term<'_>, now: Timestamp) -> Step {
        let mut step = self.roll(shape, now);
        loop {
            if bad {
                self.expect_bad(shape);
            }
            match self.add_to(shape, step, bad, term) {
                Ok(()) => return step,
                Err(newer) => step = newer,
            }
        }
    }

    /// False if there is none in the window that ends with the newest step.
    #[inline]
    pub(crate) fn may_hold_bad(&self) -> bool {
        Newest(self.newest.load(Ordering::SeqCst)).dirty() != 0
    }

    /// What the window holds that ends with `step`, or with the newest if another one began meanwhile. `None` if there is
    /// nothing bad in it.
    pub(crate) fn bad(&self, shape: TimeShape, step: Step, term: Term<'_>) -> Option<Counts> {
        if !self.may_hold_bad() {
            return None;
        }
        let step = step.max(Newest(self.newest.load(Ordering::Acquire)).step());
        let counts = self.sum(shape, step, term);
        (counts.failures > 0).then_some(counts)
    }

    pub(crate) fn counts(&self, shape: TimeShape, term: Term<'_>, now: Timestamp) -> Counts {
        let newest = Newest(self.newest.load(Ordering::Relaxed)).step();
        self.sum(shape, newest.max(shape.step_of(now)), term)
    }

    /// Makes the step of `now` the newest, unless there is a newer one. Returns the newest.
    fn roll(&self, shape: TimeShape, now: Timestamp) -> Step {
        loop {
            let seen = Newest(self.newest.load(Ordering::Acquire));
            if now.as_nanos() < seen.step().end(shape.width) {
                return seen.step();
            }
            let step = shape.step_of(now);
            let gap = step.number() - seen.step().number();
            let skipped = gap.min(u64::from(shape.buckets));
            for number in step.number() + 1 - skipped..=step.number() {
                self.empty(shape, shape.step(number), seen);
            }
            let next = Newest::new(step, u64::from(seen.dirty()).saturating_sub(gap) as u32);
            if self.newest.compare_exchange(seen.0, next.0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return step;
            }
        }
    }

    /// Empties the buckets of a step that is about to begin, as long as `newest` is the newest.
    fn empty(&self, shape: TimeShape, step: Step, newest: Newest) {
        for cell in shape.cells_of(step).filter_map(|index| self.cells.as_ref().get(index)) {
            loop {
                let seen = cell.load(Ordering::Acquire);
                if seen == 0 || self.newest.load(Ordering::Acquire) != newest.0 {
                    break;
                }
                if cell.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                    break;
                }
            }
        }
    }

    /// To be called before a bad request is added.
    fn expect_bad(&self, shape: TimeShape) {
        let mut seen = self.newest.load(Ordering::SeqCst);
        while Newest(seen).dirty() < shape.buckets {
            let dirty = Newest::new(Newest(seen).step(), shape.buckets);
            match self.newest.compare_exchange(seen, dirty.0, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Adds one, or nothing if the term is over or the bucket full. The error: the step has left the window meanwhile.
    fn add_to(&self, shape: TimeShape, step: Step, bad: bool, term: Term<'_>) -> Result<(), Step> {
        let Some(cell) = self.cells.as_ref().get(shape.own_cell(step)) else { return Ok(()) };
        let amount = if bad { ONE_REQUEST | ONE_BAD } else { ONE_REQUEST };
        let tag = step.tag(term);
        loop {
            let seen = cell.load(Ordering::Acquire);
            if is_open(seen, tag) {
                add(cell, seen, amount);
                return Ok(());
            }
            // A full bucket, or an epoch that has ended.
            if seen != 0 && tag_of(seen) == tag || !term.holds() {
                return Ok(());
            }
            let newest = Newest(self.newest.load(Ordering::Acquire)).step();
            if newest.number().saturating_sub(step.number()) >= u64::from(shape.buckets) {
                return Err(newest);
            }
            let first = tag << TAG_SHIFT | amount;
            if cell.compare_exchange(seen, first, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    /// What the buckets of the window that ends with `step` hold.
    fn sum(&self, shape: TimeShape, step: Step, term: Term<'_>) -> Counts {
        let mut counts = Counts::default();
        let mut number = step.number();
        let mut slot = step.slot();
        for _ in 0..shape.buckets {
            let tag = tag(number, term);
            for stripe in 0..shape.stripes as usize {
                let Some(cell) = self.cells.as_ref().get(stripe * shape.stride() + slot) else { break };
                let value = cell.load(Ordering::SeqCst);
                if tag_of(value) == tag {
                    counts.requests += value & COUNT_MASK;
                    counts.failures += value >> COUNT_BITS & COUNT_MASK;
                }
            }
            if number == 0 {
                break;
            }
            number -= 1;
            slot = slot.checked_sub(1).unwrap_or(shape.buckets as usize - 1);
        }
        counts
    }
}

/// A step and its bucket, `number 43 | slot 10`: in the order of time, and no division finds the bucket again. Steps of
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

/// The newest step, and for how many steps something bad may be in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Newest(u64);

impl Newest {
    const fn new(step: Step, dirty: u32) -> Self {
        Self(step.0 << DIRTY_BITS | dirty as u64)
    }

    #[inline]
    const fn step(self) -> Step {
        Step(self.0 >> DIRTY_BITS)
    }

    #[inline]
    const fn dirty(self) -> u32 {
        (self.0 & DIRTY_MASK) as u32
    }
}

/// Adds to a bucket whose tag was right when it was `seen`. Should it have rolled on since, this is taken off again; if
/// someone was faster, it stays: the price for a thread that slept between two instructions for a whole window.
#[inline]
fn add(cell: &AtomicU64, seen: u64, amount: u64) {
    let before = cell.fetch_add(amount, Ordering::SeqCst);
    if tag_of(before) != tag_of(seen) {
        take_off(cell, before, amount);
    }
}

#[cold]
#[inline(never)]
fn take_off(cell: &AtomicU64, before: u64, amount: u64) {
    let after = before.wrapping_add(amount);
    let _ = cell.compare_exchange(after, before, Ordering::AcqRel, Ordering::Relaxed);
}

/// Steps and epochs both only grow; the factor keeps a later epoch from meeting the tag of a later step.
#[inline]
fn tag(step: u64, term: Term<'_>) -> u64 {
    step.wrapping_add(1).wrapping_add(u64::from(term.epoch()).wrapping_mul(EPOCH_FACTOR)) & TAG_MASK
}

#[inline]
const fn tag_of(value: u64) -> u64 {
    value >> TAG_SHIFT
}

/// Whether it has this tag, has begun and is not full. A bucket counts to 4 million (2^22) and then no further, so that a
/// count never runs into its neighbour.
#[inline]
const fn is_open(value: u64, tag: u64) -> bool {
    value & (TAG_MASK << TAG_SHIFT | FULL) == tag << TAG_SHIFT && value & COUNT_MASK != 0
}

/// As many as a [`Step`] has slots for; a verdict adds them all up.
pub(crate) const MAX_BUCKETS: u32 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
/// Counts to `MAX_BUCKETS`, inclusive.
const DIRTY_BITS: u32 = SLOT_BITS + 1;
const DIRTY_MASK: u64 = (1 << DIRTY_BITS) - 1;
const COUNT_BITS: u32 = 23;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const FULL: u64 = 1 << (COUNT_BITS - 1);
const ONE_REQUEST: u64 = 1;
const ONE_BAD: u64 = 1 << COUNT_BITS;
const TAG_SHIFT: u32 = 2 * COUNT_BITS;
const TAG_MASK: u64 = (1 << (u64::BITS - TAG_SHIFT)) - 1;
/// 2^18 divided by the golden ratio: multiples of it lie far apart modulo 2^18.
const EPOCH_FACTOR: u64 = 162_013;
