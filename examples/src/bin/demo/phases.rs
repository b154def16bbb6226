use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use evenkeel::{BreakerState, Cluster, EndpointId};
use tokio::sync::Notify;

/// Who was picked how often between two changes of the cluster.
///
/// Between two changes (of members, weights, health or a breaker) the shares that a policy should give are constant, so
/// they can be judged exactly, however the machine slows things down. A phase ends with each notice of the cluster.
#[derive(Debug)]
pub(crate) struct Ledger {
    present: AtomicUsize,
    phases: Mutex<Vec<Phase>>,
    turned: Notify,
}

/// One stretch of time without a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Phase {
    /// First tries by backend: a retry is not free to go anywhere, so it does not count.
    pub(crate) picks: BTreeMap<EndpointId, u64>,
    /// What weights and health give each backend, from 0 to 1; empty if the phase was too short to look, or a breaker
    /// let only probes through.
    pub(crate) shares: BTreeMap<EndpointId, f64>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            present: AtomicUsize::new(0),
            phases: Mutex::new(vec![Phase::default()]),
            turned: Notify::new(),
        }
    }

    /// The phase that a pick which begins now belongs to.
    pub(crate) fn present(&self) -> usize {
        self.present.load(Ordering::Acquire)
    }

    pub(crate) fn count(&self, phase: usize, id: &EndpointId) {
        if let Some(phase) = self.lock().get_mut(phase) {
            *phase.picks.entry(id.clone()).or_default() += 1;
        }
    }

    /// Something changed: the next phase begins. The last one of so many takes all that follows, and is not judged.
    pub(crate) fn turn(&self) {
        let mut phases = self.lock();
        if phases.len() < MOST_PHASES {
            phases.push(Phase::default());
            self.present.store(phases.len() - 1, Ordering::Release);
        } else if let Some(last) = phases.last_mut() {
            last.shares.clear();
        }
        drop(phases);
        self.turned.notify_one();
    }

    /// Looks at the cluster once in each phase.
    pub(crate) async fn look_at<T>(&self, cluster: &Cluster<T>) {
        loop {
            self.note_shares(cluster);
            self.turned.notified().await;
        }
    }

    /// What is seen belongs to the present phase only if that is still the same after the look.
    fn note_shares<T>(&self, cluster: &Cluster<T>) {
        let before = self.present();
        let report = cluster.report();
        let probing =
            report.endpoints.iter().any(|endpoint| endpoint.breaker == Some(BreakerState::HalfOpen));
        let mut phases = self.lock();
        if self.present() == before && before + 1 < MOST_PHASES && !probing {
            let shares = report.endpoints.into_iter().map(|endpoint| (endpoint.id, endpoint.expected_share));
            phases[before].shares = shares.collect();
        }
    }

    pub(crate) fn phases(&self) -> Vec<Phase> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Phase>> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The story makes about fifty; a flapping backend of a user's own may make any number.
const MOST_PHASES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> EndpointId {
        name.parse().unwrap()
    }

    #[test]
    fn a_pick_counts_where_it_began() {
        let ledger = Ledger::new();
        let began = ledger.present();
        ledger.turn();
        ledger.count(began, &id("a"));
        ledger.count(ledger.present(), &id("b"));
        let picks: Vec<_> = ledger.phases().into_iter().map(|phase| phase.picks).collect();
        assert_eq!(picks, [BTreeMap::from([(id("a"), 1)]), BTreeMap::from([(id("b"), 1)])]);
    }

    #[test]
    fn memory_is_bounded() {
        let ledger = Ledger::new();
        for _ in 0..2 * MOST_PHASES {
            ledger.turn();
        }
        assert_eq!(ledger.phases().len(), MOST_PHASES);
    }
}
