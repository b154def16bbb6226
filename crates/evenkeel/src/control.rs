//! What all endpoints of a cluster share, without the endpoints: so that they can point here without a cycle.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use evenkeel_balance::{Event, Policy, Wants};
use evenkeel_breaker::{Breaker, Rules, Transition};
use evenkeel_health::{Change, Ramp, RiseFall};
use evenkeel_limit::{Ledger, LimitChange, LimitConfig, Limiter};
use evenkeel_registry::SourceStatus;
use evenkeel_stats::{PeakEwma, TimeConstant};
use evenkeel_types::{EndpointId, SplitMix64, Timestamp};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::freshness::Freshness;
use crate::live::Live;
use crate::observer::{Notice, Observer, OutlierNotice};
use crate::outliers::{Key, Outliers, Verdict};
use crate::planner::{Planner, TierNews};
use crate::roster::Roster;

pub(crate) struct Control {
    pub(crate) name: Box<str>,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) roster: Roster,
    pub(crate) slots: Slots,
    pub(crate) timers: Timers,
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) latency: Option<TimeConstant>,
    pub(crate) rise_fall: RiseFall,
    pub(crate) outliers: Option<Outliers>,
    /// Who works out what tiers and zones get, where that goes by shares.
    pub(crate) planner: Option<Planner>,
    /// How endpoints start, if slowly.
    pub(crate) ramp: Option<Ramp>,
    /// Endpoints that take less than the whole of their weight.
    pub(crate) reduced: AtomicUsize,
    /// The limit that each endpoint gets.
    pub(crate) endpoint_limit: Option<LimitConfig>,
    /// The limit of the cluster.
    pub(crate) limit: Option<Limiter>,
    /// The account of retries and hedges.
    pub(crate) ledger: Option<Ledger>,
    pub(crate) seed: u64,
    /// Whether every request is timed, whatever its policy and endpoint want.
    pub(crate) is_timed: bool,
    /// Whether nothing takes part in a pick besides the policy: no breaker, no limit, no budget, nobody who measures or judges.
    /// One byte that spares such picks all further questions. It ends when somebody wants to hear verdicts.
    pub(crate) is_plain: AtomicBool,
    /// Whether somebody wants to hear the verdicts of some endpoint's requests.
    pub(crate) is_heard: AtomicBool,
    pub(crate) observer: Option<Box<dyn Observer>>,
    /// The policies of the current tiers that asked for events.
    pub(crate) listeners: ArcSwapOption<Vec<Listener>>,
    /// How fresh the followed sources are, if any are followed.
    pub(crate) followed: ArcSwapOption<Box<dyn Sources>>,
    /// Stripes a node gets, when it gets any: a power of two.
    pub(crate) stripes: u32,
    pub(crate) hash_key: (u64, u64),
}

/// Where the endpoints come from.
pub(crate) trait Sources: Send + Sync {
    fn freshness(&self) -> Freshness;

    fn statuses(&self) -> Vec<SourceStatus>;
}

impl Control {
    pub(crate) fn freshness(&self) -> Freshness {
        self.followed.load().as_ref().map_or(Freshness::Applied, |sources| sources.freshness())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether picks concern nobody but the policy.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain.load(Ordering::Relaxed)
    }

    /// Verdicts are heard from now on: of requests that are picked after this.
    pub(crate) fn let_hear(&self) {
        self.is_heard.store(true, Ordering::Relaxed);
        self.is_plain.store(false, Ordering::Relaxed);
    }

    /// Whether nothing takes part in a pick besides the policy.
    pub(crate) const fn has_no_parts(&self) -> bool {
        let learns = self.rules.is_some() || self.outliers.is_some() || self.is_timed;
        let limits = self.endpoint_limit.is_some() || self.limit.is_some() || self.ledger.is_some();
        !learns && !limits
    }

    /// The breaker of an endpoint; its waits are spread by the endpoint's name.
    pub(crate) fn new_breaker(&self, salt: u64) -> Option<Breaker> {
        self.rules.as_ref().map(|rules| Breaker::starting(rules, salt, self.now()))
    }

    /// The limit of an endpoint; its measurements are spread by the endpoint's number.
    pub(crate) fn new_limiter(&self, token: u64) -> Option<Limiter> {
        let config = self.endpoint_limit.as_ref()?;
        // The settings were tried when the cluster was built.
        Limiter::alone(config, SplitMix64::mix(self.seed ^ token)).ok()
    }

    pub(crate) fn new_latency(&self) -> Option<Box<PeakEwma>> {
        self.latency.map(|decay| Box::new(PeakEwma::new(decay)))
    }

    pub(crate) fn tell_standing<T>(&self, live: &Live<T>, change: Change) {
        if change.turned_usable() {
            self.tell_policies(Event::Up(live.token));
        } else if change.turned_unusable() {
            self.tell_policies(Event::Down(live.token));
        }
        if let Some(observer) = &self.observer {
            observer.notice(&Notice::Standing { id: live.id(), before: change.before, after: change.after });
        }
    }

    pub(crate) fn tell_breaker<T>(&self, live: &Live<T>, transition: &Transition) {
        if let Some(observer) = &self.observer {
            observer.notice(&Notice::Breaker { id: live.id(), transition: *transition });
        }
    }

    pub(crate) fn tell_limit(&self, id: Option<EndpointId>, change: LimitChange) {
        if let Some(observer) = &self.observer {
            observer.notice(&Notice::Limit { id, change });
        }
    }

    pub(crate) fn tell_outlier(&self, id: Option<EndpointId>, change: &Verdict) {
        if let Some(observer) = &self.observer
            && let Some(notice) = OutlierNotice::of(id, change)
        {
            observer.notice(&Notice::Outlier(notice));
        }
    }

    /// Works out what the groups of endpoints get, since numbers have changed.
    pub(crate) fn rebalance(&self) -> TierNews {
        let Some(planner) = &self.planner else { return TierNews::new() };
        let places = self.roster.places();
        places.shares().map_or_else(TierNews::new, |shares| planner.rebalance(shares, self))
    }

    pub(crate) fn tell_tiers(&self, news: &TierNews) {
        if let Some(observer) = &self.observer {
            news.iter().for_each(|notice| observer.notice(&Notice::Tier(*notice)));
        }
    }

    pub(crate) fn tell_policies(&self, event: Event) {
        if let Some(listeners) = &*self.listeners.load() {
            let kind = wanted_as(&event);
            for listener in listeners.iter().filter(|listener| listener.wants.contains(kind)) {
                listener.policy.on_event(event);
            }
        }
    }
}

/// A policy that hears events, and what it asked for when its tier was built.
pub(crate) struct Listener {
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) wants: Wants,
}

/// What a policy must want to hear of this event.
const fn wanted_as(event: &Event) -> Wants {
    match event {
        Event::Observed(..) => Wants::OBSERVED,
        Event::Reported(..) => Wants::REPORTS,
        _ => Wants::EVENTS,
    }
}

/// All that a policy can ask to hear.
pub(crate) const HEARD: Wants = Wants::EVENTS.union(Wants::OBSERVED).union(Wants::REPORTS);

/// Slot numbers: the lowest free one first, given back when the endpoint is dropped.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<SlotPool>);

#[derive(Debug, Default)]
struct SlotPool {
    free: BinaryHeap<Reverse<u32>>,
    next: u32,
}

impl Slots {
    pub(crate) fn take(&self) -> u32 {
        let mut pool = self.0.lock();
        if let Some(Reverse(slot)) = pool.free.pop() {
            return slot;
        }
        let slot = pool.next;
        pool.next = slot.saturating_add(1);
        slot
    }

    pub(crate) fn give_back(&self, slot: u32) {
        self.0.lock().free.push(Reverse(slot));
    }

    /// One more than the highest slot ever taken.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().next as usize
    }
}

/// The slot of the timer that sweeps outliers.
pub(crate) const SWEEP: u32 = u32::MAX;
/// The slot of the timer that looks at the shares of tiers and zones. Slots of endpoints are below both.
pub(crate) const TIERS: u32 = u32::MAX - 1;

/// Who waits until when. The earliest deadline lies in an atomic, so that a pick sees with one load that one is due.
///
/// A set, since whoever looks at an endpoint arms again what it waits for: the same deadline is kept once.
#[derive(Debug)]
pub(crate) struct Timers {
    earliest: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    timers: BTreeSet<Timer>,
    traffic: Traffic,
}

/// Whether requests come, for those who ask.
///
/// Who asks leaves a deadline that has passed long ago, so that the next pick stops by: picks that nobody asks about pay
/// nothing, and of those that somebody does, the first one pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Traffic {
    /// Nobody asks.
    #[default]
    Unasked,
    /// None since somebody asked.
    Awaited,
    /// There was some.
    Seen,
}

/// An endpoint that waits for a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) until: Timestamp,
    pub(crate) slot: u32,
    pub(crate) token: u64,
}

impl Timer {
    pub(crate) const fn of(key: Key, until: Timestamp) -> Self {
        Self { until, slot: key.slot, token: key.token }
    }
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self { earliest: AtomicU64::new(u64::MAX), waiting: Mutex::default() }
    }

    /// The earliest deadline for a pick; [`Timestamp::MAX`] if nobody waits.
    #[inline]
    pub(crate) fn earliest(&self) -> Timestamp {
        Timestamp::from_nanos(self.earliest.load(Ordering::Relaxed))
    }

    /// Whether anybody waits for a deadline.
    #[inline]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.earliest() != Timestamp::MAX
    }

    pub(crate) fn add(&self, until: Timestamp, slot: u32, token: u64) {
        if until == Timestamp::MAX {
            return;
        }
        let mut waiting = self.waiting.lock();
        waiting.timers.insert(Timer { until, slot, token });
        self.publish(&waiting);
    }

    /// The earliest deadline of somebody who waits for time to pass, and not for a pick.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.waiting.lock().timers.first().map(|timer| timer.until)
    }

    /// Whether a pick was asked for since the last question.
    pub(crate) fn had_traffic(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let seen = std::mem::replace(&mut waiting.traffic, Traffic::Awaited) == Traffic::Seen;
        self.publish(&waiting);
        seen
    }

    /// A pick was asked for.
    pub(crate) fn note_traffic(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.traffic == Traffic::Awaited {
            waiting.traffic = Traffic::Seen;
            self.publish(&waiting);
        }
    }

    /// A timer of the cluster itself.
    pub(crate) fn add_sweep(&self, until: Timestamp) {
        self.add(until, SWEEP, 0);
    }

    /// The other one.
    pub(crate) fn add_tiers(&self, until: Timestamp) {
        self.add(until, TIERS, 0);
    }

    /// Takes out what is due at `now`, `most` at once.
    pub(crate) fn due(&self, now: Timestamp, most: usize) -> Vec<Timer> {
        let mut waiting = self.waiting.lock();
        let mut due = Vec::new();
        while due.len() < most
            && waiting.timers.first().is_some_and(|timer| timer.until <= now)
            && let Some(timer) = waiting.timers.pop_first()
        {
            due.push(timer);
        }
        self.publish(&waiting);
        due
    }

    fn publish(&self, waiting: &Waiting) {
        let next = waiting.timers.first().map_or(u64::MAX, |timer| timer.until.as_nanos());
        let earliest = if waiting.traffic == Traffic::Awaited { 0 } else { next };
        self.earliest.store(earliest, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_is_armed_again_is_kept_once() {
        let timers = Timers::new();
        let hour = Timestamp::from_secs(3600);
        for second in 0..1000 {
            timers.add(hour, 1, 7);
            timers.add(Timestamp::from_secs(second), 1, 7);
            assert_eq!(timers.due(Timestamp::from_secs(second), 64).len(), 1);
        }
        timers.add(hour, 2, 8);
        assert_eq!(timers.due(hour, 64).len(), 2);
        assert!(!timers.is_waited_for());
    }

    #[test]
    fn traffic_is_seen_by_who_asked_and_hides_no_deadline() {
        let timers = Timers::new();
        timers.note_traffic();
        assert!(!timers.had_traffic(), "nobody had asked");
        let long_ago = Timestamp::from_nanos(0);
        assert_eq!((timers.earliest(), timers.next()), (long_ago, None), "a pick stops by, a tick does not");
        timers.note_traffic();
        assert!(!timers.is_waited_for());
        let second = Timestamp::from_secs(1);
        timers.add(second, 1, 7);
        assert_eq!((timers.had_traffic(), timers.had_traffic()), (true, false));
        assert_eq!((timers.earliest(), timers.next()), (long_ago, Some(second)));
        timers.note_traffic();
        assert_eq!(timers.earliest(), second);
    }
}
