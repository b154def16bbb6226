use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel::{BreakerState, Cause, Notice, Observer, PickError, TierHappened};
use parking_lot::Mutex;

use crate::cluster::label;
use crate::family::Families;
use crate::metric::Metric;

/// Counts what happens in a cluster between two scrapes: changes of state, and picks that were refused. A pick that finds somebody
/// costs nothing; one that does not, one addition.
///
/// One for each cluster. Cloning gives another handle to the same counts.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    refused: [AtomicU64; REASONS.len()],
    added: AtomicU64,
    removed: AtomicU64,
    updates: AtomicU64,
    rejected: AtomicU64,
    turned_usable: AtomicU64,
    /// By cause: seldom written, and there are at most as many as there are causes.
    turned_unusable: Mutex<BTreeMap<Cause, u64>>,
    breaker: [AtomicU64; STATES.len()],
    tiers: [AtomicU64; TIER_CHANGES.len()],
}

impl Counters {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be given to [`ClusterBuilder::observer`](evenkeel::ClusterBuilder::observer).
    #[must_use]
    pub fn observer(&self) -> Self {
        self.clone()
    }

    /// The same, for a cluster that has another observer besides: that one hears everything after it was counted.
    #[must_use]
    pub fn and<O: Observer>(&self, other: O) -> Both<Self, O> {
        Both(self.clone(), other)
    }

    /// Whether both are handles to the same counts.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn add(&self, cluster: &str, into: &mut Families) {
        let counts = &*self.0;
        let name = || Cow::Owned(cluster.to_owned());
        for (reason, counter) in REASONS.iter().zip(&counts.refused) {
            into.add(Metric::PicksRefused, [name(), (*reason).into()], read(counter));
        }
        into.add(Metric::MembersAdded, [name()], read(&counts.added));
        into.add(Metric::MembersRemoved, [name()], read(&counts.removed));
        into.add(Metric::Updates, [name()], read(&counts.updates));
        into.add(Metric::UpdatesRejected, [name()], read(&counts.rejected));
        into.add(Metric::TurnedUsable, [name()], read(&counts.turned_usable));
        for (&cause, &so_many) in &*counts.turned_unusable.lock() {
            into.add(Metric::TurnedUnusable, [name(), label(cause)], so_many as f64);
        }
        for (change, counter) in TIER_CHANGES.iter().zip(&counts.tiers) {
            into.add(Metric::TierChanges, [name(), (*change).into()], read(counter));
        }
        for (state, counter) in STATES.iter().zip(&counts.breaker) {
            into.add(Metric::BreakerTransitions, [name(), (*state).into()], read(counter));
        }
    }
}

impl Observer for Counters {
    fn notice(&self, notice: &Notice) {
        let counts = &*self.0;
        match notice {
            Notice::Standing { before, after, .. } => match (before.usable(), after.usable()) {
                (false, true) => bump(&counts.turned_usable, 1),
                (true, false) => {
                    if let Some(cause) = after.cause() {
                        *counts.turned_unusable.lock().entry(cause).or_default() += 1;
                    }
                }
                _ => {}
            },
            Notice::Breaker { transition, .. } => bump(&counts.breaker[place_of(transition.to)], 1),
            Notice::Tier(notice) => {
                if let Some(place) = place_of_tier(notice.happened) {
                    bump(&counts.tiers[place], 1);
                }
            }
            Notice::Applied(applied) => {
                bump(&counts.updates, 1);
                bump(&counts.added, applied.added.len() as u64);
                bump(&counts.removed, applied.removed.len() as u64);
            }
            Notice::Rejected { .. } => bump(&counts.rejected, 1),
            _ => {}
        }
    }

    fn refused(&self, error: &PickError) {
        bump(&self.0.refused[reason_of(error)], 1);
    }
}

/// Two observers: the first hears everything first.
#[derive(Clone, Debug)]
pub struct Both<A, B>(pub A, pub B);

impl<A: Observer, B: Observer> Observer for Both<A, B> {
    fn notice(&self, notice: &Notice) {
        self.0.notice(notice);
        self.1.notice(notice);
    }

    fn refused(&self, error: &PickError) {
        self.0.refused(error);
        self.1.refused(error);
    }
}

fn bump(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

fn reason_of(error: &PickError) -> usize {
    match error {
        PickError::NotKnown(_) => 0,
        PickError::Empty(_) => 1,
        PickError::AllTried { .. } => 2,
        PickError::Saturated(_) => 3,
        PickError::BudgetSpent(_) => 4,
        PickError::NoneUsable(shortage) if shortage.saturated > 0 => 5,
        PickError::NoneUsable(_) => 6,
        PickError::Panic(_) => 7,
        _ => 8,
    }
}

fn place_of(state: BreakerState) -> usize {
    match state {
        BreakerState::Closed => 0,
        BreakerState::Open { .. } => 1,
        BreakerState::HalfOpen => 2,
        BreakerState::ForcedOpen { .. } => 3,
        BreakerState::Disabled { .. } => 4,
        BreakerState::DryRun { .. } => 5,
    }
}

const fn place_of_tier(happened: TierHappened) -> Option<usize> {
    Some(match happened {
        TierHappened::Left => 0,
        TierHappened::Returned => 1,
        TierHappened::PanicBegan => 2,
        TierHappened::PanicEnded => 3,
        TierHappened::Selected => 4,
        _ => return None,
    })
}

/// What happens to failover tiers, as labels.
const TIER_CHANGES: [&str; 5] = ["left", "returned", "panic_began", "panic_ended", "selected"];
/// Why picks are refused, as labels. `endpoints_saturated`: somebody is healthy and busy.
const REASONS: [&str; 9] = [
    "not_known",
    "empty",
    "all_tried",
    "saturated",
    "budget_spent",
    "endpoints_saturated",
    "none_usable",
    "panic",
    "other",
];
/// States of breakers, as labels.
const STATES: [&str; 6] = ["closed", "open", "half_open", "forced_open", "disabled", "dry_run"];
