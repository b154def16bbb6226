//! Members for the tests of policies, and a world that drives them.

use std::sync::Arc;

use evenkeel_types::{Endpoint, RandomSource, SplitMix64, Weight};

use crate::{Caller, Event, Mask, Members, Script, Table, View};

/// Members with tokens of one's choice.
#[derive(Debug)]
pub(crate) struct Named {
    tokens: Vec<u64>,
    weights: Vec<u32>,
}

impl Named {
    /// Tokens and weights.
    pub(crate) fn new(members: &[(u64, u32)]) -> Self {
        Self {
            tokens: members.iter().map(|&(token, _)| token).collect(),
            weights: members.iter().map(|&(_, weight)| weight).collect(),
        }
    }
}

/// Members with these weights; the token is the position.
pub(crate) fn members(weights: &[u32]) -> Named {
    Named { tokens: (0..weights.len() as u64).collect(), weights: weights.to_vec() }
}

impl Members for Named {
    fn weights(&self) -> &[u32] {
        &self.weights
    }

    fn token(&self, position: usize) -> u64 {
        self.tokens[position]
    }

    /// Named by its token.
    fn endpoint(&self, position: usize) -> Arc<Endpoint> {
        let id = format!("endpoint-{}", self.tokens[position]).parse().expect("a plain name");
        let address = "10.0.0.1:80".parse().expect("an address");
        Arc::new(Endpoint::new(id, address).with_weight(Weight::new(self.weights[position])))
    }
}

/// Requests that come and go and endpoints that go up and down, told as the façade tells it: a pick counts, then it is
/// told; a release is told, then it stops counting.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) mask: Mask,
    pub(crate) weights: Vec<u32>,
    pub(crate) loads: Vec<u32>,
    pub(crate) picks: u32,
    pub(crate) most_in_flight: usize,
    /// What the last step picked; it counts from [`settle`](Self::settle) on.
    pub(crate) picked: Option<usize>,
    in_flight: Vec<usize>,
    chance: SplitMix64,
    caller: Script<SplitMix64>,
}

impl World {
    pub(crate) fn new(weights: &[u32], seed: u64) -> Self {
        Self {
            mask: Mask::for_weights(weights),
            weights: weights.to_vec(),
            loads: vec![0; weights.len()],
            picks: 0,
            most_in_flight: 0,
            picked: None,
            in_flight: Vec::new(),
            chance: SplitMix64::new(seed),
            caller: Script::seeded(seed),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        (self.chance.next_u64() % n.max(1) as u64) as usize
    }

    /// A release, a flip, or a pick.
    pub(crate) fn step(
        &mut self,
        pick: &mut dyn FnMut(&dyn View, &mut dyn Caller) -> Option<usize>,
        tell: &mut dyn FnMut(Event),
    ) {
        // Busier and calmer times.
        let calm = self.picks % 600 > 400;
        match self.below(100) {
            0..2 => {
                let position = self.below(self.weights.len());
                let usable = self.weights[position] > 0 && !self.mask.contains(position);
                if self.mask.set(position, usable) {
                    let token = position as u64;
                    tell(if usable { Event::Up(token) } else { Event::Down(token) });
                }
            }
            chance if chance < if calm { 75 } else { 40 } && !self.in_flight.is_empty() => {
                let index = self.below(self.in_flight.len());
                let position = self.in_flight.swap_remove(index);
                tell(Event::Released(position as u64));
                self.loads[position] -= 1;
            }
            _ => {
                let view = Table::new(&self.mask, &self.weights, &self.loads);
                self.picked = pick(&view, &mut self.caller);
                assert_eq!(self.picked.is_some(), self.mask.usable() > 0);
                assert!(self.picked.is_none_or(|picked| self.mask.contains(picked)));
            }
        }
    }

    /// Counts what was picked.
    pub(crate) fn settle(&mut self, tell: &mut dyn FnMut(Event)) {
        let Some(position) = self.picked.take() else { return };
        self.picks += 1;
        self.loads[position] += 1;
        self.in_flight.push(position);
        self.most_in_flight = self.most_in_flight.max(self.in_flight.len());
        tell(Event::Picked(position as u64));
    }
}
