//! The state of a breaker in one atomic word.
//!
//! ```text
//! bits  63 .. 19       18 .. 4    3     2 .. 0
//!       milliseconds   epoch      dry   phase
//! ```
//!
//! The milliseconds of Open and of the forced phases are the deadline, rounded **up**, so that a breaker never lets a probe
//! out early; those of every other phase are the time of its entry, rounded down. 45 bits hold each millisecond that a
//! [`Timestamp`] can name (584 years), so the origin of the caller's clock does not matter: it may be the Unix epoch. All
//! ones stand for "without end", which no time is.
//!
//! The dry bit says that the breaker runs as always and refuses nothing.
//!
//! The epoch has 15 bits and wraps. The whole word is the identity of a state, which is why a permit carries it whole: a
//! permit from another epoch is taken for a current one only if 32,768 transitions, or a multiple, lie between them
//! *and* both states were entered in the same millisecond.

use evenkeel_types::Timestamp;

use crate::sync::{AtomicU64, Ordering};
use crate::{State, WouldBe};

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
    /// Refuses by an operator's word.
    ForcedOpen,
    /// Lets everything through by an operator's word, and counts nothing.
    Disabled,
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
            3 => Phase::HalfOpenClaimed,
            4 => Phase::ForcedOpen,
            _ => Phase::Disabled,
        }
    }

    /// Closed, and not in dry run: every request passes and no deadline is pending.
    #[inline]
    pub(crate) const fn is_plainly_closed(self) -> bool {
        self.0 & (DRY | PHASE_MASK) == Phase::Closed as u64
    }

    #[inline]
    pub(crate) const fn is_dry(self) -> bool {
        self.0 & DRY != 0
    }

    pub(crate) const fn is_forced(self) -> bool {
        self.is_dry() || matches!(self.phase(), Phase::ForcedOpen | Phase::Disabled)
    }

    #[inline]
    pub(crate) const fn epoch(self) -> u32 {
        (self.0 >> EPOCH_SHIFT) as u32 & EPOCH_MASK
    }

    #[inline]
    pub(crate) const fn millis(self) -> u64 {
        self.0 >> MILLIS_SHIFT
    }

    /// The deadline of Open and of what is forced, the entry of all others.
    #[inline]
    pub(crate) const fn time(self) -> Timestamp {
        Timestamp::from_millis(self.millis())
    }

    /// The deadline of what is forced, if it has one.
    pub(crate) const fn limit(self) -> Option<Timestamp> {
        if self.millis() == NEVER { None } else { Some(self.time()) }
    }

    pub(crate) const fn state(self) -> State {
        match (self.phase(), self.is_dry()) {
            (Phase::Open, false) => State::Open { until: self.time() },
            (Phase::Closed, false) => State::Closed,
            (Phase::HalfOpen | Phase::HalfOpenClaimed, false) => State::HalfOpen,
            (Phase::ForcedOpen, _) => State::ForcedOpen { until: self.limit() },
            (Phase::Disabled, _) => State::Disabled { until: self.limit() },
            (Phase::Open, true) => State::DryRun { would_be: WouldBe::Open { until: self.time() } },
            (Phase::Closed, true) => State::DryRun { would_be: WouldBe::Closed },
            (Phase::HalfOpen | Phase::HalfOpenClaimed, true) => State::DryRun { would_be: WouldBe::HalfOpen },
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

    /// The next epoch, in a forced phase until `deadline`, or without end.
    pub(crate) const fn next_forced(self, phase: Phase, deadline: Option<Timestamp>) -> Self {
        let millis = match deadline {
            Some(deadline) => millis_ceil(deadline),
            None => NEVER,
        };
        self.next(phase, millis).wet()
    }

    /// The same in dry run.
    pub(crate) const fn dry(self) -> Self {
        Self(self.0 | DRY)
    }

    /// The same, not in dry run.
    pub(crate) const fn wet(self) -> Self {
        Self(self.0 & !DRY)
    }

    const fn next(self, phase: Phase, millis: u64) -> Self {
        let epoch = self.epoch().wrapping_add(1) & EPOCH_MASK;
        Self(millis << MILLIS_SHIFT | (epoch as u64) << EPOCH_SHIFT | self.0 & DRY | phase as u64)
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

pub(crate) const EPOCH_BITS: u32 = 15;
pub(crate) const EPOCH_MASK: u32 = (1 << EPOCH_BITS) - 1;
const PHASE_BITS: u32 = 3;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;
const DRY: u64 = 1 << PHASE_BITS;
const EPOCH_SHIFT: u32 = PHASE_BITS + 1;
const MILLIS_SHIFT: u32 = EPOCH_SHIFT + EPOCH_BITS;
const NEVER: u64 = (1 << (u64::BITS - MILLIS_SHIFT)) - 1;
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
    fn dry_run_outlives_transitions_and_ends_with_a_forced_phase() {
        let dry = Word::START.dry().next_open(Timestamp::from_millis(3));
        assert_eq!(
            dry.state(),
            State::DryRun { would_be: WouldBe::Open { until: Timestamp::from_millis(3) } }
        );
        assert_eq!(dry.next_forced(Phase::ForcedOpen, None).state(), State::ForcedOpen { until: None });
        let limit = dry.next_forced(Phase::Disabled, Some(Timestamp::MAX)).limit();
        assert_eq!(limit, Some(Timestamp::MAX), "the end of time is not without end");
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
