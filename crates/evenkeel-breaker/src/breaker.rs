use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_types::{Now, Outcome, Timestamp, Verdict};

use crate::body::{Body, Counted, Extras, More};
use crate::check::RESOLUTION;
use crate::gauge::{Gauge, Sample};
use crate::lazy_now::LazyNow;
use crate::probes::{Lease, Probes};
use crate::sync::{AtomicU64, Ordering};
use crate::word::{Phase, Term, Word};
use crate::{
    Admission, BreakerConfig, Combine, ConfigError, Forget, Initial, Permit, Reason, Refusal, RefusalReason,
    Rules, State, Transition,
};

/// A circuit breaker: one endpoint's, shared by all threads, lock-free.
///
/// ```text
///             success            failure            overload           neutral  deadline          reset
/// Closed      stay, or Open if   stay, or Open if   counts against a   –        Open, if requests stay, counts
///             a ratio completes  a rule is reached  ratio                       are overdue       at zero
/// Open        ignored (late)     ignored (late)     ignored (late)     –        HalfOpen          Closed
/// HalfOpen    Closed, if enough  Open               slot given back    slot     slot free; or as  Closed
///                                                                      given    decide_after says
///                                                                      back
/// ForcedOpen  ignored            ignored            ignored            –        HalfOpen          Closed
/// Disabled    ignored            ignored            ignored            –        Closed            Closed
/// DryRun      as the row of the state that it would be in; nothing is refused   Closed            Closed
/// ```
///
/// Every change of state begins a new epoch, and so does a reset. A permit of another epoch decides nothing, in any
/// state: an answer to a question of yesterday closes and opens nothing today. *Deadline* is the end of the open time, of
/// a probe's lease, or of what is forced. Neutral neither counts nor resets, in any state.
///
/// An overload (HTTP 429, 503) is not a failure: it makes no run of failures, it counts against a ratio, and as a probe it
/// decides neither way; all of that as linkerd does it, and each of it by [`Overload`](crate::Overload).
///
/// Half-open without traffic stays half-open: nothing is known, and the first request will tell; unless
/// [`decide_after`](crate::HalfOpen::decide_after) says otherwise.
///
/// # Time
///
/// `now` may go back: the later of it and what is known counts. Deadlines are inclusive and whole milliseconds, rounded
/// up. A breaker that is never ticked works as well, it only looks open until somebody asks for a permit.
///
/// # Cost
///
/// 32 bytes with rules of consecutive failures, one probe at a time and waits that do not grow; 128 with a ratio over ten
/// buckets of time; 72 with one over the last requests, and 8 for each 49 of them; else more. Closed, a permit is one relaxed load, and with slow or overdue rules a reading of the
/// clock; a success is two loads with a consecutive rule, one `fetch_add` more for each ratio rule, and a clock for those on
/// a time window; while a window holds failures, also a look at the place or at each bucket. Open, a refusal is one load and
/// one reading of the clock and writes nothing. Nothing allocates after construction.
pub struct Breaker {
    pub(crate) word: AtomicU64,
    pub(crate) first_probe: AtomicU64,
    pub(crate) body: Body,
}

impl Breaker {
    /// A breaker with rules of its own. For many breakers of one configuration see [`with_rules`](Self::with_rules).
    ///
    /// # Errors
    ///
    /// As [`Rules::new`].
    pub fn new(config: &BreakerConfig) -> Result<Self, ConfigError> {
        Ok(Self::with_rules(&Arc::new(Rules::new(config)?)))
    }

    /// A breaker with shared rules. Its salt is 0, and its time begins at the origin.
    #[must_use]
    pub fn with_rules(rules: &Arc<Rules>) -> Self {
        Self::starting(rules, 0, Timestamp::ORIGIN)
    }

    /// A breaker with shared rules that starts at `now`, in the state that they name.
    ///
    /// The `salt` tells the jitter of one breaker from that of another: a hash of the endpoint's name, for example.
    #[must_use]
    pub fn starting(rules: &Arc<Rules>, salt: u64, now: Timestamp) -> Self {
        let word = match rules.initial {
            Initial::Closed => Word::START,
            Initial::Open => Word::START.next_open(now.saturating_add(rules.open_for(0, salt))),
            Initial::ForcedOpen => Word::START.next_forced(Phase::ForcedOpen, None),
            Initial::Disabled => Word::START.next_forced(Phase::Disabled, None),
            Initial::DryRun => Word::START.dry(),
        };
        let breaker = Self {
            word: AtomicU64::new(word.bits()),
            first_probe: AtomicU64::new(0),
            body: Body::new(rules, salt),
        };
        if let (Initial::Open, Some(extras)) = (rules.initial, breaker.body.extras()) {
            extras.attempt.store(1, Ordering::Release);
        }
        breaker
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        self.body.rules()
    }

    /// The state as it was last changed: Open past its deadline is Open until someone asks for a permit or ticks.
    #[must_use]
    pub fn state(&self) -> State {
        self.load(Ordering::Acquire).state()
    }

    /// Whether a permit could be had now. Changes nothing and spends no probe, so a balancer may ask many and use one.
    ///
    /// # Errors
    ///
    /// [`Refusal`], as [`try_acquire`](Self::try_acquire) would give, without a transition.
    #[inline]
    pub fn peek(&self, now: impl Now) -> Result<(), Refusal> {
        let word = self.load(Ordering::Relaxed);
        if word.is_plainly_closed() && !self.is_timed() {
            return Ok(());
        }
        let now = now.now();
        if word.phase() == Phase::Open && !word.is_dry() && now < word.time() {
            return Err(still_open(word));
        }
        self.peek_unclosed(now)
    }

    /// Asks to send one request. The clock is read only if the breaker is not closed, or has a slow or overdue rule.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: open before its deadline, half-open with enough probes under way, or forced open. Send the request
    /// elsewhere.
    #[inline]
    pub fn try_acquire(&self, now: impl Now) -> Result<Admission, Refusal> {
        let word = self.load(Ordering::Relaxed);
        if word.is_plainly_closed() && !self.is_timed() {
            return Ok(Admission { permit: Permit::closed(word), transition: None });
        }
        // Open before its deadline is decided by the word already seen; all else looks again, in order.
        let now = now.now();
        if word.phase() == Phase::Open && !word.is_dry() && now < word.time() {
            return Err(still_open(word));
        }
        // Part by part: a permit that is returned through memory here would be written there for a closed breaker too, and
        // the atomic addition of a window waits for all that was written before it.
        let (permit, transition) = self.acquire_unclosed(now)?;
        Ok(Admission { permit, transition })
    }

    /// Says how the request went. The clock is read only where a rule needs it, for a probe, or for a trip.
    ///
    /// A result of an epoch that has ended, or of a probe whose lease has, changes nothing. O(1), and O(buckets) for a
    /// time window that holds failures.
    #[inline(always)]
    pub fn record(&self, permit: Permit, outcome: &Outcome, now: impl Now) -> Option<Transition> {
        let word = self.load(Ordering::Relaxed);
        let (issued, lease) = permit.spend();
        if issued != word {
            return self.record_late(issued, lease, outcome);
        }
        let now = LazyNow::new(now);
        match (word.phase(), outcome.verdict()) {
            (Phase::Closed, Verdict::Success) => self.record_success(word, lease, outcome, now),
            _ => self.record_unhealthy(word, lease, outcome, now),
        }
    }

    /// Gives a permit back without an outcome: the request was not sent, or its caller gave up.
    ///
    /// The same as recording a neutral outcome: a probe's slot is free again, nothing is counted, and no rule changes the
    /// state for it. A request under way that an overdue rule counts has ended.
    pub fn release(&self, permit: Permit, now: impl Now) -> Option<Transition> {
        self.record(permit, &Outcome::neutral(), now)
    }

    /// Does what is due: turns an open breaker half-open at its deadline, frees the slots of lost probes, ends what is
    /// forced, trips on overdue requests. One change at most: call it again while it returns one.
    pub fn tick(&self, now: Timestamp) -> Option<Transition> {
        self.body.saw(now);
        let word = self.load(Ordering::Acquire);
        if let Some(ended) = self.end_force_if_due(word, now) {
            return Some(ended);
        }
        match word.phase() {
            Phase::Closed => self.trip_if_pending(word, now),
            Phase::Open if now < word.time() => None,
            Phase::Open => self.change(word, word.next_since(Phase::HalfOpen, now), now, Reason::WaitOver),
            Phase::HalfOpen | Phase::HalfOpenClaimed => {
                self.probes().free_ended(word, now);
                if self.is_undecided_too_long(word, now) { self.decide(word, now) } else { None }
            }
            Phase::ForcedOpen | Phase::Disabled => None,
        }
    }

    /// When to [`tick`](Self::tick) next: the end of the open time, of the first lease, of what is forced, the time by
    /// which half-open is decided or enough requests are overdue. `None` while nothing is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let word = self.load(Ordering::Acquire);
        let forced = self.force_limit(word);
        let own = match word.phase() {
            Phase::Closed if !self.rules().may_trip_between_outcomes() => None,
            Phase::Closed => self.body.gauges().filter_map(|gauge| gauge.due(self.term(word))).min(),
            Phase::Open => Some(word.time()),
            Phase::HalfOpen | Phase::HalfOpenClaimed => {
                [self.probes().first_end(word), self.decided_at(word)].into_iter().flatten().min()
            }
            Phase::ForcedOpen | Phase::Disabled => None,
        };
        [forced, own].into_iter().flatten().min()
    }

    /// How much of its weight the endpoint should get, above 0 and at most 1: less than 1 only while it is returning
    /// after it has closed, with a [`Ramp`](crate::Ramp).
    ///
    /// To be multiplied into the endpoint's weight. In every other state it is 1: whether a request passes at all is for
    /// [`try_acquire`](Self::try_acquire) to say. Changes nothing.
    #[must_use]
    pub fn factor(&self, now: Timestamp) -> f64 {
        let word = self.load(Ordering::Acquire);
        match (self.body.extras(), self.rules().ramp) {
            (Some(extras), Some(ramp)) if word.is_plainly_closed() => {
                extras.ramp.factor(&ramp, self.term(word), now)
            }
            _ => 1.0,
        }
    }

    /// Closes the breaker and forgets all counts, by an operator's word. What is under way decides nothing any more, and
    /// what was forced is no more.
    ///
    /// Returns `None` if it was closed: then only the counts are gone.
    pub fn reset(&self, now: Timestamp) -> Option<Transition> {
        loop {
            let word = self.load(Ordering::Acquire);
            let entry = self.not_before(word, now);
            let closed = word.wet().next_since(Phase::Closed, entry);
            if let Some(extras) = self.body.extras() {
                extras.ramp.none(closed.epoch());
            }
            if let Some(transition) = self.change(word, closed, entry, Reason::Reset) {
                if let Some(extras) = self.body.extras() {
                    extras.attempt.store(0, Ordering::Release);
                }
                return (!word.is_plainly_closed()).then_some(transition);
            }
        }
    }

    #[inline]
    fn is_timed(&self) -> bool {
        matches!(&self.body, Body::Rich { more, .. } if more.timed)
    }

    #[cold]
    #[inline(never)]
    fn peek_unclosed(&self, now: Timestamp) -> Result<(), Refusal> {
        let word = self.load(Ordering::Acquire);
        if word.is_dry() || self.force_is_over(word, now) {
            return Ok(());
        }
        match word.phase() {
            Phase::Disabled => Ok(()),
            Phase::ForcedOpen => Err(forced_open(word)),
            Phase::Closed if self.pending(word, now).is_some() => Err(self.would_open(word, now)),
            Phase::Closed => Ok(()),
            Phase::Open if now < word.time() => Err(still_open(word)),
            Phase::Open => Ok(()),
            Phase::HalfOpen | Phase::HalfOpenClaimed if self.is_undecided_too_long(word, now) => {
                if self.decides_to_close() { Ok(()) } else { Err(self.would_open(word, now)) }
            }
            Phase::HalfOpen | Phase::HalfOpenClaimed => {
                self.probes().peek(word, self.probes_missing(word), now).map_err(probes_taken)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn acquire_unclosed(&self, now: Timestamp) -> Result<(Permit, Option<Transition>), Refusal> {
        self.body.saw(now);
        let mut found = None;
        loop {
            let word = self.load(Ordering::Acquire);
            let answer = if word.phase() != Phase::ForcedOpen && self.force_is_over(word, now) {
                found = self.end_force_if_due(word, now).or(found);
                None
            } else {
                self.answer(word, now)
            };
            match answer {
                None => {}
                Some(Ok(admission)) => {
                    let transition = admission.transition.or(found);
                    return Ok((admission.permit, transition));
                }
                Some(Err(refusal)) => {
                    let transition = refusal.transition.or(found);
                    let admission = self.refuse(word, Refusal { transition, ..refusal })?;
                    return Ok((admission.permit, admission.transition));
                }
            }
        }
    }

    /// The refusal, or in a dry run the permit all the same.
    fn refuse(&self, word: Word, refusal: Refusal) -> Result<Admission, Refusal> {
        let Some(dry) = self.body.dry().filter(|_| word.is_dry()) else { return Err(refusal) };
        dry.refused.fetch_add(1, Ordering::Relaxed);
        // The word of a phase that refuses, whichever it was: the permit has no say.
        let word = word.next_open(Timestamp::ORIGIN);
        Ok(Admission { permit: Permit::with(word, Lease::WOULD_BE_REFUSED), transition: refusal.transition })
    }

    /// `None`: the state has changed, look again.
    fn answer(&self, word: Word, now: Timestamp) -> Option<Result<Admission, Refusal>> {
        match word.phase() {
            Phase::Closed => self.admit_closed(word, now),
            Phase::Open if now < word.time() => Some(Err(still_open(word))),
            Phase::Open => self.open_half(word, now, Reason::WaitOver).map(Ok),
            Phase::ForcedOpen if self.force_is_over(word, now) => {
                self.open_half(word, now, Reason::ForceOver).map(Ok)
            }
            Phase::ForcedOpen => Some(Err(forced_open(word))),
            Phase::Disabled => Some(Ok(Admission { permit: Permit::closed(word), transition: None })),
            Phase::HalfOpen | Phase::HalfOpenClaimed if self.is_undecided_too_long(word, now) => {
                self.admit_undecided(word, now)
            }
            Phase::HalfOpen | Phase::HalfOpenClaimed => self.take_probe(word, now),
        }
    }

    fn admit_closed(&self, word: Word, now: Timestamp) -> Option<Result<Admission, Refusal>> {
        let admitted = |permit| Some(Ok(Admission { permit, transition: None }));
        let Some(more) = self.body.more().filter(|more| more.timed) else {
            return admitted(Permit::closed(word));
        };
        if self.pending(word, now).is_some() {
            return self.trip_if_pending(word, now).map(|transition| Err(refused_by(transition)));
        }
        let start = more.gauges().fold(now, |now, gauge| gauge.latest(now));
        more.gauges().for_each(|gauge| gauge.begin(self.term(word), start));
        admitted(Permit::with(word, Lease::started(start)))
    }

    /// The path of a healthy endpoint. Always inlined, and its rare branches never: what the compiler would save on the
    /// stack for their sake has to be written out before the window's atomic addition can start.
    #[inline(always)]
    fn record_success<N: Now>(
        &self,
        word: Word,
        lease: Lease,
        outcome: &Outcome,
        mut now: LazyNow<N>,
    ) -> Option<Transition> {
        let term = self.term(word);
        self.body.row().clear(term);
        match &self.body {
            Body::Plain { .. } => None,
            Body::Ten { ten, .. } => {
                let shape = ten.rules.ten()?;
                let time = now.read();
                match ten.window.add_good(shape, term, time) {
                    Some(_) if !ten.window.may_hold_bad() => None,
                    step => {
                        let reason = self.judge_ten(step, time, term)?;
                        self.trip(word, now, reason, None)
                    }
                }
            }
            Body::Counted { counted, .. } => {
                let place = counted.window.take_place();
                if counted.window.holds_no_failure(place, term) {
                    return None;
                }
                let reason = judge_counted(counted, place, false, term)?;
                self.trip(word, now, reason, None)
            }
            Body::Rich { more, .. } if more.quick => {
                let first = more.first.as_ref()?;
                let window = first.window_of_failures()?;
                let rest = window.begin(false, term, &mut now)?;
                let reason = judge_window(first, rest, false, term)?;
                self.trip(word, now, reason, None)
            }
            Body::Rich { more, .. } => self.record_rich(word, more, lease, outcome, now),
        }
    }

    /// The rest of a success that has not been counted, or that has met something bad.
    #[inline(never)]
    fn judge_ten(
        &self,
        counted: Option<crate::window::Step>,
        now: Timestamp,
        term: Term<'_>,
    ) -> Option<Reason> {
        let Body::Ten { ten, .. } = &self.body else { return None };
        let shape = ten.rules.ten()?;
        let step = counted.unwrap_or_else(|| ten.window.add(shape, false, term, now));
        ten.rules.gauges.first()?.judge(ten.window.bad(shape, step, term)?)
    }

    #[cold]
    #[inline(never)]
    fn record_late(&self, issued: Word, lease: Lease, outcome: &Outcome) -> Option<Transition> {
        if let (true, Some(dry)) = (is_would_be_refused(issued, lease), self.body.dry())
            && outcome.verdict() == Verdict::Success
        {
            dry.refused_ok.fetch_add(1, Ordering::Relaxed);
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn record_unhealthy<N: Now>(
        &self,
        word: Word,
        lease: Lease,
        outcome: &Outcome,
        now: LazyNow<N>,
    ) -> Option<Transition> {
        match (word.phase(), &self.body) {
            (Phase::Open | Phase::ForcedOpen | Phase::Disabled, _) => None,
            (Phase::HalfOpen | Phase::HalfOpenClaimed, _) => self.record_probe(word, lease, outcome, now),
            (Phase::Closed, Body::Rich { more, .. }) => self.record_rich(word, more, lease, outcome, now),
            (Phase::Closed, _) => self.record_bad(word, outcome, now),
        }
    }

    /// Without anything rich.
    fn record_bad<N: Now>(&self, word: Word, outcome: &Outcome, mut now: LazyNow<N>) -> Option<Transition> {
        let term = self.term(word);
        let in_a_row = match outcome.verdict() {
            Verdict::Success | Verdict::Neutral => return None,
            Verdict::Overload { .. } => None,
            Verdict::Failure => self.too_many_in_a_row(term),
        };
        let counts = outcome.verdict() == Verdict::Failure || self.rules().overload.in_ratio;
        let in_window = match &self.body {
            Body::Ten { ten, .. } if counts => ten.rules.ten().and_then(|shape| {
                let step = ten.window.add(shape, true, term, now.read());
                ten.rules.gauges.first()?.judge(ten.window.bad(shape, step, term)?)
            }),
            Body::Counted { counted, .. } if counts => {
                judge_counted(counted, counted.window.take_place(), true, term)
            }
            _ => None,
        };
        self.trip(word, now, in_a_row.or(in_window)?, None)
    }

    /// With everything that rules can ask for.
    #[inline(never)]
    fn record_rich<N: Now>(
        &self,
        word: Word,
        more: &More,
        lease: Lease,
        outcome: &Outcome,
        mut now: LazyNow<N>,
    ) -> Option<Transition> {
        let term = self.term(word);
        if more.timed {
            more.gauges().for_each(|gauge| gauge.end(term, lease.start()));
        }
        if let Some(dry) = more.extras.as_ref().and_then(|extras| extras.dry.as_ref()) {
            dry.saw(now.read());
        }
        let verdict = outcome.verdict();
        if verdict == Verdict::Neutral {
            return None;
        }
        let slow = self.is_slow(outcome, || now.read().saturating_since(lease.start()));
        let failed = match verdict {
            Verdict::Overload { .. } => more.rules.overload.in_ratio.then_some(true),
            verdict => Some(verdict == Verdict::Failure),
        };
        let in_a_row = if verdict == Verdict::Failure { self.too_many_in_a_row(term) } else { None };
        let reason = self.judge(more, in_a_row, Sample { failed, slow }, term, &mut now);
        if let Some(extras) = &more.extras {
            self.see_to(extras, verdict, term, &mut now);
        }
        match verdict {
            Verdict::Overload { retry_after } => match self.pause(retry_after) {
                Some(pause) => self.trip(word, now, Reason::RetryAfter, Some(pause)),
                None => self.trip(word, now, reason?, None),
            },
            _ => self.trip(word, now, reason?, None),
        }
    }

    /// Every rule takes the sample, whatever the others say. Failures in a row are named first.
    fn judge<N: Now>(
        &self,
        more: &More,
        in_a_row: Option<Reason>,
        sample: Sample,
        term: Term<'_>,
        now: &mut LazyNow<N>,
    ) -> Option<Reason> {
        let mut reached = u32::from(in_a_row.is_some());
        let mut rules = u32::from(more.rules.consecutive.is_some());
        let mut first = in_a_row;
        for gauge in more.gauges() {
            let reason = gauge.see(sample, term, now);
            rules += 1;
            reached += u32::from(reason.is_some());
            first = first.or(reason);
        }
        first.filter(|_| more.rules.combine == Combine::Any || reached == rules)
    }

    /// The pause that an overload asks for, if it is to be obeyed. Who asks for less than can be waited for says "at once",
    /// which is no reason to open: half-open would let one request through at a time.
    pub(crate) fn pause(&self, retry_after: Option<Duration>) -> Option<Duration> {
        let overload = self.rules().overload;
        retry_after
            .filter(|pause| overload.open_for_retry_after && *pause >= RESOLUTION)
            .map(|pause| pause.min(overload.max_retry_after))
    }

    /// Ramp and backoff hear of the outcome.
    fn see_to<N: Now>(&self, extras: &Extras, verdict: Verdict, term: Term<'_>, now: &mut LazyNow<N>) {
        let rules = self.rules();
        if let (Verdict::Failure, Some(ramp)) = (verdict, &rules.ramp) {
            extras.ramp.step_back(ramp, term, now.read());
        }
        if let Some(Forget::Clean { period, reset_after }) = rules.backoff().map(|backoff| backoff.forget) {
            match verdict {
                Verdict::Failure => extras.soil(now.read()),
                Verdict::Success => extras.forget_if_clean(period, reset_after, || now.read()),
                Verdict::Overload { .. } | Verdict::Neutral => {}
            }
        }
    }

    /// Strictly longer than is allowed; `age` is asked only if the outcome does not know.
    pub(crate) fn is_slow(&self, outcome: &Outcome, age: impl FnOnce() -> Duration) -> bool {
        let limit = self.rules().slow_call_duration;
        limit.is_some_and(|limit| outcome.latency().unwrap_or_else(age) > limit)
    }

    fn too_many_in_a_row(&self, term: Term<'_>) -> Option<Reason> {
        let failures = self.body.row().add(term)?;
        self.rules().consecutive_is_reached(failures)
    }

    /// The reason to trip that is there without anything having ended.
    fn pending(&self, word: Word, now: Timestamp) -> Option<Reason> {
        let more = self.body.more().filter(|more| more.rules.may_trip_between_outcomes())?;
        more.gauges().find_map(|gauge| gauge.pending(self.term(word), now))
    }

    fn trip_if_pending(&self, word: Word, now: Timestamp) -> Option<Transition> {
        let reason = self.pending(word, now)?;
        self.trip(word, LazyNow::new(now), reason, None)
    }

    /// The refusal of a breaker that is about to open.
    fn would_open(&self, word: Word, now: Timestamp) -> Refusal {
        let until = self.not_before(word, now).saturating_add(self.next_wait());
        still_open(word.next_open(until))
    }

    pub(crate) fn next_wait(&self) -> Duration {
        match self.body.extras() {
            Some(extras) => self.rules().open_for(extras.attempt.load(Ordering::Acquire), extras.salt),
            None => self.rules().open_for(0, 0),
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn trip<N: Now>(
        &self,
        word: Word,
        mut now: LazyNow<N>,
        reason: Reason,
        hint: Option<Duration>,
    ) -> Option<Transition> {
        let now = self.not_before(word, now.read());
        let wait = hint.unwrap_or_else(|| self.next_wait());
        let transition = self.change(word, word.next_open(now.saturating_add(wait)), now, reason)?;
        self.body.opened().fetch_add(1, Ordering::Relaxed);
        if let Some(extras) = self.body.extras().filter(|_| hint.is_none() && self.rules().counts_attempts())
        {
            extras.attempt.fetch_add(1, Ordering::AcqRel);
        }
        Some(transition)
    }

    /// From half-open to closed.
    pub(crate) fn close(&self, word: Word, now: Timestamp, reason: Reason) -> Option<Transition> {
        let now = self.not_before(word, now);
        let closed = word.next_since(Phase::Closed, now);
        let extras = self.body.extras();
        if let Some(extras) = extras {
            match &self.rules().ramp {
                Some(ramp) => extras.ramp.begin(ramp, closed.epoch()),
                None => extras.ramp.none(closed.epoch()),
            }
            extras.soil(now);
        }
        let transition = self.change(word, closed, now, reason)?;
        let forgets = self.rules().backoff().is_none_or(|backoff| backoff.forget == Forget::OnClose);
        if let Some(extras) = extras.filter(|_| forgets) {
            extras.attempt.store(0, Ordering::Release);
        }
        Some(transition)
    }

    /// From one word to the next, by exactly one thread; `None` for all others.
    pub(crate) fn change(&self, from: Word, to: Word, at: Timestamp, reason: Reason) -> Option<Transition> {
        self.word
            .compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| Transition { from: from.state(), to: to.state(), at, reason, epoch: to.epoch() })
    }

    /// `now`, or the entry of the present state if that is later.
    ///
    /// What is open or forced remembers its end only. It says nothing about the entry: an operator, a server's hint or other
    /// rules may have set it, so whoever counts back from it puts the breaker's clock into the future.
    pub(crate) fn not_before(&self, word: Word, now: Timestamp) -> Timestamp {
        match word.phase() {
            Phase::Open | Phase::ForcedOpen | Phase::Disabled => now,
            Phase::Closed | Phase::HalfOpen | Phase::HalfOpenClaimed => now.max(word.time()),
        }
    }

    #[inline]
    pub(crate) fn load(&self, ordering: Ordering) -> Word {
        Word::from_bits(self.word.load(ordering))
    }

    #[inline]
    pub(crate) fn term(&self, word: Word) -> Term<'_> {
        Term::new(&self.word, word)
    }

    pub(crate) fn probes(&self) -> Probes<'_> {
        Probes { first: &self.first_probe, others: self.body.probes(), lease: self.rules().half_open.lease }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.load(Ordering::Acquire);
        f.debug_struct("Breaker")
            .field("state", &word.state())
            .field("epoch", &word.epoch())
            .field("rules", self.rules())
            .finish_non_exhaustive()
    }
}

#[inline(never)]
fn judge_window(gauge: &Gauge, rest: crate::window::Rest, bad: bool, term: Term<'_>) -> Option<Reason> {
    gauge.rule.judge(gauge.window_of_failures()?.finish(rest, bad, term)?)
}

/// The rest of an outcome that has taken its place, and is bad or has met something bad.
#[inline(never)]
fn judge_counted(
    counted: &Counted,
    place: crate::window::Place,
    bad: bool,
    term: Term<'_>,
) -> Option<Reason> {
    counted.rules.gauges.first()?.judge(counted.window.fill(place, bad, term)?)
}

pub(crate) fn is_would_be_refused(issued: Word, lease: Lease) -> bool {
    issued.phase() != Phase::Closed && lease == Lease::WOULD_BE_REFUSED
}

#[inline]
pub(crate) fn still_open(word: Word) -> Refusal {
    Refusal { reason: RefusalReason::Open, retry_at: Some(word.time()), transition: None }
}

pub(crate) fn refused_by(transition: Transition) -> Refusal {
    let retry_at = transition.to.refuses_until().or(match transition.to {
        State::DryRun { would_be: crate::WouldBe::Open { until } } => Some(until),
        _ => None,
    });
    Refusal { reason: RefusalReason::Open, retry_at, transition: Some(transition) }
}

fn forced_open(word: Word) -> Refusal {
    Refusal { reason: RefusalReason::ForcedOpen, retry_at: word.limit(), transition: None }
}

pub(crate) fn probes_taken(first_end: Option<Timestamp>) -> Refusal {
    Refusal { reason: RefusalReason::ProbesTaken, retry_at: first_end, transition: None }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Breaker>() <= 32);
#[cfg(not(loom))]
const _: () = assert!(size_of::<crate::body::Ten>() <= 96);
#[cfg(not(loom))]
const _: () = assert!(size_of::<Counted>() <= 40);
