//! Which endpoint stands where, and how a flip of its health finds its bit while an update swaps everything.
//!
//! Every endpoint has a *slot* for as long as it lives; the current [`Places`] say at which position of which tier a
//! slot stands, and hold the masks of the tiers. The endpoint's own health word is the truth and the masks follow it:
//!
//! ```text
//! flip                                    update
//! 1  change the own word                  1  read the flip counter
//! 2  count the flip                       2  make new masks from the own words
//! 3  load the current places              3  swap the places
//! 4  set the bit there to the own word    4  read the flip counter; if it moved, set every bit to the own word again
//! ```
//!
//! A sequentially consistent fence stands between 2 and 3 of a flip, and between 3 and 4 of an update. A flip that loads the old places in 3 has counted before the swap, so the
//! update sees the counter moved and repairs; a flip that loads the new ones sets the bit itself. Bits are set under the
//! mask's lock to what the own word says at that moment, so of two writers none can leave an older truth. The model
//! check at the end of this file walks all interleavings.

use std::sync::Arc;

use evenkeel_balance::Mask;

use evenkeel_health::{Cause, Status};

use crate::factor::Factor;
use crate::shares::Shares;
use crate::sync::{AtomicU64, Ordering, Swap, fence};
use crate::tally::Tally;

/// The masks of one tier: what is plainly usable, and what is usable but degraded.
#[derive(Debug)]
pub(crate) struct Masks {
    pub(crate) preferred: Mask,
    pub(crate) degraded: Mask,
    /// The largest factor among what is usable, as of the last tick.
    pub(crate) top: Factor,
    /// How far factors are lifted towards one, so that nobody's share grows too much.
    pub(crate) lift: Factor,
    /// How many are how, where shares of tiers and zones go by that.
    pub(crate) tally: Option<Tally>,
}

/// What the own word of an endpoint says about where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Preferred,
    Degraded,
    /// On its way for the first time: nobody has lost it yet.
    New,
    /// As new, and something else speaks against it: a check that asks before it listens, say.
    NewDown,
    /// Unusable, and on its way again: nothing else speaks against it.
    Starting,
    /// Unusable for what was concluded about it.
    Out,
    /// Unusable since somebody wants it so: panic does not change that.
    Withdrawn,
}

impl Level {
    /// `is_new` is asked of whoever is unusable: whether it is on its way since it was made, and was never usable.
    pub(crate) fn of(status: Status, is_new: impl FnOnce() -> bool) -> Self {
        match (status.usable(), status.is_degraded()) {
            (true, false) => Self::Preferred,
            (true, true) => Self::Degraded,
            (false, _) if status.is_withdrawn() => Self::Withdrawn,
            (false, _) => match (is_new(), status.causes().filter(|cause| cause.is_blocking()).all(starts)) {
                (true, true) => Self::New,
                (true, false) => Self::NewDown,
                (false, true) => Self::Starting,
                (false, false) => Self::Out,
            },
        }
    }

    pub(crate) const fn is_new(self) -> bool {
        matches!(self, Self::New | Self::NewDown)
    }
}

/// Whether an endpoint is on its way, by this word.
pub(crate) fn starts(cause: Cause) -> bool {
    matches!(cause, Cause::AnnouncedStarting | Cause::CheckStarting)
}

impl Masks {
    /// With a tally, if there are weights to count.
    pub(crate) fn new(levels: &[Level], weights: Option<&[u32]>) -> Self {
        Self {
            preferred: Mask::new(levels.len(), |position| levels[position] == Level::Preferred),
            degraded: Mask::new(levels.len(), |position| levels[position] == Level::Degraded),
            top: Factor::full(),
            lift: Factor::none(),
            tally: weights.map(|weights| Tally::new(levels, weights)),
        }
    }

    pub(crate) fn refresh(&self, position: usize, level: impl Fn() -> Level) {
        // The gaining mask first: a usable endpoint is at no moment in neither.
        let mut masks = [(&self.preferred, Level::Preferred), (&self.degraded, Level::Degraded)];
        if level() == Level::Degraded {
            masks.reverse();
        }
        for (mask, mine) in masks {
            mask.refresh(position, || level() == mine);
        }
        if let Some(tally) = &self.tally {
            tally.refresh(position, level);
        }
    }
}

/// Where every slot stands.
#[derive(Debug, Default)]
pub(crate) struct Places {
    tiers: Box<[Arc<Masks>]>,
    of_slot: Box<[Place]>,
    /// What the groups get, where that goes by numbers.
    shares: Option<Arc<Shares>>,
}

/// A group and a position in one word: 32 bits each. There are at most two groups for each priority and zone, 66,048.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    pub(crate) const NOWHERE: Self = Self(u64::MAX);

    pub(crate) const fn new(tier: usize, position: usize) -> Self {
        Self((tier as u64) << POSITION_BITS | position as u64)
    }

    pub(crate) const fn tier(self) -> usize {
        (self.0 >> POSITION_BITS) as usize
    }

    pub(crate) const fn position(self) -> usize {
        (self.0 & ((1 << POSITION_BITS) - 1)) as usize
    }
}

const POSITION_BITS: u32 = 32;

impl Places {
    pub(crate) fn new(tiers: Box<[Arc<Masks>]>, of_slot: Box<[Place]>, shares: Option<Arc<Shares>>) -> Self {
        Self { tiers, of_slot, shares }
    }

    pub(crate) const fn shares(&self) -> Option<&Arc<Shares>> {
        self.shares.as_ref()
    }

    pub(crate) fn of(&self, slot: u32) -> Option<Place> {
        self.of_slot.get(slot as usize).copied().filter(|place| *place != Place::NOWHERE)
    }

    fn refresh(&self, slot: u32, level: impl Fn() -> Level) {
        let Some(place) = self.of(slot) else { return };
        if let Some(masks) = self.tiers.get(place.tier()) {
            masks.refresh(place.position(), level);
        }
    }
}

/// The current places, and the count of flips that lets an update notice what it might have missed.
#[derive(Debug)]
pub(crate) struct Roster {
    places: Swap<Places>,
    flips: AtomicU64,
}

impl Roster {
    pub(crate) fn new() -> Self {
        Self { places: Swap::new(Places::default()), flips: AtomicU64::new(0) }
    }

    /// Brings the bit of `slot` in line with its own word, which must have been changed before.
    pub(crate) fn publish(&self, slot: u32, level: impl Fn() -> Level) {
        self.flips.fetch_add(1, Ordering::SeqCst);
        // Against the fence in `swap`: either this load sees the new places, or the update sees the count moved.
        fence(Ordering::SeqCst);
        self.places.load().refresh(slot, level);
    }

    /// The count of flips so far: read it before making new masks.
    pub(crate) fn flips(&self) -> u64 {
        self.flips.load(Ordering::SeqCst)
    }

    /// Makes `places` the current ones. `before` is what [`flips`](Self::flips) said before they were made; if something
    /// flipped since, `repair` is called to bring every bit in line again.
    pub(crate) fn swap(&self, places: &Arc<Places>, before: u64, repair: impl FnOnce(&Places)) {
        self.places.swap(Arc::clone(places));
        fence(Ordering::SeqCst);
        if self.flips() != before {
            repair(places);
        }
    }

    /// Whether anybody else of the tier is usable and takes the whole of its weight.
    pub(crate) fn others_are_warm(&self, slot: u32) -> bool {
        let places = self.places.load();
        let masks = places.of(slot).and_then(|place| places.tiers.get(place.tier()));
        masks.is_some_and(|masks| masks.preferred.usable() > 1 && masks.top.is_full())
    }

    pub(crate) fn places(&self) -> Arc<Places> {
        self.places.load_full()
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    use super::*;

    fn places(word: &AtomicBool) -> Arc<Places> {
        let masks = Arc::new(Masks::new(&[level(word)], None));
        Arc::new(Places::new([masks].into(), [Place::new(0, 0)].into(), None))
    }

    fn level(word: &AtomicBool) -> Level {
        if word.load(Ordering::SeqCst) { Level::Preferred } else { Level::Out }
    }

    fn bit(roster: &Roster) -> bool {
        let places = roster.places();
        let place = places.of(0).expect("the one slot");
        places.tiers[place.tier()].preferred.contains(place.position())
    }

    fn update(roster: &Roster, word: &AtomicBool) {
        let before = roster.flips();
        roster.swap(&places(word), before, |places| places.refresh(0, || level(word)));
    }

    fn flip(roster: &Roster, word: &AtomicBool, usable: bool) {
        word.swap(usable, Ordering::SeqCst);
        roster.publish(0, || level(word));
    }

    /// A flip during a swap is never lost: the bit that picks read ends as the own word says.
    #[test]
    fn a_flip_during_a_swap_is_kept() {
        loom::model(|| {
            let shared = loom::sync::Arc::new((Roster::new(), AtomicBool::new(true)));
            let (roster, word) = &*shared;
            roster.swap(&places(word), roster.flips(), |_| {});
            let flipper = {
                let shared = shared.clone();
                thread::spawn(move || flip(&shared.0, &shared.1, false))
            };
            update(roster, word);
            flipper.join().expect("the flipper ends");
            assert!(!word.load(Ordering::SeqCst));
            assert!(!bit(roster), "the flip was lost in the swap");
        });
    }

    /// Two flippers and an update: whatever the order, bit and word agree in the end.
    #[test]
    fn two_flips_and_a_swap_agree_in_the_end() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(|| {
            let shared = loom::sync::Arc::new((Roster::new(), AtomicBool::new(true)));
            let (roster, word) = &*shared;
            roster.swap(&places(word), roster.flips(), |_| {});
            let flippers: Vec<_> = [false, true]
                .into_iter()
                .map(|usable| {
                    let shared = shared.clone();
                    thread::spawn(move || flip(&shared.0, &shared.1, usable))
                })
                .collect();
            update(roster, word);
            for flipper in flippers {
                flipper.join().expect("a flipper ends");
            }
            assert_eq!(bit(roster), word.load(Ordering::SeqCst));
        });
    }
}
