//! The part of an endpoint that lives on while its description changes.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_breaker::{Breaker, Permit, Refusal, State, Transition};
use evenkeel_health::{Cause, Change, CheckState, RiseFall, Standing, Status};
use evenkeel_stats::PeakEwma;
use evenkeel_types::{Address, Endpoint, EndpointId, Outcome, Timestamp, Verdict, Weight};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::control::Control;
use crate::roster::Level;
use crate::sync::CountedArc;

/// An endpoint in use: its identity, its payload and what was learnt about it.
///
/// One of these is made for each incarnation of an endpoint and no update replaces it.
pub struct Live<T> {
    pub(crate) standing: Standing,
    /// Where its bit is found: held until this value is dropped, so that a late flip never hits another's bit.
    pub(crate) slot: u32,
    /// Never reused in this cluster.
    pub(crate) token: u64,
    pub(crate) breaker: Option<Box<Breaker>>,
    pub(crate) latency: Option<Box<PeakEwma>>,
    pub(crate) rise_fall: Mutex<RiseFall>,
    description: ArcSwap<Endpoint>,
    pub(crate) control: Arc<Control>,
    payload: T,
}

impl<T> Live<T> {
    pub(crate) fn new(
        control: &Arc<Control>,
        slot: u32,
        token: u64,
        endpoint: Arc<Endpoint>,
        payload: T,
    ) -> Self {
        let standing = Standing::new();
        let _ = standing.set_announced(endpoint.announced());
        let _ = standing.set_drained_by_weight(endpoint.weight().is_drain());
        let _ = standing.set_check(match (control.rise_fall.is_checked(), control.rise_fall.is_up()) {
            (_, false) => CheckState::Down,
            (true, true) => CheckState::Up,
            (false, true) => CheckState::Unknown,
        });
        Self {
            standing,
            slot,
            token,
            breaker: control.new_breaker(),
            latency: control.new_latency(),
            rise_fall: Mutex::new(control.rise_fall),
            description: ArcSwap::new(endpoint),
            control: Arc::clone(control),
            payload,
        }
    }

    /// The caller's payload: made once for each incarnation, never replaced.
    #[inline]
    pub const fn payload(&self) -> &T {
        &self.payload
    }

    /// The name of the endpoint.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.description.load().id().clone()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.description.load().incarnation()
    }

    pub(crate) fn is_called(&self, id: &EndpointId) -> bool {
        self.description.load().id() == id
    }

    /// The preferred address, as last announced. A copy for IP addresses; never an allocation.
    #[must_use]
    pub fn address(&self) -> Address {
        self.description.load().address().clone()
    }

    /// The weight, as last announced.
    #[must_use]
    pub fn weight(&self) -> Weight {
        self.description.load().weight()
    }

    /// The whole description, as last announced.
    #[must_use]
    pub fn description(&self) -> Arc<Endpoint> {
        self.description.load_full()
    }

    /// What every source says about its health.
    #[must_use]
    pub fn status(&self) -> Status {
        self.standing.load()
    }

    pub(crate) fn level(&self) -> Level {
        let status = self.standing.load();
        match (status.usable(), status.is_degraded()) {
            (false, _) => Level::Out,
            (true, false) => Level::Preferred,
            (true, true) => Level::Degraded,
        }
    }

    /// Takes over a new description of the same incarnation; returns what to tell once the locks are gone.
    pub(crate) fn describe(&self, endpoint: Endpoint) -> News {
        let mut news = News::default();
        let announced = self.standing.set_announced(endpoint.announced());
        let weight = self.standing.set_drained_by_weight(endpoint.weight().is_drain());
        self.description.store(Arc::new(endpoint));
        self.publish(announced, &mut news);
        self.publish(weight, &mut news);
        news
    }

    /// Brings the masks in line with the own word, and keeps the change to be told.
    fn publish(&self, change: Change, news: &mut News) {
        if !change.is_noop() {
            self.control.roster.publish(self.slot, || self.level());
            news.changes.push(change);
        }
    }

    /// Brings the masks in line with the own word and tells everybody. Not to be called under a lock.
    pub(crate) fn after_flip(&self, change: Change) {
        let mut news = News::default();
        self.publish(change, &mut news);
        self.tell(&news);
    }

    /// Tells policies and the observer, whose code runs here: not to be called under a lock.
    pub(crate) fn tell(&self, news: &News) {
        for &change in &news.changes {
            self.control.tell_standing(self, change);
        }
        if let Some(transition) = &news.transition {
            self.control.tell_breaker(self, transition);
        }
    }

    /// What the breaker says about one more request. Reads the clock only if it is not closed.
    #[inline]
    pub(crate) fn admit(&self) -> Result<Option<Permit>, Refusal> {
        let Some(breaker) = &self.breaker else { return Ok(None) };
        let admission = breaker.try_acquire(|| self.control.now())?;
        if let Some(transition) = admission.transition {
            self.tell(&self.after_breaker(transition));
        }
        Ok(Some(admission.permit))
    }

    /// Brings the standing in line with the breaker, whose own word is the truth: of two racing transitions the later
    /// one stays.
    pub(crate) fn after_breaker(&self, transition: Transition) -> News {
        let mut news = News { transition: Some(transition), ..News::default() };
        let Some(breaker) = &self.breaker else { return news };
        loop {
            let state = breaker.state();
            let open = matches!(state, State::Open { .. });
            self.publish(self.standing.set_breaker_open(open), &mut news);
            if let State::Open { until } = state {
                self.control.timers.add(until, self.slot, self.token);
            }
            if breaker.state() == state {
                return news;
            }
        }
    }

    /// Lets a deadline of the breaker pass; returns what to tell once the locks are gone.
    pub(crate) fn tick(&self, now: Timestamp) -> News {
        let Some(breaker) = &self.breaker else { return News::default() };
        if let Some(transition) = breaker.tick(now) {
            return self.after_breaker(transition);
        }
        if let State::Open { until } = breaker.state() {
            self.control.timers.add(until, self.slot, self.token);
        }
        News::default()
    }

    /// When the breaker may let a request in, if nothing but the breaker keeps requests away.
    pub(crate) fn breaker_deadline(&self) -> Option<Timestamp> {
        let status = self.standing.load();
        let by_breaker_alone =
            status.causes().filter(|cause| cause.is_blocking()).all(|c| c == Cause::BreakerOpen);
        self.breaker.as_ref().filter(|_| by_breaker_alone)?.next_deadline()
    }

    /// Whether the breaker would let a request in; spends nothing.
    pub(crate) fn would_admit(&self) -> bool {
        self.breaker.as_ref().is_none_or(|breaker| breaker.peek(|| self.control.now()).is_ok())
    }
}

impl<T> Drop for Live<T> {
    fn drop(&mut self) {
        self.control.slots.give_back(self.slot);
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("id", &self.id()).field("status", &self.status()).finish_non_exhaustive()
    }
}

/// What changed at an endpoint, to be told when no lock is held.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct News {
    changes: SmallVec<[Change; 2]>,
    transition: Option<Transition>,
}

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
    #[inline]
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
    #[inline]
    pub(crate) fn live(&self) -> &Live<T> {
        match self {
            Self::Direct(live) => live,
            Self::Striped(stripe) => &stripe.live,
        }
    }
}

impl<T> Live<T> {
    /// Feeds the latency estimate. A failure never makes an endpoint look faster than it is: failing fast is not being
    /// fast. An outcome that says nothing about the endpoint is left out.
    pub(crate) fn observe_latency(&self, outcome: &Outcome, started: Timestamp) {
        let Some(estimate) = &self.latency else { return };
        let now = self.control.now();
        let taken = outcome.latency().unwrap_or_else(|| now.saturating_since(started));
        match outcome.verdict() {
            Verdict::Success => estimate.observe(taken, now),
            Verdict::Failure | Verdict::Overload { .. } => Self::raise(estimate, taken, now),
            Verdict::Neutral => {}
        }
    }

    /// Feeds the age of a request that ended without a verdict: it took at least that long.
    pub(crate) fn observe_age(&self, started: Timestamp) {
        let Some(estimate) = &self.latency else { return };
        let now = self.control.now();
        Self::raise(estimate, now.saturating_since(started), now);
    }

    fn raise(estimate: &PeakEwma, taken: Duration, now: Timestamp) {
        if estimate.get(now).is_none_or(|known| taken > known) {
            estimate.observe(taken, now);
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::thread;

    use super::*;
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
                let change = node.live.standing.set_admin(crate::AdminState::Drain);
                node.live.after_flip(change);
            });
            cluster.apply(["c", "a"].map(endpoint)).expect("a valid set");
            drainer.join().expect("the drainer ends");
            let snapshot = cluster.shared.current.load();
            assert!(!snapshot.first.masks.preferred.contains(1), "the flip was lost in the swap");
            assert_eq!(cluster.pick(&Request::new()).expect("c is usable").endpoint().id().as_str(), "c");
        });
    }
}
