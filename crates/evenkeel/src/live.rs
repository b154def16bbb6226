//! The part of an endpoint that lives on while its description changes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_balance::{Event, LoadReport};
use evenkeel_breaker::{Breaker, Permit, Refusal, State, Transition};
use evenkeel_health::{Cause, Change, CheckState, RiseFall, Standing, Status};
use evenkeel_stats::PeakEwma;
use evenkeel_types::{Address, Endpoint, EndpointId, Outcome, Timestamp, Verdict, Weight};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::control::Control;
use crate::factor::{self, Factor};
use crate::roster::Level;
use crate::update;

/// An endpoint in use: its identity, its payload and what was learnt about it.
///
/// One of these is made for each incarnation of an endpoint and no update replaces it.
pub struct Live<T> {
    pub(crate) standing: Standing,
    /// What it takes of its weight for the moment: beside the standing, since every pick reads both.
    pub(crate) factor: Factor,
    /// Where its bit is found: held until this value is dropped, so that a late flip never hits another's bit.
    pub(crate) slot: u32,
    /// Never reused in this cluster.
    pub(crate) token: u64,
    pub(crate) breaker: Option<Box<Breaker>>,
    pub(crate) latency: Option<Box<PeakEwma>>,
    pub(crate) rise_fall: Mutex<RiseFall>,
    /// What it says itself of its capacity, or somebody on its behalf.
    reported: Factor,
    /// Of its name: the same in every process of a fleet.
    pub(crate) id_hash: u64,
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
            factor: Factor::full(),
            reported: Factor::full(),
            id_hash: update::hash(control.hash_key, endpoint.id()),
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

    /// The share of its weight that it takes for the moment, above 0 to 1: the product of all that lets it start or return
    /// slowly, and of what it reports. Relative to the largest of its tier, it is the share of its weight in picks.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.factor.share()
    }

    /// Works its factor out anew.
    fn refresh_factor(&self) {
        self.factor.set(factor::parts(self.reported.share()));
    }

    /// Takes in the part of its weight that it can carry, as an agent reports it: 0 to 1.
    pub(crate) fn set_reported(&self, share: f64) {
        self.reported.set(factor::parts(share));
        self.refresh_factor();
        self.control.timers.add(self.control.now(), self.slot, self.token);
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

    /// Takes in what the endpoint says of its own load, told apart from any request: for policies that weigh by reports.
    /// The time in it is set by the cluster's clock.
    pub fn report(&self, report: LoadReport) {
        let report = LoadReport { at: self.control.now(), ..report };
        self.control.tell_policies(Event::Reported(self.token, report));
    }

    fn raise(estimate: &PeakEwma, taken: Duration, now: Timestamp) {
        if estimate.get(now).is_none_or(|known| taken > known) {
            estimate.observe(taken, now);
        }
    }
}
