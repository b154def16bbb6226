//! What a thread needs for itself in a cluster: a generator and a place in the cycle.
//!
//! A lane is one padded cache line, used as a rule by one thread. Draws and places are read and written without a locked
//! instruction: when two threads share a lane they may see the same draw or place once, which no policy minds, and pay
//! for the shared line, nothing else.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use evenkeel_balance::place_in;
use evenkeel_types::{SplitMix64, WyRand};

#[derive(Debug)]
pub(crate) struct Lanes(Box<[CachePadded<Lane>]>);

#[derive(Debug)]
pub(crate) struct Lane {
    state: AtomicU64,
    /// Places in cycles: one for each tier and its degraded part, from the fourth tier on shared.
    places: [AtomicU32; PLACES],
}

impl Lanes {
    /// Twice as many lanes as the machine runs threads at once, so that two busy threads seldom meet in one.
    pub(crate) fn new(seed: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let count = (2 * threads).next_power_of_two().clamp(4, 256);
        Self((0..count as u64).map(|index| CachePadded::new(Lane::new(seed, index))).collect())
    }

    /// The lane of the calling thread.
    #[inline]
    pub(crate) fn mine(&self) -> &Lane {
        // The count is a power of two, so this cannot be out of range.
        &self.0[ordinal() as usize & (self.0.len() - 1)]
    }
}

impl Lane {
    /// The lane number `index` of a cluster: seeds are spread by mixing, so neighbours have nothing in common.
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        let state = SplitMix64::mix(seed ^ SplitMix64::mix(index.wrapping_add(1)));
        let start = |cycle: usize| (SplitMix64::mix(!state ^ cycle as u64) >> 33) as u32;
        Self {
            state: AtomicU64::new(state),
            places: std::array::from_fn(|cycle| AtomicU32::new(start(cycle))),
        }
    }

    #[inline]
    pub(crate) fn draw(&self) -> u64 {
        let state = self.state.load(Ordering::Relaxed).wrapping_add(WyRand::STEP);
        self.state.store(state, Ordering::Relaxed);
        WyRand::mix(state)
    }

    #[inline]
    pub(crate) fn turn(&self, cycle: usize, length: u32) -> u32 {
        let own = &self.places[cycle % PLACES];
        let place = place_in(own.load(Ordering::Relaxed), length);
        own.store(place.wrapping_add(1), Ordering::Relaxed);
        place
    }

    /// A copy that goes on from the same point: what the next pick here would see.
    pub(crate) fn fork(&self) -> Self {
        Self {
            state: AtomicU64::new(self.state.load(Ordering::Relaxed)),
            places: std::array::from_fn(|cycle| AtomicU32::new(self.places[cycle].load(Ordering::Relaxed))),
        }
    }
}

/// A dense number for the calling thread: 0, 1, 2 … in the order in which threads first ask.
#[inline]
pub(crate) fn ordinal() -> u32 {
    ORDINAL.with(|ordinal| {
        let known = ordinal.get();
        if known != UNKNOWN { known } else { first_ordinal(ordinal) }
    })
}

#[cold]
fn first_ordinal(ordinal: &Cell<u32>) -> u32 {
    let number = NEXT.fetch_add(1, Ordering::Relaxed) & !(1 << 31);
    ordinal.set(number);
    number
}

thread_local! {
    static ORDINAL: Cell<u32> = const { Cell::new(UNKNOWN) };
}

static NEXT: AtomicU32 = AtomicU32::new(0);
const UNKNOWN: u32 = u32::MAX;
/// As many as fit a cache line beside the generator.
const PLACES: usize = 8;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn lanes_of_one_seed_differ_and_repeat() {
        let (first, again, other) = (Lane::new(7, 0), Lane::new(7, 0), Lane::new(7, 1));
        let draws = |lane: &Lane| (0..4).map(|_| lane.draw()).collect::<Vec<_>>();
        let drawn = draws(&first);
        assert_eq!(drawn, draws(&again));
        assert_ne!(drawn, draws(&other));
    }

    #[test]
    fn a_fork_leaves_the_lane_where_it_was() {
        let lane = Lane::new(1, 1);
        let fork = lane.fork();
        let ahead = (fork.draw(), fork.turn(0, 10), fork.turn(1, 10));
        assert_eq!((lane.draw(), lane.turn(0, 10), lane.turn(1, 10)), ahead);
    }
}
