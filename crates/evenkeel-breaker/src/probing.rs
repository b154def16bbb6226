//! A breaker that is half-open.

use evenkeel_types::{Now, Outcome, Timestamp, Verdict};

use crate::body::Body;
use crate::breaker::{probes_taken, refused_by};
use crate::lazy_now::LazyNow;
use crate::probes::{Lease, Taken};
use crate::word::{Phase, Word};
use crate::{Admission, Breaker, Decision, OverloadProbe, Permit, ProbeRatio, Reason, Refusal, Transition};

impl Breaker {
    /// The first request after the wait; `None` if another one was first.
    pub(crate) fn open_half(&self, word: Word, now: Timestamp, reason: Reason) -> Option<Admission> {
        let half_open = word.next_since(Phase::HalfOpenClaimed, now);
        let transition = self.change(word, half_open, now, reason)?;
        let lease = self.probes().take_first(half_open, now);
        Some(Admission { permit: Permit::with(half_open, lease), transition: Some(transition) })
    }

    /// `None`: the state has changed, look again.
    pub(crate) fn take_probe(&self, word: Word, now: Timestamp) -> Option<Result<Admission, Refusal>> {
        match self.probes().take(self.term(word), self.probes_missing(word), now) {
            Taken::Slot(lease) => Some(Ok(Admission { permit: Permit::with(word, lease), transition: None })),
            Taken::None(first_end) => Some(Err(probes_taken(first_end))),
            Taken::Over => None,
        }
    }

    /// No probe is sent whose verdict would not be needed. Two threads may both see the last one missing; they still
    /// take no more than the slots.
    pub(crate) fn probes_missing(&self, word: Word) -> u32 {
        let term = self.term(word);
        match (self.rules().half_open.ratio, self.body.extras()) {
            (Some(ratio), Some(extras)) => ratio.verdicts.saturating_sub(extras.verdicts.read(term).all),
            _ => self.rules().half_open.successes_needed.saturating_sub(self.body.row().count(term)),
        }
    }

    /// When half-open is decided whatever is known.
    pub(crate) fn decided_at(&self, word: Word) -> Option<Timestamp> {
        self.rules().half_open.decide_after.map(|after| word.time().saturating_add(after))
    }

    pub(crate) fn is_undecided_too_long(&self, word: Word, now: Timestamp) -> bool {
        self.decided_at(word).is_some_and(|at| now >= at)
    }

    pub(crate) fn decides_to_close(&self) -> bool {
        self.rules().half_open.decide == Decision::Closed
    }

    pub(crate) fn decide(&self, word: Word, now: Timestamp) -> Option<Transition> {
        if self.decides_to_close() {
            self.close(word, now, Reason::HalfOpenOver)
        } else {
            self.trip(word, LazyNow::new(now), Reason::HalfOpenOver, None)
        }
    }

    /// A request that finds half-open to have lasted too long: one of the closed state, or refused by the open one.
    pub(crate) fn admit_undecided(&self, word: Word, now: Timestamp) -> Option<Result<Admission, Refusal>> {
        let transition = self.decide(word, now)?;
        if !self.decides_to_close() {
            return Some(Err(refused_by(transition)));
        }
        let begun = self.begin_closed(now);
        Some(Ok(Admission { permit: begun, transition: Some(transition) }))
    }

    pub(crate) fn record_probe<N: Now>(
        &self,
        word: Word,
        lease: Lease,
        outcome: &Outcome,
        mut now: LazyNow<N>,
    ) -> Option<Transition> {
        let verdict = outcome.verdict();
        if !self.probes().end(word, lease) || verdict == Verdict::Neutral {
            return None;
        }
        let time = now.read();
        self.body.saw(time);
        if time >= lease.until() {
            return None;
        }
        if let Verdict::Overload { retry_after } = verdict
            && let Some(pause) = self.pause(retry_after)
        {
            return self.trip(word, now, Reason::RetryAfter, Some(pause));
        }
        let failed = match verdict {
            Verdict::Overload { .. } if self.rules().overload.as_probe == OverloadProbe::Strict => {
                return None;
            }
            Verdict::Neutral => return None,
            Verdict::Success | Verdict::Overload { .. } => false,
            Verdict::Failure => true,
        };
        let start = lease.until().saturating_sub(self.rules().half_open.lease);
        let slow = self.is_slow(outcome, || time.saturating_since(start));
        match self.rules().half_open.ratio {
            Some(ratio) => self.add_verdict(word, ratio, failed, slow, time),
            None if failed => self.trip(word, now, Reason::ProbeFailed, None),
            None if slow => self.trip(word, now, Reason::ProbeSlow, None),
            None => self.pass_probe(word, time),
        }
    }

    fn pass_probe(&self, word: Word, now: Timestamp) -> Option<Transition> {
        let passed = self.body.row().add(self.term(word))?;
        if passed < self.rules().half_open.successes_needed {
            return None;
        }
        self.close(word, now, Reason::ProbesPassed)
    }

    fn add_verdict(
        &self,
        word: Word,
        ratio: ProbeRatio,
        failed: bool,
        slow: bool,
        now: Timestamp,
    ) -> Option<Transition> {
        let said = self.body.extras()?.verdicts.add(failed, slow, self.term(word))?;
        if said.all < ratio.verdicts {
            return None;
        }
        let all = u64::from(said.all);
        let too_slow = self.rules().looks_at_slow() && ratio.slow.is_reached_by(u64::from(said.slow), all);
        if ratio.failures.is_reached_by(u64::from(said.failed), all) || too_slow {
            let reason = Reason::ProbeRatio { failures: said.failed, slow: said.slow, verdicts: said.all };
            self.trip(word, LazyNow::new(now), reason, None)
        } else {
            self.close(word, now, Reason::ProbesPassed)
        }
    }

    /// A permit of the closed state that has just begun.
    fn begin_closed(&self, now: Timestamp) -> Permit {
        let word = self.load(crate::sync::Ordering::Acquire);
        match &self.body {
            Body::Rich { more, .. } if more.timed && word.phase() == Phase::Closed => {
                let start = more.gauges().fold(now, |now, gauge| gauge.latest(now));
                more.gauges().for_each(|gauge| gauge.begin(self.term(word), start));
                Permit::with(word, Lease::started(start))
            }
            _ => Permit::closed(word),
        }
    }
}
