//! How an endpoint is held: by snapshots, and by the requests in flight that are counted by holding it.

use std::sync::OnceLock;

use crate::live::Live;
use crate::sync::CountedArc;

/// What snapshots hold of an endpoint, and the only lasting reference to its [`Live`] part.
///
/// So the number of requests in flight is the count of references to `Live`, less this one: exact, in one word, and
/// untouched by updates, which clone nodes. In small clusters under policies that read no counts, two cores that bump
/// one count would wait for each other, so picks take a [`Stripe`] of their thread instead.
pub(crate) struct Node<T> {
    pub(crate) live: CountedArc<Live<T>>,
    stripes: OnceLock<Box<Stripes<T>>>,
}

struct Stripes<T>(Box<[CountedArc<Stripe<T>>]>);

/// A second-hand reference: it holds one to `Live` for as long as the node or a pick holds it.
pub(crate) struct Stripe<T> {
    live: CountedArc<Live<T>>,
    /// Keeps the counts of two stripes on different cache lines, wherever the allocator puts them. Alignment would do
    /// that too, but put the count and `live` apart.
    _apart: [u64; 13],
}

impl<T> Node<T> {
    pub(crate) const fn new(live: CountedArc<Live<T>>) -> Self {
        Self { live, stripes: OnceLock::new() }
    }

    /// Requests in flight: what load-aware policies compare and reports show. One word while there are no stripes.
    #[inline(never)]
    pub(crate) fn in_flight(&self) -> usize {
        let held = CountedArc::strong_count(&self.live) - 1;
        match self.stripes.get() {
            None => held,
            Some(stripes) => stripes.in_flight(held),
        }
    }

    /// Requests in flight at a node that has no stripes: one word.
    #[inline]
    pub(crate) fn references(&self) -> u32 {
        (CountedArc::strong_count(&self.live) as u32).wrapping_sub(1)
    }

    pub(crate) fn has_stripes(&self) -> bool {
        self.stripes.get().is_some()
    }

    /// Makes stripes, if there are none yet. They stay: an endpoint that leaves a small cluster keeps its counts exact.
    pub(crate) fn stripe(&self) {
        let _ = self.stripes.get_or_init(|| Box::new(Stripes::new(&self.live)));
    }

    /// Counts one request.
    #[inline]
    pub(crate) fn hold(&self) -> Hold<T> {
        Hold::Direct(CountedArc::clone(&self.live))
    }

    /// Counts one request in the stripe of this thread, if there are stripes.
    #[inline]
    pub(crate) fn hold_striped(&self, lane: u32) -> Hold<T> {
        let Some(stripes) = self.stripes.get() else { return self.hold() };
        let stripe = &stripes.0[lane as usize & (stripes.0.len() - 1)];
        Hold::Striped(CountedArc::clone(stripe))
    }
}

impl<T> Stripes<T> {
    fn new(live: &CountedArc<Live<T>>) -> Self {
        let stripe = || CountedArc::new(Stripe { live: CountedArc::clone(live), _apart: [0; 13] });
        Self((0..live.control.stripes).map(|_| stripe()).collect())
    }

    /// Each stripe holds one of the `held` references; the requests in it hold references to the stripe.
    fn in_flight(&self, held: usize) -> usize {
        let in_stripes: usize = self.0.iter().map(|stripe| CountedArc::strong_count(stripe) - 1).sum();
        held.saturating_sub(self.0.len()) + in_stripes
    }
}

/// What a pick holds: the count of one request in flight.
pub(crate) enum Hold<T> {
    Direct(CountedArc<Live<T>>),
    Striped(CountedArc<Stripe<T>>),
}

impl<T> Hold<T> {
    /// Requests in flight there, this one among them; in the stripe of its thread, where counts are striped.
    pub(crate) fn in_flight(&self) -> u32 {
        let references = match self {
            Self::Direct(live) => CountedArc::strong_count(live),
            Self::Striped(stripe) => CountedArc::strong_count(stripe),
        };
        references.saturating_sub(1) as u32
    }

    #[inline]
    pub(crate) fn live(&self) -> &Live<T> {
        match self {
            Self::Direct(live) => live,
            Self::Striped(stripe) => &stripe.live,
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use std::sync::Arc;

    use evenkeel_types::Endpoint;
    use loom::thread;

    use crate::builder::ClusterBuilder;
    use crate::cluster::Cluster;
    use crate::config::ClusterConfig;
    use crate::request::Request;
    use crate::{ManualClock, Outcome};

    fn endpoint(name: &str) -> Endpoint {
        Endpoint::new(name.parse().expect("an id"), "10.0.0.1:80".parse().expect("an address"))
    }

    fn cluster(names: &[&str]) -> Cluster<()> {
        let builder = ClusterBuilder::new(ClusterConfig::new("model")).seed(1).clock(ManualClock::default());
        let cluster = builder.build().expect("valid settings");
        cluster.apply(names.iter().map(|name| endpoint(name))).expect("a valid set");
        cluster
    }

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(model);
    }

    /// Two requests come and go while a third thread reads: the count is never more than they are, and ends at zero.
    #[test]
    fn the_count_of_a_guard_is_exact() {
        check(|| {
            let cluster = cluster(&["a"]);
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let cluster = cluster.clone();
                    thread::spawn(move || {
                        let pick = cluster.pick(&Request::new()).expect("a is usable");
                        assert!((1..=2).contains(&cluster.shared.current.load().first.nodes[0].in_flight()));
                        pick.finish(Outcome::success());
                    })
                })
                .collect();
            assert!(cluster.shared.current.load().first.nodes[0].in_flight() <= 2);
            for thread in threads {
                thread.join().expect("a picking thread ends");
            }
            assert_eq!(cluster.shared.current.load().first.nodes[0].in_flight(), 0);
        });
    }

    /// A pick during an update finds an endpoint of the old or of the new set, and is counted where it went.
    #[test]
    fn a_pick_during_an_update_is_counted_where_it_went() {
        check(|| {
            let cluster = cluster(&["a", "b"]);
            let picker = {
                let cluster = cluster.clone();
                thread::spawn(move || {
                    let pick = cluster.pick(&Request::new()).expect("one is usable at any time");
                    let name = pick.endpoint().id();
                    assert!(["a", "b", "c"].contains(&name.as_str()));
                    drop(pick);
                })
            };
            cluster.apply(["b", "c"].map(endpoint)).expect("a valid set");
            picker.join().expect("the picking thread ends");
            assert!(cluster.shared.current.load().nodes().all(|node| node.in_flight() == 0));
        });
    }

    /// A drain that meets an update is kept: the next pick avoids the endpoint.
    #[test]
    fn a_drain_during_an_update_is_kept() {
        check(|| {
            let cluster = cluster(&["a", "b"]);
            let node = Arc::clone(&cluster.shared.current.load().first.nodes[0]);
            let drainer = thread::spawn(move || {
                let drain = evenkeel_health::Opinion::Admin(crate::AdminState::Drain);
                node.live.say_aloud(drain, evenkeel_health::Note::default());
            });
            cluster.apply(["c", "a"].map(endpoint)).expect("a valid set");
            drainer.join().expect("the drainer ends");
            let snapshot = cluster.shared.current.load();
            assert!(!snapshot.first.masks.preferred.contains(1), "the flip was lost in the swap");
            assert_eq!(cluster.pick(&Request::new()).expect("c is usable").endpoint().id().as_str(), "c");
        });
    }
}
