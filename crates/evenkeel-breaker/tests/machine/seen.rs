//! What the windows held when another rule tripped: the breaker tells the counts of the rule that did, and begins anew.

use evenkeel_breaker::{BreakerConfig, Reason, Rule, State, Stats, Transition, Window, WouldBe};

/// An outcome, as rules look at it; `None`: it does not count in rules of failures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) failed: Option<bool>,
    pub(crate) slow: bool,
}

/// What a rule takes for bad.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bad {
    Failed,
    Slow,
}

/// The outcomes of the present epoch, and the counts when it ended.
#[derive(Default)]
pub(crate) struct Seen {
    /// Of which the last one, if there is one, comes after `before`.
    told: Vec<Told>,
    before: Option<Stats>,
    is_new: bool,
    failed: (u64, u64),
    slow: (u64, u64),
}

impl Seen {
    /// Before something happens.
    pub(crate) fn look(&mut self, stats: Stats) {
        if self.before.is_none_or(|before| before.epoch != stats.epoch) {
            self.told.clear();
        }
        self.before = Some(stats);
        self.is_new = false;
    }

    pub(crate) fn outcome(&mut self, told: Told) {
        self.told.push(told);
        self.is_new = true;
    }

    pub(crate) fn change(&mut self, config: &BreakerConfig, transition: Transition) {
        let by_rule = matches!(
            transition.reason,
            Reason::Consecutive { .. }
                | Reason::Ratio { .. }
                | Reason::Slow { .. }
                | Reason::Ewma { .. }
                | Reason::Statistical
                | Reason::Overdue { .. }
                | Reason::RetryAfter
        );
        let closed = matches!(transition.from, State::Closed | State::DryRun { would_be: WouldBe::Closed });
        let counts = |bad| if by_rule && closed { self.counts(config, bad) } else { (0, 0) };
        (self.failed, self.slow) = (counts(Bad::Failed), counts(Bad::Slow));
        self.told.clear();
    }

    /// Bad ones and all.
    pub(crate) fn at_trip(&self, bad: Bad) -> (u64, u64) {
        match bad {
            Bad::Failed => self.failed,
            Bad::Slow => self.slow,
        }
    }

    fn counts(&self, config: &BreakerConfig, bad: Bad) -> (u64, u64) {
        let window = config.rules.iter().find_map(|rule| match (*rule, bad) {
            (Rule::Ratio { window, .. }, Bad::Failed) | (Rule::SlowRatio { window, .. }, Bad::Slow) => {
                Some(window)
            }
            _ => None,
        });
        let is_bad = |told: &Told| match bad {
            Bad::Failed => told.failed,
            Bad::Slow => Some(told.slow),
        };
        match (window, self.before) {
            (Some(Window::Count { size }), _) => {
                let last: Vec<bool> = self.told.iter().rev().filter_map(is_bad).take(size as usize).collect();
                (last.iter().filter(|bad| **bad).count() as u64, last.len() as u64)
            }
            (Some(Window::Time { .. }), Some(before)) => {
                let last = self.told.last().filter(|_| self.is_new).and_then(is_bad);
                let (failures, requests) = match bad {
                    Bad::Failed => (before.window_failures, before.window_requests),
                    Bad::Slow => (before.window_slow, before.slow_window_requests),
                };
                (failures + u64::from(last == Some(true)), requests + u64::from(last.is_some()))
            }
            _ => (0, 0),
        }
    }
}
