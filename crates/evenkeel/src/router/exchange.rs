use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_limit::{Extra, Reservation};
use evenkeel_route::affinity::{EndpointState, OnLost};
use evenkeel_route::locality::Coordinates;
use evenkeel_route::retry::{self, Ending, GiveUp, Hedge, HedgeStep, RetryProgress};
use evenkeel_route::split::HeaderChanges;
use evenkeel_types::{Classify, HttpStatus, Origin, Outcome, Priority, Timestamp};
use smallvec::SmallVec;

use super::counters::Count;
use super::error::SendError;
use super::key::KeyBytes;
use super::sticky::{Affinity, Sought};
use super::table::{Core, Route, Table};
use super::tables::Seat;
use super::target::{Arm, ArmReason, Target};
use crate::cluster::Cluster;
use crate::error::PickError;
use crate::pick::Pick;
use crate::pick_at::PickAtError;
use crate::request::{Request, Tried};
use crate::sync::CountedArc;

/// A request on its way: to its first endpoint, and to others if need be.
///
/// Owned, `Send` and `'static`. It keeps the routes and clusters with which it began, whatever is loaded meanwhile.
///
/// ```text
/// pick ─► send ─► after ─┬─► Done, GiveUp      the ending is the answer
///   ▲                    ├─► RetryAfter(wait)  wait, then pick
///   └────────────────────┤
///            hedge ◄─────┼─► HedgeNow          send another attempt
///                        └─► Wait              another attempt is still under way
/// ```
pub struct Exchange<T> {
    seat: CountedArc<Seat<Table<T>>>,
    route: u32,
    journey: Journey,
}

/// What is to be done after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[must_use]
pub enum Next {
    /// The ending is the answer.
    Done,
    /// Wait so long, then [`pick`](Exchange::pick) again: the next endpoint is another one. The budget has agreed.
    RetryAfter(Duration),
    /// Send another attempt at once, by [`hedge`](Exchange::hedge) or [`pick`](Exchange::pick). The budget has agreed.
    HedgeNow,
    /// Another attempt is still under way: wait for that.
    Wait,
    /// The ending is the answer, though another attempt might have helped.
    GiveUp(GiveUp),
}

/// The part that knows nothing of payloads.
pub(crate) struct Journey {
    arm: Arm,
    /// Where the last attempt went, the arm's at first.
    at: u32,
    key: Option<KeyBytes>,
    source: Option<IpAddr>,
    place: Option<Coordinates>,
    sought: Sought,
    may_repeat: bool,
    is_mirrored: bool,
    /// Whether a ramp has heard that the arm's cluster has nobody for this request.
    is_missed: bool,
    deadline: Option<Timestamp>,
    progress: RetryProgress,
    /// In the cluster of the last attempt.
    tried: Tried,
    tiers: SmallVec<[Priority; 4]>,
    attempts: usize,
    hedge: Option<Hedge>,
    /// When the first attempt was sent, where somebody wants to know.
    started: Option<Timestamp>,
    is_hedge_due: bool,
    /// What a ledger has given for the next attempt, and whose ledger.
    paid: Option<(u32, Reservation)>,
}

/// What a journey begins with.
pub(crate) struct Start {
    pub(crate) arm: Arm,
    pub(crate) key: Option<KeyBytes>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) place: Option<Coordinates>,
    pub(crate) sought: Sought,
    pub(crate) may_repeat: bool,
    pub(crate) is_mirrored: bool,
    pub(crate) deadline: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    First,
    Retry,
    Hedge,
}

impl<T> Exchange<T> {
    pub(crate) fn new(seat: CountedArc<Seat<Table<T>>>, route: u32, start: Start) -> Self {
        let Start { arm, key, source, place, sought, may_repeat, is_mirrored, deadline } = start;
        let journey = Journey {
            arm,
            at: arm.cluster,
            key,
            source,
            place,
            sought,
            may_repeat,
            is_mirrored,
            is_missed: false,
            deadline,
            progress: RetryProgress::new(Timestamp::ORIGIN, deadline, may_repeat),
            tried: Tried::default(),
            tiers: SmallVec::new(),
            attempts: 0,
            hedge: None,
            started: None,
            is_hedge_due: false,
            paid: None,
        };
        Self { seat, route, journey }
    }

    fn table(&self) -> &Table<T> {
        &self.seat.table
    }

    fn route_of(&self) -> &Route {
        self.table().route(self.route)
    }

    fn core(&self) -> &Core {
        &self.table().core
    }

    /// The name of the route.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route_of().name
    }

    /// The number of the arm of the route's split; 0 if it has none.
    #[must_use]
    pub const fn arm(&self) -> usize {
        self.journey.arm.arm as usize
    }

    /// Why this arm.
    #[must_use]
    pub const fn arm_reason(&self) -> ArmReason {
        self.journey.arm.why
    }

    /// The cluster where the last attempt went: that of the arm before the first one, a fallback if that could not serve.
    #[must_use]
    pub fn cluster(&self) -> &Cluster<T> {
        self.table().clusters.get(self.journey.at)
    }

    /// What affinity did.
    #[must_use]
    pub const fn affinity(&self) -> Affinity {
        self.journey.sought.verdict
    }

    /// What is to be changed in the header of the request.
    #[must_use]
    pub fn request_headers(&self) -> &HeaderChanges {
        &self.route_of().edits.request
    }

    /// What is to be changed in the header of the answer.
    #[must_use]
    pub fn response_headers(&self) -> &HeaderChanges {
        &self.route_of().edits.response
    }

    /// Until when the answer is of use, by the router's clock.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        self.journey.deadline
    }

    /// How long an attempt that begins now may take: the rest of the route's time limit, or the limit of one attempt if
    /// that is shorter.
    #[must_use]
    pub fn attempt_time(&self) -> Option<Duration> {
        let route = self.route_of();
        if self.journey.deadline.is_none()
            && route.retry.as_ref().is_none_or(|retry| retry.config().per_try_timeout.is_none())
        {
            return None;
        }
        let now = self.core().now();
        let until = match &route.retry {
            Some(retry) => self.journey.progress.attempt_deadline(retry, now),
            None => self.journey.deadline?,
        };
        Some(until.saturating_since(now))
    }

    /// The rest of the route's time limit, all attempts together; none if it has no limit.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        Some(self.journey.deadline?.saturating_since(self.core().now()))
    }

    /// Whether this request can need more than one attempt: its route has retries or hedges. If not, nothing of it need be kept
    /// once it has been sent.
    #[must_use]
    pub fn may_send_again(&self) -> bool {
        let route = self.route_of();
        route.retry.is_some() || route.hedge.is_some()
    }

    /// How many attempts were picked for.
    #[must_use]
    pub const fn attempts(&self) -> usize {
        self.journey.attempts
    }

    /// Where a copy of this request is to be sent, if it is one of those: the cluster, and what is appended to the host. Nobody
    /// waits for its answer.
    #[must_use]
    pub fn mirror(&self) -> Option<(&Cluster<T>, &str)> {
        let mirror = self.route_of().mirror.as_ref().filter(|_| self.journey.is_mirrored)?;
        Some((self.table().clusters.get(mirror.cluster), &mirror.host_suffix))
    }

    /// Picks where to send the copy; see [`mirror`](Self::mirror).
    ///
    /// # Errors
    ///
    /// [`PickError`]: then the copy is left out.
    pub fn pick_mirror(&self) -> Option<Result<Pick<T>, PickError>> {
        let (cluster, _) = self.mirror()?;
        Some(cluster.pick(&self.journey.bare()))
    }

    /// Picks an endpoint: for the first attempt, and after [`Next::RetryAfter`] or [`Next::HedgeNow`] for the next one.
    ///
    /// The first goes where the user was, if the route has affinity. Further ones go elsewhere, to another tier if one can serve,
    /// and count against the budget of the cluster. If the cluster cannot serve, its fallbacks are asked in their order.
    ///
    /// # Errors
    ///
    /// [`SendError`]: answer with status 503; or, after a failed attempt, with what that one ended in.
    pub fn pick(&mut self) -> Result<Pick<T>, SendError> {
        let kind = if self.journey.attempts == 0 { Kind::First } else { Kind::Retry };
        let table = &*self.seat.table;
        let route = table.route(self.route);
        if self.journey.is_hedge_due {
            return self.journey.pick_hedge(table, route);
        }
        let pick = self.journey.pick(table, route, kind);
        if kind == Kind::First && pick.is_ok() {
            self.journey.begin_hedge(table, route);
        }
        pick
    }

    /// How an attempt ended, classified as usual: [`outcome_of`]. See [`after_with`](Self::after_with).
    pub fn after(&mut self, pick: &mut Pick<T>, ending: &Ending) -> Next {
        self.after_with(pick, ending, outcome_of(ending))
    }

    /// How an attempt ended, and what that says of its endpoint. Records the outcome in `pick`; keep it until the last byte is
    /// through, or drop it if the ending is not the answer.
    pub fn after_with(&mut self, pick: &mut Pick<T>, ending: &Ending, outcome: Outcome) -> Next {
        pick.record(outcome);
        self.after_unrecorded(pick, ending, &outcome)
    }

    /// As [`after_with`](Self::after_with), but leaves the verdict to the caller, who records it in `pick` when more is known: a
    /// head that looks well may be followed by half a body, or by a trailer that tells of a failure.
    pub fn after_unrecorded(&mut self, pick: &Pick<T>, ending: &Ending, outcome: &Outcome) -> Next {
        let table = &*self.seat.table;
        let route = table.route(self.route);
        self.journey.ended(table, route, pick, ending, outcome)
    }

    /// In how long [`hedge`](Self::hedge) has something to do, if no attempt ends before.
    #[must_use]
    pub fn hedge_in(&self) -> Option<Duration> {
        let deadline = self.journey.hedge.as_ref()?.next_deadline()?;
        Some(deadline.saturating_since(self.core().now()))
    }

    /// Picks another endpoint for a second attempt beside the first, if it is time and the budget allows it.
    ///
    /// # Errors
    ///
    /// [`SendError`] if there is none; the attempts that are under way go on.
    pub fn hedge(&mut self) -> Result<Option<Pick<T>>, SendError> {
        let table = &*self.seat.table;
        self.journey.hedge(table, table.route(self.route))
    }

    /// The fields `Set-Cookie` that the answer of `pick` needs: of affinity, and of a blue-green switch.
    #[must_use]
    pub fn set_cookies(&self, pick: &Pick<T>) -> Vec<String> {
        let mut cookies = Vec::new();
        let route = self.route_of();
        if let Target::BlueGreen { switch, .. } = &route.target
            && self.journey.arm.tells
            && let ArmReason::Live(colour) | ArmReason::Kept(colour) = self.journey.arm.why
        {
            cookies.push(switch.set_cookie(colour));
        }
        // The endpoints of a fallback are not the user's.
        if self.journey.at == self.journey.arm.cluster
            && let Some(sticky) = &route.sticky
        {
            let id = pick.endpoint().id();
            cookies.extend(sticky.set_cookie(&self.journey.sought, &id, || self.core().unix.unix()));
        }
        cookies
    }
}

impl Journey {
    /// What policies are told of the request.
    fn bare(&self) -> Request<'_> {
        let request = self.key.as_ref().map_or_else(Request::new, Request::with_key);
        request.of_client(self.source, self.place)
    }

    fn pick<T>(&mut self, table: &Table<T>, route: &Route, kind: Kind) -> Result<Pick<T>, SendError> {
        let mut at = self.at;
        let mut first = None;
        loop {
            let error = match self.pick_in(table, route, at, kind) {
                Ok(pick) => {
                    self.went(table, route, at, &pick, kind);
                    return Ok(pick);
                }
                Err(error) => error,
            };
            if at == self.arm.cluster && kind == Kind::First {
                self.missed(table, route, &error);
            }
            let next = table.clusters.fallback(at).filter(|_| falls_back(&error));
            // Further on the error stays that of the cluster which was asked for.
            let first = *first.get_or_insert(error);
            match next {
                Some(next) => at = next,
                None => return Err(self.went_nowhere(table, route, first)),
            }
        }
    }

    /// A version that has nobody to answer has failed, whoever answers in its stead.
    fn missed<T>(&mut self, table: &Table<T>, route: &Route, error: &SendError) {
        if let Target::Ramp { ramp, .. } = &route.target
            && falls_back(error)
            && !std::mem::replace(&mut self.is_missed, true)
        {
            ramp.record(self.arm.arm as usize, &Outcome::failure(), table.core.now());
        }
    }

    fn went_nowhere<T>(&mut self, table: &Table<T>, route: &Route, error: SendError) -> SendError {
        self.refund(table);
        route.counters.add(Count::Unsent);
        error
    }

    fn pick_in<T>(
        &mut self,
        table: &Table<T>,
        route: &Route,
        at: u32,
        kind: Kind,
    ) -> Result<Pick<T>, SendError> {
        let cluster = table.clusters.get(at);
        let is_same = at == self.at;
        let avoided = self.avoided(route, is_same);
        let mut request = self.bare();
        if is_same && !self.tried.is_empty() {
            request = match route.may_repeat_endpoint {
                true => request.preferring_others(&self.tried),
                false => request.excluding(&self.tried),
            };
            request = request.avoiding(&avoided);
        }
        request = match kind {
            Kind::First => request,
            Kind::Retry => request.again(),
            Kind::Hedge => request.as_hedge(),
        };
        if self.paid.as_ref().is_some_and(|(of, _)| *of == at) {
            request = request.paid();
        }
        let verdict = if at == self.arm.cluster { route.sticky.as_ref() } else { None };
        let Some(sticky) = verdict else { return Ok(cluster.pick(&request)?) };
        let rules = &sticky.config.rules;
        let (mut verdict, mut found) = (self.sought.verdict, None);
        if let Some(listed) = self.sought.listed(self.attempts) {
            match cluster.pick_at(listed, &request, rules) {
                Ok(pick) => (verdict, found) = (Affinity::Listed, Some(pick)),
                Err(PickAtError::Lost { state, then: OnLost::Refuse }) => verdict = Affinity::Refused(state),
                Err(PickAtError::Lost { .. }) => {}
                Err(PickAtError::Pick(error)) => return Err(error.into()),
            }
        }
        // A user who must not be moved is not moved by a retry either.
        if found.is_none()
            && (self.attempts == 0 || rules.on_unhealthy == OnLost::Refuse)
            && !matches!(verdict, Affinity::Refused(_))
            && let Some(home) = &self.sought.home
        {
            match cluster.pick_at(home, &request, rules) {
                Ok(pick) => (verdict, found) = (Affinity::Stayed, Some(pick)),
                Err(PickAtError::Lost { state, then }) => {
                    verdict = match then {
                        OnLost::Move => Affinity::Moved(state),
                        OnLost::Lend => Affinity::Lent(state),
                        OnLost::Refuse => Affinity::Refused(state),
                    };
                }
                // Of the whole cluster, and so of the user's endpoint.
                Err(PickAtError::Pick(PickError::Saturated(_))) if rules.on_saturated == OnLost::Refuse => {
                    verdict = Affinity::Refused(EndpointState::Saturated);
                }
                Err(PickAtError::Pick(error)) => return Err(error.into()),
            }
        }
        let pick = match (found, verdict) {
            (Some(pick), _) => Ok(pick),
            (None, Affinity::Refused(state)) => Err(SendError::Refused(state)),
            (None, _) => cluster.pick(&request).map_err(SendError::from),
        };
        self.sought.verdict = verdict;
        pick
    }

    /// The tiers that the next attempt would rather not see.
    fn avoided(&self, route: &Route, is_same: bool) -> SmallVec<[Priority; 4]> {
        let Some(retry) = route.retry.as_ref().filter(|_| is_same) else { return SmallVec::new() };
        let is_avoided = |tier: &&Priority| self.progress.avoids_tier(retry, tier.get().into());
        self.tiers.iter().filter(is_avoided).copied().collect()
    }

    /// An attempt goes out.
    fn went<T>(&mut self, table: &Table<T>, route: &Route, at: u32, pick: &Pick<T>, kind: Kind) {
        // What was given for it is spent; if it went elsewhere, that one's own ledger was asked.
        if self.paid.as_ref().is_some_and(|(of, _)| *of == at) {
            self.paid = None;
        } else {
            self.refund(table);
        }
        if at != self.at {
            self.at = at;
            self.tried.clear();
            self.tiers.clear();
        }
        if at != self.arm.cluster {
            route.counters.add(Count::FellBack);
        }
        match kind {
            Kind::First => match self.sought.verdict {
                Affinity::Stayed | Affinity::Listed => route.counters.add(Count::Stayed),
                Affinity::Moved(_) => route.counters.add(Count::Moved),
                _ => {}
            },
            Kind::Retry => route.counters.add(Count::Retried),
            Kind::Hedge => route.counters.add(Count::Hedged),
        }
        self.attempts += 1;
        self.tried.add(pick);
        if route.retry.is_some() {
            self.tiers.push(pick.endpoint().description().priority());
        }
        // Of attempts side by side the one that answers is learnt, once it has.
        if kind != Kind::Hedge {
            self.remember(table, route, pick);
        }
    }

    fn remember<T>(&self, table: &Table<T>, route: &Route, pick: &Pick<T>) {
        if let Some(sticky) = &route.sticky
            && self.is_of_arm(table, pick)
        {
            sticky.remember(&self.sought, &pick.endpoint().id(), || table.core.now());
        }
    }

    /// Whether this endpoint is one of the arm's cluster, and not of a fallback.
    fn is_of_arm<T>(&self, table: &Table<T>, pick: &Pick<T>) -> bool {
        Arc::ptr_eq(&pick.endpoint().control, &table.clusters.get(self.arm.cluster).shared.control)
    }

    /// Gives back what a ledger gave for an attempt that was not sent.
    fn refund<T>(&mut self, table: &Table<T>) {
        if let Some((of, reservation)) = self.paid.take()
            && let Some(ledger) = &table.clusters.get(of).shared.control.ledger
        {
            ledger.cancel(reservation);
        }
    }

    fn begin_hedge<T>(&mut self, table: &Table<T>, route: &Route) {
        let Some(hedge) = route.hedge.as_ref() else { return };
        let now = table.core.now();
        self.started = Some(now);
        let rules = route.sticky.as_ref().map(|sticky| sticky.config.rules);
        let must_stay =
            self.sought.home.is_some() && rules.is_some_and(|rules| rules.on_unhealthy == OnLost::Refuse);
        if !must_stay {
            self.hedge = Some(hedge.begin(now, self.may_repeat));
        }
    }

    fn ended<T>(
        &mut self,
        table: &Table<T>,
        route: &Route,
        pick: &Pick<T>,
        ending: &Ending,
        outcome: &Outcome,
    ) -> Next {
        let core = &*table.core;
        // What a fallback answers says nothing of the version in whose stead it does.
        if let Target::Ramp { ramp, .. } = &route.target
            && self.is_of_arm(table, pick)
        {
            ramp.record(self.arm.arm as usize, outcome, core.now());
        }
        if route.hedge.is_none() && route.retry.as_ref().is_none_or(|retry| !retry.minds(ending)) {
            return Next::Done;
        }
        let now = core.now();
        if let (Some(hedge), Some(started)) = (&route.hedge, self.started)
            && matches!(ending, Ending::Http { .. } | Ending::Grpc { .. })
        {
            hedge.record(now.saturating_since(started), now);
        }
        let Self { hedge, progress, paid, at, .. } = self;
        if let Some(hedge) = hedge {
            let step = hedge.ended(ending, now, || reserve(table, *at, Extra::Hedge, paid));
            return match step {
                HedgeStep::Answer => {
                    if self.attempts > 1 {
                        self.remember(table, route, pick);
                    }
                    Next::Done
                }
                HedgeStep::Wait => Next::Wait,
                HedgeStep::Send(_) => {
                    self.is_hedge_due = true;
                    Next::HedgeNow
                }
            };
        }
        let Some(policy) = &route.retry else { return Next::Done };
        let live = pick.endpoint();
        let tier = live.description().priority().get().into();
        let permit = || reserve(table, *at, Extra::Retry, paid);
        match progress.ended(policy, ending, live.token, tier, now, core.draw(), permit) {
            retry::Next::Answer => Next::Done,
            retry::Next::Retry { at } => Next::RetryAfter(at.saturating_since(now)),
            retry::Next::GiveUp(why) => Next::GiveUp(why),
        }
    }

    fn hedge<T>(&mut self, table: &Table<T>, route: &Route) -> Result<Option<Pick<T>>, SendError> {
        let now = table.core.now();
        let Self { hedge: Some(hedge), paid, at, .. } = self else { return Ok(None) };
        if !self.is_hedge_due {
            let step = hedge.tick(now, || reserve(table, *at, Extra::Hedge, paid));
            if !matches!(step, HedgeStep::Send(_)) {
                return Ok(None);
            }
        }
        self.pick_hedge(table, route).map(Some)
    }

    fn pick_hedge<T>(&mut self, table: &Table<T>, route: &Route) -> Result<Pick<T>, SendError> {
        self.is_hedge_due = false;
        let pick = self.pick(table, route, Kind::Hedge);
        if pick.is_err()
            && let Some(hedge) = &mut self.hedge
        {
            let _ = hedge.not_sent();
        }
        pick
    }
}

/// Asks the ledger of a cluster for one attempt more. A cluster without one allows any.
fn reserve<T>(table: &Table<T>, at: u32, kind: Extra, paid: &mut Option<(u32, Reservation)>) -> bool {
    let shared = &table.clusters.get(at).shared;
    let Some(ledger) = &shared.control.ledger else { return true };
    // By the cluster's clock, whose origin need not be that of the router's.
    match ledger.reserve(kind, shared.control.now()) {
        Ok(reservation) => {
            *paid = Some((at, reservation));
            true
        }
        Err(refusal) => {
            let _ = shared.refuse(PickError::BudgetSpent(refusal));
            false
        }
    }
}

/// Whether another cluster might do better: not if the budget forbids to send at all, or the user must be here.
const fn falls_back(error: &SendError) -> bool {
    !matches!(error, SendError::Refused(_) | SendError::Pick(PickError::BudgetSpent(_)))
}

/// What an ending says of its endpoint.
///
/// HTTP as [`HttpStatus`], with what `retry-after` asks for; gRPC: 0 is a success, 8 and 14 an overload (`RESOURCE_EXHAUSTED`,
/// `UNAVAILABLE`), 2, 4, 13 and 15 a failure (`UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `DATA_LOSS`), all others are the
/// request's fault. A refusal is an overload, everything else a failure.
#[must_use]
pub fn outcome_of(ending: &Ending) -> Outcome {
    match *ending {
        Ending::Http { status: 429 | 503, retry_after } => Outcome::overload(retry_after),
        Ending::Http { status, .. } => HttpStatus(status).classify(),
        Ending::Grpc { code: 0, .. } => Outcome::success(),
        Ending::Grpc { code: 8 | 14, pushback } => Outcome::overload(pushback),
        Ending::Grpc { code: 2 | 4 | 13 | 15, .. } => Outcome::failure(),
        Ending::Grpc { .. } => Outcome::neutral(),
        Ending::Refused => Outcome::overload(None),
        Ending::ConnectFailed | Ending::TimedOut => Outcome::failure().with_origin(Origin::Local),
        Ending::Reset => Outcome::failure(),
    }
}

impl<T> Drop for Exchange<T> {
    fn drop(&mut self) {
        let table = &*self.seat.table;
        self.journey.refund(table);
    }
}

impl<T> fmt::Debug for Exchange<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("route", &self.route())
            .field("attempts", &self.attempts())
            .finish_non_exhaustive()
    }
}
