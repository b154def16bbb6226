use crate::mask::positions_in;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::{Caller, Mask, View, scan};

/// A machine that takes turns among the usable positions, made anew when they have changed.
///
/// The machine before is kept, as [`TableOfUsable`](super::table_of_usable::TableOfUsable) keeps its table: where requests are asked
/// under two masks in turn, as when some endpoints are degraded, each part goes on with its own turns. One machine made anew at each switch
/// would serve the beginning of its schedule for ever.
#[derive(Debug)]
pub(super) struct TurnsOfUsable<M> {
    state: Mutex<State<M>>,
    /// Counts what was heard of ups and downs.
    changes: AtomicU64,
}

#[derive(Debug)]
struct State<M> {
    current: Option<Turns<M>>,
    before: Option<Turns<M>>,
    changes: u64,
}

/// A machine, and for whom it is.
#[derive(Debug)]
struct Turns<M> {
    machine: M,
    usable: usize,
    /// The first of them.
    first: usize,
    /// A bit each.
    words: Box<[u64]>,
}

/// How a machine is made and asked.
pub(super) trait Rules<M> {
    /// The machine of these positions, ascending; `before` is the one that it replaces.
    fn make(&self, usable: &[u32], before: Option<&M>, view: &dyn View, caller: &mut dyn Caller) -> M;

    /// The position whose turn it is.
    fn next(&self, machine: &mut M, view: &dyn View, caller: &mut dyn Caller) -> Option<u32>;
}

impl<M> TurnsOfUsable<M> {
    /// Takes up where `before` has got to.
    pub(super) fn new(before: Option<M>) -> Self {
        // No set is as large as that, so the first pick makes the machine.
        let current =
            before.map(|machine| Turns { machine, usable: usize::MAX, first: 0, words: Box::default() });
        let state = State { current, before: None, changes: 0 };
        Self { state: Mutex::new(state), changes: AtomicU64::new(0) }
    }

    /// Some position has become usable, or is no longer.
    pub(super) fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// An open position. One that the request excludes loses its turn.
    pub(super) fn pick(
        &self,
        rules: &impl Rules<M>,
        view: &dyn View,
        caller: &mut dyn Caller,
    ) -> Option<usize> {
        let changes = self.changes.load(Ordering::Acquire);
        let mut state = self.state.lock();
        let mut is_fresh = false;
        if !state.may_be_for(view.mask(), changes) {
            state.turn_to(rules, view, caller, changes);
            is_fresh = true;
        }
        for _ in 0..scan::DRAWS {
            let turns = state.current.as_mut()?;
            let Some(position) = rules.next(&mut turns.machine, view, caller) else { break };
            if view.is_open(position as usize) {
                return Some(position as usize);
            }
            if !is_fresh && !view.mask().contains(position as usize) {
                state.turn_to(rules, view, caller, changes);
                is_fresh = true;
            }
        }
        drop(state);
        scan::weighted(view, caller)
    }

    /// The machine as it stands, for a successor.
    pub(super) fn machine(&self) -> Option<M>
    where
        M: Clone,
    {
        self.state.lock().current.as_ref().map(|turns| turns.machine.clone())
    }
}

impl<M> State<M> {
    /// Whether the machine is for this mask, as far as one look tells: another part of the set has another first position. If else others
    /// are usable, as many as before, that shows when a closed one is met.
    fn may_be_for(&self, mask: &Mask, changes: u64) -> bool {
        self.current.as_ref().is_some_and(|turns| {
            self.changes == changes && turns.usable == mask.usable() && turns.has_first_in(mask)
        })
    }

    /// Takes the machine of this mask: the one before, if it is that, else a new one. O(n / 64), or what a new one costs.
    #[cold]
    fn turn_to(&mut self, rules: &impl Rules<M>, view: &dyn View, caller: &mut dyn Caller, changes: u64) {
        let mask = view.mask();
        self.changes = changes;
        if self.current.as_ref().is_some_and(|turns| turns.is_for(mask)) {
            return;
        }
        if self.before.as_ref().is_some_and(|turns| turns.is_for(mask)) {
            return std::mem::swap(&mut self.current, &mut self.before);
        }
        let words: Box<[u64]> = mask.words().collect();
        let positions: Vec<u32> =
            positions_in(words.iter().copied()).map(|position| position as u32).collect();
        let before = self.current.as_ref().map(|turns| &turns.machine);
        let machine = rules.make(&positions, before, view, caller);
        let first = positions.first().map_or(0, |&position| position as usize);
        let turns = Turns { machine, usable: positions.len(), first, words };
        let left = self.current.replace(turns);
        // What a predecessor left behind is for no mask.
        self.before = left.filter(|turns| turns.usable != usize::MAX).or_else(|| self.before.take());
    }
}

impl<M> Turns<M> {
    fn has_first_in(&self, mask: &Mask) -> bool {
        self.usable == 0 || mask.contains(self.first)
    }

    fn is_for(&self, mask: &Mask) -> bool {
        self.usable == mask.usable() && self.words.iter().copied().eq(mask.words())
    }
}
