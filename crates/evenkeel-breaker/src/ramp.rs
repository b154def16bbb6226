//! How the weight comes back.

use evenkeel_types::Timestamp;

use crate::sync::{AtomicU64, Ordering};
use crate::word::{EPOCH_BITS, Term};
use crate::{Ramp, RampShape};

/// Where a ramp is: `epoch 15 | level 18 | since 31`. The level was reached `since` milliseconds after the epoch began, and
/// has risen from there. A word of another epoch is no ramp: the weight is whole.
#[derive(Debug)]
pub(crate) struct Return(AtomicU64);

impl Return {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    pub(crate) fn copy(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Acquire)))
    }

    /// The epoch that is about to begin begins with a ramp.
    pub(crate) fn begin(&self, ramp: &Ramp, epoch: u32) {
        let level = u64::from(level_of(ramp.from.as_f64()));
        self.0.store(u64::from(epoch) << EPOCH_SHIFT | level << SINCE_BITS, Ordering::Release);
    }

    /// The epoch that is about to begin begins with the whole weight.
    pub(crate) fn none(&self, epoch: u32) {
        self.0.store(u64::from(epoch) << EPOCH_SHIFT | u64::from(FULL) << SINCE_BITS, Ordering::Release);
    }

    pub(crate) fn factor(&self, ramp: &Ramp, term: Term<'_>, now: Timestamp) -> f64 {
        let seen = self.0.load(Ordering::Acquire);
        if seen >> EPOCH_SHIFT == u64::from(term.epoch()) { factor(seen, ramp, term, now) } else { 1.0 }
    }

    /// A failure: back a step.
    pub(crate) fn step_back(&self, ramp: &Ramp, term: Term<'_>, now: Timestamp) {
        let mut seen = self.0.load(Ordering::Acquire);
        while seen >> EPOCH_SHIFT == u64::from(term.epoch()) {
            let risen = factor(seen, ramp, term, now);
            if risen >= 1.0 {
                return;
            }
            let from = ramp.from.as_f64();
            let lower = match ramp.shape {
                RampShape::Linear => risen - (1.0 - from) / 4.0,
                RampShape::Aimd => risen / 2.0,
            };
            let since = (age(term, now) as u64).min(SINCE_MASK);
            let level = u64::from(level_of(lower.max(from)));
            let next = u64::from(term.epoch()) << EPOCH_SHIFT | level << SINCE_BITS | since;
            match self.0.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(present) => seen = present,
            }
        }
    }
}

fn factor(word: u64, ramp: &Ramp, term: Term<'_>, now: Timestamp) -> f64 {
    let level = (word >> SINCE_BITS & u64::from(FULL)) as f64 / f64::from(FULL);
    let since = (word & SINCE_MASK) as f64;
    let over = ramp.over.as_secs_f64() * 1000.0;
    let part = (age(term, now) - since).max(0.0) / over;
    let part = match ramp.shape {
        RampShape::Linear => part,
        RampShape::Aimd => libm::floor(part * STEPS + ROUNDING) / STEPS,
    };
    let risen = level + (1.0 - ramp.from.as_f64()) * part;
    if risen >= 1.0 - ROUNDING { 1.0 } else { risen }
}

/// Milliseconds since the epoch began.
fn age(term: Term<'_>, now: Timestamp) -> f64 {
    now.saturating_since(term.word().time()).as_secs_f64() * 1000.0
}

/// Rounded up: rounded down, the weight would not be whole yet when the time is over.
fn level_of(factor: f64) -> u32 {
    (libm::ceil(factor * f64::from(FULL)) as u32).min(FULL)
}

const SINCE_BITS: u32 = 31;
const SINCE_MASK: u64 = (1 << SINCE_BITS) - 1;
const LEVEL_BITS: u32 = u64::BITS - EPOCH_BITS - SINCE_BITS;
const FULL: u32 = (1 << LEVEL_BITS) - 1;
const EPOCH_SHIFT: u32 = u64::BITS - EPOCH_BITS;
const STEPS: f64 = 10.0;
/// A step counts at its very millisecond, and the end at its own, whatever the last bits of a division say.
const ROUNDING: f64 = 1e-9;
