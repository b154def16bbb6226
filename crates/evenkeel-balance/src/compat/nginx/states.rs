//! What policies remember of endpoints, shared by a policy and its successors.

use std::collections::BTreeMap;

use super::peer::State;

/// States by the token of the endpoint. A slot is in use as long as one policy holds it, so that an event that reaches the
/// old policy during an update is not lost to the new one.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) all: Vec<State>,
    held: BTreeMap<u64, Held>,
    free: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    slot: usize,
    by: u32,
}

impl States {
    /// The slot of an endpoint, for one policy.
    pub(super) fn hold(&mut self, token: u64) -> usize {
        if let Some(held) = self.held.get_mut(&token) {
            held.by += 1;
            return held.slot;
        }
        let slot = self.free.pop().unwrap_or(self.all.len());
        if slot == self.all.len() {
            self.all.push(State::default());
        } else {
            self.all[slot] = State::default();
        }
        self.held.insert(token, Held { slot, by: 1 });
        slot
    }

    /// One policy holds it no more.
    pub(super) fn release(&mut self, token: u64) {
        let Some(held) = self.held.get_mut(&token) else { return };
        held.by -= 1;
        if held.by == 0 {
            self.free.push(held.slot);
            self.held.remove(&token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_lives_as_long_as_somebody_holds_it() {
        let mut states = States::default();
        let (a, b) = (states.hold(7), states.hold(8));
        assert_ne!(a, b);
        states.all[a].connections = 5;
        assert_eq!(states.hold(7), a);
        states.release(7);
        assert_eq!(states.all[a].connections, 5);
        states.release(7);
        states.release(7);
        assert_eq!(states.hold(9), a, "reused");
        assert_eq!(states.all[a], State::default(), "and afresh");
        assert_eq!(states.all.len(), 2);
    }
}
