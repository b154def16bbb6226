use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel::{EndpointId, Timestamp};

/// What one pattern did: every request and every try at an instance.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    requests: Mutex<Requests>,
    tries: Mutex<Vec<Try>>,
    /// Connections opened to instances.
    pub(crate) opened: Arc<AtomicU64>,
    /// Requests that went over a proxy first.
    relayed: AtomicU64,
    /// Who follows the registry.
    pub(crate) followers: AtomicU64,
}

#[derive(Debug, Default)]
struct Requests {
    latencies: Vec<Duration>,
    failures: Vec<String>,
}

/// One try at one instance.
#[derive(Clone, Debug)]
pub(crate) struct Try {
    pub(crate) instance: EndpointId,
    /// When it was picked.
    pub(crate) at: Timestamp,
    pub(crate) went_well: bool,
}

impl Ledger {
    pub(crate) fn note_request(&self, taken: Duration, result: Result<(), String>) {
        let mut requests = lock(&self.requests);
        requests.latencies.push(taken);
        requests.failures.extend(result.err());
    }

    pub(crate) fn note_try(&self, one: Try) {
        lock(&self.tries).push(one);
    }

    pub(crate) fn note_relay(&self) {
        self.relayed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> usize {
        lock(&self.requests).latencies.len()
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        lock(&self.requests).failures.clone()
    }

    pub(crate) fn latency(&self, percent: usize) -> Duration {
        let mut latencies = lock(&self.requests).latencies.clone();
        latencies.sort_unstable();
        let last = latencies.len().saturating_sub(1);
        latencies.get(last * percent / 100).copied().unwrap_or_default()
    }

    /// Tries beyond the first of each request.
    pub(crate) fn retries(&self) -> usize {
        lock(&self.tries).len().saturating_sub(self.requests())
    }

    /// Connections that a request goes over, retries included.
    pub(crate) fn hops(&self) -> f64 {
        let sent = lock(&self.tries).len() as u64 + self.relayed.load(Ordering::Relaxed);
        sent as f64 / self.requests().max(1) as f64
    }

    /// When the first request after `since` was answered by `instance`.
    pub(crate) fn first_answer(&self, instance: &str, since: Timestamp) -> Option<Timestamp> {
        let tries = lock(&self.tries);
        let answered = tries.iter().filter(|one| one.instance.as_str() == instance && one.went_well);
        answered.map(|one| one.at).filter(|at| *at >= since).min()
    }

    /// The picks of `instance` after `since`: the last, how many, and how many of them brought nothing.
    pub(crate) fn picks_after(&self, instance: &str, since: Timestamp) -> (Option<Timestamp>, usize, usize) {
        let tries = lock(&self.tries);
        let after: Vec<_> =
            tries.iter().filter(|one| one.instance.as_str() == instance && one.at > since).collect();
        let wasted = after.iter().filter(|one| !one.went_well).count();
        (after.iter().map(|one| one.at).max(), after.len(), wasted)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_a_change_does_not_count() {
        let ledger = Ledger::default();
        let note = |seconds, went_well| {
            let (instance, at) = ("a".parse().unwrap(), Timestamp::from_secs(seconds));
            ledger.note_try(Try { instance, at, went_well });
        };
        for (seconds, went_well) in [(1, true), (3, false), (5, true), (7, false)] {
            note(seconds, went_well);
        }
        let change = Timestamp::from_secs(2);
        assert_eq!(ledger.first_answer("a", change), Some(Timestamp::from_secs(5)));
        assert_eq!(ledger.picks_after("a", change), (Some(Timestamp::from_secs(7)), 3, 2));
        assert_eq!(ledger.picks_after("b", change), (None, 0, 0));
    }
}
