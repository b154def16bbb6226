use std::time::Duration;

use evenkeel_types::{Outcome, Ratio, Timestamp, Verdict};
use thiserror::Error;

/// How a new version takes over, step by step.
///
/// ```text
/// share
/// 100 %                                   ┌─────── done
///  50 %                       ┌───────────┘
///  10 %           ┌───────────┘
///   1 %  ┌────────┘                 budget spent: 0 % at once, from wherever it is
///        start    hold        hold        hold
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RampConfig {
    /// How long nothing happens at first. Default 0.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub wait: Duration,
    /// The steps, each with a larger share than the one before.
    ///
    /// Default 1, 10, 50 and 100 %, ten minutes each: each step shows an error ten or five times as rare as the one
    /// before, and most bad versions show themselves within minutes.
    pub steps: Vec<RampStep>,
    /// Requests that the new version must have answered in a step before the next one begins. Default 0: time alone
    /// decides, so that a service without traffic at night still gets its new version.
    pub min_requests: u64,
    /// What the new version may fail at. Default: 1 % more than the old one, judged after 100 requests.
    pub budget: Option<ErrorBudget>,
}

impl Default for RampConfig {
    fn default() -> Self {
        let step = |parts| RampStep { share: parts, hold: Duration::from_secs(600) };
        let percent = |percent| Ratio::percent(percent).unwrap_or(Ratio::ONE);
        Self {
            wait: Duration::ZERO,
            steps: [percent(1), percent(10), Ratio::HALF, Ratio::ONE].map(step).to_vec(),
            min_requests: 0,
            budget: Some(ErrorBudget::default()),
        }
    }
}

/// A share, and how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RampStep {
    /// The share of the new version.
    pub share: Ratio,
    /// How long it is kept before the next step, or before the ramp is done.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub hold: Duration,
}

/// What ends a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ErrorBudget {
    /// The share of failures that the new version may have in a step. More ends the ramp. Default 1 %.
    pub failures: Ratio,
    /// Whether that is on top of what the old version fails at in the same step. Default yes: a database that is down
    /// fails both. Where the old one has had fewer than `min_requests`, or the new one gets everything and what still comes from the
    /// old one is what took longest, it is what the old one failed at before, and nothing if that was never known.
    pub above_old: bool,
    /// Requests of the new version in a step before it is judged, and of the old one before it is a measure; at least 1. Default
    /// 100.
    pub min_requests: u64,
}

impl Default for ErrorBudget {
    fn default() -> Self {
        Self { failures: Ratio::percent(1).unwrap_or(Ratio::ZERO), above_old: true, min_requests: 100 }
    }
}

/// Where a ramp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum RampState {
    /// Before the first step.
    Waiting,
    /// In the step of this number.
    Step(usize),
    /// Stopped in this step, or before the first one, until it is resumed.
    Paused(Option<usize>),
    /// Through all steps; the share of the last one stays.
    Done,
    /// Ended at share zero.
    Aborted,
}

/// Which version answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RampArm {
    /// The one that takes over.
    New,
    /// The one that it takes over from.
    Old,
}

/// A ramp went on, stopped or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[must_use]
pub struct RampChange {
    /// Where it was.
    pub from: RampState,
    /// Where it is.
    pub to: RampState,
    /// The share of the new version now.
    pub share: Ratio,
    /// Why.
    pub why: RampWhy,
}

/// Why a ramp changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum RampWhy {
    /// A step was held long enough.
    Held,
    /// Somebody said so.
    Operator,
    /// Too many failures.
    Budget {
        /// Failures of the new version in this step.
        failures: u64,
        /// Its requests.
        requests: u64,
    },
}

/// A ramp that is under way.
///
/// ```text
///            tick, deadline   budget spent   pause    resume          promote   abort
/// Waiting    Step 0           –              Paused   –               Done      Aborted
/// Step i     Step i+1, Done   Aborted        Paused   –               Done      Aborted
/// Paused i   –                Aborted        –        Step i, afresh  Done      Aborted
/// Done       –                –              –        –               –         Aborted
/// Aborted    –                –              –        –               –         –
/// ```
///
/// One tick makes one step, however late it is: a forgotten tick delays, and never skips a step that shows errors.
#[derive(Clone, Debug)]
pub struct Ramp {
    config: RampConfig,
    state: RampState,
    since: Timestamp,
    now: Timestamp,
    new: Counts,
    old: Counts,
    /// What the old version failed at when it was last known.
    before: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    failures: u64,
}

impl Ramp {
    /// A ramp that begins now.
    ///
    /// # Errors
    ///
    /// [`RampError`] if its steps do not rise, or its budget judges nothing.
    pub fn new(config: &RampConfig, now: Timestamp) -> Result<Self, RampError> {
        check(config)?;
        let ramp = Self {
            config: config.clone(),
            state: RampState::Waiting,
            since: now,
            now,
            new: Counts::default(),
            old: Counts::default(),
            before: Counts::default(),
        };
        Ok(ramp)
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> RampState {
        self.state
    }

    /// The share of the new version.
    #[must_use]
    pub fn share(&self) -> Ratio {
        let of_step = |step: usize| self.config.steps.get(step).map_or(Ratio::ZERO, |step| step.share);
        match self.state {
            RampState::Waiting | RampState::Paused(None) | RampState::Aborted => Ratio::ZERO,
            RampState::Step(step) | RampState::Paused(Some(step)) => of_step(step),
            RampState::Done => of_step(self.config.steps.len() - 1),
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match self.state {
            RampState::Waiting => Some(self.since.saturating_add(self.config.wait)),
            RampState::Step(step) if self.new.requests >= self.config.min_requests => {
                Some(self.since.saturating_add(self.config.steps.get(step)?.hold))
            }
            _ => None,
        }
    }

    /// Makes the next step, if it is time.
    pub fn tick(&mut self, now: Timestamp) -> Option<RampChange> {
        self.now = self.now.max(now);
        if self.next_deadline().is_none_or(|deadline| self.now < deadline) {
            return None;
        }
        let to = match self.state {
            RampState::Step(step) if step + 1 == self.config.steps.len() => RampState::Done,
            RampState::Step(step) => RampState::Step(step + 1),
            _ => RampState::Step(0),
        };
        Some(self.go(to, RampWhy::Held))
    }

    /// Counts an answer, and ends the ramp if the budget is spent. Failures and overloads count against it, neutral
    /// outcomes do not count at all.
    pub fn record(&mut self, arm: RampArm, outcome: &Outcome, now: Timestamp) -> Option<RampChange> {
        let counts = match arm {
            RampArm::New => &mut self.new,
            RampArm::Old => &mut self.old,
        };
        match outcome.verdict() {
            Verdict::Neutral => {}
            verdict => {
                counts.requests = counts.requests.saturating_add(1);
                let failed = matches!(verdict, Verdict::Failure | Verdict::Overload { .. });
                counts.failures = counts.failures.saturating_add(u64::from(failed));
            }
        }
        if matches!(self.state, RampState::Step(_) | RampState::Paused(Some(_))) && self.is_spent() {
            let Counts { failures, requests } = self.new;
            return Some(self.go(RampState::Aborted, RampWhy::Budget { failures, requests }));
        }
        self.tick(now)
    }

    /// Stops where it is.
    pub fn pause(&mut self) -> Option<RampChange> {
        let to = match self.state {
            RampState::Waiting => RampState::Paused(None),
            RampState::Step(step) => RampState::Paused(Some(step)),
            _ => return None,
        };
        Some(self.go(to, RampWhy::Operator))
    }

    /// Goes on where it was stopped; the step begins anew.
    pub fn resume(&mut self, now: Timestamp) -> Option<RampChange> {
        self.now = self.now.max(now);
        let to = match self.state {
            RampState::Paused(None) => RampState::Waiting,
            RampState::Paused(Some(step)) => RampState::Step(step),
            _ => return None,
        };
        Some(self.go(to, RampWhy::Operator))
    }

    /// Ends it at share zero.
    pub fn abort(&mut self) -> Option<RampChange> {
        (self.state != RampState::Aborted).then(|| self.go(RampState::Aborted, RampWhy::Operator))
    }

    /// Goes to the last share at once.
    pub fn promote(&mut self) -> Option<RampChange> {
        (!matches!(self.state, RampState::Done | RampState::Aborted))
            .then(|| self.go(RampState::Done, RampWhy::Operator))
    }

    fn go(&mut self, to: RampState, why: RampWhy) -> RampChange {
        self.before = self.of_old();
        let from = std::mem::replace(&mut self.state, to);
        self.since = self.now;
        // A pause keeps its counts: what was already spent is spent.
        if !matches!(to, RampState::Paused(_)) {
            (self.new, self.old) = (Counts::default(), Counts::default());
        }
        RampChange { from, to, share: self.share(), why }
    }

    /// What the old version fails at: a few of its requests say nothing, and when it gets no new ones those that still come in are
    /// the slow ones.
    fn of_old(&self) -> Counts {
        let least = self.config.budget.map_or(u64::MAX, |budget| budget.min_requests);
        if self.old.requests >= least && self.share() < Ratio::ONE { self.old } else { self.before }
    }

    /// `failures / requests > budget + old failures / old requests`, without division.
    fn is_spent(&self) -> bool {
        let Some(budget) = self.config.budget else { return false };
        let (new, old) = (self.new, if budget.above_old { self.of_old() } else { Counts::default() });
        if new.requests < budget.min_requests {
            return false;
        }
        let old_requests = u128::from(old.requests.max(1));
        let parts = u128::from(budget.failures.parts_per_million());
        let failed = u128::from(new.failures).saturating_mul(old_requests).saturating_mul(1_000_000);
        let allowed = parts.saturating_mul(old_requests) + u128::from(old.failures) * 1_000_000;
        failed > allowed.saturating_mul(u128::from(new.requests))
    }
}

/// A ramp makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RampError {
    /// Nowhere to go.
    #[error("steps is empty: write at least one")]
    NoSteps,
    /// Too many steps.
    #[error("steps holds {0}: at most 1000 are allowed")]
    TooManySteps(usize),
    /// A step that does not rise.
    #[error("steps[{0}].share is not larger than the one before: shares rise, and the first is above 0")]
    NotRising(usize),
    /// A budget without requests.
    #[error("budget.min_requests is 0: at least 1 is needed")]
    ZeroMinRequests,
    /// A budget that is never spent.
    #[error("budget.failures is 1, which is never exceeded: lower it, or leave the budget out")]
    EndlessBudget,
}

fn check(config: &RampConfig) -> Result<(), RampError> {
    if config.steps.is_empty() {
        return Err(RampError::NoSteps);
    }
    if config.steps.len() > MOST_STEPS {
        return Err(RampError::TooManySteps(config.steps.len()));
    }
    let mut before = Ratio::ZERO;
    for (i, step) in config.steps.iter().enumerate() {
        if step.share <= before {
            return Err(RampError::NotRising(i));
        }
        before = step.share;
    }
    match config.budget {
        Some(budget) if budget.min_requests == 0 => Err(RampError::ZeroMinRequests),
        Some(budget) if budget.failures == Ratio::ONE => Err(RampError::EndlessBudget),
        _ => Ok(()),
    }
}

const MOST_STEPS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use RampState::{Aborted, Done, Paused, Step, Waiting};

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn ramp() -> Ramp {
        let step =
            |percent| RampStep { share: Ratio::percent(percent).unwrap(), hold: Duration::from_secs(10) };
        let budget = ErrorBudget { failures: Ratio::percent(10).unwrap(), above_old: true, min_requests: 10 };
        let config = RampConfig {
            wait: Duration::from_secs(5),
            steps: vec![step(10), step(50)],
            min_requests: 0,
            budget: Some(budget),
        };
        Ramp::new(&config, at(0)).unwrap()
    }

    /// A ramp in each state.
    fn in_state(state: RampState) -> Ramp {
        let mut ramp = ramp();
        let _ = match state {
            Waiting => None,
            Step(0) => ramp.tick(at(5)),
            Step(_) => ramp.tick(at(5)).and_then(|_| ramp.tick(at(15))),
            Paused(None) => ramp.pause(),
            Paused(_) => ramp.tick(at(5)).and_then(|_| ramp.pause()),
            Done => ramp.promote(),
            Aborted => ramp.abort(),
        };
        assert_eq!(ramp.state(), state);
        ramp
    }

    #[test]
    fn every_state_and_event() {
        // deadline, spent, pause, resume, promote, abort
        let table: [(RampState, [Option<RampState>; 6]); 7] = [
            (Waiting, [Some(Step(0)), None, Some(Paused(None)), None, Some(Done), Some(Aborted)]),
            (Step(0), [Some(Step(1)), Some(Aborted), Some(Paused(Some(0))), None, Some(Done), Some(Aborted)]),
            (Step(1), [Some(Done), Some(Aborted), Some(Paused(Some(1))), None, Some(Done), Some(Aborted)]),
            (Paused(None), [None, None, None, Some(Waiting), Some(Done), Some(Aborted)]),
            (Paused(Some(0)), [None, Some(Aborted), None, Some(Step(0)), Some(Done), Some(Aborted)]),
            (Done, [None, None, None, None, None, Some(Aborted)]),
            (Aborted, [None; 6]),
        ];
        for (state, expected) in table {
            for (event, expected) in expected.into_iter().enumerate() {
                let mut ramp = in_state(state);
                let change = match event {
                    0 => ramp.tick(at(1000)),
                    1 => (0..10).find_map(|_| ramp.record(RampArm::New, &Outcome::failure(), at(1))),
                    2 => ramp.pause(),
                    3 => ramp.resume(at(1000)),
                    4 => ramp.promote(),
                    _ => ramp.abort(),
                };
                assert_eq!(change.map(|change| change.to), expected, "{state:?}, event {event}");
                assert_eq!(ramp.state(), expected.unwrap_or(state));
            }
        }
    }

    #[test]
    fn a_late_tick_makes_one_step() {
        let mut ramp = in_state(Step(0));
        assert_eq!(ramp.tick(at(14)), None);
        assert_eq!(ramp.tick(at(900)).map(|change| change.to), Some(Step(1)));
        assert_eq!(ramp.next_deadline(), Some(at(910)));
        assert_eq!(ramp.tick(at(5)), None, "a clock that goes back is waited for");
    }

    #[test]
    fn the_budget_is_on_top_of_what_the_old_version_fails_at() {
        let run = |old_failures: u32, new_failures: u32| {
            let mut ramp = in_state(Step(0));
            let outcome = |failed| if failed { Outcome::failure() } else { Outcome::success() };
            (0..100).for_each(|i| {
                assert_eq!(ramp.record(RampArm::Old, &outcome(i < old_failures), at(6)), None);
            });
            (0..20).find_map(|i| ramp.record(RampArm::New, &outcome(i >= 20 - new_failures), at(6)))
        };
        assert_eq!(run(0, 2), None, "exactly the budget is within it");
        assert!(run(0, 3).is_some());
        assert_eq!(run(30, 8), None);
        assert!(run(30, 9).is_some());
    }

    /// What was under way when the last step began ends in it, and is mostly what hangs: no measure, however much it is.
    #[test]
    fn stragglers_of_the_old_version_are_no_measure() {
        let run = |before: u64, stragglers: u64| {
            let mut ramp = in_state(Step(0));
            ramp.config.steps[1].share = Ratio::ONE;
            (0..before).for_each(|i| {
                let outcome = if i < before / 2 { Outcome::failure() } else { Outcome::success() };
                assert_eq!(ramp.record(RampArm::Old, &outcome, at(6)), None);
            });
            assert_eq!(ramp.tick(at(15)).map(|change| change.to), Some(Step(1)));
            (0..stragglers).for_each(|_| {
                assert_eq!(ramp.record(RampArm::Old, &Outcome::failure(), at(16)), None);
            });
            // Two of three fail.
            (0..30).find_map(|i| {
                let outcome = if i % 3 == 0 { Outcome::success() } else { Outcome::failure() };
                ramp.record(RampArm::New, &outcome, at(16))
            })
        };
        for stragglers in [0, 1, 500] {
            let change = run(0, stragglers).expect("nothing is known of the old version but stragglers");
            assert!(matches!(change.why, RampWhy::Budget { requests: 10, .. }), "{change:?}");
            assert!(run(8, stragglers).is_some(), "half of eight says nothing either");
            assert!(run(1000, stragglers).is_some(), "66 % is more than 50 % and 10 %");
        }
        let mut same = in_state(Step(0));
        (0..9).for_each(|_| assert_eq!(same.record(RampArm::Old, &Outcome::failure(), at(6)), None));
        let spent = (0..10).find_map(|_| same.record(RampArm::New, &Outcome::failure(), at(6)));
        assert!(spent.is_some(), "nine requests are none");
    }

    #[test]
    fn what_the_old_version_failed_at_before_counts_when_it_has_no_requests() {
        let mut ramp = in_state(Step(0));
        ramp.config.steps[1].share = Ratio::ONE;
        (0..100).for_each(|_| assert_eq!(ramp.record(RampArm::Old, &Outcome::failure(), at(6)), None));
        assert_eq!(ramp.tick(at(15)).map(|change| change.to), Some(Step(1)));
        let spent = (0..100).find_map(|_| ramp.record(RampArm::New, &Outcome::failure(), at(16)));
        assert_eq!(spent, None, "both fail at everything: it is not the new version");
    }

    #[test]
    fn a_step_can_wait_for_requests() {
        let config = RampConfig { min_requests: 2, ..RampConfig::default() };
        let mut ramp = Ramp::new(&config, at(0)).unwrap();
        assert_eq!(ramp.tick(at(0)).map(|change| change.to), Some(Step(0)));
        assert_eq!((ramp.tick(at(9000)), ramp.next_deadline()), (None, None));
        assert_eq!(ramp.record(RampArm::New, &Outcome::success(), at(9000)), None);
        assert_eq!(ramp.record(RampArm::New, &Outcome::neutral(), at(9000)), None);
        let change = ramp.record(RampArm::New, &Outcome::success(), at(9000));
        assert_eq!(
            change.map(|change| change.to),
            Some(Step(1)),
            "the request that completes it moves it on"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |change: fn(&mut RampConfig)| {
            let mut config = RampConfig::default();
            change(&mut config);
            Ramp::new(&config, at(0)).unwrap_err()
        };
        assert_eq!(refused(|config| config.steps.clear()), RampError::NoSteps);
        assert_eq!(refused(|config| config.steps[1].share = config.steps[0].share), RampError::NotRising(1));
        assert_eq!(refused(|config| config.steps[0].share = Ratio::ZERO), RampError::NotRising(0));
        let zero = |config: &mut RampConfig| {
            config.budget = Some(ErrorBudget { min_requests: 0, ..Default::default() });
        };
        assert_eq!(refused(zero), RampError::ZeroMinRequests);
    }
}
