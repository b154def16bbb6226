//! Two breakers that must always agree: one as it is configured, in its small form, and one that is prepared for a dry run.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use evenkeel_breaker::{
    Admission, Breaker, BreakerConfig, Permit, Refusal, Restart, Rules, State, Stats, Transition,
};
use evenkeel_scenario::{Crowd, Crowded};
use evenkeel_types::{Outcome, Timestamp};

use super::rules;

pub(crate) struct Twin {
    /// Gone once the other is in a dry run.
    lean: Option<Breaker>,
    full: Breaker,
}

pub(crate) type Pair = (Option<Permit>, Permit);

/// What a request that panicked has changed, by its admission and by its outcome, and whether the panic went on.
pub(crate) struct Panicked {
    pub(crate) changes: [Option<Transition>; 2],
    pub(crate) went_on: bool,
}

impl Twin {
    pub(crate) fn new(config: &BreakerConfig, salt: u64, now: Timestamp) -> Result<Self, String> {
        let lean = Breaker::starting(&rules(config)?, salt, now);
        let full = Breaker::starting(&rules(&prepared(config))?, salt, now);
        Ok(Self { lean: Some(lean), full })
    }

    pub(crate) fn needs_dry_run(&mut self) {
        self.lean = None;
    }

    /// Does the same to both, which must answer the same.
    pub(crate) fn each<T: PartialEq + Debug>(&self, act: impl Fn(&Breaker) -> T) -> T {
        let full = act(&self.full);
        if let Some(lean) = &self.lean {
            assert_eq!(act(lean), full, "a small breaker and one prepared for a dry run differ");
        }
        full
    }

    pub(crate) fn acquire(&self, now: Timestamp) -> Result<(Pair, Option<Transition>), Refusal> {
        let parts = |admitted: Result<Admission, Refusal>| match admitted {
            Ok(admission) => (Ok(admission.transition), Some(admission.permit)),
            Err(refusal) => (Err(refusal), None),
        };
        let (answer, full) = parts(self.full.try_acquire(now));
        let lean = self.lean.as_ref().and_then(|lean| {
            let (same, permit) = parts(lean.try_acquire(now));
            assert_eq!(same, answer, "a small breaker and one prepared for a dry run differ");
            permit
        });
        let transition = answer?;
        Ok(((lean, full.unwrap()), transition))
    }

    pub(crate) fn record(&self, pair: Pair, outcome: &Outcome, now: Timestamp) -> Option<Transition> {
        self.end(pair, |breaker, permit| breaker.record(permit, outcome, now))
    }

    pub(crate) fn release(&self, pair: Pair, now: Timestamp) -> Option<Transition> {
        self.end(pair, |breaker, permit| breaker.release(permit, now))
    }

    /// A whole request that panics. What it changes is told to nobody; so one of the two makes the call, and the other does
    /// by hand what the call does: they must agree afterwards.
    pub(crate) fn panic(&self, now: Timestamp) -> Result<Panicked, Refusal> {
        let called = self.lean.as_ref().map(|lean| {
            let call = || -> () { std::panic::resume_unwind(Box::new("in the call")) };
            let calling = || lean.call(|| now, call).map(|_| ());
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(calling))
        });
        let by_hand = self.full.try_acquire(now).map(|Admission { permit, transition }| {
            let after = self.full.record(permit, &Outcome::failure(), now);
            [transition, after]
        });
        let went_on = match called {
            None | Some(Err(_)) => true,
            Some(Ok(answer)) => {
                assert_eq!(
                    answer.err(),
                    by_hand.as_ref().err().copied(),
                    "a call and a request by hand differ"
                );
                false
            }
        };
        let _same = self.state();
        by_hand.map(|changes| Panicked { changes, went_on })
    }

    /// Lets a crowd at the one, then at the other. What each counted may differ, and at the end both must be the same; the changes
    /// are those of the second one, in some order of the time.
    pub(crate) fn crowd(
        &self,
        crowd: Crowd,
        outcomes: &[Outcome],
        now: Timestamp,
    ) -> (Crowded, Vec<Transition>) {
        let lean = self.lean.as_ref().map(|lean| crowd_at(lean, crowd, outcomes, now).0);
        let (full, changes) = crowd_at(&self.full, crowd, outcomes, now);
        let most = lean.map_or(0, |lean| lean.most).max(full.most);
        (Crowded { most, ..full }, changes)
    }

    fn end(&self, pair: Pair, end: impl Fn(&Breaker, Permit) -> Option<Transition>) -> Option<Transition> {
        let (lean, full) = pair;
        let change = end(&self.full, full);
        if let (Some(breaker), Some(permit)) = (&self.lean, lean) {
            assert_eq!(end(breaker, permit), change, "a small breaker and one prepared for a dry run differ");
        }
        change
    }

    pub(crate) fn reload(
        &mut self,
        config: &BreakerConfig,
        restart: Restart,
        now: Timestamp,
    ) -> Result<(), String> {
        if let Some(lean) = &mut self.lean {
            *lean = lean.successor(&rules(config)?, restart, now);
        }
        self.full = self.full.successor(&rules(&prepared(config))?, restart, now);
        Ok(())
    }

    pub(crate) fn stats(&self, now: Timestamp) -> Stats {
        let common =
            |stats: Stats| Stats { would_refuse: 0, would_refuse_ok: 0, regressions: 0, attempt: 0, ..stats };
        self.each(|breaker| common(breaker.stats(now)));
        self.full.stats(now)
    }

    pub(crate) fn state(&self) -> State {
        self.each(Breaker::state)
    }

    pub(crate) fn peek(&self, now: Timestamp) -> Result<(), Refusal> {
        self.each(|breaker| breaker.peek(now))
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.each(Breaker::next_deadline)
    }

    pub(crate) fn factor(&self, now: Timestamp) -> f64 {
        self.each(|breaker| breaker.factor(now))
    }

    pub(crate) fn rules(&self) -> &Arc<Rules> {
        self.full.rules()
    }
}

fn prepared(config: &BreakerConfig) -> BreakerConfig {
    BreakerConfig { dry_run: true, ..config.clone() }
}

fn crowd_at(
    breaker: &Breaker,
    crowd: Crowd,
    outcomes: &[Outcome],
    now: Timestamp,
) -> (Crowded, Vec<Transition>) {
    let changes = Mutex::new(Vec::new());
    let heard = |change: Option<Transition>| {
        if let Some(change) = change {
            changes.lock().unwrap().push(change);
        }
    };
    let ask = || match breaker.try_acquire(now) {
        Ok(Admission { permit, transition }) => {
            heard(transition);
            Some(permit)
        }
        Err(refusal) => {
            heard(refusal.transition);
            None
        }
    };
    let end = |permit: Permit, number: u32| {
        heard(breaker.record(permit, &outcomes[number as usize % outcomes.len()], now));
    };
    let told = crowd.run(ask, end);
    (told, changes.into_inner().unwrap())
}
