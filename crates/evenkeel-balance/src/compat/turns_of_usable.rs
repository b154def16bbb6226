use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::{Caller, View, scan};

/// A machine that takes turns among the usable positions, made anew when they have changed.
#[derive(Debug)]
pub(super) struct TurnsOfUsable<M> {
    state: Mutex<State<M>>,
    /// Counts what was heard of ups and downs.
    changes: AtomicU64,
}

#[derive(Debug)]
struct State<M> {
    machine: Option<M>,
    usable: usize,
    changes: u64,
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
        let state = State { machine: before, usable: usize::MAX, changes: 0 };
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
        let usable = view.mask().usable();
        let mut state = self.state.lock();
        let mut is_fresh = false;
        if state.changes != changes || state.usable != usable {
            *state = state.renewed(rules, view, caller, usable, changes);
            is_fresh = true;
        }
        for _ in 0..scan::DRAWS {
            let machine = state.machine.as_mut()?;
            let Some(position) = rules.next(machine, view, caller) else { break };
            if view.is_open(position as usize) {
                return Some(position as usize);
            }
            if !is_fresh && !view.mask().contains(position as usize) {
                *state = state.renewed(rules, view, caller, usable, changes);
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
        self.state.lock().machine.clone()
    }
}

impl<M> State<M> {
    #[cold]
    fn renewed(
        &self,
        rules: &impl Rules<M>,
        view: &dyn View,
        caller: &mut dyn Caller,
        usable: usize,
        changes: u64,
    ) -> Self {
        let positions: Vec<u32> = view.mask().iter().map(|position| position as u32).collect();
        let machine = rules.make(&positions, self.machine.as_ref(), view, caller);
        Self { machine: Some(machine), usable, changes }
    }
}
