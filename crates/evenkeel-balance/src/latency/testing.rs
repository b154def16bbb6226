//! What the tests of this family share: a policy, a clock and draws that are scripted.

use std::time::Duration;

use evenkeel_types::{SplitMix64, Timestamp};

use super::learnt::tests::Tokens;
use crate::{
    Caller, Event, InvalidPolicy, LoadReport, Mask, Members, Observation, Observed, Policy, Script, Table,
};

/// A policy among endpoints whose token is their position.
#[derive(Debug)]
pub(crate) struct Bed<P> {
    pub(crate) policy: P,
    pub(crate) now: Timestamp,
    weights: Vec<u32>,
    caller: Script<SplitMix64>,
}

impl<P: Policy> Bed<P> {
    pub(crate) fn new(make: impl FnOnce(&dyn Members) -> Result<P, InvalidPolicy>, count: u64) -> Self {
        let members = Tokens::new(0..count);
        let policy = make(&members).expect("valid settings");
        Self { policy, now: Timestamp::from_secs(1000), weights: members.weights, caller: Script::seeded(7) }
    }

    pub(crate) fn pass(&mut self, duration: Duration) {
        self.now = self.now.saturating_add(duration);
    }

    pub(crate) fn answer(&mut self, token: u64, millis: u64) {
        self.observe(token, Observed::Success, millis);
    }

    pub(crate) fn observe(&mut self, token: u64, kind: Observed, millis: u64) {
        let latency = Duration::from_millis(millis);
        let observation = Observation { latency, kind, in_flight: 1, at: self.now };
        self.policy.on_event(Event::Observed(token, observation));
    }

    pub(crate) fn report(&mut self, token: u64, report: LoadReport) {
        self.policy.on_event(Event::Reported(token, LoadReport { at: self.now, ..report }));
    }

    pub(crate) fn pick(&mut self, loads: &[u32]) -> usize {
        let mask = Mask::for_weights(&self.weights);
        let view = Table::new(&mask, &self.weights, loads);
        let mut caller = At { inner: &mut self.caller, now: self.now };
        self.policy.pick(&view, &mut caller).expect("all are usable")
    }

    /// How many of so many picks each endpoint gets while nothing changes.
    pub(crate) fn picks(&mut self, count: u32, loads: &[u32]) -> Vec<u32> {
        let mut counts = vec![0; self.weights.len()];
        for _ in 0..count {
            counts[self.pick(loads)] += 1;
        }
        counts
    }
}

struct At<'a> {
    inner: &'a mut Script<SplitMix64>,
    now: Timestamp,
}

impl Caller for At<'_> {
    fn draw(&mut self) -> u64 {
        self.inner.draw()
    }

    fn turn(&mut self, length: u32) -> u32 {
        self.inner.turn(length)
    }

    fn now(&mut self) -> Timestamp {
        self.now
    }
}

/// That this is an error whose text holds these words.
pub(crate) fn invalid(built: Result<(), InvalidPolicy>, words: &[&str]) {
    let error = built.expect_err("out of range").to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}
