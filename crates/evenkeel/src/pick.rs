use std::fmt;
use std::time::Duration;

use evenkeel_balance::{Event, LoadReport, Observation, Observed, Wants};
use evenkeel_breaker::Permit;
use evenkeel_limit::Token;
use evenkeel_types::{Outcome, Timestamp, Verdict};

use crate::grant::Grant;
use crate::live::Live;
use crate::moment::Moment;
use crate::node::Hold;
use crate::way::Way;

/// One request, counted as in flight at the endpoint that was picked for it, until this is dropped.
///
/// Owned, `Send` and `'static`: keep it in a task, a proxy's context or a response body, until the last byte is through.
/// Say how the request went with [`finish`](Self::finish), or early and once with [`record`](Self::record), so that a
/// stream or a WebSocket does not hold a half-open permit for hours. A pick that is dropped without a verdict leaves the
/// count and gives its permit back; its age is a floor for the latency estimate; it is no success and no failure.
#[must_use = "dropping a pick ends the request's place in the count: hold it until the response is through"]
pub struct Pick<T> {
    hold: Hold<T>,
    permit: Option<Permit>,
    /// The slot of the endpoint's limit.
    slot: Token,
    /// The slot of the cluster's limit.
    entry: Token,
    /// When the request was picked; [`Timestamp::MAX`] if nobody measures.
    started: Timestamp,
    /// What the policy that chose hears of this request.
    wants: Wants,
    /// Whether a verdict was given: only the first counts.
    judged: bool,
    /// Whether nobody hears how it went, and nothing is to be given back but the count.
    is_plain: bool,
    way: Way,
}

impl<T> Pick<T> {
    #[inline]
    pub(crate) fn new(
        hold: Hold<T>,
        grant: Grant,
        entry: Token,
        wants: Wants,
        is_plain: bool,
        way: Way,
    ) -> Self {
        let Grant { permit, slot } = grant;
        let wants = wants.difference(Wants::EVENTS);
        Self { hold, permit, slot, entry, started: Timestamp::MAX, wants, judged: false, is_plain, way }
    }

    /// Of which nobody hears how it went.
    #[inline(always)]
    pub(crate) const fn plain(hold: Hold<T>, way: Way) -> Self {
        Self {
            hold,
            permit: None,
            slot: Token::bypass(),
            entry: Token::bypass(),
            started: Timestamp::MAX,
            wants: Wants::empty(),
            judged: false,
            is_plain: true,
            way,
        }
    }

    /// Has it timed from now on.
    #[inline]
    pub(crate) const fn begin(&mut self, now: Timestamp) {
        self.started = now;
    }

    /// Has the policy that chose hear how it goes on: from now on, since it has heard of the beginning.
    #[inline]
    pub(crate) fn let_hear_events(&mut self) {
        self.wants.insert(Wants::EVENTS);
    }

    /// Where to send the request.
    #[inline]
    pub fn endpoint(&self) -> &Live<T> {
        self.hold.live()
    }

    /// How it came there: tier, panic, spill, zone. A copy of two bytes.
    #[inline]
    #[must_use]
    pub const fn way(&self) -> Way {
        self.way
    }

    /// The payload of the endpoint: your connection pool, channel, client.
    #[inline]
    pub fn payload(&self) -> &T {
        self.hold.live().payload()
    }

    /// Gives the verdict and ends the request.
    #[inline(always)]
    pub fn finish(mut self, outcome: Outcome) {
        self.record(outcome);
    }

    /// Gives the verdict early: when the head of the response is there, or a connection is made. Only the first counts;
    /// the request stays in flight until the pick is dropped.
    #[inline(always)]
    pub fn record(&mut self, outcome: Outcome) {
        if !self.is_plain && !self.judged {
            self.judged = true;
            self.settle(&outcome);
        }
    }

    /// Gives back the places in the limits of the endpoint and of the cluster before the request has ended. It stays in the count of
    /// those in flight.
    ///
    /// For whoever keeps an answer aside while the request is tried elsewhere: a wait between attempts is no work, and must not keep
    /// others out. Give the verdict first ([`record`](Self::record)), or the limits learn nothing from it.
    pub fn free_slots(&mut self) {
        if self.is_limited() {
            self.give_back();
        }
    }

    /// The time since the pick, by the cluster's clock; `None` if nobody wants it, or the verdict is given.
    ///
    /// For answers whose verdict comes long after their head, such as streams of gRPC: ask when the head is there, and hand it in with
    /// the verdict ([`Outcome::with_latency`]). Else a stream that lasts for an hour is taken for a server that needs one to
    /// answer.
    #[must_use]
    pub fn elapsed(&self) -> Option<Duration> {
        if !self.is_timed() {
            return None;
        }
        let moment = Moment::new(&self.hold.live().control);
        Some(moment.now().saturating_since(self.started))
    }

    const fn is_timed(&self) -> bool {
        self.started.as_nanos() != Timestamp::MAX.as_nanos()
    }

    const fn is_limited(&self) -> bool {
        !self.slot.is_bypass() || !self.entry.is_bypass()
    }

    #[inline(never)]
    fn settle(&mut self, outcome: &Outcome) {
        let live = self.hold.live();
        let moment = &Moment::new(&live.control);
        let measured;
        let outcome = if self.is_timed() && outcome.latency().is_none() {
            measured = outcome.with_latency(moment.now().saturating_since(self.started));
            &measured
        } else {
            outcome
        };
        if let (Some(breaker), Some(permit)) = (live.breaker(), self.permit.take())
            && let Some(transition) = breaker.record(permit, outcome, || moment.now())
        {
            live.tell(&live.after_breaker(transition));
        }
        if self.is_timed() {
            live.observe_latency(outcome, self.started, moment);
            self.tell_observation(outcome.latency(), observed(outcome.verdict()), moment);
            self.started = Timestamp::MAX;
        }
        live.observe_outlier(outcome, moment);
        if self.is_limited() {
            self.teach_limits(outcome, moment);
        }
        if self.hears_events() && outcome.verdict() == Verdict::Failure {
            live.control.tell_policies(Event::Failed(live.token));
        }
        live.tell_hearer(outcome.verdict());
    }

    /// Lets the limits learn. The slots are held until the request has ended.
    #[inline]
    fn teach_limits(&self, outcome: &Outcome, moment: &Moment<'_>) {
        let live = self.hold.live();
        let now = || moment.now();
        if let Some(change) = live.limiter().and_then(|limiter| limiter.learn_early(&self.slot, outcome, now))
        {
            live.control.tell_limit(Some(live.id()), change);
        }
        if let Some(change) =
            live.control.limit.as_ref().and_then(|limit| limit.learn_early(&self.entry, outcome, now))
        {
            live.control.tell_limit(None, change);
        }
    }

    /// The end of a request in which more took part than the policy.
    #[inline(never)]
    fn end(&mut self) {
        // Slots first: what follows may run code of the user, which may panic.
        if self.is_limited() {
            self.give_back();
        }
        if self.permit.is_some() || self.is_timed() {
            self.abandon();
        }
        if self.hears_events() {
            let live = self.hold.live();
            live.control.tell_policies(Event::Released(live.token));
        }
    }

    #[inline]
    fn give_back(&mut self) {
        let live = self.hold.live();
        live.give_back(std::mem::replace(&mut self.slot, Token::bypass()));
        live.control.give_back(std::mem::replace(&mut self.entry, Token::bypass()));
    }

    /// Ends a request without a verdict: a censored sample.
    #[cold]
    fn abandon(&mut self) {
        let live = self.hold.live();
        let moment = &Moment::new(&live.control);
        if let (Some(breaker), Some(permit)) = (live.breaker(), self.permit.take())
            && let Some(transition) = breaker.release(permit, || moment.now())
        {
            live.tell(&live.after_breaker(transition));
        }
        if self.is_timed() {
            live.observe_age(self.started, moment);
            self.tell_observation(None, Observed::Censored, moment);
        }
    }

    /// Lets a policy that learns from requests hear how this one went.
    fn tell_observation(&self, measured: Option<Duration>, kind: Observed, moment: &Moment<'_>) {
        if !self.wants.contains(Wants::OBSERVED) {
            return;
        }
        let live = self.hold.live();
        let at = moment.now();
        let latency = measured.unwrap_or_else(|| at.saturating_since(self.started));
        let observation = Observation { latency, kind, in_flight: self.hold.in_flight(), at };
        live.control.tell_policies(Event::Observed(live.token, observation));
    }

    /// Takes in what the endpoint said of its own load in its answer, as a trailer or header: for policies that weigh by
    /// reports. The time in it is set by the cluster's clock.
    pub fn report(&self, report: LoadReport) {
        self.hold.live().report(report);
    }

    const fn hears_events(&self) -> bool {
        self.wants.contains(Wants::EVENTS)
    }
}

const fn observed(verdict: Verdict) -> Observed {
    match verdict {
        Verdict::Success => Observed::Success,
        Verdict::Failure => Observed::Failure,
        Verdict::Overload { .. } => Observed::Overload,
        Verdict::Neutral => Observed::Neutral,
    }
}

impl<T> Drop for Pick<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.is_plain {
            self.end();
        }
    }
}

impl<T> fmt::Debug for Pick<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pick").field("endpoint", self.endpoint()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The way lies where there was nothing: a pick lies in tasks and contexts of proxies by the thousand.
    #[test]
    fn the_way_takes_no_room() {
        let others = size_of::<Hold<()>>() + size_of::<Option<Permit>>() + 2 * size_of::<Token>();
        let rest = size_of::<Timestamp>() + size_of::<Wants>() + 2 * size_of::<bool>();
        assert_eq!(size_of::<Pick<()>>(), (others + rest).next_multiple_of(align_of::<Pick<()>>()));
    }
}
