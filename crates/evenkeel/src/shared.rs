//! What all handles of one cluster share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use evenkeel_balance::{BuiltIn, Event, Policy, Wants};
use evenkeel_breaker::Breaker;
use evenkeel_limit::Token;
use evenkeel_types::Timestamp;
use parking_lot::Mutex;

use crate::choose::{self, Begun};
use crate::control::{Control, HEARD, Listener, SWEEP, TIERS, Timer};
use crate::entry::Entry;
use crate::error::PickError;
use crate::grant::Grant;
use crate::lanes::{Lane, Lanes};
use crate::live::News;
use crate::moment::Moment;
use crate::node::Node;
use crate::outliers::{self, Verdict};
use crate::pick::Pick;
use crate::planner::TierNews;
use crate::request::Request;
use crate::shares::Shares;
use crate::snapshot::{Snapshot, Tier};
use crate::sync::Swap;
use crate::update::State;
use crate::way::Way;

pub(crate) struct Shared<T> {
    pub(crate) current: Swap<Snapshot<T>>,
    pub(crate) control: Arc<Control>,
    pub(crate) lanes: Lanes,
    pub(crate) seed: u64,
    pub(crate) max_endpoints: usize,
    pub(crate) state: Mutex<State<T>>,
    /// Whether somebody picks endpoints by name, so that each update makes an index of them.
    pub(crate) is_addressed: AtomicBool,
    /// Held by the one that ticks.
    ticking: Mutex<()>,
}

impl<T> Shared<T> {
    pub(crate) fn new(
        first: Snapshot<T>,
        control: Arc<Control>,
        seed: u64,
        max_endpoints: usize,
        state: State<T>,
    ) -> Self {
        Self {
            current: Swap::new(first),
            control,
            lanes: Lanes::new(seed),
            seed,
            max_endpoints,
            state: Mutex::new(state),
            is_addressed: AtomicBool::new(false),
            ticking: Mutex::new(()),
        }
    }

    /// One pick from `snapshot` with the inputs of `lane`.
    #[inline(always)]
    pub(crate) fn pick_from(
        &self,
        snapshot: &Snapshot<T>,
        request: &Request<'_>,
        lane: &Lane,
        stripe: u32,
    ) -> Result<Pick<T>, PickError> {
        let mut begun = Begun::Not;
        if self.control.is_plain() && !self.control.timers.is_waited_for() {
            match choose::at_once(snapshot, lane, request) {
                // A policy that answers at once hears of nothing.
                Ok((node, tier)) => return Ok(Pick::plain(tier.hold(node, stripe), tier.way)),
                Err(so_far) => begun = so_far,
            }
        }
        self.pick_with_all(snapshot, begun, request, lane, stripe)
    }

    /// One pick in which more may take part than the policy.
    #[inline(never)]
    fn pick_with_all(
        &self,
        snapshot: &Snapshot<T>,
        begun: Begun,
        request: &Request<'_>,
        lane: &Lane,
        stripe: u32,
    ) -> Result<Pick<T>, PickError> {
        let moment = Moment::new(&self.control);
        self.tick_if_due(&moment);
        let mut entry = Entry::free(&self.control);
        if !self.control.is_plain() && self.control.guards_entry() {
            self.enter(request, &moment, &mut entry)?;
        }
        let begun = match begun {
            Begun::Not => choose::at_once(snapshot, lane, request),
            begun => Err(begun),
        };
        let found = begun.and_then(|(node, tier)| {
            let grant = node.live.admit(&moment).ok_or(Begun::Refused)?;
            Ok((node, tier, grant, tier.way))
        });
        // One place where the guard is made: a second one would have it written here and copied there.
        let (node, tier, grant, way) = match found {
            Ok(found) => found,
            Err(begun) => {
                let (ask, admit) = (choose::admit, choose::admit);
                match choose::find_from(snapshot, begun, lane, request, &moment, ask, admit) {
                    Ok(found) => found,
                    Err(error) => {
                        drop(entry);
                        return Err(self.refuse(error));
                    }
                }
            }
        };
        Ok(self.hold(node, tier, grant, entry.go(), stripe, &moment, way))
    }

    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "all that the guard is made of, inlined in one place")]
    pub(crate) fn hold(
        &self,
        node: &Node<T>,
        tier: &Tier<T>,
        grant: Grant,
        entry: Token,
        stripe: u32,
        moment: &Moment<'_>,
        way: Way,
    ) -> Pick<T> {
        let hold = tier.hold(node, stripe);
        let hears = tier.wants.intersects(OF_REQUESTS);
        let mut pick = Pick::new(hold, grant, entry, tier.wants, self.control.is_plain() && !hears, way);
        if self.control.is_timed || hears {
            self.begin(node, tier, moment, &mut pick);
        }
        pick
    }

    /// The request is timed, if anybody measures, and the policy hears of it.
    #[inline(never)]
    fn begin(&self, node: &Node<T>, tier: &Tier<T>, moment: &Moment<'_>, pick: &mut Pick<T>) {
        if self.control.is_timed || tier.wants.contains(Wants::OBSERVED) {
            pick.begin(moment.now());
        }
        if tier.wants.contains(Wants::EVENTS) {
            // Straight to the policy that chose: no list to load. Others know nothing of this endpoint.
            tier.policy.on_event(Event::Picked(node.live.token));
            // A policy that panics has not heard of this pick, and hears no more of it; what it holds goes back.
            pick.let_hear_events();
        }
    }

    #[cold]
    pub(crate) fn refuse(&self, error: PickError) -> PickError {
        if let Some(observer) = &self.control.observer {
            observer.refused(&error);
        }
        error
    }

    /// One load while nobody waits for a deadline.
    #[inline]
    pub(crate) fn tick_if_due(&self, moment: &Moment<'_>) {
        if self.control.timers.is_waited_for() {
            self.tick_if_due_now(moment);
        }
    }

    /// Somebody waits, as always where outliers are swept out: not rare, so not cold.
    #[inline(never)]
    fn tick_if_due_now(&self, moment: &Moment<'_>) {
        let now = moment.now();
        if now >= self.control.timers.earliest() {
            self.tick_what_is_due(now);
            moment.forget();
        }
    }

    /// One of the picks that see a deadline lets it pass.
    #[cold]
    fn tick_what_is_due(&self, now: Timestamp) {
        self.control.timers.note_traffic();
        let Some(one) = self.ticking.try_lock() else { return };
        let told = self.tick_at(now, TIMERS_A_PICK);
        drop(one);
        told.tell(&self.control);
    }

    /// Lets every deadline up to `now` pass and frees what nobody holds any more.
    pub(crate) fn tick(&self) -> Option<Timestamp> {
        let told = {
            let _one = self.ticking.lock();
            self.tick_at(self.control.now(), usize::MAX)
        };
        told.tell(&self.control);
        let free = self.state.lock().sweep();
        drop(free);
        self.control.timers.next()
    }

    fn tick_at(&self, now: Timestamp, most: usize) -> Told<T> {
        let due = self.control.timers.due(now, most);
        if due.is_empty() {
            return Told::nothing();
        }
        let sweeps = due.iter().any(|timer| timer.slot == SWEEP);
        let verdicts = self.control.outliers.as_ref().filter(|_| sweeps);
        let verdicts = verdicts.map_or_else(Vec::new, |outliers| outliers.sweep(now, &self.control.timers));
        let shares_are_due = due.iter().any(|timer| timer.slot == TIERS);
        let timers = due.into_iter().filter(|timer| timer.slot < TIERS).collect();
        let pool =
            verdicts.iter().filter(|verdict| outliers::concerned(verdict).is_none()).copied().collect();
        let mut told = Told { news: self.obey(verdicts, timers, now), pool, tiers: TierNews::new() };
        if shares_are_due {
            told.tiers = self.look_at_shares();
        }
        self.settle_factors();
        told
    }

    /// Works out what the groups get, now that time has passed.
    fn look_at_shares(&self) -> TierNews {
        let Some(planner) = &self.control.planner else { return TierNews::new() };
        planner.disarm();
        if planner.period().is_some() {
            self.current.load().used().for_each(Tier::settle_utilisation);
        }
        self.rebalance_now()
    }

    /// Works out what the groups get.
    pub(crate) fn rebalance_now(&self) -> TierNews {
        self.control.rebalance()
    }

    pub(crate) fn rebalance(&self, shares: &Shares) -> TierNews {
        let planner = self.control.planner.as_ref();
        planner.map_or_else(TierNews::new, |planner| planner.rebalance(shares, &self.control))
    }

    /// Ticks the endpoints that wait, and those that verdicts are about.
    fn obey(
        &self,
        mut verdicts: Vec<Verdict>,
        mut timers: Vec<Timer>,
        now: Timestamp,
    ) -> Vec<(Arc<Node<T>>, News)> {
        // Stable: what happened to one endpoint stays in order.
        verdicts.sort_by_key(outliers::concerned);
        timers.extend(verdicts.iter().filter_map(outliers::concerned).map(|key| Timer::of(key, now)));
        timers.sort_unstable_by_key(|timer| timer.token);
        timers.dedup_by_key(|timer| timer.token);
        let ticked = self.find(timers).into_iter().map(|node| {
            let mut news = node.live.tick(now);
            news.outlier.extend_from_slice(outliers::about(&verdicts, node.live.key()));
            (node, news)
        });
        ticked.collect()
    }

    /// Looks at the factors of all tiers, if anybody has one, or had one at the last look.
    fn settle_factors(&self) {
        self.settle(self.current.load().tiers());
    }

    pub(crate) fn settle<'t>(&self, tiers: impl Iterator<Item = &'t Tier<T>> + Clone)
    where
        T: 't,
    {
        let is_settled = |tier: &Tier<T>| tier.masks.top.is_full() && tier.masks.lift.get() == 0;
        if self.control.reduced.load(Ordering::Relaxed) > 0 || !tiers.clone().all(is_settled) {
            tiers.for_each(|tier| tier.settle_factors(self.control.ramp.as_ref()));
        }
    }

    /// Finds the endpoints that wait; those that are gone are left out.
    fn find(&self, timers: Vec<Timer>) -> Vec<Arc<Node<T>>> {
        let (snapshot, places) = (self.current.load(), self.control.roster.places());
        let mut elsewhere = Vec::new();
        let mut found = Vec::with_capacity(timers.len());
        for timer in timers {
            let place = places.of(timer.slot);
            let tier = place.and_then(|place| snapshot.tier(place.tier()));
            let node = tier.zip(place).and_then(|(tier, place)| tier.nodes.get(place.position()));
            match node.filter(|node| node.live.token == timer.token) {
                Some(node) => found.push(Arc::clone(node)),
                None => elsewhere.push(timer.token),
            }
        }
        // Gone; or an update is under way between the places and the snapshot: one look at all tells.
        elsewhere.sort_unstable();
        if !elsewhere.is_empty() {
            let is_meant = |node: &&Arc<Node<T>>| elsewhere.binary_search(&node.live.token).is_ok();
            found.extend(snapshot.nodes().filter(is_meant).map(Arc::clone));
        }
        found
    }

    /// Endpoints have come and gone.
    ///
    /// `others` were there before. Returns what to tell once the locks are gone.
    pub(crate) fn members_changed(
        &self,
        others: bool,
        joined: &[Arc<Node<T>>],
        left: &[Arc<Node<T>>],
    ) -> Told<T> {
        let mut told = Told::nothing();
        if joined.is_empty() && left.is_empty() {
            return told;
        }
        if let Some(outliers) = &self.control.outliers {
            let now = self.control.now();
            let verdicts = outliers.members(joined, left, now);
            told.news = self.obey(verdicts, Vec::new(), now);
        }
        for live in joined.iter().map(|node| &node.live) {
            // A breaker may start open.
            if let Some(end) = live.breaker().and_then(Breaker::next_deadline) {
                live.arm(end);
            }
        }
        if others && self.control.ramp.is_some() {
            for node in joined.iter().filter(|node| node.live.standing.is_usable()) {
                let mut news = News::default();
                node.live.enter(evenkeel_health::Entry::New, &mut news);
                told.news.push((Arc::clone(node), news));
            }
        }
        told
    }

    /// Lets the policies of `snapshot` hear events, if one of them asked for that.
    pub(crate) fn listen(&self, snapshot: &Snapshot<T>) {
        let mut listeners: Vec<Listener> = Vec::new();
        for tier in snapshot.tiers().filter(|tier| tier.wants.intersects(HEARD)) {
            // One policy may serve several tiers: it hears each event once.
            if let BuiltIn::Dynamic(policy) = &tier.policy
                && !listeners.iter().any(|known| Arc::ptr_eq(&known.policy, policy))
            {
                listeners.push(Listener { policy: Arc::clone(policy), wants: tier.wants });
            }
        }
        if listeners.is_empty() {
            self.control.listeners.store(None);
            return;
        }
        self.control.listeners.store(Some(Arc::new(listeners)));
    }
}

/// What happened at which endpoints, to be told when no lock is held.
#[must_use]
pub(crate) struct Told<T> {
    pub(crate) news: Vec<(Arc<Node<T>>, News)>,
    /// What concerns all.
    pub(crate) pool: Vec<Verdict>,
    /// What concerns tiers.
    pub(crate) tiers: TierNews,
}

impl<T> Told<T> {
    pub(crate) fn nothing() -> Self {
        Self { news: Vec::new(), pool: Vec::new(), tiers: TierNews::new() }
    }

    pub(crate) fn tell(self, control: &Control) {
        for (node, news) in &self.news {
            node.live.note(news);
        }
        for (node, news) in self.news {
            node.live.tell(&news);
        }
        for change in &self.pool {
            control.tell_outlier(None, change);
        }
        control.tell_tiers(&self.tiers);
    }
}

/// What a policy can ask to hear of every request.
const OF_REQUESTS: Wants = Wants::EVENTS.union(Wants::OBSERVED);
/// How many deadlines one pick lets pass: a request must not pay for thousands.
const TIMERS_A_PICK: usize = 64;
