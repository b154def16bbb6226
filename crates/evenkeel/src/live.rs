//! The part of an endpoint that lives on while its description changes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use evenkeel_balance::{Event, LoadReport};
use evenkeel_breaker::{Admission, Breaker, Permit, Refusal, State, Transition};
use evenkeel_health::{
    Cause, Change, CheckState, Entry, Note, Opinion, RiseFall, SlowStart, Standing, Status, Warmth,
};
use evenkeel_limit::{Limiter, Token};
use evenkeel_stats::PeakEwma;
use evenkeel_types::{Address, Endpoint, EndpointId, Outcome, Timestamp, Verdict, Weight};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::control::Control;
use crate::factor::{self, FULL, Factor};
use crate::grant::Grant;
use crate::moment::Moment;
use crate::outliers::{Key, Verdict as OutlierVerdict};
use crate::parts::Parts;
use crate::planner::TierNews;
use crate::roster::{Level, starts};
use crate::update;
use crate::words::Words;

/// An endpoint in use: its identity, its payload and what was learnt about it.
///
/// One of these is made for each incarnation of an endpoint and no update replaces it.
///
/// In the order of the declaration, since what every pick reads has to lie beside the count of requests in flight, which
/// stands before it.
#[repr(C)]
pub struct Live<T> {
    pub(crate) standing: Standing,
    /// What it takes of its weight for the moment: beside the standing, since every pick reads both.
    pub(crate) factor: Factor,
    /// What takes part in its requests besides the policy.
    pub(crate) parts: Option<Arc<Parts>>,
    pub(crate) control: Arc<Control>,
    /// Never reused in this cluster.
    pub(crate) token: u64,
    /// Who said what, since when.
    pub(crate) words: Words,
    pub(crate) warmth: SlowStart,
    /// The earliest deadline for which a timer waits, in nanoseconds.
    armed: AtomicU64,
    /// How busy it says it is, as the bits of a number; NaN if it never did.
    utilisation: AtomicU64,
    /// Who hears how its requests went.
    hearer: ArcSwapOption<Hearer>,
    /// Of its name: the same in every process of a fleet.
    pub(crate) id_hash: u64,
    description: ArcSwap<Endpoint>,
    /// Where its bit is found: held until this value is dropped, so that a late flip never hits another's bit.
    pub(crate) slot: u32,
    /// What it says itself of its capacity, or somebody on its behalf.
    reported: Factor,
    pub(crate) rise_fall: Mutex<RiseFall>,
    /// Whether it was on its way, and whether it was usable, at any time since it was made: who was the one and never the other is no
    /// loss.
    was: [AtomicBool; 2],
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
        let id_hash = update::hash(control.hash_key, endpoint.id());
        let words = Words::default();
        let now = || control.now();
        let check = match (control.rise_fall.is_checked(), control.rise_fall.is_up()) {
            (_, false) => CheckState::Down,
            (true, true) => CheckState::Up,
            (false, true) => CheckState::Unknown,
        };
        for opinion in [
            Opinion::Announced(endpoint.announced()),
            Opinion::DrainedByWeight(endpoint.weight().is_drain()),
            Opinion::Check(check),
        ] {
            let _ = words.say(&standing, opinion, Note::default(), now);
        }
        let parts = Parts::new(control, id_hash, token);
        let breaker = parts.as_ref().and_then(|parts| parts.breaker.as_ref());
        if let Some(state) = breaker.map(Breaker::state).filter(State::is_refusing) {
            let until = state.refuses_until().map_or_else(Note::default, Note::until);
            let _ = words.say(&standing, Opinion::BreakerOpen(true), until, now);
        }
        let status = standing.load();
        let was = [status.causes().any(starts), status.usable()].map(AtomicBool::new);
        Self {
            standing,
            factor: Factor::full(),
            parts,
            control: Arc::clone(control),
            token,
            words,
            warmth: SlowStart::new(),
            armed: AtomicU64::new(u64::MAX),
            utilisation: AtomicU64::new(f64::NAN.to_bits()),
            hearer: ArcSwapOption::empty(),
            id_hash,
            description: ArcSwap::new(endpoint),
            slot,
            reported: Factor::full(),
            rise_fall: Mutex::new(control.rise_fall),
            was,
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

    pub(crate) fn is_usable_but_for_outliers(&self) -> bool {
        self.standing.load().causes().all(|cause| !cause.is_blocking() || cause == Cause::Ejected)
    }

    pub(crate) fn level(&self) -> Level {
        let [was_starting, was_usable] = &self.was;
        Level::of(self.standing.load(), || {
            was_starting.load(Ordering::Relaxed) && !was_usable.load(Ordering::Relaxed)
        })
    }

    /// Takes over a new description of the same incarnation; returns what to tell once the locks are gone.
    pub(crate) fn describe(&self, endpoint: Endpoint) -> News {
        let mut news = News::default();
        let announced = Opinion::Announced(endpoint.announced());
        let weight = Opinion::DrainedByWeight(endpoint.weight().is_drain());
        self.description.store(Arc::new(endpoint));
        self.say(announced, Note::default(), &mut news);
        self.say(weight, Note::default(), &mut news);
        news
    }

    /// Brings the masks in line with the own word, and keeps the change to be told.
    fn publish(&self, change: Change, news: &mut News) {
        if change.is_noop() {
            return;
        }
        // Before the places are brought in line: whoever changes them last has said so.
        let [was_starting, was_usable] = &self.was;
        let seen = |is: fn(Status) -> bool| is(change.before) || is(change.after);
        if seen(|status| status.causes().any(starts)) {
            was_starting.store(true, Ordering::Relaxed);
        }
        // Usable until its first check was begun is as good as never: nobody has asked it yet.
        let begins =
            change.before.check() == CheckState::Unknown && change.after.check() == CheckState::Starting;
        if begins || seen(Status::usable) {
            was_usable.store(!begins, Ordering::Relaxed);
        }
        self.control.roster.publish(self.slot, || self.level());
        let level = |status| Level::of(status, || false);
        if self.control.planner.is_some() && level(change.before) != level(change.after) {
            news.tiers.extend(self.control.rebalance());
        }
        news.changes.push(change);
        if change.turned_unusable() && self.warmth.leave() {
            self.say_warmth(news);
            self.refresh_factor(self.control.now());
        }
        let level = |status: Status| (status.usable(), status.is_degraded());
        if level(change.before) != level(change.after) && self.control.reduced.load(Ordering::Relaxed) > 0 {
            // Factors are relative to the largest among the usable ones: a tick finds out which that is now.
            self.arm(self.control.now());
        }
        if change.turned_usable() && ended_what_warms(change) {
            self.enter(Entry::Return, news);
        }
    }

    /// It comes into use: slowly, if the cluster has it so and others can carry on meanwhile.
    pub(crate) fn enter(&self, entry: Entry, news: &mut News) {
        let Some(ramp) = &self.control.ramp else { return };
        let now = self.control.now();
        if self.warmth.enter(ramp, entry, self.control.roster.others_are_warm(self.slot), now) {
            self.say_warmth(news);
            self.refresh_factor(now);
        }
    }

    /// Says whether it starts slowly: until that is so, since it may come and go at the same time.
    fn say_warmth(&self, news: &mut News) {
        loop {
            let until = match self.warmth() {
                Warmth::Warm => None,
                Warmth::Warming { until, .. } => Some(until),
            };
            self.say(Opinion::Warming(until.is_some()), until.map_or_else(Note::default, Note::until), news);
            if matches!(self.warmth(), Warmth::Warming { .. }) == until.is_some() {
                return;
            }
        }
    }

    pub(crate) const fn key(&self) -> Key {
        Key { token: self.token, slot: self.slot }
    }

    /// Has it ticked at `until`, if nothing does so before.
    pub(crate) fn arm(&self, until: Timestamp) {
        // A read-modify-write in any case: a tick that disarms afterwards sees what was changed before this call.
        let before = self.armed.fetch_min(until.as_nanos(), Ordering::AcqRel);
        if until.as_nanos() < before {
            self.control.timers.add(until, self.slot, self.token);
        }
    }

    /// The timer that waited has come; what is armed from now on needs a new one.
    fn disarm(&self, now: Timestamp) {
        if self.armed.load(Ordering::Relaxed) <= now.as_nanos() {
            self.armed.swap(u64::MAX, Ordering::AcqRel);
        }
    }

    /// A source speaks: its word is written, masks follow, and what changed is kept to be told.
    pub(crate) fn say(&self, opinion: Opinion, note: Note, news: &mut News) {
        let change = self.words.say(&self.standing, opinion, note, || self.control.now());
        self.publish(change, news);
        if let Some(end) = self.words.next_deadline() {
            self.arm(end);
        }
    }

    /// A source speaks, and everybody is told. Not to be called under a lock.
    pub(crate) fn say_aloud(&self, opinion: Opinion, note: Note) {
        let mut news = News::default();
        self.say(opinion, note, &mut news);
        self.tell(&news);
    }

    /// Tells our own machines: before code of the user runs, which may panic.
    pub(crate) fn note(&self, news: &News) {
        if let Some(outliers) = &self.control.outliers
            && !news.changes.is_empty()
        {
            outliers.note_usable(self);
        }
    }

    /// Tells policies and the observer, whose code runs here: not to be called under a lock.
    pub(crate) fn tell(&self, news: &News) {
        self.note(news);
        for &change in &news.changes {
            self.control.tell_standing(self, change);
        }
        if let Some(transition) = &news.transition {
            self.control.tell_breaker(self, transition);
        }
        for change in &news.outlier {
            self.control.tell_outlier(Some(self.id()), change);
        }
        self.control.tell_tiers(&news.tiers);
    }

    #[inline]
    pub(crate) fn breaker(&self) -> Option<&Breaker> {
        self.parts.as_ref()?.breaker.as_ref()
    }

    #[inline]
    pub(crate) fn limiter(&self) -> Option<&Limiter> {
        self.parts.as_ref()?.limiter.as_ref()
    }

    #[inline]
    pub(crate) fn latency(&self) -> Option<&PeakEwma> {
        self.parts.as_ref()?.latency.as_deref()
    }

    /// What the breaker says about one more request. Reads the clock only if it is not closed.
    ///
    /// The limit is asked first: a slot that is not used goes back for nothing, a probe that is not sent costs time.
    #[inline]
    pub(crate) fn admit(&self, moment: &Moment<'_>) -> Option<Grant> {
        let Some(parts) = self.parts.as_deref() else { return Some(Grant::none()) };
        let Some(limiter) = &parts.limiter else {
            return self.ask_breaker(parts, moment).map(|permit| Grant::new(permit, Token::bypass()));
        };
        let mut slot = Slot { limiter, token: limiter.try_acquire(|| moment.now()).ok()? };
        let permit = self.ask_breaker(parts, moment)?;
        Some(Grant::new(permit, std::mem::replace(&mut slot.token, Token::bypass())))
    }

    /// A closed breaker is asked in line: what is returned through memory has to be written before the atomic additions to
    /// come.
    #[inline(always)]
    fn ask_breaker(&self, parts: &Parts, moment: &Moment<'_>) -> Option<Option<Permit>> {
        let Some(breaker) = &parts.breaker else { return Some(None) };
        match breaker.try_acquire(|| moment.now()) {
            Ok(Admission { permit, transition: None }) => Some(Some(permit)),
            Ok(Admission { permit, transition: Some(transition) }) => {
                self.tell_of_asking(transition);
                Some(Some(permit))
            }
            Err(Refusal { transition: None, .. }) => None,
            Err(Refusal { transition: Some(transition), .. }) => {
                self.tell_of_asking(transition);
                None
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_of_asking(&self, transition: Transition) {
        self.tell(&self.after_breaker(transition));
    }

    #[inline]
    pub(crate) fn give_back(&self, slot: Token) {
        if let Some(limiter) = self.limiter() {
            limiter.give_back(slot);
        }
    }

    /// Whether as many requests are in flight there as its limit allows.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.limiter().is_some_and(|limiter| limiter.peek().is_err())
    }

    /// After how long its limit may let another request in, if it does not now and that is known.
    pub(crate) fn free_in(&self) -> Option<Duration> {
        self.limiter()?.peek().err()?.retry_hint
    }

    /// How it starts, if slowly.
    #[must_use]
    pub fn warmth(&self) -> Warmth {
        self.control.ramp.as_ref().map_or(Warmth::Warm, |ramp| self.warmth.state(ramp, self.control.now()))
    }

    /// Brings the standing in line with the breaker, whose own word is the truth: of two racing transitions the later
    /// one stays.
    pub(crate) fn after_breaker(&self, transition: Transition) -> News {
        let mut news = News { transition: Some(transition), ..News::default() };
        let Some(breaker) = self.breaker() else { return news };
        loop {
            let state = breaker.state();
            let until = state.refuses_until();
            if let Some(until) = until {
                self.arm(until);
            }
            let note = until.map_or_else(Note::default, Note::until);
            self.say(Opinion::BreakerOpen(state.is_refusing()), note, &mut news);
            if breaker.state() == state {
                // It may have closed, and come back bit by bit.
                self.refresh_factor(transition.at);
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

    /// Works its factor out anew: until it is what it would be now, so that of two who do so the later one stays.
    pub(crate) fn refresh_factor(&self, now: Timestamp) {
        loop {
            let after = self.factor_now(now);
            self.set_factor(after, now);
            if self.factor_now(now) == after {
                return;
            }
        }
    }

    /// What its factor should be; has it looked at again when that will change.
    fn factor_now(&self, now: Timestamp) -> u32 {
        let of_outliers = self.parts.as_ref().map_or(1.0, |parts| parts.outlier_factor.share());
        let mut share = self.reported.share() * of_outliers;
        if let Some(breaker) = self.breaker() {
            let factor = breaker.factor(now);
            if factor < 1.0 {
                share *= factor;
                self.arm(now.saturating_add(FACTOR_STEP));
            }
        }
        if let Some(ramp) = &self.control.ramp {
            share *= self.warmth.factor(ramp, now);
            if let Some(next) = self.warmth.next_change(ramp, now) {
                self.arm(next);
            }
        }
        factor::parts(share)
    }

    fn set_factor(&self, after: u32, now: Timestamp) {
        let before = self.factor.swap(after);
        match (before == FULL, after == FULL) {
            (true, false) => {
                self.control.reduced.fetch_add(1, Ordering::Relaxed);
                // A tick finds out what this is to the others.
                self.arm(now);
            }
            (false, true) => {
                self.control.reduced.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Takes in the part of its weight that it can carry, as an agent reports it: 0 to 1.
    pub(crate) fn set_reported(&self, share: f64) {
        self.reported.set(factor::parts(share));
        let now = self.control.now();
        self.refresh_factor(now);
        self.arm(now);
    }

    /// Lets a deadline of the breaker pass; returns what to tell once the locks are gone.
    pub(crate) fn tick(&self, now: Timestamp) -> News {
        self.disarm(now);
        let mut news = self.tick_breaker(now);
        if let Some(outliers) = &self.control.outliers {
            outliers.follow(self, now, &mut news);
        }
        if self.control.ramp.as_ref().is_some_and(|ramp| self.warmth.tick(ramp, now)) {
            self.say_warmth(&mut news);
        }
        for change in self.words.tick(&self.standing, now) {
            self.publish(change, &mut news);
        }
        self.refresh_factor(now);
        news
    }

    fn tick_breaker(&self, now: Timestamp) -> News {
        let Some(breaker) = self.breaker() else { return News::default() };
        if let Some(transition) = breaker.tick(now) {
            return self.after_breaker(transition);
        }
        if let Some(until) = breaker.next_deadline() {
            self.arm(until);
        }
        News::default()
    }

    /// When requests may be let in again, if nothing but the breaker and outlier detection keeps them away: the later of
    /// the two.
    pub(crate) fn back_at(&self) -> Option<Timestamp> {
        let mut latest = None;
        for cause in self.standing.load().causes().filter(|cause| cause.is_blocking()) {
            let until = match cause {
                Cause::BreakerOpen => self.breaker()?.state().refuses_until()?,
                Cause::Ejected => self.parts.as_ref()?.ejected_until(),
                _ => return None,
            };
            latest = latest.max(Some(until));
        }
        match latest {
            Some(_) => latest,
            // Half open, and its probes are taken.
            None => self.breaker()?.next_deadline(),
        }
    }

    /// Whether the breaker would let a request in; spends nothing.
    pub(crate) fn would_admit(&self) -> bool {
        !self.is_saturated()
            && self.breaker().is_none_or(|breaker| breaker.peek(|| self.control.now()).is_ok())
    }
}

/// Hears how requests went.
pub(crate) type Hearer = Box<dyn Fn(Verdict) + Send + Sync>;

/// A slot that goes back unless it is taken out: also if an observer panics that hears of the breaker.
struct Slot<'a> {
    limiter: &'a Limiter,
    token: Token,
}

impl Drop for Slot<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.token.is_bypass() {
            self.limiter.give_back(std::mem::replace(&mut self.token, Token::bypass()));
        }
    }
}

/// How often a factor is looked at that nobody foretells: that of a breaker which goes by what requests meet.
const FACTOR_STEP: Duration = Duration::from_millis(250);

impl<T> Drop for Live<T> {
    fn drop(&mut self) {
        if !self.factor.is_full() {
            self.control.reduced.fetch_sub(1, Ordering::Relaxed);
        }
        self.control.slots.give_back(self.slot);
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("id", &self.id()).field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Whether an endpoint that is back was out for something that a slow start helps against. Breakers and outlier detection have
/// their own ways back.
fn ended_what_warms(change: Change) -> bool {
    let has_its_own =
        |cause: &Cause| matches!(cause, Cause::BreakerOpen | Cause::Ejected | Cause::FlapDamped);
    change.before.causes().any(|cause| cause.is_blocking() && !has_its_own(&cause))
}

/// What changed at an endpoint, to be told when no lock is held.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct News {
    changes: SmallVec<[Change; 2]>,
    transition: Option<Transition>,
    pub(crate) outlier: SmallVec<[OutlierVerdict; 1]>,
    pub(crate) tiers: TierNews,
}

impl<T> Live<T> {
    /// Feeds the latency estimate. A failure never makes an endpoint look faster than it is: failing fast is not being
    /// fast. An outcome that says nothing about the endpoint is left out.
    pub(crate) fn observe_latency(&self, outcome: &Outcome, started: Timestamp, moment: &Moment<'_>) {
        let Some(estimate) = self.latency() else { return };
        let now = moment.now();
        let taken = outcome.latency().unwrap_or_else(|| now.saturating_since(started));
        match outcome.verdict() {
            Verdict::Success => estimate.observe(taken, now),
            Verdict::Failure | Verdict::Overload { .. } => Self::raise(estimate, taken, now),
            Verdict::Neutral => {}
        }
    }

    /// Counts how a request went, and lets the detector know if a rule was met.
    #[inline]
    pub(crate) fn observe_outlier(&self, outcome: &Outcome, moment: &Moment<'_>) {
        if let (Some(parts), Some(outliers)) = (&self.parts, &self.control.outliers)
            && let Some(suspicion) = parts.counters().record(outcome, &outliers.rules)
        {
            self.tell(&outliers.suspect(self, suspicion, moment.now()));
        }
    }

    pub(crate) fn set_hearer(&self, hearer: Option<Hearer>) {
        if hearer.is_some() {
            self.control.let_hear();
        }
        self.hearer.store(hearer.map(Arc::new));
    }

    /// Tells whoever hears the verdicts, whose code runs here.
    #[inline]
    pub(crate) fn tell_hearer(&self, verdict: Verdict) {
        if self.control.is_heard.load(Ordering::Relaxed)
            && let Some(hearer) = &*self.hearer.load()
        {
            hearer(verdict);
        }
    }

    /// Feeds the age of a request that ended without a verdict: it took at least that long.
    pub(crate) fn observe_age(&self, started: Timestamp, moment: &Moment<'_>) {
        let Some(estimate) = self.latency() else { return };
        let now = moment.now();
        Self::raise(estimate, now.saturating_since(started), now);
    }

    /// Takes in what the endpoint says of its own load, told apart from any request: for policies that weigh by reports.
    /// The time in it is set by the cluster's clock.
    pub fn report(&self, report: LoadReport) {
        let report = LoadReport { at: self.control.now(), ..report };
        self.utilisation.store(report.utilisation.to_bits(), Ordering::Relaxed);
        self.control.tell_policies(Event::Reported(self.token, report));
    }

    /// How busy it said it is, the last time.
    pub(crate) fn utilisation(&self) -> Option<f64> {
        Some(f64::from_bits(self.utilisation.load(Ordering::Relaxed))).filter(|busy| !busy.is_nan())
    }

    fn raise(estimate: &PeakEwma, taken: Duration, now: Timestamp) {
        if estimate.get(now).is_none_or(|known| taken > known) {
            estimate.observe(taken, now);
        }
    }
}
