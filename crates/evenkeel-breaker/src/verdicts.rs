use crate::sync::{AtomicU64, Ordering};
use crate::word::{EPOCH_BITS, Term};

/// The verdicts of a half-open epoch: `epoch 15 | free 1 | slow 16 | failed 16 | all 16`.
#[derive(Debug)]
pub(crate) struct Verdicts(AtomicU64);

/// What probes have said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    pub(crate) all: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

impl Verdicts {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn copy(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Acquire)))
    }

    /// Adds one; `None` if the term is over.
    pub(crate) fn add(&self, failed: bool, slow: bool, term: Term<'_>) -> Option<Said> {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            if !is_of(seen, term) && !term.holds() {
                return None;
            }
            let Said { all, failed: f, slow: s } = said(seen, term);
            let said = Said { all: all + 1, failed: f + u32::from(failed), slow: s + u32::from(slow) };
            let packed =
                u64::from(said.slow) << (2 * BITS) | u64::from(said.failed) << BITS | u64::from(said.all);
            let new = u64::from(term.epoch()) << EPOCH_SHIFT | packed;
            match self.0.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(said),
                Err(now) => seen = now,
            }
        }
    }

    pub(crate) fn read(&self, term: Term<'_>) -> Said {
        said(self.0.load(Ordering::Acquire), term)
    }
}

fn is_of(word: u64, term: Term<'_>) -> bool {
    word >> EPOCH_SHIFT == u64::from(term.epoch())
}

fn said(word: u64, term: Term<'_>) -> Said {
    if !is_of(word, term) {
        return Said::default();
    }
    // There are no more probes than slots and verdicts wanted, which is far below the 16 bits.
    let part = |place: u32| (word >> (place * BITS) & MASK) as u32;
    Said { all: part(0), failed: part(1), slow: part(2) }
}

const BITS: u32 = 16;
const MASK: u64 = (1 << BITS) - 1;
const EPOCH_SHIFT: u32 = u64::BITS - EPOCH_BITS;
