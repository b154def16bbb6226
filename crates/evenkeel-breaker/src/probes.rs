//! Who may probe a half-open breaker, and for how long.

use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::owner::Owner;
use crate::sync::{AtomicU64, Ordering};
use crate::word::{EPOCH_BITS, EPOCH_MASK, Phase, Term, Word, millis_ceil};

/// The slots of concurrent probes; the first lies inline, because most breakers have only that one.
///
/// ```text
/// slot    end of lease, milliseconds 45 | epoch 15 | turn 4
/// lease   end of lease, milliseconds 45 | slot  15 | turn 4     (in the permit)
/// ```
///
/// A slot is free if its lease has ended or its epoch is not the present one. It is taken with one compare-and-swap, so
/// there are never more probes than slots. A probe decides only if it can swap its own lease out of its slot: not after
/// the lease has ended, not after the slot went to another, not in another epoch. The turn counts the takers, so that a
/// clock that goes back cannot give two of them the same lease.
#[derive(Debug)]
pub(crate) struct Probes<'a> {
    pub(crate) first: &'a AtomicU64,
    pub(crate) others: &'a [AtomicU64],
    pub(crate) lease: Duration,
}

/// What a look for a free slot found.
pub(crate) enum Taken {
    /// A slot, with this lease.
    Slot(Lease),
    /// None; the first lease ends then.
    None(Option<Timestamp>),
    /// The term is over: look at the state again.
    Over,
}

impl Probes<'_> {
    /// Takes a slot, if there is one and fewer than `wanted` are taken.
    pub(crate) fn take(&self, term: Term<'_>, wanted: u32, now: Timestamp) -> Taken {
        loop {
            let look = self.look(term.word(), now);
            let Some((index, seen)) = look.free.filter(|_| look.taken < wanted) else {
                return Taken::None(look.first_end);
            };
            // Only now is it known that what was seen is not the lease of a newer epoch.
            if !term.holds() {
                return Taken::Over;
            }
            let new = Slot::leased(term.word(), seen.turn() + 1, now.saturating_add(self.lease));
            if self.swap(index, seen, new) {
                return Taken::Slot(Lease::new(new, index));
            }
        }
    }

    /// The slot of the request that turned the breaker half-open. Others take it for taken already, until a lease has
    /// passed; only a thread that has slept since an older epoch can be in the way, and only once.
    pub(crate) fn take_first(&self, word: Word, now: Timestamp) -> Lease {
        loop {
            let seen = Slot(self.first.load(Ordering::Acquire));
            let new = Slot::leased(word, seen.turn() + 1, now.saturating_add(self.lease));
            if seen.is_of(word) || self.swap(0, seen, new) {
                return Lease::new(new, 0);
            }
        }
    }

    /// Whether [`take`](Self::take) would find a slot; if not, the end of the first lease.
    pub(crate) fn peek(&self, word: Word, wanted: u32, now: Timestamp) -> Result<(), Option<Timestamp>> {
        let look = self.look(word, now);
        if look.free.is_some() && look.taken < wanted { Ok(()) } else { Err(look.first_end) }
    }

    /// Ends a lease. False if it was over before: then its holder has nothing to say.
    pub(crate) fn end(&self, word: Word, lease: Lease) -> bool {
        let held = lease.slot(word);
        self.swap(lease.index(), held, held.freed())
    }

    /// Frees every slot whose lease has ended.
    pub(crate) fn free_ended(&self, word: Word, now: Timestamp) {
        for (index, slot) in self.slots().enumerate() {
            let seen = Slot(slot.load(Ordering::Acquire));
            if seen.is_of(word) && seen.until() <= now && !seen.is_freed() {
                let _ = self.swap(index, seen, seen.freed());
            }
        }
    }

    pub(crate) fn first_end(&self, word: Word) -> Option<Timestamp> {
        self.look(word, Timestamp::ORIGIN).first_end
    }

    pub(crate) fn taken(&self, word: Word, now: Timestamp) -> u32 {
        self.look(word, now).taken
    }

    fn look(&self, word: Word, now: Timestamp) -> Look {
        let mut look = Look { free: None, taken: 0, first_end: None };
        for (index, slot) in self.slots().enumerate() {
            let seen = Slot(slot.load(Ordering::Acquire));
            let until = self.taken_until(word, index, seen);
            if until.is_some_and(|until| until > now) {
                look.taken += 1;
                look.first_end = [look.first_end, until].into_iter().flatten().min();
            } else if look.free.is_none() {
                look.free = Some((index, seen));
            }
        }
        look
    }

    fn taken_until(&self, word: Word, index: usize, seen: Slot) -> Option<Timestamp> {
        if seen.is_of(word) {
            return Some(seen.until());
        }
        let claimed = index == 0 && word.phase() == Phase::HalfOpenClaimed;
        // A millisecond more than the claimant's own lease, because the entry is rounded down.
        claimed.then(|| word.time().saturating_add(ONE_MILLI).saturating_add(self.lease))
    }

    fn slots(&self) -> impl Iterator<Item = &AtomicU64> {
        std::iter::once(self.first).chain(self.others)
    }

    fn swap(&self, index: usize, old: Slot, new: Slot) -> bool {
        let slot = match index.checked_sub(1) {
            None => Some(self.first),
            Some(other) => self.others.get(other),
        };
        slot.is_some_and(|slot| {
            slot.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }
}

struct Look {
    free: Option<(usize, Slot)>,
    taken: u32,
    first_end: Option<Timestamp>,
}

/// The first slot of a breaker that is forced holds who forced it, in place of a lease.
pub(crate) fn owner_slot(owner: Owner, word: Word) -> u64 {
    owner.bits() << MILLIS_SHIFT | u64::from(word.epoch()) << TURN_BITS
}

/// Who that was; nobody, for the moment between the two writes.
pub(crate) fn owner_in(slot: u64, word: Word) -> Owner {
    if Slot(slot).is_of(word) { Owner::from_bits(slot >> MILLIS_SHIFT) } else { Owner::UNNAMED }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(u64);

impl Slot {
    fn leased(word: Word, turn: u64, until: Timestamp) -> Self {
        Self(millis_ceil(until) << MILLIS_SHIFT | u64::from(word.epoch()) << TURN_BITS | turn & TURN_MASK)
    }

    /// The same without a lease; the epoch and the turn stay.
    fn freed(self) -> Self {
        Self(self.0 & ((1 << MILLIS_SHIFT) - 1))
    }

    fn is_freed(self) -> bool {
        self == self.freed()
    }

    fn is_of(self, word: Word) -> bool {
        (self.0 >> TURN_BITS) as u32 & EPOCH_MASK == word.epoch()
    }

    fn turn(self) -> u64 {
        self.0 & TURN_MASK
    }

    fn until(self) -> Timestamp {
        Timestamp::from_millis(self.0 >> MILLIS_SHIFT)
    }
}

/// A slot for a while: what a probe's permit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease(u64);

impl Lease {
    /// That of a permit which is no probe.
    pub(crate) const NONE: Self = Self(0);

    /// That of a request which only a dry run let through. No slot has this index.
    pub(crate) const WOULD_BE_REFUSED: Self = Self(u64::MAX);

    /// That of a request of the closed state which began at `start`, for those breakers that measure.
    pub(crate) const fn started(start: Timestamp) -> Self {
        Self(start.as_nanos())
    }

    /// When a request of the closed state began, if it was `started`.
    pub(crate) const fn start(self) -> Timestamp {
        Timestamp::from_nanos(self.0)
    }

    fn new(slot: Slot, index: usize) -> Self {
        Self(slot.0 & !INDEX_MASK | (index as u64) << TURN_BITS & INDEX_MASK)
    }

    /// From then on, inclusive, it is over.
    pub(crate) const fn until(self) -> Timestamp {
        Timestamp::from_millis(self.0 >> MILLIS_SHIFT)
    }

    fn index(self) -> usize {
        ((self.0 & INDEX_MASK) >> TURN_BITS) as usize
    }

    fn slot(self, word: Word) -> Slot {
        Slot(self.0 & !INDEX_MASK | u64::from(word.epoch()) << TURN_BITS)
    }
}

const TURN_BITS: u32 = 4;
const TURN_MASK: u64 = (1 << TURN_BITS) - 1;
const MILLIS_SHIFT: u32 = TURN_BITS + EPOCH_BITS;
const INDEX_MASK: u64 = (EPOCH_MASK as u64) << TURN_BITS;
const ONE_MILLI: Duration = Duration::from_millis(1);
