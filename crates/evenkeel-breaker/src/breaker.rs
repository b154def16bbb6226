use std::fmt;
use std::sync::Arc;

use evenkeel_types::{Now, Outcome, Timestamp, Verdict};

use crate::lazy_now::LazyNow;
use crate::probes::{Lease, Probes, Taken};
use crate::row::Row;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::window::{Counts, Rest, Watch};
use crate::word::{Phase, Term, Word};
use crate::{
    Admission, BreakerConfig, ConfigError, Permit, Reason, Refusal, RefusalReason, Rules, State, Stats,
    Transition,
};

/// A circuit breaker: one endpoint's, shared by all threads, lock-free.
///
/// ```text
///             success               failure              overload, neutral   deadline    reset
/// Closed      stay, or Open if a    stay, or Open if a   overload counts     –           stay, counts
///             ratio is complete     rule is reached      against a ratio                 at zero
/// Open        ignored (late)        ignored (late)       ignored (late)      HalfOpen    Closed
/// HalfOpen    Closed, if enough     Open                 slot given back     slot free   Closed
/// ```
///
/// Every change of state begins a new epoch, and so does a reset. A permit of another epoch decides nothing, in any
/// state: an answer to a question of yesterday closes and opens nothing today. *Deadline* is the end of the open time,
/// or of a probe's lease. Neutral neither counts nor resets, in any state.
///
/// An overload (HTTP 429, 503) is not a failure: it makes no run of failures, it does count against a ratio, and as a
/// probe it decides neither way; all of that as linkerd does it. A breaker whose every probe is answered with overload
/// stays half-open, which is the right amount of traffic for an endpoint that asks for less. How long it asked us to
/// stay away (`Retry-After`) is for whoever chooses the endpoint; the breaker does not look at it.
///
/// Half-open without traffic stays half-open: nothing is known, and the first request will tell.
///
/// # Time
///
/// `now` may go back: the later of it and what is known counts. Deadlines are inclusive and whole milliseconds, rounded
/// up. A breaker that is never ticked works as well, it only looks open until somebody asks for a permit.
///
/// # Cost
///
/// 40 bytes with rules of consecutive failures and one probe at a time; else a box more. Closed, a permit is one relaxed
/// load; a success is two with a consecutive rule, one `fetch_add` more for each ratio rule, and a clock for those on
/// a time window; while a window holds failures, also a look at the place or at each bucket. Open, a refusal is one load and one reading
/// of the clock and writes nothing. Nothing allocates after construction.
pub struct Breaker {
    word: AtomicU64,
    first_probe: AtomicU64,
    row: Row,
    times_opened: AtomicU32,
    rules: Arc<Rules>,
    more: Option<Box<More>>,
}

/// What only some configurations need.
struct More {
    /// The first and mostly only one lies here, one step nearer: an atomic addition waits for each.
    watch: Option<Watch>,
    further_watches: Box<[Watch]>,
    probes: Box<[AtomicU64]>,
}

impl Breaker {
    /// A closed breaker with rules of its own. For many breakers of one configuration see [`with_rules`](Self::with_rules).
    ///
    /// # Errors
    ///
    /// As [`Rules::new`].
    pub fn new(config: &BreakerConfig) -> Result<Self, ConfigError> {
        Ok(Self::with_rules(&Arc::new(Rules::new(config)?)))
    }

    /// A closed breaker with shared rules.
    #[must_use]
    pub fn with_rules(rules: &Arc<Rules>) -> Self {
        Self {
            word: AtomicU64::new(Word::START.bits()),
            first_probe: AtomicU64::new(0),
            row: Row::new(),
            times_opened: AtomicU32::new(0),
            rules: Arc::clone(rules),
            more: More::new(rules),
        }
    }

    /// The state as it was last changed: Open past its deadline is Open until someone asks for a permit or ticks.
    #[must_use]
    pub fn state(&self) -> State {
        self.word(Ordering::Acquire).state()
    }

    /// Whether a permit could be had now. Changes nothing and spends no probe, so a balancer may ask many and use one.
    ///
    /// # Errors
    ///
    /// [`Refusal`], as [`try_acquire`](Self::try_acquire) would give.
    #[inline]
    pub fn peek(&self, now: impl Now) -> Result<(), Refusal> {
        let word = self.word(Ordering::Relaxed);
        if word.phase() == Phase::Closed {
            return Ok(());
        }
        let now = now.now();
        if word.phase() == Phase::Open && now < word.time() {
            return Err(still_open(word));
        }
        self.peek_unclosed(now)
    }

    /// Asks to send one request. The clock is read only if the breaker is not closed.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: open before its deadline, or half-open with enough probes under way. Send the request elsewhere.
    #[inline]
    pub fn try_acquire(&self, now: impl Now) -> Result<Admission, Refusal> {
        let word = self.word(Ordering::Relaxed);
        if word.phase() == Phase::Closed {
            return Ok(Admission { permit: Permit::closed(word), transition: None });
        }
        // Open before its deadline is decided by the word already seen; all else looks again, in order.
        let now = now.now();
        if word.phase() == Phase::Open && now < word.time() {
            return Err(still_open(word));
        }
        self.acquire_unclosed(now)
    }

    /// Says how the request went. The clock is read only for a time window, a probe, or a trip.
    ///
    /// A result of an epoch that has ended, or of a probe whose lease has, changes nothing. O(1), and O(buckets) for a
    /// time window that holds failures.
    #[inline(always)]
    pub fn record(&self, permit: Permit, outcome: &Outcome, now: impl Now) -> Option<Transition> {
        let word = self.word(Ordering::Relaxed);
        let (issued, lease) = permit.spend();
        if issued != word {
            return None;
        }
        let now = LazyNow::new(now);
        match (word.phase(), outcome.verdict()) {
            (Phase::Closed, Verdict::Success) => self.record_success(word, now),
            (_, verdict) => self.record_unhealthy(word, lease, verdict, now),
        }
    }

    /// Gives a permit back without an outcome: the request was not sent, or its caller gave up.
    ///
    /// The same as recording a neutral outcome: a probe's slot is free again, nothing is counted, and no rule so far
    /// changes the state or reads the clock.
    pub fn release(&self, permit: Permit, now: impl Now) -> Option<Transition> {
        self.record(permit, &Outcome::neutral(), now)
    }

    /// Does what is due: turns an open breaker half-open at its deadline, frees the slots of lost probes.
    pub fn tick(&self, now: Timestamp) -> Option<Transition> {
        let word = self.word(Ordering::Acquire);
        match word.phase() {
            Phase::Closed => None,
            Phase::Open if now < word.time() => None,
            Phase::Open => self.change(word, word.next_since(Phase::HalfOpen, now), now, Reason::WaitOver),
            Phase::HalfOpen | Phase::HalfOpenClaimed => {
                self.probes().free_ended(word, now);
                None
            }
        }
    }

    /// When to [`tick`](Self::tick) next: the end of the open time, or of the first lease. `None` while nothing is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let word = self.word(Ordering::Acquire);
        match word.phase() {
            Phase::Closed => None,
            Phase::Open => Some(word.time()),
            Phase::HalfOpen | Phase::HalfOpenClaimed => self.probes().first_end(word),
        }
    }

    /// Closes the breaker and forgets all counts, by an operator's word. What is under way decides nothing any more.
    ///
    /// Returns `None` if it was closed: then only the counts are gone.
    pub fn reset(&self, now: Timestamp) -> Option<Transition> {
        loop {
            let word = self.word(Ordering::Acquire);
            let entry = self.not_before(word, now);
            let closed = word.next_since(Phase::Closed, entry);
            if let Some(transition) = self.change(word, closed, entry, Reason::Reset) {
                return (word.phase() != Phase::Closed).then_some(transition);
            }
        }
    }

    /// What it has counted, for a dashboard. O(buckets) for a time window.
    #[must_use]
    pub fn stats(&self, now: Timestamp) -> Stats {
        let word = self.word(Ordering::Acquire);
        let row = self.row.count(self.term(word));
        let closed = word.phase() == Phase::Closed;
        let half_open = matches!(word.state(), State::HalfOpen);
        let watch = self.first_watch().filter(|_| closed);
        let Counts { failures, requests } =
            watch.map_or_else(Counts::default, |watch| watch.counts(self.term(word), now));
        Stats {
            state: word.state(),
            epoch: word.epoch(),
            failures_in_row: if closed { row } else { 0 },
            window_requests: requests,
            window_failures: failures,
            probes_in_flight: if half_open { self.probes().taken(word, now) } else { 0 },
            probes_passed: if half_open { row } else { 0 },
            times_opened: self.times_opened.load(Ordering::Relaxed),
        }
    }

    #[cold]
    #[inline(never)]
    fn peek_unclosed(&self, now: Timestamp) -> Result<(), Refusal> {
        let word = self.word(Ordering::Acquire);
        match word.phase() {
            Phase::Closed => Ok(()),
            Phase::Open if now < word.time() => Err(still_open(word)),
            Phase::Open => Ok(()),
            Phase::HalfOpen | Phase::HalfOpenClaimed => {
                self.probes().peek(word, self.probes_missing(word), now).map_err(probes_taken)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn acquire_unclosed(&self, now: Timestamp) -> Result<Admission, Refusal> {
        loop {
            let word = self.word(Ordering::Acquire);
            let answer = match word.phase() {
                Phase::Closed => Some(Ok(Admission { permit: Permit::closed(word), transition: None })),
                Phase::Open if now < word.time() => Some(Err(still_open(word))),
                Phase::Open => self.open_half(word, now).map(Ok),
                Phase::HalfOpen | Phase::HalfOpenClaimed => self.take_probe(word, now),
            };
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    /// The first request after the wait; `None` if another one was first.
    fn open_half(&self, word: Word, now: Timestamp) -> Option<Admission> {
        let half_open = word.next_since(Phase::HalfOpenClaimed, now);
        let transition = self.change(word, half_open, now, Reason::WaitOver)?;
        let lease = self.probes().take_first(half_open, now);
        Some(Admission { permit: Permit::probe(half_open, lease), transition: Some(transition) })
    }

    /// `None` if the state changed meanwhile.
    fn take_probe(&self, word: Word, now: Timestamp) -> Option<Result<Admission, Refusal>> {
        let now = now.max(word.time());
        match self.probes().take(self.term(word), self.probes_missing(word), now) {
            Taken::Slot(lease) => {
                Some(Ok(Admission { permit: Permit::probe(word, lease), transition: None }))
            }
            Taken::None(first_end) => Some(Err(probes_taken(first_end))),
            Taken::Over => None,
        }
    }

    /// No probe is sent whose success would not be needed. Two threads may both see the last one missing; they still
    /// take no more than the slots.
    fn probes_missing(&self, word: Word) -> u32 {
        self.rules.half_open().successes_needed.saturating_sub(self.row.count(self.term(word)))
    }

    /// The path of a healthy endpoint. Always inlined, and its rare branches never: what the compiler would save on the
    /// stack for their sake has to be written out before the window's atomic addition can start.
    #[inline(always)]
    fn record_success<N: Now>(&self, word: Word, mut now: LazyNow<N>) -> Option<Transition> {
        let term = self.term(word);
        self.row.clear(term);
        let more = self.more.as_ref()?;
        let only_one = more.further_watches.is_empty();
        let watch = more.watch.as_ref()?;
        let rest = watch.begin(false, term, &mut now);
        if !only_one {
            return self.judge_success(word, rest, now);
        }
        match watch.finish(rest?, false, term) {
            Some(reason) => self.trip(word, now, reason),
            None => None,
        }
    }

    /// The same with more than one window.
    #[inline(never)]
    fn judge_success<N: Now>(
        &self,
        word: Word,
        rest: Option<Rest>,
        mut now: LazyNow<N>,
    ) -> Option<Transition> {
        let reason = self.judge(rest, false, self.term(word), &mut now)?;
        self.trip(word, now, reason)
    }

    #[cold]
    #[inline(never)]
    fn record_unhealthy<N: Now>(
        &self,
        word: Word,
        lease: Lease,
        verdict: Verdict,
        mut now: LazyNow<N>,
    ) -> Option<Transition> {
        if word.phase() != Phase::Closed {
            return self.record_probe(word, lease, verdict, now);
        }
        let term = self.term(word);
        let in_a_row = match verdict {
            Verdict::Success | Verdict::Neutral => return None,
            Verdict::Overload { .. } => None,
            Verdict::Failure => self.too_many_in_a_row(term),
        };
        let first = self.first_watch().and_then(|watch| watch.begin(true, term, &mut now));
        let in_windows = self.judge(first, true, term, &mut now);
        self.trip(word, now, in_a_row.or(in_windows)?)
    }

    fn too_many_in_a_row(&self, term: Term<'_>) -> Option<Reason> {
        let failures = self.row.add(term)?;
        self.rules.consecutive_is_reached(failures).then_some(Reason::Consecutive { failures })
    }

    /// Does the rest for the first window, and all for the others. Returns the reason to trip of the first that has one.
    fn judge<N: Now>(
        &self,
        first: Option<Rest>,
        failed: bool,
        term: Term<'_>,
        now: &mut LazyNow<N>,
    ) -> Option<Reason> {
        let more = self.more.as_ref()?;
        let watch = more.watch.as_ref()?;
        let mut reason = match first {
            Some(rest) => watch.finish(rest, failed, term),
            None => None,
        };
        for watch in &more.further_watches {
            let rest = watch.begin(failed, term, now);
            let found = rest.and_then(|rest| watch.finish(rest, failed, term));
            reason = reason.or(found);
        }
        reason
    }

    fn record_probe<N: Now>(
        &self,
        word: Word,
        lease: Lease,
        verdict: Verdict,
        mut now: LazyNow<N>,
    ) -> Option<Transition> {
        if !self.probes().end(word, lease) || verdict == Verdict::Neutral {
            return None;
        }
        if now.read() >= lease.until() {
            return None;
        }
        match verdict {
            Verdict::Success => self.pass_probe(word, now.read()),
            Verdict::Failure => self.trip(word, now, Reason::ProbeFailed),
            Verdict::Overload { .. } | Verdict::Neutral => None,
        }
    }

    fn pass_probe(&self, word: Word, now: Timestamp) -> Option<Transition> {
        let passed = self.row.add(self.term(word))?;
        if passed < self.rules.half_open().successes_needed {
            return None;
        }
        let now = self.not_before(word, now);
        self.change(word, word.next_since(Phase::Closed, now), now, Reason::ProbesPassed)
    }

    #[cold]
    #[inline(never)]
    fn trip<N: Now>(&self, word: Word, mut now: LazyNow<N>, reason: Reason) -> Option<Transition> {
        let now = self.not_before(word, now.read());
        let open = word.next_open(now.saturating_add(self.rules.open_for()));
        let transition = self.change(word, open, now, reason)?;
        self.times_opened.fetch_add(1, Ordering::Relaxed);
        Some(transition)
    }

    /// From one word to the next, by exactly one thread; `None` for all others.
    fn change(&self, from: Word, to: Word, at: Timestamp, reason: Reason) -> Option<Transition> {
        self.word
            .compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| Transition { from: from.state(), to: to.state(), at, reason, epoch: to.epoch() })
    }

    /// `now`, or the entry of the present state if that is later.
    fn not_before(&self, word: Word, now: Timestamp) -> Timestamp {
        let entry = match word.phase() {
            Phase::Open => word.time().saturating_sub(self.rules.open_for()),
            _ => word.time(),
        };
        now.max(entry)
    }

    #[inline]
    fn word(&self, ordering: Ordering) -> Word {
        Word::from_bits(self.word.load(ordering))
    }

    #[inline]
    fn term(&self, word: Word) -> Term<'_> {
        Term::new(&self.word, word)
    }

    fn first_watch(&self) -> Option<&Watch> {
        self.more.as_ref()?.watch.as_ref()
    }

    fn probes(&self) -> Probes<'_> {
        Probes {
            first: &self.first_probe,
            others: self.more.as_ref().map_or(&[], |more| &more.probes),
            lease: self.rules.half_open().lease,
        }
    }
}

impl More {
    fn new(rules: &Rules) -> Option<Box<Self>> {
        let mut watches = rules.ratios().iter().copied().map(Watch::new);
        let watch = watches.next();
        let further_watches = watches.collect();
        let probes: Box<[AtomicU64]> =
            (1..rules.half_open().max_concurrent).map(|_| AtomicU64::new(0)).collect();
        let needed = watch.is_some() || !probes.is_empty();
        needed.then(|| Box::new(Self { watch, further_watches, probes }))
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word(Ordering::Acquire);
        f.debug_struct("Breaker")
            .field("state", &word.state())
            .field("epoch", &word.epoch())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

#[inline]
fn still_open(word: Word) -> Refusal {
    Refusal { reason: RefusalReason::Open, retry_at: Some(word.time()) }
}

fn probes_taken(first_end: Option<Timestamp>) -> Refusal {
    Refusal { reason: RefusalReason::ProbesTaken, retry_at: first_end }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Breaker>() <= 40);
