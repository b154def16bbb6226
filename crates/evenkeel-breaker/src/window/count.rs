//! The last N requests.

use super::Counts;
use crate::sync::{AtomicU64, Ordering};
use crate::word::{EPOCH_BITS, Term};

/// A ring of the last `size` outcomes, one bit each, and their sum.
///
/// ```text
/// cursor   failures 19 | epoch 15 | sequence 30
/// bits     epoch 15 | 49 outcomes, 1 = failed            (one word for each 49 requests)
/// ```
///
/// Each outcome takes a place with one `fetch_add` on the cursor, which also tells how many failures the ring holds. If
/// none, a success has nothing to overwrite and is done: that is the whole cost of a healthy endpoint. Otherwise the bit
/// at its place is made to say what happened, and whoever turned a bit corrects the sum.
///
/// Both words carry the epoch; one of an older epoch reads as empty, so that no transition has to clear a ring which
/// others are using. Recorded by one thread after the other the sum is exact. While k other threads are between their
/// steps, a verdict may miss their k outcomes, or still see the k that they are about to replace.
#[derive(Debug)]
pub(crate) struct CountWindow {
    cursor: AtomicU64,
    size: u32,
    bits: Box<[AtomicU64]>,
}

impl CountWindow {
    pub(crate) fn new(size: u32) -> Self {
        let words = size.div_ceil(OUTCOMES_PER_WORD);
        Self { cursor: AtomicU64::new(0), size, bits: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(crate) fn copy(&self) -> Self {
        let bits = self.bits.iter().map(|cell| AtomicU64::new(cell.load(Ordering::Acquire))).collect();
        Self { cursor: AtomicU64::new(self.cursor.load(Ordering::Acquire)), size: self.size, bits }
    }

    pub(crate) const fn size(&self) -> u32 {
        self.size
    }

    /// Takes the next place in the ring. Each is to be [`fill`](Self::fill)ed, unless a success finds no failure.
    #[inline]
    pub(crate) fn take_place(&self) -> Place {
        Place(self.cursor.fetch_add(1, Ordering::AcqRel))
    }

    /// Whether there was no failure in the ring when the place was taken: then a success has nothing to do.
    #[inline]
    pub(crate) fn holds_no_failure(&self, place: Place, term: Term<'_>) -> bool {
        // One comparison for all: no failures, this epoch, and a sequence that needs no rebasing.
        place.0 >> (SEQUENCE_BITS - 1) == u64::from(term.epoch()) << 1
    }

    pub(crate) fn counts(&self, term: Term<'_>) -> Counts {
        let cursor = self.cursor.load(Ordering::Relaxed);
        if epoch_of(cursor) == term.epoch() { self.counts_at(cursor) } else { Counts::default() }
    }

    /// Says what happened at the place. Returns what the ring holds then; `None` if the term is over.
    pub(crate) fn fill(&self, place: Place, failed: bool, term: Term<'_>) -> Option<Counts> {
        let mut cursor = place.0;
        while epoch_of(cursor) != term.epoch() {
            if !term.holds() {
                return self.give_back(cursor);
            }
            self.begin(term);
            cursor = self.cursor.fetch_add(1, Ordering::AcqRel);
        }
        let sequence = sequence_of(cursor);
        if sequence >= REBASE_AT {
            self.rebase(term);
        }
        self.set(sequence % self.size, failed, term);
        Some(self.counts(term))
    }

    /// Undoes a `fetch_add` that met a newer epoch. If someone was faster, one success too many stays in the ring: the
    /// price for a thread that slept between two instructions for a whole open time.
    fn give_back(&self, cursor: u64) -> Option<Counts> {
        let taken = cursor.wrapping_add(1);
        let _ = self.cursor.compare_exchange(taken, cursor, Ordering::AcqRel, Ordering::Relaxed);
        None
    }

    /// Empties a ring that still holds an older epoch.
    fn begin(&self, term: Term<'_>) {
        let seen = self.cursor.load(Ordering::Acquire);
        if epoch_of(seen) != term.epoch() && term.holds() {
            let empty = u64::from(term.epoch()) << SEQUENCE_BITS;
            let _ = self.cursor.compare_exchange(seen, empty, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Keeps the sequence from running out of its bits: takes whole rounds of the ring off it.
    fn rebase(&self, term: Term<'_>) {
        let rounds = u64::from((REBASE_AT / self.size - 1) * self.size);
        self.update(term, |cursor| if sequence_of(cursor) < REBASE_AT { cursor } else { cursor - rounds });
    }

    fn set(&self, place: u32, failed: bool, term: Term<'_>) {
        let Some(cell) = self.bits.get((place / OUTCOMES_PER_WORD) as usize) else { return };
        let bit = 1 << (place % OUTCOMES_PER_WORD);
        let mut seen = cell.load(Ordering::Acquire);
        loop {
            let of_this_term = seen >> OUTCOMES_PER_WORD == u64::from(term.epoch());
            if !of_this_term && !term.holds() {
                return;
            }
            let old = if of_this_term { seen } else { u64::from(term.epoch()) << OUTCOMES_PER_WORD };
            let new = if failed { old | bit } else { old & !bit };
            if new == old {
                return;
            }
            match cell.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.correct_sum(failed, term),
                Err(now) => seen = now,
            }
        }
    }

    fn correct_sum(&self, failed: bool, term: Term<'_>) {
        self.update(term, |cursor| {
            if failed { cursor.wrapping_add(ONE_FAILURE) } else { cursor.wrapping_sub(ONE_FAILURE) }
        });
    }

    fn update(&self, term: Term<'_>, change: impl Fn(u64) -> u64) {
        let mut seen = self.cursor.load(Ordering::Relaxed);
        while epoch_of(seen) == term.epoch() {
            match self.cursor.compare_exchange_weak(seen, change(seen), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn counts_at(&self, cursor: u64) -> Counts {
        // Another thread may take a failure off before its author has added it; then there is none.
        let failures = failures_of(cursor);
        let failures = if failures > self.size { 0 } else { failures };
        Counts { failures: failures.into(), requests: sequence_of(cursor).min(self.size).into() }
    }
}

/// A place in the ring: the cursor as it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u64);

#[inline]
const fn sequence_of(cursor: u64) -> u32 {
    (cursor & SEQUENCE_MASK) as u32
}

#[inline]
const fn epoch_of(cursor: u64) -> u32 {
    (cursor >> SEQUENCE_BITS) as u32 & crate::word::EPOCH_MASK
}

#[inline]
const fn failures_of(cursor: u64) -> u32 {
    (cursor >> FAILURES_SHIFT) as u32
}

/// Fits the 19 bits of the sum with bits to spare, which tells a sum below zero from a large one.
pub(crate) const MAX_COUNT_SIZE: u32 = (1 << 16) - 1;
const SEQUENCE_BITS: u32 = 30;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
/// Half of the sequence's range: 2^29 requests may pass between this one and the rebasing that it starts.
const REBASE_AT: u32 = 1 << (SEQUENCE_BITS - 1);
const FAILURES_SHIFT: u32 = SEQUENCE_BITS + EPOCH_BITS;
const ONE_FAILURE: u64 = 1 << FAILURES_SHIFT;
const OUTCOMES_PER_WORD: u32 = u64::BITS - EPOCH_BITS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::Word;

    fn recorded(window: &CountWindow, failed: bool) -> Counts {
        let cell = AtomicU64::new(Word::START.bits());
        let term = Term::new(&cell, Word::START);
        let place = window.take_place();
        if failed || !window.holds_no_failure(place, term) {
            window.fill(place, failed, term);
        }
        window.counts(term)
    }

    #[test]
    fn the_sequence_is_rebased_without_losing_its_place() {
        for size in [1, 3, 100, MAX_COUNT_SIZE] {
            let window = CountWindow::new(size);
            // The place before the last of the range, as a ring that has been full for long.
            window.cursor.store((REBASE_AT - 1).into(), Ordering::Relaxed);
            let full = u64::from(size);
            assert_eq!(recorded(&window, true), Counts { failures: 1, requests: full });
            assert_eq!(recorded(&window, false), Counts { failures: u64::from(size > 1), requests: full });
            assert!(sequence_of(window.cursor.load(Ordering::Relaxed)) < REBASE_AT, "{size}");
            for _ in 2..size {
                assert_eq!(recorded(&window, false), Counts { failures: 1, requests: full });
            }
            assert_eq!(recorded(&window, false), Counts { failures: 0, requests: full });
        }
    }

    #[test]
    fn who_comes_from_an_ended_epoch_takes_nothing() {
        let window = CountWindow::new(4);
        recorded(&window, true);
        let ended = Word::from_bits(0);
        let cell = AtomicU64::new(Word::START.bits());
        window.cursor.fetch_add(1 << SEQUENCE_BITS, Ordering::Relaxed);
        let before = window.cursor.load(Ordering::Relaxed);
        assert_eq!(window.fill(window.take_place(), true, Term::new(&cell, ended)), None);
        assert_eq!(window.cursor.load(Ordering::Relaxed), before);
    }
}
