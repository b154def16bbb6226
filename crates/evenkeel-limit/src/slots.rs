//! The limit and the calls in flight, in one atomic word.
//!
//! ```text
//! bits  63 .. 40   39 .. 24     23 .. 0
//!       limit      generation   in flight
//! ```
//!
//! One compare-and-swap reads both numbers and takes a slot, so that there is no moment between "there is room" and "it is
//! taken", in which others could take it too (Envoy's adaptive concurrency and tower's budget have that moment), and a limit
//! that is lowered meanwhile is seen. The generation says which limiter may set the limit: the successor, once there is one.

use crate::sync::{AtomicU64, Ordering};

/// The largest limit: no process has a million calls in flight to one place, and a larger number is a typing error.
pub const MAX_LIMIT: u32 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Slots(AtomicU64);

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) limit: u32,
    pub(crate) in_flight: u32,
}

impl Slots {
    pub(crate) fn new(limit: u32) -> Self {
        Self(AtomicU64::new(u64::from(limit) << LIMIT_SHIFT))
    }

    #[inline]
    pub(crate) fn count(&self) -> Count {
        count_of(self.0.load(Ordering::Relaxed))
    }

    /// Takes a slot below the limit; the numbers after that, or those that forbade it.
    #[inline]
    pub(crate) fn take(&self) -> Result<Count, Count> {
        self.take_if(|count| count.in_flight < count.limit)
    }

    /// Takes a slot whatever the limit is.
    pub(crate) fn take_over(&self) -> Result<Count, Count> {
        self.take_if(|_| true)
    }

    #[inline]
    fn take_if(&self, allows: impl Fn(Count) -> bool) -> Result<Count, Count> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let count = count_of(word);
            if !allows(count) || count.in_flight == IN_FLIGHT_MASK as u32 {
                return Err(count);
            }
            match self.0.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(Count { in_flight: count.in_flight + 1, ..count }),
                Err(present) => word = present,
            }
        }
    }

    /// Gives a slot back. One that was taken from another limiter changes nothing when none is taken here.
    #[inline]
    pub(crate) fn give_back(&self) {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & IN_FLIGHT_MASK != 0 {
            match self.0.compare_exchange_weak(word, word - 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => word = present,
            }
        }
    }

    /// Sets the limit, if `generation` is the present one; returns the old limit if that was another.
    pub(crate) fn set_limit(&self, generation: u16, limit: u32) -> Option<u32> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let old = count_of(word).limit;
            if generation_of(word) != generation || old == limit {
                return None;
            }
            match self.0.compare_exchange_weak(
                word,
                with(limit, generation, word),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(old),
                Err(present) => word = present,
            }
        }
    }

    /// Begins the next generation with this limit; what is in flight stays counted. Returns the generation.
    pub(crate) fn succeed(&self, limit: u32) -> u16 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let next = generation_of(word).wrapping_add(1);
            match self.0.compare_exchange_weak(
                word,
                with(limit, next, word),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return next,
                Err(present) => word = present,
            }
        }
    }
}

const fn with(limit: u32, generation: u16, word: u64) -> u64 {
    (limit as u64) << LIMIT_SHIFT | (generation as u64) << GENERATION_SHIFT | word & IN_FLIGHT_MASK
}

#[inline]
const fn count_of(word: u64) -> Count {
    Count { limit: (word >> LIMIT_SHIFT) as u32, in_flight: (word & IN_FLIGHT_MASK) as u32 }
}

const fn generation_of(word: u64) -> u16 {
    (word >> GENERATION_SHIFT) as u16
}

const GENERATION_SHIFT: u32 = 24;
const LIMIT_SHIFT: u32 = 40;
const IN_FLIGHT_MASK: u64 = (1 << GENERATION_SHIFT) - 1;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_taken_below_the_limit_only() {
        let slots = Slots::new(2);
        assert_eq!(slots.take(), Ok(Count { limit: 2, in_flight: 1 }));
        assert_eq!(slots.take(), Ok(Count { limit: 2, in_flight: 2 }));
        assert_eq!(slots.take(), Err(Count { limit: 2, in_flight: 2 }));
        assert_eq!(slots.take_over(), Ok(Count { limit: 2, in_flight: 3 }));
        (0..5).for_each(|_| slots.give_back());
        assert_eq!(slots.count(), Count { limit: 2, in_flight: 0 }, "more is given back than was taken");
    }

    #[test]
    fn the_successor_alone_sets_the_limit() {
        let slots = Slots::new(MAX_LIMIT);
        assert_eq!(slots.set_limit(0, 7), Some(MAX_LIMIT));
        assert_eq!(slots.take().map(|count| count.in_flight), Ok(1));
        assert_eq!(slots.succeed(1), 1);
        assert_eq!(slots.set_limit(0, 100), None);
        assert_eq!(slots.take(), Err(Count { limit: 1, in_flight: 1 }), "what was in flight counts on");
        assert_eq!(slots.set_limit(1, 100), Some(1));
    }
}
