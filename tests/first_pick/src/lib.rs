//! From a change in a store to the first pick that honours it: a tool of the adapters' tests, so that they measure the same
//! thing and need not know the façade.
//!
//! A cluster follows the service. On the thread that brings it a new set, before anything else, picks are made until one
//! is as it was wished for; that moment counts. Nothing polls, so that nothing takes the processor from what is measured.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use evenkeel::{Cluster, Following, Notice, PolicyConfig, Request};
use evenkeel_registry::{Registry, ServiceName};
use evenkeel_types::Endpoint;
use parking_lot::{Condvar, Mutex};

/// A cluster that follows a service, and notes when it first picks what was wished for.
#[derive(Debug)]
pub struct FirstPick {
    seen: Arc<Seen>,
    _following: Following<()>,
}

#[derive(Default)]
struct Seen {
    cluster: OnceLock<Cluster<()>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wish: Option<Wish>,
    honoured: Option<Instant>,
}

type Wish = Box<dyn Fn(&Endpoint) -> bool + Send>;

impl FirstPick {
    /// Follows a service.
    ///
    /// # Panics
    ///
    /// If the cluster cannot be built: this is a test.
    #[must_use]
    pub fn follow(registry: &Registry, service: &ServiceName) -> Self {
        let seen = Arc::new(Seen::default());
        let told = Arc::downgrade(&seen);
        let observer = move |notice: &Notice| {
            if let (Notice::Applied(_), Some(seen)) = (notice, told.upgrade()) {
                seen.look();
            }
        };
        // In turn, so that each endpoint is met soon.
        let cluster = Cluster::builder("first pick").policy(PolicyConfig::round_robin()).observer(observer);
        let cluster = cluster.build().expect("the defaults can stand");
        let _ = seen.cluster.set(cluster.clone());
        let following = cluster.follow(registry, service, |_| ());
        Self { seen, _following: following }
    }

    /// From now on this is waited for.
    pub fn wish(&self, honours: impl Fn(&Endpoint) -> bool + Send + 'static) {
        *self.seen.state.lock() = State { wish: Some(Box::new(honours)), honoured: None };
    }

    /// How long after `start` a pick was first as wished.
    ///
    /// # Panics
    ///
    /// If none is within half a minute.
    #[must_use]
    pub fn after(&self, start: Instant) -> Duration {
        let mut state = self.seen.state.lock();
        loop {
            if let Some(at) = state.honoured {
                return at.saturating_duration_since(start);
            }
            let waited = self.seen.changed.wait_for(&mut state, PATIENCE);
            assert!(!waited.timed_out(), "no pick was as wished within {PATIENCE:?}");
        }
    }
}

impl Seen {
    fn look(&self) {
        let mut state = self.state.lock();
        let (Some(wish), None, Some(cluster)) = (&state.wish, state.honoured, self.cluster.get()) else {
            return;
        };
        for _ in 0..cluster.endpoints().len() {
            let Ok(pick) = cluster.pick(&Request::new()) else { return };
            if wish(&pick.endpoint().description()) {
                state.honoured = Some(Instant::now());
                self.changed.notify_all();
                return;
            }
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

/// One line: the first picks of so many changes beside the store's own notifications of the same changes.
#[must_use]
pub fn compared(store: &str, first_picks: &[Duration], own_word: &[Duration]) -> String {
    let (ours, theirs) = (Quantiles::of(first_picks), Quantiles::of(own_word));
    let times = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64().max(1e-9);
    format!(
        "{store}, {} changes: first pick {ours}; the store's own word {theirs}; {:.2} and {:.2} times it",
        first_picks.len(),
        times(ours.median, theirs.median),
        times(ours.p99, theirs.p99)
    )
}

struct Quantiles {
    median: Duration,
    p99: Duration,
}

impl Quantiles {
    fn of(times: &[Duration]) -> Self {
        let mut times = times.to_vec();
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        Self { median: at(50), p99: at(99) }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2?}, p99 {:.2?}", self.median, self.p99)
    }
}

/// More than any store here takes for a change.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use evenkeel_types::{Timestamp, Weight};

    use super::*;

    #[test]
    fn the_first_pick_as_wished_counts_and_no_earlier_one() {
        let (registry, service) = (Registry::default(), "users".parse().unwrap());
        let first = FirstPick::follow(&registry, &service);
        let endpoint = Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        first.wish(|endpoint| endpoint.weight() == Weight::new(7));
        let (lease, _) = registry.register(Timestamp::ORIGIN, &service, endpoint.clone(), None).unwrap();
        assert!(first.seen.state.lock().honoured.is_none(), "not yet what was wished for");
        let start = Instant::now();
        registry.update(Timestamp::ORIGIN, &lease, endpoint.with_weight(Weight::new(7))).unwrap();
        assert!(first.after(start) < Duration::from_secs(10));
    }

    /// How much of what is measured with a store is not the store's: from the event at the feed to the pick, on one thread.
    #[test]
    #[ignore = "it measures: cargo test --release -p evenkeel-first-pick -- --ignored --nocapture"]
    fn from_an_event_to_a_pick() {
        let (registry, service) = (Registry::default(), "users".parse().unwrap());
        let origin = Instant::now();
        let clock = move || Timestamp::ORIGIN.saturating_add(origin.elapsed());
        let mut mirror = evenkeel_registry::MirrorConfig::default();
        mirror.settle.quiet = Duration::ZERO;
        let feed = registry.feed(&service, &"test".parse().unwrap(), mirror, clock).unwrap();
        let first = FirstPick::follow(&registry, &service);
        let set = |weight: u32| {
            let one = |n: u32| {
                Endpoint::new(format!("e-{n}").parse().unwrap(), format!("10.0.0.{n}:80").parse().unwrap())
            };
            evenkeel_registry::Event::set((1..4).map(|n| one(n).with_weight(Weight::new(weight))).collect())
        };
        let (mut picks, mut sends) = (Vec::new(), Vec::new());
        for weight in 2..302 {
            // What was woken sleeps again by then, as between two changes of a store.
            std::thread::sleep(Duration::from_millis(5));
            first.wish(move |endpoint| endpoint.weight() == Weight::new(weight));
            let event = set(weight);
            let start = Instant::now();
            feed.send(event).unwrap();
            sends.push(start.elapsed());
            picks.push(first.after(start));
        }
        println!("{}", compared("no store", &picks, &sends));
    }

    #[test]
    fn quantiles_are_taken_from_the_sorted_times() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        let line = compared("x", &times, &times);
        assert!(line.contains("100 changes: first pick p50 51.00ms, p99 100.00ms"), "{line}");
        assert!(line.ends_with("1.00 and 1.00 times it"), "{line}");
    }
}
