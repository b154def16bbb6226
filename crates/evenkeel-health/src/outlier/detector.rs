//! Who goes out, and who comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

use super::backoff;
use super::brake::BrakeState;
use super::change::{Ejection, EjectionReason, OutlierChange, Refusal, Suspicion};
use super::counters::OutlierCounters;
use super::judge::{Judged, judge};
use super::rules::{EjectionCaps, OutlierRules, Return, ReturnBy};
use crate::CheckResult;

/// The detector of one cluster: sweeps the counters of its endpoints, ejects, and brings back.
///
/// Off the request path, behind one short lock of the caller. `K` names an endpoint; the detector hands it back and
/// otherwise only compares it. `C` leads to the counters of an endpoint: an `Arc` of them, or of something that has them
/// beside what else its requests touch.
///
/// | state | `suspect` of a run | probation passed, failed | deadline | sweep | check |
/// |---|---|---|---|---|---|
/// | in | out, or refused | – | – | out, or refused, if a rule is met | – |
/// | ejected | – | – | probation, or in | – | as the deadline, if asked for |
/// | probation | out again | ramp (or in); out again | ramp (or in) | as told by the counters | – |
/// | ramp | out, or refused | – | in | out, or refused, if a rule is met | – |
///
/// Times that go back count as the latest that is known. Cost: a sweep is O(endpoints), everything else O(log endpoints).
#[derive(Debug)]
pub struct OutlierDetector<K, C = Arc<OutlierCounters>> {
    rules: Arc<OutlierRules>,
    draws: SplitMix64,
    entries: Vec<Entry<K, C>>,
    places: BTreeMap<K, usize>,
    /// Ejected or on probation.
    out: usize,
    /// Neither, and usable as far as others are concerned.
    staying: usize,
    /// What waits, by when.
    waiting: BTreeSet<(Timestamp, K)>,
    brake: BrakeState<K>,
    next_sweep: Timestamp,
    now: Timestamp,
    totals: OutlierTotals,
}

#[derive(Debug)]
struct Entry<K, C> {
    token: K,
    counters: C,
    state: State,
    /// Steps of growth of the next ejection.
    level: u32,
    times_ejected: u32,
    salt: u64,
    clean_since: Timestamp,
    clean_requests: u64,
    passes: u32,
    tripped: Option<Timestamp>,
    usable: bool,
    refused: Option<(EjectionReason, Refusal)>,
}

impl<K, C> Entry<K, C> {
    /// Whether it can serve.
    const fn stays(&self) -> bool {
        self.usable && !self.state.is_out()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    In,
    Ejected(Ejection),
    Probation { since: Timestamp, until: Timestamp },
    Ramp { since: Timestamp, until: Timestamp },
}

impl State {
    const fn is_out(&self) -> bool {
        matches!(self, Self::Ejected(_) | Self::Probation { .. })
    }

    const fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::In => None,
            Self::Ejected(ejection) => Some(ejection.until),
            Self::Probation { until, .. } | Self::Ramp { until, .. } => Some(*until),
        }
    }
}

/// What an endpoint is to the detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum OutlierState {
    /// It gets its share.
    In,
    /// It gets nothing.
    Ejected,
    /// It gets a trickle.
    Probation,
    /// Its share grows.
    Ramp,
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct OutlierStatus {
    /// What it is now.
    pub state: OutlierState,
    /// The ejection that it is out by.
    pub ejection: Option<Ejection>,
    /// When its state ends by itself.
    pub until: Option<Timestamp>,
    /// How often it was ejected.
    pub times_ejected: u32,
    /// How many steps the next ejection is longer than the first.
    pub level: u32,
    /// The last rule that it met without going out, and why; until it goes out or a sweep finds nothing against it.
    pub refused: Option<(EjectionReason, Refusal)>,
}

/// Counts since the detector was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct OutlierTotals {
    /// Ejections, those from a probation included.
    pub ejections: u64,
    /// Ejections that caps refused.
    pub refused_by_caps: u64,
    /// Ejections that the brake refused.
    pub refused_by_brake: u64,
    /// How often the brake was put on.
    pub braked: u64,
    /// Times at which the clock was found to have gone back.
    pub clock_regressions: u64,
}

impl<K: Copy + Ord, C: AsRef<OutlierCounters>> OutlierDetector<K, C> {
    /// No endpoint yet; the first sweep is due one interval from `now`.
    #[must_use]
    pub fn new(rules: Arc<OutlierRules>, seed: u64, now: Timestamp) -> Self {
        let next_sweep = now.saturating_add(rules.config().interval);
        Self {
            rules,
            draws: SplitMix64::new(seed),
            entries: Vec::new(),
            places: BTreeMap::new(),
            out: 0,
            staying: 0,
            waiting: BTreeSet::new(),
            brake: BrakeState::new(),
            next_sweep,
            now,
            totals: OutlierTotals::default(),
        }
    }

    /// Watches an endpoint. Returns `false` if it did so already: then only the counters are replaced.
    pub fn insert(&mut self, token: K, counters: C, now: Timestamp) -> bool {
        let now = self.at(now);
        if let Some(&place) = self.places.get(&token) {
            self.entries[place].counters = counters;
            return false;
        }
        self.places.insert(token, self.entries.len());
        self.staying += 1;
        self.entries.push(Entry {
            token,
            counters,
            state: State::In,
            level: 0,
            times_ejected: 0,
            salt: self.draws.next_u64(),
            clean_since: now,
            clean_requests: 0,
            passes: 0,
            tripped: None,
            usable: true,
            refused: None,
        });
        true
    }

    /// Forgets an endpoint. With fewer endpoints fewer may be out: those that were out longest come back.
    pub fn remove(&mut self, token: K, now: Timestamp) -> Vec<OutlierChange<K>> {
        let now = self.at(now);
        let mut changes = Vec::new();
        let Some(place) = self.places.remove(&token) else { return changes };
        self.brake.forget(token);
        let entry = self.entries.swap_remove(place);
        self.out -= usize::from(entry.state.is_out());
        self.staying -= usize::from(entry.stays());
        if let Some(deadline) = entry.state.deadline() {
            self.waiting.remove(&(deadline, token));
        }
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.token, place);
        }
        self.keep_caps(now, &mut changes);
        changes
    }

    /// Whether an endpoint is usable as far as all other sources of health are concerned; one that is not does not count
    /// as remaining. Default: it is. An ejection that stands is not taken back.
    pub fn set_usable(&mut self, token: K, usable: bool) {
        if let Some(&place) = self.places.get(&token) {
            let entry = &mut self.entries[place];
            let before = entry.stays();
            entry.usable = usable;
            self.staying = self.staying + usize::from(entry.stays()) - usize::from(before);
        }
    }

    /// What the counters noticed. Ejects at once, if caps and brake allow it. A suspicion that its endpoint's state has
    /// overtaken changes nothing.
    pub fn suspect(&mut self, token: K, suspicion: Suspicion, now: Timestamp) -> Vec<OutlierChange<K>> {
        let now = self.at(now);
        let mut changes = Vec::new();
        let Some(&place) = self.places.get(&token) else { return changes };
        match (self.entries[place].state, suspicion.reason()) {
            (State::Probation { .. }, _) => {
                // The counters have the word: a verdict of an earlier probation may still be on its way.
                if let Some(verdict) = self.entries[place].counters.as_ref().probation_verdict() {
                    self.on_probation(place, verdict, now, &mut changes);
                }
            }
            (State::In | State::Ramp { .. }, Some(reason)) => self.trip(place, reason, now, &mut changes),
            (State::Ejected(_), _) | (State::In | State::Ramp { .. }, None) => {}
        }
        changes
    }

    /// The result of an active check. Changes something only if `return_by` asks for checks.
    pub fn on_check(&mut self, token: K, result: CheckResult, now: Timestamp) -> Vec<OutlierChange<K>> {
        let now = self.at(now);
        let mut changes = Vec::new();
        let passes = self.rules.config().return_by.passes();
        if let (Some(&place), Some(needed)) = (self.places.get(&token), passes) {
            let entry = &mut self.entries[place];
            let passed = matches!(result, CheckResult::Pass | CheckResult::Degraded);
            entry.passes = if passed { entry.passes.saturating_add(1) } else { 0 };
            if entry.passes >= needed && matches!(entry.state, State::Ejected(_)) {
                self.come_back(place, now, &mut changes);
            }
        }
        changes
    }

    /// Does what is due: ends ejections, probations and ramps whose time is over, and judges the interval if it is over.
    /// To be called at [`next_deadline`](Self::next_deadline); later is late and not wrong, earlier does nothing.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<OutlierChange<K>> {
        let now = self.at(now);
        let mut changes = Vec::new();
        if self.brake.until().is_some_and(|until| until <= now) {
            self.brake.release();
            changes.push(OutlierChange::BrakeReleased);
        }
        while let Some(&(due, token)) = self.waiting.first().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, token));
            if let Some(&place) = self.places.get(&token) {
                self.on_deadline(place, now, &mut changes);
            }
        }
        if self.next_sweep <= now {
            self.next_sweep = now.saturating_add(self.rules.config().interval);
            self.judge(now, &mut changes);
        }
        changes
    }

    /// When to call [`sweep`](Self::sweep) next.
    #[must_use]
    pub fn next_deadline(&self) -> Timestamp {
        let waiting = self.waiting.first().map_or(Timestamp::MAX, |&(due, _)| due);
        self.next_sweep.min(waiting).min(self.brake.until().unwrap_or(Timestamp::MAX))
    }

    /// New settings. What was learnt stays: counts, runs, ejections with their ends, steps, the brake. The present
    /// interval ends when the old or the new length says, whichever is earlier; if fewer may be out now, those that were
    /// out longest come back.
    ///
    /// Whoever records goes on with the old rules until it is given the new ones.
    pub fn set_rules(&mut self, rules: Arc<OutlierRules>, now: Timestamp) -> Vec<OutlierChange<K>> {
        let now = self.at(now);
        let mut changes = Vec::new();
        self.rules = rules;
        self.next_sweep = self.next_sweep.min(now.saturating_add(self.rules.config().interval));
        if self.rules.config().brake.is_none() && self.brake.until().is_some() {
            self.brake.release();
            changes.push(OutlierChange::BrakeReleased);
        }
        self.keep_caps(now, &mut changes);
        changes
    }

    /// The settings.
    #[must_use]
    pub fn rules(&self) -> &Arc<OutlierRules> {
        &self.rules
    }

    /// The factor on an endpoint's weight: 0 while ejected, 1 while in, between them on probation and on the ramp.
    #[must_use]
    pub fn factor(&self, token: K, now: Timestamp) -> f64 {
        let Some(&place) = self.places.get(&token) else { return 1.0 };
        let share = match self.rules.config().on_return {
            Return::Full => 1.0,
            Return::Probation(probation) => probation.share.as_f64(),
        };
        match self.entries[place].state {
            State::In => 1.0,
            State::Ejected(_) => 0.0,
            State::Probation { .. } => share,
            State::Ramp { since, until } => {
                let whole = until.saturating_since(since).as_nanos().max(1) as f64;
                let gone = now.max(self.now).saturating_since(since).as_nanos() as f64;
                share + (1.0 - share) * (gone / whole).min(1.0)
            }
        }
    }

    /// How an endpoint stands; `None` if it is not watched.
    #[must_use]
    pub fn status(&self, token: K) -> Option<OutlierStatus> {
        let entry = &self.entries[*self.places.get(&token)?];
        let (state, ejection) = match entry.state {
            State::In => (OutlierState::In, None),
            State::Ejected(ejection) => (OutlierState::Ejected, Some(ejection)),
            State::Probation { .. } => (OutlierState::Probation, None),
            State::Ramp { .. } => (OutlierState::Ramp, None),
        };
        Some(OutlierStatus {
            state,
            ejection,
            until: entry.state.deadline(),
            times_ejected: entry.times_ejected,
            level: entry.level,
            refused: entry.refused,
        })
    }

    /// How many endpoints are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many are ejected or on probation: what the caps count.
    #[must_use]
    pub const fn ejected(&self) -> usize {
        self.out
    }

    /// Until when the brake holds, if it does.
    #[must_use]
    pub const fn braked_until(&self) -> Option<Timestamp> {
        self.brake.until()
    }

    /// Counts since the beginning.
    #[must_use]
    pub const fn totals(&self) -> OutlierTotals {
        self.totals
    }

    /// The later of what is known and what is told.
    fn at(&mut self, now: Timestamp) -> Timestamp {
        self.totals.clock_regressions += u64::from(now < self.now);
        self.now = self.now.max(now);
        self.now
    }

    fn judge(&mut self, now: Timestamp, changes: &mut Vec<OutlierChange<K>>) {
        let mut judged = Vec::with_capacity(self.entries.len());
        let mut of_probation = Vec::new();
        for (place, entry) in self.entries.iter_mut().enumerate() {
            let counts = entry.counters.as_ref().take();
            match entry.state {
                State::In | State::Ramp { .. } => {
                    let run = entry.counters.as_ref().standing_suspicion(&self.rules);
                    entry.refused = None;
                    judged.push(Judged { place, counts, run });
                }
                State::Probation { .. } => {
                    of_probation
                        .extend(entry.counters.as_ref().probation_verdict().map(|verdict| (place, verdict)));
                }
                State::Ejected(_) => {}
            }
        }
        // The counters know before the caller tells, and also if it never does.
        for (place, verdict) in of_probation {
            self.on_probation(place, verdict, now, changes);
        }
        let verdicts = judge(self.rules.config(), &judged);
        for &(place, reason) in &verdicts {
            self.trip(place, reason, now, changes);
        }
        self.decay(&judged, now);
    }

    /// Steps back where the record is clean.
    fn decay(&mut self, judged: &[Judged], now: Timestamp) {
        let rule = self.rules.config().ejection;
        for Judged { place, counts, .. } in judged {
            let entry = &mut self.entries[*place];
            if entry.level == 0 || entry.state.is_out() {
                continue;
            }
            let local = u64::from(counts.local_failures);
            let (requests, failures) =
                (u64::from(counts.requests) + local, u64::from(counts.failures) + local);
            if failures * 10 > requests {
                entry.clean_since = now;
                entry.clean_requests = 0;
                continue;
            }
            entry.clean_requests = entry.clean_requests.saturating_add(requests);
            let enough = entry.clean_requests >= u64::from(rule.clean_requests);
            if enough && now.saturating_since(entry.clean_since) >= rule.clean_for {
                entry.level -= 1;
                entry.clean_since = now;
                entry.clean_requests = 0;
            }
        }
    }

    /// It met a rule: out, if nothing speaks against it.
    fn trip(
        &mut self,
        place: usize,
        reason: EjectionReason,
        now: Timestamp,
        changes: &mut Vec<OutlierChange<K>>,
    ) {
        let endpoints = self.entries.len();
        let config = self.rules.config();
        let entry = &mut self.entries[place];
        let token = entry.token;
        entry.clean_since = now;
        entry.clean_requests = 0;
        if let Some(brake) = &config.brake {
            let begun = self.brake.trip(brake, token, entry.tripped, endpoints, now);
            entry.tripped = Some(now);
            if let (Some(tripped), Some(until)) = (begun, self.brake.until()) {
                self.totals.braked += 1;
                changes.push(OutlierChange::Braked { tripped, endpoints, until });
            }
        }
        let braked = self.brake.until().is_some_and(|until| now < until);
        let caps = config.caps;
        match if braked { Some(Refusal::Brake) } else { self.refusal(place, &caps) } {
            None => self.eject(place, reason, now, changes),
            Some(by) => {
                match by {
                    Refusal::Brake => self.totals.refused_by_brake += 1,
                    _ => self.totals.refused_by_caps += 1,
                }
                self.entries[place].refused = Some((reason, by));
                changes.push(OutlierChange::Refused { token, reason, by });
            }
        }
    }

    fn refusal(&self, place: usize, caps: &EjectionCaps) -> Option<Refusal> {
        let left = self.staying - usize::from(self.entries[place].usable);
        caps.refusal(self.entries.len(), self.out, left)
    }

    fn eject(
        &mut self,
        place: usize,
        reason: EjectionReason,
        now: Timestamp,
        changes: &mut Vec<OutlierChange<K>>,
    ) {
        let config = self.rules.config();
        let rule = config.ejection;
        let waits_for_checks = matches!(config.return_by, ReturnBy::Checks(_));
        let entry = &mut self.entries[place];
        let (time, level) = backoff::time(&rule, entry.level);
        let time = if waits_for_checks { rule.max } else { time };
        let count = entry.times_ejected.saturating_add(1);
        let jitter = backoff::jitter(time, rule.jitter, entry.salt, count);
        let until = now.saturating_add(time).saturating_add(jitter);
        let ejection = Ejection { reason, since: now, until, count };
        let token = entry.token;
        entry.level = level;
        entry.times_ejected = count;
        entry.passes = 0;
        entry.refused = None;
        self.totals.ejections += 1;
        self.turn(place, State::Ejected(ejection));
        changes.push(OutlierChange::Ejected { token, ejection });
    }

    fn on_deadline(&mut self, place: usize, now: Timestamp, changes: &mut Vec<OutlierChange<K>>) {
        match self.entries[place].state {
            State::In => {}
            State::Ejected(_) => self.come_back(place, now, changes),
            State::Probation { .. } => {
                let failed = self.entries[place].counters.as_ref().probation_verdict()
                    == Some(Suspicion::ProbationFailed);
                let verdict = if failed { Suspicion::ProbationFailed } else { Suspicion::ProbationPassed };
                self.on_probation(place, verdict, now, changes);
            }
            State::Ramp { .. } => {
                self.turn(place, State::In);
                changes.push(OutlierChange::Ramped { token: self.entries[place].token });
            }
        }
    }

    /// From an ejection to what comes after it.
    fn come_back(&mut self, place: usize, now: Timestamp, changes: &mut Vec<OutlierChange<K>>) {
        match self.rules.config().on_return {
            Return::Full => {
                self.entries[place].counters.as_ref().restart(0);
                self.return_to(place, Duration::ZERO, now, changes);
            }
            Return::Probation(probation) => {
                let successes = u16::try_from(probation.successes).unwrap_or(u16::MAX - 1);
                self.entries[place].counters.as_ref().restart(successes);
                let until = now.saturating_add(probation.patience);
                self.turn(place, State::Probation { since: now, until });
                changes.push(OutlierChange::Probation { token: self.entries[place].token, until });
            }
        }
    }

    fn on_probation(
        &mut self,
        place: usize,
        verdict: Suspicion,
        now: Timestamp,
        changes: &mut Vec<OutlierChange<K>>,
    ) {
        if verdict == Suspicion::ProbationFailed {
            // It is out already, so neither caps nor brake are asked.
            self.eject(place, EjectionReason::Probation, now, changes);
            return;
        }
        let ramp = match self.rules.config().on_return {
            Return::Full => Duration::ZERO,
            Return::Probation(probation) => probation.ramp,
        };
        self.entries[place].counters.as_ref().restart(0);
        self.return_to(place, ramp, now, changes);
    }

    fn return_to(
        &mut self,
        place: usize,
        ramp: Duration,
        now: Timestamp,
        changes: &mut Vec<OutlierChange<K>>,
    ) {
        let entry = &mut self.entries[place];
        entry.clean_since = now;
        entry.clean_requests = 0;
        let token = entry.token;
        let ramp_until = (!ramp.is_zero()).then(|| now.saturating_add(ramp));
        let next = ramp_until.map_or(State::In, |until| State::Ramp { since: now, until });
        self.turn(place, next);
        changes.push(OutlierChange::Returned { token, ramp_until });
    }

    fn turn(&mut self, place: usize, next: State) {
        let entry = &mut self.entries[place];
        let stayed = entry.stays();
        let before = std::mem::replace(&mut entry.state, next);
        let token = entry.token;
        self.staying = self.staying + usize::from(entry.stays()) - usize::from(stayed);
        if let Some(deadline) = before.deadline() {
            self.waiting.remove(&(deadline, token));
        }
        if let Some(deadline) = next.deadline() {
            self.waiting.insert((deadline, token));
        }
        self.out = self.out + usize::from(next.is_out()) - usize::from(before.is_out());
    }

    /// Brings back who was out longest until no more are out than may be.
    fn keep_caps(&mut self, now: Timestamp, changes: &mut Vec<OutlierChange<K>>) {
        while self.out > self.rules.config().caps.allowed(self.entries.len()) {
            let since = |entry: &Entry<K, C>| match entry.state {
                State::Ejected(ejection) => Some((false, ejection.since)),
                State::Probation { since, .. } => Some((true, since)),
                State::In | State::Ramp { .. } => None,
            };
            let out = self.entries.iter().enumerate();
            let out = out.filter_map(|(place, entry)| since(entry).map(|since| (since, entry.token, place)));
            // On probation first, then by time.
            let oldest = out.min_by_key(|&((trial, since), token, _)| (!trial, since, token));
            let Some((_, _, place)) = oldest else { return };
            self.entries[place].counters.as_ref().restart(0);
            self.return_to(place, Duration::ZERO, now, changes);
        }
    }
}
