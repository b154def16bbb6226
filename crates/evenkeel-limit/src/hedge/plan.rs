use evenkeel_types::Timestamp;

use crate::BudgetSpent;

/// Which of the two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// The first one.
    Original,
    /// The second one.
    Backup,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it says what to do"]
pub enum HedgeStep {
    /// Nothing yet.
    Wait,
    /// Send the second request.
    Send,
    /// The second request is due, and the budget does not allow it. Told once; count it.
    NoBudget(BudgetSpent),
    /// The answer of this leg is the answer. Cancel the other one if it is under way: it is superseded, and its latency so
    /// far is a latency like others.
    Done(Leg),
}

/// One request and perhaps its double.
///
/// ```text
///            deadline            original ends     backup succeeds   backup fails
/// Alone      Send, or NoBudget   Done(Original)    –                 –
/// NoBackup   –                   Done(Original)    –                 –
/// Both       –                   Done(Original)    Done(Backup)      wait for the original
/// Over       –                   –                 –                 –
/// ```
///
/// A failure of the original is the answer, also while the backup is under way: hedging is for slowness, and a failure is for
/// retries, which have their own budget. Source: `BackupRequestFilter` of Finagle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HedgePlan {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alone { until: Timestamp },
    NoBackup,
    Both,
    Over,
}

impl HedgePlan {
    /// With a second request due then, or never.
    #[must_use]
    pub fn new(due: Option<Timestamp>) -> Self {
        Self { state: due.map_or(State::NoBackup, |until| State::Alone { until }) }
    }

    /// When the second request is due.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Alone { until } => Some(until),
            State::NoBackup | State::Both | State::Over => None,
        }
    }

    /// Looks whether the second request is due; if it is, asks `budget` for it.
    pub fn tick(&mut self, now: Timestamp, budget: impl FnOnce() -> Result<(), BudgetSpent>) -> HedgeStep {
        let State::Alone { until } = self.state else { return HedgeStep::Wait };
        if now < until {
            return HedgeStep::Wait;
        }
        match budget() {
            Ok(()) => {
                self.state = State::Both;
                HedgeStep::Send
            }
            Err(spent) => {
                self.state = State::NoBackup;
                HedgeStep::NoBudget(spent)
            }
        }
    }

    /// A leg has ended, well or not.
    pub fn ended(&mut self, leg: Leg, succeeded: bool) -> HedgeStep {
        match (self.state, leg) {
            (State::Over, _) => HedgeStep::Wait,
            (_, Leg::Original) => self.done(leg),
            (State::Both, Leg::Backup) if succeeded => self.done(leg),
            (State::Both, Leg::Backup) => {
                self.state = State::NoBackup;
                HedgeStep::Wait
            }
            (State::Alone { .. } | State::NoBackup, Leg::Backup) => HedgeStep::Wait,
        }
    }

    fn done(&mut self, leg: Leg) -> HedgeStep {
        self.state = State::Over;
        HedgeStep::Done(leg)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const DUE: Timestamp = Timestamp::from_secs(1);
    const SPENT: BudgetSpent = BudgetSpent { spent: 1, allowed: 1 };

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Early,
        Deadline,
        DeadlineWithoutBudget,
        Original(bool),
        Backup(bool),
    }

    fn apply(plan: &mut HedgePlan, event: Event) -> HedgeStep {
        match event {
            Event::Early => plan.tick(Timestamp::ORIGIN, || Ok(())),
            Event::Deadline => plan.tick(DUE, || Ok(())),
            Event::DeadlineWithoutBudget => plan.tick(DUE, || Err(SPENT)),
            Event::Original(good) => plan.ended(Leg::Original, good),
            Event::Backup(good) => plan.ended(Leg::Backup, good),
        }
    }

    #[test]
    fn every_state_meets_every_event() {
        use Event::{Backup, Deadline, DeadlineWithoutBudget, Early, Original};
        use HedgeStep::{Done, NoBudget, Send, Wait};
        let alone = State::Alone { until: DUE };
        let (backup, original) = (Done(Leg::Backup), Done(Leg::Original));
        let table = [
            (alone, Early, Wait, alone),
            (alone, Deadline, Send, State::Both),
            (alone, DeadlineWithoutBudget, NoBudget(SPENT), State::NoBackup),
            (alone, Original(true), original, State::Over),
            (alone, Original(false), original, State::Over),
            (alone, Backup(true), Wait, alone),
            (alone, Backup(false), Wait, alone),
            (State::NoBackup, Early, Wait, State::NoBackup),
            (State::NoBackup, Deadline, Wait, State::NoBackup),
            (State::NoBackup, DeadlineWithoutBudget, Wait, State::NoBackup),
            (State::NoBackup, Original(true), original, State::Over),
            (State::NoBackup, Original(false), original, State::Over),
            (State::NoBackup, Backup(true), Wait, State::NoBackup),
            (State::NoBackup, Backup(false), Wait, State::NoBackup),
            (State::Both, Early, Wait, State::Both),
            (State::Both, Deadline, Wait, State::Both),
            (State::Both, DeadlineWithoutBudget, Wait, State::Both),
            (State::Both, Original(true), original, State::Over),
            (State::Both, Original(false), original, State::Over),
            (State::Both, Backup(true), backup, State::Over),
            (State::Both, Backup(false), Wait, State::NoBackup),
            (State::Over, Early, Wait, State::Over),
            (State::Over, Deadline, Wait, State::Over),
            (State::Over, DeadlineWithoutBudget, Wait, State::Over),
            (State::Over, Original(true), Wait, State::Over),
            (State::Over, Original(false), Wait, State::Over),
            (State::Over, Backup(true), Wait, State::Over),
            (State::Over, Backup(false), Wait, State::Over),
        ];
        for (state, event, step, after) in table {
            let mut plan = HedgePlan { state };
            assert_eq!((apply(&mut plan, event), plan.state), (step, after), "{state:?} {event:?}");
        }
    }
}
