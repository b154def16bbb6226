//! An operator's word.

use std::time::Duration;

use evenkeel_types::Timestamp;
use thiserror::Error;

use crate::body::{Body, Dry, Extras};
use crate::owner::Owner;
use crate::probes::owner_slot;
use crate::sync::{AtomicU64, Ordering};
use crate::word::{Phase, Word};
use crate::{Breaker, Reason, Rules, State, Transition};
use std::sync::Arc;

/// What an operator can force a breaker to do, until they or a limit end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Force {
    /// Refuse everything, also after the wait; then probe.
    Open,
    /// Let everything through and count nothing; then start afresh, closed.
    Closed,
    /// Let everything through and count what would have been refused; then start afresh, closed.
    DryRun,
}

/// A breaker cannot be forced so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ForceError {
    /// The breaker has no room for what a dry run counts: set `dry_run` in its configuration.
    #[error("this breaker is not prepared for a dry run: set dry_run in its configuration")]
    NotPrepared,
    /// It would end at once.
    #[error("a force for no time at all: give at least 1ms, or no limit")]
    NoTime,
}

/// A state cannot follow another by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IllegalTransition {
    /// A closed breaker has nothing to probe for: open it first.
    #[error("a closed breaker cannot be made half-open: open it first")]
    ClosedToHalfOpen,
    /// The state is forced: end that first.
    #[error("the state is forced: end that first")]
    Forced,
}

/// How a breaker goes on whose counts cannot be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Restart {
    /// Closed, with no counts.
    #[default]
    Closed,
    /// Half-open: the endpoint has to pass probes first.
    HalfOpen,
}

impl Breaker {
    /// Forces a state, for a time or until [`unforce`](Self::unforce) or [`reset`](Self::reset). The last word counts.
    ///
    /// It ends the epoch: what is under way decides nothing any more. The same force again is silent (`None`), and sets
    /// the new owner and limit.
    ///
    /// # Errors
    ///
    /// [`ForceError`]; nothing has changed then.
    pub fn force(
        &self,
        force: Force,
        owner: Owner,
        limit: Option<Duration>,
        now: Timestamp,
    ) -> Result<Option<Transition>, ForceError> {
        if limit.is_some_and(|limit| limit.is_zero()) {
            return Err(ForceError::NoTime);
        }
        if force == Force::DryRun {
            let dry = self.body.dry().ok_or(ForceError::NotPrepared)?;
            return Ok(self.force_dry_run(dry, owner, limit, now));
        }
        let phase = if force == Force::Open { Phase::ForcedOpen } else { Phase::Disabled };
        loop {
            let word = self.load(Ordering::Acquire);
            let at = self.not_before(word, now);
            let forced = word.next_forced(phase, limit.map(|limit| at.saturating_add(limit)));
            if let Some(transition) = self.change(word, forced, at, Reason::Forced) {
                self.first_probe.store(owner_slot(owner, forced), Ordering::Release);
                return Ok((word.phase() != phase).then_some(transition));
            }
        }
    }

    fn force_dry_run(
        &self,
        dry: &Dry,
        owner: Owner,
        limit: Option<Duration>,
        now: Timestamp,
    ) -> Option<Transition> {
        loop {
            let word = self.load(Ordering::Acquire);
            let at = self.not_before(word, now);
            let until = limit.map_or(u64::MAX, |limit| at.saturating_add(limit).as_nanos());
            dry.until.store(until, Ordering::Release);
            dry.owner.store(owner.bits(), Ordering::Release);
            if word.is_dry() {
                return None;
            }
            dry.refused.store(0, Ordering::Release);
            dry.refused_ok.store(0, Ordering::Release);
            let next = word.wet().next_since(Phase::Closed, at).dry();
            if let Some(transition) = self.change(word, next, at, Reason::Forced) {
                return Some(transition);
            }
        }
    }

    /// Ends what is forced: a breaker that was forced open becomes half-open, every other closed. `None` if nothing was.
    pub fn unforce(&self, now: Timestamp) -> Option<Transition> {
        loop {
            let word = self.load(Ordering::Acquire);
            if !word.is_forced() {
                return None;
            }
            let at = self.not_before(word, now);
            if let Some(transition) = self.change(word, after_force(word, at), at, Reason::ForceOver) {
                return Some(transition);
            }
        }
    }

    /// Who forced the present state, if it is forced.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        let word = self.load(Ordering::Acquire);
        if word.is_dry() {
            return self.body.dry().map(|dry| Owner::from_bits(dry.owner.load(Ordering::Acquire)));
        }
        word.is_forced().then(|| crate::probes::owner_in(self.first_probe.load(Ordering::Acquire), word))
    }

    /// Opens it by hand: for so long, or for as long as its next wait would be.
    ///
    /// Open already, the end of the wait is set anew; the same end again is silent (`None`).
    ///
    /// # Errors
    ///
    /// [`IllegalTransition::Forced`]; nothing has changed then.
    pub fn open(
        &self,
        wait: Option<Duration>,
        now: Timestamp,
    ) -> Result<Option<Transition>, IllegalTransition> {
        let now = self.not_before(self.load(Ordering::Acquire), now);
        let until = now.saturating_add(wait.unwrap_or_else(|| self.next_wait()));
        self.open_until(until, now)
    }

    /// Opens it by hand, until then.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_until(
        &self,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Transition>, IllegalTransition> {
        loop {
            let word = self.load(Ordering::Acquire);
            if word.is_forced() {
                return Err(IllegalTransition::Forced);
            }
            let at = self.not_before(word, now);
            let open = word.next_open(until);
            if open.state() == word.state() {
                return Ok(None);
            }
            if let Some(transition) = self.change(word, open, at, Reason::ByHand) {
                self.body.opened().fetch_add(1, Ordering::Relaxed);
                return Ok(Some(transition));
            }
        }
    }

    /// Ends the wait of an open breaker by hand. Half-open already, it is silent (`None`).
    ///
    /// # Errors
    ///
    /// [`IllegalTransition`] in every other state; nothing has changed then.
    pub fn half_open(&self, now: Timestamp) -> Result<Option<Transition>, IllegalTransition> {
        loop {
            let word = self.load(Ordering::Acquire);
            match word.phase() {
                _ if word.is_forced() => return Err(IllegalTransition::Forced),
                Phase::Closed => return Err(IllegalTransition::ClosedToHalfOpen),
                Phase::HalfOpen | Phase::HalfOpenClaimed => return Ok(None),
                Phase::Open | Phase::ForcedOpen | Phase::Disabled => {}
            }
            let at = self.not_before(word, now);
            let half_open = word.next_since(Phase::HalfOpen, at);
            if let Some(transition) = self.change(word, half_open, at, Reason::ByHand) {
                return Ok(Some(transition));
            }
        }
    }

    /// A breaker with other rules that goes on where this one is.
    ///
    /// If every window has the shape it had, counts, state, waits and permits stay good, whatever else has changed. If
    /// not, it starts again as `restart` says, in a new epoch; what an operator forced stays forced all the same, with its
    /// owner, its limit and what a dry run has counted. Only a dry run cannot go on under rules that are not prepared for
    /// one: it ends, and the breaker starts again as `restart` says.
    ///
    /// A half-open breaker that has all the verdicts the new rules ask for asks for them anew, in a new epoch: they were
    /// given under other rules. Requests under way may end at either of the two, as an overdue rule counts them for both.
    #[must_use]
    pub fn successor(&self, rules: &Arc<Rules>, restart: Restart, now: Timestamp) -> Self {
        let word = self.load(Ordering::Acquire);
        let counts_as = self.rules().counts_as(rules);
        let salt = self.body.extras().map_or(0, |extras| extras.salt);
        let fits = !word.is_dry() || rules.dry_run;
        let at = self.not_before(word, now);
        let keeps_counts = counts_as && fits;
        let kept = keeps_counts || word.is_forced() && fits;
        let next = match restart {
            _ if kept => word,
            Restart::Closed => word.wet().next_since(Phase::Closed, at),
            Restart::HalfOpen => word.wet().next_since(Phase::HalfOpen, at),
        };
        let body = if keeps_counts { Body::after(&self.body, rules) } else { Body::new(rules, salt) };
        if let (true, Some(new), Some(old)) = (kept, body.dry(), self.body.dry()) {
            new.take_over(old);
        }
        let first_probe = if kept { self.first_probe.load(Ordering::Acquire) } else { 0 };
        let breaker =
            Self { word: AtomicU64::new(next.bits()), first_probe: AtomicU64::new(first_probe), body };
        breaker.ask_anew_if_none_is_missing(next, at);
        breaker
    }

    /// Without a verdict missing nobody would get a probe, and without a probe nothing would ever decide.
    fn ask_anew_if_none_is_missing(&self, word: Word, now: Timestamp) {
        let half_open = matches!(word.phase(), Phase::HalfOpen | Phase::HalfOpenClaimed);
        if half_open && self.probes_missing(word) == 0 {
            self.word.store(word.next_since(Phase::HalfOpen, now).bits(), Ordering::Release);
        }
    }

    /// When what is forced ends.
    pub(crate) fn force_limit(&self, word: Word) -> Option<Timestamp> {
        if word.is_dry() {
            let until = self.body.dry()?.until.load(Ordering::Acquire);
            return (until != u64::MAX).then(|| Timestamp::from_nanos(until));
        }
        if word.is_forced() { word.limit() } else { None }
    }

    pub(crate) fn force_is_over(&self, word: Word, now: Timestamp) -> bool {
        word.is_forced() && self.force_limit(word).is_some_and(|limit| now >= limit)
    }

    pub(crate) fn end_force_if_due(&self, word: Word, now: Timestamp) -> Option<Transition> {
        if !self.force_is_over(word, now) {
            return None;
        }
        let at = self.not_before(word, now);
        self.change(word, after_force(word, at), at, Reason::ForceOver)
    }
}

fn after_force(word: Word, at: Timestamp) -> Word {
    let phase = if word.phase() == Phase::ForcedOpen { Phase::HalfOpen } else { Phase::Closed };
    word.wet().next_since(phase, at)
}

impl State {
    /// Whether an operator's word holds it.
    #[must_use]
    pub const fn is_forced(&self) -> bool {
        matches!(self, Self::ForcedOpen { .. } | Self::Disabled { .. } | Self::DryRun { .. })
    }
}

impl Body {
    /// Counts a clock that goes back, where somebody wants to know.
    pub(crate) fn saw(&self, now: Timestamp) {
        if let Some(dry) = self.dry() {
            dry.saw(now);
        }
    }
}

impl Dry {
    pub(crate) fn saw(&self, now: Timestamp) {
        if self.latest.fetch_max(now.as_nanos(), Ordering::Relaxed) > now.as_nanos() {
            self.regressions.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Extras {
    /// The clean time begins again.
    pub(crate) fn soil(&self, now: Timestamp) {
        self.clean_since.fetch_max(now.as_nanos(), Ordering::AcqRel);
        self.clean_run.store(0, Ordering::Release);
    }

    /// A success: a clean period may have passed with it.
    pub(crate) fn forget_if_clean(
        &self,
        period: Duration,
        reset_after: Option<u32>,
        now: impl FnOnce() -> Timestamp,
    ) {
        if self.attempt.load(Ordering::Acquire) == 0 {
            return;
        }
        let since = self.clean_since.load(Ordering::Acquire);
        let now = now();
        let over = now >= Timestamp::from_nanos(since).saturating_add(period);
        let mine = |from| {
            self.clean_since.compare_exchange(from, now.as_nanos(), Ordering::AcqRel, Ordering::Relaxed)
        };
        if !over || mine(since).is_err() {
            return;
        }
        let run = self.clean_run.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        let all = reset_after.is_some_and(|periods| run >= periods);
        let _ = self.attempt.fetch_update(Ordering::AcqRel, Ordering::Acquire, |attempt| {
            Some(if all { 0 } else { attempt.saturating_sub(1) })
        });
    }
}
