use crate::sync::{AtomicU32, Ordering};
use crate::word::{EPOCH_BITS, Term};

/// How many in a row: failures while Closed, successful probes while half-open.
///
/// One 32-bit word, `epoch 15 | count 17`. A count of another epoch reads as zero, so no transition has to clear it, and
/// a thread that slept through a transition cannot add to what came after.
#[derive(Debug)]
pub(crate) struct Row(AtomicU32);

impl Row {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn copy(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Ordering::Relaxed)))
    }

    pub(crate) fn count(&self, term: Term<'_>) -> u32 {
        count_in(self.0.load(Ordering::Relaxed), term)
    }

    /// Adds one, and returns the new count; `None` if the term is over.
    pub(crate) fn add(&self, term: Term<'_>) -> Option<u32> {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            if !is_of(seen, term) && !term.holds() {
                return None;
            }
            let count = (count_in(seen, term) + 1).min(MAX_ROW);
            let new = term.epoch() << COUNT_BITS | count;
            match self.0.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(count),
                Err(now) => seen = now,
            }
        }
    }

    /// Starts again from zero. Writes only if there is something to forget.
    #[inline]
    pub(crate) fn clear(&self, term: Term<'_>) {
        let seen = self.0.load(Ordering::Relaxed);
        if count_in(seen, term) != 0 {
            self.forget(seen, term);
        }
    }

    #[cold]
    fn forget(&self, mut seen: u32, term: Term<'_>) {
        let empty = term.epoch() << COUNT_BITS;
        while count_in(seen, term) != 0 {
            match self.0.compare_exchange_weak(seen, empty, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

#[inline]
fn is_of(value: u32, term: Term<'_>) -> bool {
    value >> COUNT_BITS == term.epoch()
}

#[inline]
fn count_in(value: u32, term: Term<'_>) -> u32 {
    if is_of(value, term) { value & MAX_ROW } else { 0 }
}

const COUNT_BITS: u32 = u32::BITS - EPOCH_BITS;
pub(crate) const MAX_ROW: u32 = (1 << COUNT_BITS) - 1;
