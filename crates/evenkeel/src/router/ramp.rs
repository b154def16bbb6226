//! A ramp that all threads use: its machine under a lock, and the split of its step where every request reads it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use evenkeel_route::split::{Arm, Ramp, RampArm, RampChange, RampState, Split, SplitConfig};
use evenkeel_types::{Outcome, Ratio, Timestamp};
use parking_lot::Mutex;

use super::action::RampAction;
use super::error::RouterError;

pub(crate) struct SharedRamp {
    action: RampAction,
    /// Share zero, then one for each step; the old version's arm first.
    splits: Box<[Split]>,
    current: AtomicUsize,
    /// When the next step begins, in nanoseconds.
    deadline: AtomicU64,
    machine: Mutex<Machine>,
}

struct Machine {
    ramp: Ramp,
    /// What nobody has heard of yet.
    changes: Vec<RampChange>,
}

/// What an operator says to a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RampOrder {
    /// Stop where it is.
    Pause,
    /// Go on where it was stopped; the step begins anew.
    Resume,
    /// End at share zero.
    Abort,
    /// Go to the last share at once.
    Promote,
}

impl SharedRamp {
    /// A ramp that begins now.
    pub(crate) fn new(action: &RampAction, field: &str, now: Timestamp) -> Result<Self, RouterError> {
        let ramp =
            Ramp::new(&action.plan, now).map_err(|error| RouterError::new(format!("{field}.plan"), error))?;
        let shares = std::iter::once(Ratio::ZERO).chain(action.plan.steps.iter().map(|step| step.share));
        let splits = shares.map(|share| split(action, share));
        let splits: Result<_, _> = splits.collect();
        let shared = Self {
            action: action.clone(),
            splits: splits.map_err(|error| RouterError::new(field, error))?,
            current: AtomicUsize::new(0),
            deadline: AtomicU64::new(u64::MAX),
            machine: Mutex::new(Machine { ramp, changes: Vec::new() }),
        };
        shared.act(|ramp| ramp.tick(now));
        Ok(shared)
    }

    pub(crate) const fn action(&self) -> &RampAction {
        &self.action
    }

    /// The split of the current step, once deadlines that have passed are heeded.
    pub(crate) fn split(&self, now: impl FnOnce() -> Timestamp) -> &Split {
        if self.deadline.load(Ordering::Relaxed) != u64::MAX {
            self.tick_if_due(now());
        }
        &self.splits[self.current.load(Ordering::Relaxed).min(self.splits.len() - 1)]
    }

    /// One of the requests that see a deadline lets it pass.
    fn tick_if_due(&self, now: Timestamp) {
        if now.as_nanos() >= self.deadline.load(Ordering::Relaxed)
            && let Some(mut machine) = self.machine.try_lock()
        {
            self.act_on(&mut machine, |ramp| ramp.tick(now));
        }
    }

    pub(crate) fn tick(&self, now: Timestamp) {
        self.act(|ramp| ramp.tick(now));
    }

    /// Counts an answer of the arm of this number. One short lock.
    pub(crate) fn record(&self, arm: usize, outcome: &Outcome, now: Timestamp) {
        let arm = if arm == 0 { RampArm::Old } else { RampArm::New };
        self.act(|ramp| ramp.record(arm, outcome, now));
    }

    pub(crate) fn order(&self, order: RampOrder, now: Timestamp) -> Option<RampChange> {
        let mut machine = self.machine.lock();
        let change = match order {
            RampOrder::Pause => machine.ramp.pause(),
            RampOrder::Resume => machine.ramp.resume(now),
            RampOrder::Abort => machine.ramp.abort(),
            RampOrder::Promote => machine.ramp.promote(),
        };
        self.publish(&machine.ramp);
        change
    }

    pub(crate) fn state(&self) -> (RampState, Ratio) {
        let machine = self.machine.lock();
        (machine.ramp.state(), machine.ramp.share())
    }

    /// What nobody has heard of yet.
    pub(crate) fn take_changes(&self) -> Vec<RampChange> {
        std::mem::take(&mut self.machine.lock().changes)
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        Some(Timestamp::from_nanos(self.deadline.load(Ordering::Relaxed))).filter(|&at| at != Timestamp::MAX)
    }

    fn act(&self, act: impl FnOnce(&mut Ramp) -> Option<RampChange>) {
        self.act_on(&mut self.machine.lock(), act);
    }

    fn act_on(&self, machine: &mut Machine, act: impl FnOnce(&mut Ramp) -> Option<RampChange>) {
        let change = act(&mut machine.ramp);
        // A ramp changes once for each step, so the list ends by itself; nobody need ever read it.
        machine.changes.extend(change);
        self.publish(&machine.ramp);
    }

    fn publish(&self, ramp: &Ramp) {
        let current = match ramp.state() {
            RampState::Waiting | RampState::Paused(None) | RampState::Aborted => 0,
            RampState::Step(step) | RampState::Paused(Some(step)) => step + 1,
            RampState::Done => self.splits.len() - 1,
        };
        let deadline = ramp.next_deadline().unwrap_or(Timestamp::MAX).as_nanos();
        // Every answer comes by here, and most change nothing: no write, then.
        if self.deadline.load(Ordering::Relaxed) != deadline {
            self.deadline.store(deadline, Ordering::Relaxed);
        }
        if self.current.load(Ordering::Relaxed) != current {
            self.current.store(current, Ordering::Relaxed);
        }
    }
}

fn split(action: &RampAction, share: Ratio) -> Result<Split, evenkeel_route::split::SplitError> {
    let new = share.parts_per_million();
    let old = Ratio::ONE.parts_per_million() - new;
    let arm = |cluster: &str, weight| Arm { cluster: cluster.to_owned(), weight };
    Split::new(&SplitConfig {
        arms: vec![arm(&action.old, old), arm(&action.new, new)],
        stickiness: action.stickiness,
        salt: action.salt,
        canaries: action.canaries.clone(),
    })
}

impl std::fmt::Debug for SharedRamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedRamp").field("state", &self.state()).finish_non_exhaustive()
    }
}
