//! The state of a breaker in one atomic word.
//!
//! ```text
//! bits  63 .. 19       18 .. 2    1 .. 0
//!       milliseconds   epoch      phase
//! ```
//!
//! The milliseconds of Open are the deadline, rounded **up**, so that a breaker never lets a probe out early; those of
//! every other phase are the time of its entry, rounded down. 45 bits hold each millisecond that a [`Timestamp`] can
//! name (584 years), so the origin of the caller's clock does not matter: it may be the Unix epoch.
//!
//! The epoch has 17 bits and wraps. The whole word is the identity of a state, which is why a permit carries it whole: a
//! permit from another epoch is taken for a current one only if 131,072 transitions, or a multiple, lie between them
//! *and* both states were entered in the same millisecond.

use evenkeel_types::Timestamp;

use crate::State;
use crate::sync::{AtomicU64, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    Closed,
    /// Half-open, entered by the clock: every probe slot was free.
    HalfOpen,
    /// Half-open, entered by a request: the first slot belongs to it, even before it could write its lease there.
    HalfOpenClaimed,
}

impl Word {
    /// Closed, epoch 0.
    pub(crate) const START: Self = Self(1);

    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn phase(self) -> Phase {
        match self.0 & PHASE_MASK {
            0 => Phase::Open,
            1 => Phase::Closed,
            2 => Phase::HalfOpen,
            _ => Phase::HalfOpenClaimed,
        }
    }

    #[inline]
    pub(crate) const fn epoch(self) -> u32 {
        (self.0 >> PHASE_BITS) as u32 & EPOCH_MASK
    }

    #[inline]
    pub(crate) const fn millis(self) -> u64 {
        self.0 >> MILLIS_SHIFT
    }

    /// The deadline of Open, the entry of all others.
    #[inline]
    pub(crate) const fn time(self) -> Timestamp {
        Timestamp::from_millis(self.millis())
    }

    pub(crate) const fn state(self) -> State {
        match self.phase() {
            Phase::Open => State::Open { until: self.time() },
            Phase::Closed => State::Closed,
            Phase::HalfOpen | Phase::HalfOpenClaimed => State::HalfOpen,
        }
    }

    /// The next epoch, open until `deadline`.
    pub(crate) const fn next_open(self, deadline: Timestamp) -> Self {
        self.next(Phase::Open, millis_ceil(deadline))
    }

    /// The next epoch, in `phase` since `entry`.
    pub(crate) const fn next_since(self, phase: Phase, entry: Timestamp) -> Self {
        self.next(phase, entry.as_nanos() / NANOS_PER_MILLI)
    }

    const fn next(self, phase: Phase, millis: u64) -> Self {
        let epoch = self.epoch().wrapping_add(1) & EPOCH_MASK;
        Self(millis << MILLIS_SHIFT | (epoch as u64) << PHASE_BITS | phase as u64)
    }
}

/// One epoch of one breaker, as a thread sees it that has read the state word: what it counts carries the epoch's tag,
/// and it can ask whether the epoch is still the present one.
#[derive(Clone, Copy)]
pub(crate) struct Term<'a> {
    cell: &'a AtomicU64,
    word: Word,
}

impl<'a> Term<'a> {
    #[inline]
    pub(crate) fn new(cell: &'a AtomicU64, word: Word) -> Self {
        Self { cell, word }
    }

    #[inline]
    pub(crate) fn word(self) -> Word {
        self.word
    }

    #[inline]
    pub(crate) fn epoch(self) -> u32 {
        self.word.epoch()
    }

    /// Whether the epoch has not ended.
    ///
    /// Who loads a tagged cell with `Acquire`, finds a foreign tag, and *then* hears `true` here, knows that the tag is
    /// an older one: a newer one was written by a thread that had seen the newer word.
    #[inline]
    pub(crate) fn holds(self) -> bool {
        self.cell.load(Ordering::Acquire) == self.word.bits()
    }
}

/// The first millisecond at or after `time`.
pub(crate) const fn millis_ceil(time: Timestamp) -> u64 {
    time.as_nanos().div_ceil(NANOS_PER_MILLI)
}

pub(crate) const EPOCH_BITS: u32 = 17;
pub(crate) const EPOCH_MASK: u32 = (1 << EPOCH_BITS) - 1;
const PHASE_BITS: u32 = 2;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;
const MILLIS_SHIFT: u32 = PHASE_BITS + EPOCH_BITS;
const NANOS_PER_MILLI: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_round_up_and_entries_down() {
        let time = Timestamp::from_nanos(1_000_001);
        assert_eq!(Word::START.next_open(time).time(), Timestamp::from_millis(2));
        assert_eq!(Word::START.next_since(Phase::HalfOpen, time).time(), Timestamp::from_millis(1));
    }

    #[test]
    fn the_whole_of_time_fits() {
        let word = Word::START.next_open(Timestamp::MAX);
        assert_eq!(word.state(), State::Open { until: Timestamp::MAX });
        assert_eq!(word.epoch(), 1);
    }

    #[test]
    fn the_epoch_wraps_within_its_bits() {
        let mut word = Word::START;
        for _ in 0..=EPOCH_MASK {
            word = word.next_since(Phase::Closed, Timestamp::ORIGIN);
        }
        assert_eq!(word, Word::START);
    }
}
