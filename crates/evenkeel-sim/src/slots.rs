//! Requests and attempts under way, in slots that are used again. A generation tells the users of one slot apart.

use evenkeel::limit::HedgePlan;
use evenkeel::route::retry::RetryProgress;
use evenkeel::{Pick, Tried};

use crate::server::{IsHere, Ticket};
use crate::tally::End;

pub(crate) const NONE: u32 = u32::MAX;

/// One request of a client.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) generation: u32,
    pub(crate) client: u32,
    /// What came with it; `NONE` without fan-out.
    pub(crate) group: u32,
    pub(crate) attempts: u32,
    pub(crate) born: u64,
    pub(crate) number: u64,
    pub(crate) key: u64,
    /// Not a number where attempts draw their own.
    pub(crate) work: f64,
    /// Attempts whose answer is waited for.
    pub(crate) legs: [u32; 2],
    /// How the last attempt ended; [`End::NotPicked`] before the first has.
    pub(crate) last: End,
    pub(crate) more: Option<Box<More>>,
}

/// What only requests need that may be sent again.
#[derive(Debug)]
pub(crate) struct More {
    pub(crate) progress: RetryProgress,
    pub(crate) tried: Tried,
    pub(crate) hedge: HedgePlan,
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) generation: u32,
    pub(crate) request: u32,
    pub(crate) server: u32,
    /// Requests at the server when it came.
    pub(crate) met: u32,
    pub(crate) place: Place,
    pub(crate) answer: Answer,
    pub(crate) sent: u64,
    pub(crate) came: u64,
    pub(crate) work: f64,
    /// The number of the request and of the attempt, for draws.
    pub(crate) coin: u64,
    /// While its client waits for it.
    pub(crate) pick: Option<Pick<u32>>,
}

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    ToServer,
    AtServer,
    /// Never to be answered.
    Lost,
    ToClient,
    /// Taken back while it was on the way: what comes finds nobody.
    TakenBack,
}

/// What the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Good,
    Failed,
    Refused,
    /// The connection broke.
    Reset,
}

/// A slab of anything.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts something into a slot; `make` is told the generation, one more than that of the user before.
    #[inline]
    pub(crate) fn insert(&mut self, generation: impl Fn(&T) -> u32, make: impl FnOnce(u32) -> T) -> u32 {
        match self.free.pop() {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                *slot = make(generation(slot).wrapping_add(1));
                index
            }
            None => {
                self.slots.push(make(0));
                (self.slots.len() - 1) as u32
            }
        }
    }

    #[inline]
    pub(crate) fn release(&mut self, index: u32) {
        self.free.push(index);
    }

    /// How many slots are in use.
    pub(crate) fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    pub(crate) fn at(&self, index: u32) -> &T {
        &self.slots[index as usize]
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> &mut T {
        &mut self.slots[index as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter()
    }
}

impl IsHere for Slots<Attempt> {
    #[inline]
    fn is_here(&self, ticket: Ticket) -> bool {
        let attempt = self.at(ticket.index);
        attempt.generation == ticket.generation && attempt.place == Place::AtServer
    }
}
