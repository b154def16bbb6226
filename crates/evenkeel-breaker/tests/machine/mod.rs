//! The machines of the scenario files.

mod seen;
mod set;
mod twin;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_breaker::{
    BreakerConfig, Force, Owner, Reason, Refusal, RefusalReason, Restart, Rule, Rules, State, Transition,
    Window, WouldBe,
};
use evenkeel_scenario::{Action, Crowd, Crowded, Fact, Machine};
use evenkeel_types::{Outcome, Timestamp, Verdict};
use seen::{Bad, Seen, Told};
pub(crate) use set::SetMachine;
use twin::{Pair, Panicked, Twin};

/// One breaker, and what a scenario remembers of it.
pub(crate) struct BreakerMachine {
    config: BreakerConfig,
    twin: Twin,
    held: BTreeMap<String, Held>,
    /// Taken without a name, the oldest first.
    unnamed: Vec<Held>,
    refused: Option<Refusal>,
    refusals: u64,
    event: Option<Transition>,
    events: u64,
    tripped: Option<Transition>,
    seen: Seen,
    error: Option<String>,
    salt: u64,
    crowded: Crowded,
}

/// A permit, and when it was taken.
type Held = (Pair, Timestamp);

impl BreakerMachine {
    pub(crate) fn read(config: &str, seed: u64) -> Result<Self, String> {
        let mut config: BreakerConfig = toml::from_str(config).map_err(|error| error.to_string())?;
        if config.seed == 0 {
            config.seed = seed;
        }
        Self::new(config, 0, Timestamp::ORIGIN)
    }

    pub(crate) fn new(config: BreakerConfig, salt: u64, now: Timestamp) -> Result<Self, String> {
        let twin = Twin::new(&config, salt, now)?;
        Ok(Self {
            config,
            twin,
            held: BTreeMap::new(),
            unnamed: Vec::new(),
            refused: None,
            refusals: 0,
            event: None,
            events: 0,
            tripped: None,
            seen: Seen::default(),
            error: None,
            salt,
            crowded: Crowded::default(),
        })
    }

    fn heard(&mut self, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        self.events += 1;
        self.event = Some(transition);
        let opens = |state: State| {
            matches!(state, State::Open { .. } | State::DryRun { would_be: WouldBe::Open { .. } })
        };
        if opens(transition.to) {
            self.tripped = Some(transition);
        }
        self.seen.change(&self.config, transition);
    }

    fn acquire(&mut self, now: Timestamp) -> Option<Held> {
        self.seen.look(self.twin.stats(now));
        match self.twin.acquire(now) {
            Ok((pair, transition)) => {
                self.heard(transition);
                Some((pair, now))
            }
            Err(refusal) => {
                self.is_refused(refusal);
                None
            }
        }
    }

    fn is_refused(&mut self, refusal: Refusal) {
        self.heard(refusal.transition);
        self.refused = Some(refusal);
        self.refusals += 1;
    }

    fn take(&mut self, name: &str) -> Result<Held, String> {
        self.held.remove(name).ok_or_else(|| format!("no permit {name:?} is held"))
    }

    fn end(&mut self, name: Option<&str>, outcome: &Outcome, now: Timestamp) -> Result<(), String> {
        let held = match name {
            Some(name) => Some(self.take(name)?),
            None => self.acquire(now),
        };
        if let Some((pair, since)) = held {
            self.see(&pair, since, outcome, now);
            let change = self.twin.record(pair, outcome, now);
            self.heard(change);
        }
        Ok(())
    }

    /// Remembers what a window counts that tells nothing any more once another rule has tripped.
    fn see(&mut self, pair: &Pair, since: Timestamp, outcome: &Outcome, now: Timestamp) {
        let stats = self.twin.stats(now);
        self.seen.look(stats);
        if self.shown() != WouldBe::Closed || pair.1.epoch() != stats.epoch {
            return;
        }
        let failed = match outcome.verdict() {
            Verdict::Neutral => return,
            Verdict::Overload { .. } => self.config.overload.in_ratio.then_some(true),
            verdict => Some(verdict == Verdict::Failure),
        };
        let latency = outcome.latency().unwrap_or_else(|| now.saturating_since(since));
        let slow = self.config.slow_call_duration.is_some_and(|limit| latency > limit);
        self.seen.outcome(Told { failed, slow });
    }

    fn outcome(&self, action: &Action) -> Result<Outcome, String> {
        let outcome = match action.verb() {
            "ok" | "success" | "succeed" | "slow_ok" | "slow" => Outcome::success(),
            "fail" | "failure" | "slow_fail" => Outcome::failure(),
            "overload" | "slow_overload" => Outcome::overload(action.duration("retry_after")?),
            _ => Outcome::neutral(),
        };
        let mut latency = None;
        for key in ["after", "latency", "took"] {
            latency = action.duration(key)?.or(latency);
        }
        if latency.is_none() && action.verb().starts_with("slow") {
            let limit = self.config.slow_call_duration.ok_or("slow_call_duration is not set")?;
            latency = Some(limit + Duration::from_nanos(1));
        }
        Ok(latency.map_or(outcome, |latency| outcome.with_latency(latency)))
    }

    fn by_hand(&mut self, result: Result<Option<Transition>, String>) {
        match result {
            Ok(transition) => self.heard(transition),
            Err(error) => self.error = Some(error),
        }
    }

    fn force(&mut self, action: &Action, now: Timestamp) -> Result<(), String> {
        let force = match action.name(0)? {
            "open" | "forced_open" => Force::Open,
            "closed" | "close" | "disabled" | "disable" => Force::Closed,
            "dry_run" | "metrics_only" => Force::DryRun,
            "none" | "off" => {
                let ended = self.twin.each(|breaker| breaker.unforce(now));
                self.heard(ended);
                return Ok(());
            }
            other => return Err(format!("force {other:?}: write open, closed, dry_run or none")),
        };
        let owner = action.text("owner").unwrap_or("-");
        let owner: Owner = owner.parse().map_err(|error| format!("owner={owner}: {error}"))?;
        let limit = action.duration("for")?;
        if force == Force::DryRun {
            self.twin.needs_dry_run();
        }
        let done = self.twin.each(|breaker| breaker.force(force, owner, limit, now));
        self.by_hand(done.map_err(|error| error.to_string()));
        Ok(())
    }

    fn open(&mut self, action: &Action, now: Timestamp) -> Result<(), String> {
        let until = action.duration("until")?.map(|until| Timestamp::ORIGIN.saturating_add(until));
        let wait = action.duration("for")?;
        let done = self.twin.each(|breaker| match until {
            Some(until) => breaker.open_until(until, now),
            None => breaker.open(wait, now),
        });
        self.by_hand(done.map_err(|error| error.to_string()));
        Ok(())
    }

    fn reload(&mut self, action: &Action, now: Timestamp) -> Result<(), String> {
        let mut config = self.config.clone();
        let (row, size) = (action.number("failures")?, action.number("size")?);
        let (least, share) = (action.number("min_requests")?, action.number("ratio")?);
        for rule in &mut config.rules {
            match rule {
                Rule::Consecutive { failures } => *failures = row.map_or(*failures, |row| row as u32),
                Rule::Ratio { failures, min_requests, window } => {
                    *min_requests = least.map_or(*min_requests, |least| least as u32);
                    if let Some(share) = share {
                        *failures = evenkeel_types::Ratio::new(share).map_err(|error| error.to_string())?;
                    }
                    if let (Window::Count { size: old }, Some(new)) = (window, size) {
                        *old = new as u32;
                    }
                }
                _ => {}
            }
        }
        let restart = match action.text("restart") {
            None | Some("closed") => Restart::Closed,
            Some("half_open") => Restart::HalfOpen,
            Some(other) => return Err(format!("restart={other}: write closed or half_open")),
        };
        let config = action.changed(&config, &[])?;
        self.seen.look(self.twin.stats(now));
        self.twin.reload(&config, restart, now)?;
        self.config = config;
        Ok(())
    }

    /// Many threads at once. Whole requests, whose outcomes take turns; the two breakers one after the other.
    fn crowd(&mut self, action: &Action, now: Timestamp) -> Result<(), String> {
        let crowd = Crowd::read(action)?.ok_or_else(|| action.unknown())?;
        let words = action.words();
        let known = |word: &String| {
            Ok(match word.as_str() {
                "ok" | "success" | "succeed" => Outcome::success(),
                "fail" | "failure" => Outcome::failure(),
                "overload" => Outcome::overload(None),
                "neutral" | "ignored" => Outcome::neutral(),
                other => return Err(format!("{}: {other:?} is no outcome", action.verb())),
            })
        };
        let outcomes = words.iter().map(known).collect::<Result<Vec<_>, String>>()?;
        if outcomes.is_empty() {
            return Err(format!("{} needs outcomes", action.verb()));
        }
        self.seen.look(self.twin.stats(now));
        let (told, changes) = self.twin.crowd(crowd, &outcomes, now);
        changes.into_iter().for_each(|change| self.heard(Some(change)));
        self.refusals += told.refused;
        self.crowded = told;
        Ok(())
    }

    fn panic(&mut self, now: Timestamp) -> Result<(), String> {
        let before = self.twin.stats(now);
        self.seen.look(before);
        if self.shown() == WouldBe::Closed && !matches!(before.state, State::Disabled { .. }) {
            self.seen.outcome(Told { failed: Some(true), slow: false });
        }
        match self.twin.panic(now) {
            Ok(Panicked { changes, went_on: true }) => {
                changes.into_iter().for_each(|change| self.heard(change));
            }
            Ok(_) => return Err("the panic did not go on".into()),
            Err(refusal) => self.is_refused(refusal),
        }
        Ok(())
    }

    fn counts(&self, now: Timestamp) -> (u64, u64) {
        let stats = self.twin.stats(now);
        match (self.shown(), self.tripped.map(|tripped| tripped.reason)) {
            (WouldBe::Open { .. }, Some(Reason::Ratio { failures, requests })) => (failures, requests),
            (WouldBe::Open { .. }, Some(Reason::Consecutive { failures })) => {
                (failures.into(), failures.into())
            }
            (WouldBe::Open { .. }, Some(Reason::ProbeRatio { failures, verdicts, .. })) => {
                (failures.into(), verdicts.into())
            }
            (WouldBe::Open { .. }, _) => self.seen.at_trip(Bad::Failed),
            (WouldBe::HalfOpen, _) => (stats.probe_failures.into(), stats.probe_verdicts.into()),
            (WouldBe::Closed, _) if !self.has_window() => {
                (stats.failures_in_row.into(), stats.failures_in_row.into())
            }
            _ => (stats.window_failures, stats.window_requests),
        }
    }

    fn slow(&self, now: Timestamp) -> (u64, u64) {
        let stats = self.twin.stats(now);
        match (self.shown(), self.tripped.map(|tripped| tripped.reason)) {
            (WouldBe::Open { .. }, Some(Reason::Slow { slow, requests })) => (slow, requests),
            (WouldBe::Open { .. }, Some(Reason::ProbeRatio { slow, verdicts, .. })) => {
                (slow.into(), verdicts.into())
            }
            (WouldBe::Open { .. }, _) => self.seen.at_trip(Bad::Slow),
            (WouldBe::HalfOpen, _) => (stats.probe_slow.into(), stats.probe_verdicts.into()),
            _ => (stats.window_slow, stats.slow_window_requests),
        }
    }

    fn has_window(&self) -> bool {
        self.config.rules.iter().any(|rule| matches!(rule, Rule::Ratio { .. }))
    }

    /// The state, or the one that it would be in.
    fn shown(&self) -> WouldBe {
        match self.twin.state() {
            State::Open { until } => WouldBe::Open { until },
            State::HalfOpen => WouldBe::HalfOpen,
            State::DryRun { would_be } => would_be,
            State::Closed | State::ForcedOpen { .. } | State::Disabled { .. } => WouldBe::Closed,
        }
    }

    /// The wait of the trip after so many others, rounded as the breaker does it.
    fn wait_after(&self, attempt: u32) -> Duration {
        let nanos = self.twin.rules().open_for(attempt, self.salt).as_nanos();
        Duration::from_millis(u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    fn until(&self) -> Option<Timestamp> {
        match (self.twin.state(), self.shown()) {
            (State::ForcedOpen { until } | State::Disabled { until }, _) => until,
            (_, WouldBe::Open { until }) => Some(until),
            _ => None,
        }
    }
}

impl Machine for BreakerMachine {
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String> {
        self.refused = None;
        self.event = None;
        self.error = None;
        let name = action.bare(0);
        match action.verb() {
            "acquire" | "acq" | "ask" => {
                if let Some(held) = self.acquire(now) {
                    match name {
                        Some(name) if self.held.contains_key(name) => {
                            return Err(format!("{name:?} is held already"));
                        }
                        Some(name) => drop(self.held.insert(name.to_owned(), held)),
                        None => self.unnamed.push(held),
                    }
                }
            }
            "ok" | "success" | "succeed" | "fail" | "failure" | "overload" | "neutral" | "ignored"
            | "slow" | "slow_ok" | "slow_fail" | "slow_overload" => {
                let outcome = self.outcome(action)?;
                self.end(name, &outcome, now)?;
            }
            "release" | "cancel" => {
                let (pair, _) = match name {
                    Some(name) => self.take(name)?,
                    None if self.unnamed.is_empty() => return Err("no unnamed permit is held".into()),
                    None => self.unnamed.remove(0),
                };
                let change = self.twin.release(pair, now);
                self.heard(change);
            }
            "lose" | "drop" => match name {
                Some(name) => drop(self.take(name)?),
                None => self.unnamed.clear(),
            },
            "tick" => {
                self.seen.look(self.twin.stats(now));
                let change = self.twin.each(|breaker| breaker.tick(now));
                self.heard(change);
            }
            "peek" => self.refused = self.twin.each(|breaker| breaker.peek(now)).err(),
            "reset" | "close" => {
                let change = self.twin.each(|breaker| breaker.reset(now));
                self.heard(change);
            }
            "half_open" => {
                let done = self.twin.each(|breaker| breaker.half_open(now));
                self.by_hand(done.map_err(|error| error.to_string()));
            }
            "open" => self.open(action, now)?,
            "force" => self.force(action, now)?,
            "unforce" => {
                let ended = self.twin.each(|breaker| breaker.unforce(now));
                self.heard(ended);
            }
            "reload" | "set" => self.reload(action, now)?,
            "panic" => self.panic(now)?,
            "parallel" | "together" => self.crowd(action, now)?,
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn picture(&mut self, now: Timestamp) -> String {
        format!("{:?} {:?} {:?} {:?}", self.twin.stats(now), self.event, self.refused, self.tripped)
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        let stats = self.twin.stats(now);
        let (failures, requests) = self.counts(now);
        let (slow, slow_requests) = self.slow(now);
        let rate = |part: u64, whole: u64| Fact::optional((whole > 0).then(|| part as f64 / whole as f64));
        let refused = self.refused.map(|refusal| refusal_word(refusal.reason));
        if let Some(nth) = name.strip_prefix("wait.") {
            let before = nth.parse::<u32>().ok()?.checked_sub(1)?;
            return Some(Fact::from(self.wait_after(before)));
        }
        Some(match name {
            "granted" => Fact::from(self.crowded.granted),
            "most" => Fact::from(self.crowded.most),
            "state" => Fact::from(state_word(stats.state)),
            "closed" | "open" | "half_open" | "forced_open" | "disabled" | "dry_run" => {
                Fact::from(state_word(stats.state) == name)
            }
            "would_be" => Fact::from(match self.shown() {
                WouldBe::Closed => "closed",
                WouldBe::Open { .. } => "open",
                WouldBe::HalfOpen => "half_open",
            }),
            "refused" => Fact::optional(refused),
            "admitted" => Fact::from(self.refused.is_none()),
            "refusals" => Fact::from(self.refusals),
            "retry_at" => {
                let refusal = self.refused.or_else(|| self.twin.peek(now).err());
                Fact::optional(refusal.and_then(|refusal| refusal.retry_at))
            }
            "retry_after" => {
                let refusal = self.refused.or_else(|| self.twin.peek(now).err());
                Fact::optional(
                    refusal.and_then(|refusal| refusal.retry_at).map(|at| at.saturating_since(now)),
                )
            }
            "until" => Fact::optional(self.until()),
            "deadline" => Fact::optional(self.twin.next_deadline()),
            "failures" => Fact::from(failures),
            "requests" => Fact::from(requests),
            "rate" => rate(failures, requests),
            "slow" => Fact::from(slow),
            "slow_requests" => Fact::from(slow_requests),
            "slow_rate" => rate(slow, slow_requests),
            "row" => Fact::from(stats.failures_in_row),
            "average" => Fact::optional(stats.average.map(evenkeel_types::Ratio::as_f64)),
            "evidence" => Fact::optional(stats.evidence.map(evenkeel_types::Ratio::as_f64)),
            "overdue" => Fact::from(stats.overdue),
            "under_way" => Fact::from(stats.under_way),
            "probes" => Fact::from(stats.probes_in_flight),
            "passed" => Fact::from(stats.probes_passed),
            "verdicts" => Fact::from(stats.probe_verdicts),
            "opened" => Fact::from(stats.times_opened),
            "attempt" => Fact::from(stats.attempt),
            "wait" => {
                let open = self.tripped.zip(self.until());
                Fact::optional(open.map(|(tripped, until)| until.saturating_since(tripped.at)))
            }
            "next_wait" => Fact::from(self.wait_after(stats.attempt)),
            "factor" => Fact::from(self.twin.factor(now)),
            "epoch" => Fact::from(stats.epoch),
            "event" => Fact::optional(self.event.map(|event| event_word(event.to))),
            "events" => Fact::from(self.events),
            "reason" => Fact::optional(self.event.or(self.tripped).map(|event| reason_word(event.reason))),
            "owner" => Fact::optional(stats.owner.map(|owner| owner.to_string())),
            "forced_until" => Fact::optional(stats.forced_until),
            "would_refuse" => Fact::from(stats.would_refuse),
            "would_refuse_ok" => Fact::from(stats.would_refuse_ok),
            "regressions" => Fact::from(stats.regressions),
            "error" => Fact::optional(self.error.clone()),
            "failed" => Fact::from(self.error.is_some()),
            _ => return None,
        })
    }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Closed => "closed",
        State::Open { .. } => "open",
        State::HalfOpen => "half_open",
        State::ForcedOpen { .. } => "forced_open",
        State::Disabled { .. } => "disabled",
        State::DryRun { .. } => "dry_run",
    }
}

fn event_word(state: State) -> &'static str {
    match state {
        State::DryRun { would_be: WouldBe::Open { .. } } => "would_open",
        State::DryRun { would_be: WouldBe::HalfOpen } => "would_half_open",
        other => state_word(other),
    }
}

fn refusal_word(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::Open => "open",
        RefusalReason::ForcedOpen => "forced_open",
        _ => "probes_taken",
    }
}

fn reason_word(reason: Reason) -> &'static str {
    match reason {
        Reason::Consecutive { .. } => "consecutive",
        Reason::Ratio { .. } => "ratio",
        Reason::Slow { .. } => "slow",
        Reason::Ewma { .. } => "ewma",
        Reason::Statistical => "statistical",
        Reason::Overdue { .. } => "overdue",
        Reason::RetryAfter => "retry_after",
        Reason::WaitOver => "wait_over",
        Reason::ProbeFailed => "probe_failed",
        Reason::ProbeSlow => "probe_slow",
        Reason::ProbeRatio { .. } => "probe_ratio",
        Reason::HalfOpenOver => "half_open_over",
        Reason::ProbesPassed => "probes_passed",
        Reason::Reset => "reset",
        Reason::ByHand => "by_hand",
        Reason::Forced => "forced",
        Reason::ForceOver => "force_over",
        _ => "unknown",
    }
}

pub(crate) fn rules(config: &BreakerConfig) -> Result<Arc<Rules>, String> {
    Rules::new(config).map(Arc::new).map_err(|error| error.to_string())
}
