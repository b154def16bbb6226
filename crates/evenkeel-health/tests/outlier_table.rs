//! Every state of an endpoint and every event: what it is then.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

use std::sync::Arc;

use evenkeel_health::CheckResult;
use evenkeel_health::outlier::OutlierState::{Ejected, In, Probation, Ramp};
use evenkeel_health::outlier::{
    EjectionTime, OutlierConfig, OutlierCounters, OutlierDetector, OutlierRules, OutlierState, ReturnBy,
};
use evenkeel_types::{Outcome, Ratio, Timestamp};

#[derive(Clone, Copy, Debug)]
enum Event {
    Success,
    Successes,
    Failure,
    Run,
    Overload,
    Neutral,
    CheckPass,
    CheckFail,
    SweepBefore,
    Deadline,
    Reload,
    OthersOut,
}

const EVENTS: [Event; 12] = [
    Event::Success,
    Event::Successes,
    Event::Failure,
    Event::Run,
    Event::Overload,
    Event::Neutral,
    Event::CheckPass,
    Event::CheckFail,
    Event::SweepBefore,
    Event::Deadline,
    Event::Reload,
    Event::OthersOut,
];

struct Machine {
    rules: Arc<OutlierRules>,
    detector: OutlierDetector<u32>,
    counters: Vec<Arc<OutlierCounters>>,
    now: Timestamp,
}

impl Machine {
    fn new(return_by: ReturnBy) -> Self {
        let config = OutlierConfig {
            ejection: EjectionTime { jitter: Ratio::ZERO, ..EjectionTime::default() },
            brake: None,
            return_by,
            ..OutlierConfig::default()
        };
        let rules = Arc::new(OutlierRules::new(config).unwrap());
        let mut detector = OutlierDetector::new(Arc::clone(&rules), 1, Timestamp::ORIGIN);
        let counters: Vec<Arc<OutlierCounters>> = (0..3).map(|_| Arc::default()).collect();
        for (token, counters) in (0..).zip(&counters) {
            detector.insert(token, Arc::clone(counters), Timestamp::ORIGIN);
        }
        Self { rules, detector, counters, now: Timestamp::from_secs(1) }
    }

    /// An endpoint in this state, the others in.
    fn in_state(state: OutlierState, return_by: ReturnBy) -> Self {
        let mut machine = Self::new(return_by);
        if state != In {
            machine.record(0, &Outcome::failure(), 5);
        }
        if matches!(state, Probation | Ramp) {
            machine.happen(Event::Deadline);
        }
        if state == Ramp {
            machine.record(0, &Outcome::success(), 3);
        }
        assert_eq!(machine.state(), state);
        machine
    }

    fn state(&self) -> OutlierState {
        self.detector.status(0).unwrap().state
    }

    fn record(&mut self, who: u32, outcome: &Outcome, count: u32) {
        for _ in 0..count {
            if let Some(suspicion) = self.counters[who as usize].record(outcome, &self.rules) {
                let _ = self.detector.suspect(who, suspicion, self.now);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Success => self.record(0, &Outcome::success(), 1),
            Event::Successes => self.record(0, &Outcome::success(), 3),
            Event::Failure => self.record(0, &Outcome::failure(), 1),
            Event::Run => self.record(0, &Outcome::failure(), 5),
            Event::Overload => self.record(0, &Outcome::overload(None), 100),
            Event::Neutral => self.record(0, &Outcome::neutral(), 100),
            Event::CheckPass => drop(self.detector.on_check(0, CheckResult::Pass, self.now)),
            Event::CheckFail => drop(self.detector.on_check(0, CheckResult::FailAtOnce, self.now)),
            Event::SweepBefore => drop(self.detector.sweep(self.now)),
            Event::Deadline => {
                self.now = self.detector.status(0).unwrap().until.unwrap_or(Timestamp::from_secs(10));
                drop(self.detector.sweep(self.now));
            }
            Event::Reload => drop(self.detector.set_rules(Arc::clone(&self.rules), self.now)),
            Event::OthersOut => {
                self.record(1, &Outcome::failure(), 5);
                self.record(2, &Outcome::failure(), 5);
            }
        }
    }
}

fn check(return_by: ReturnBy, table: [(Event, [OutlierState; 4]); 12]) {
    for (event, expected) in table {
        for (before, after) in [In, Ejected, Probation, Ramp].into_iter().zip(expected) {
            let mut machine = Machine::in_state(before, return_by);
            machine.happen(event);
            assert_eq!(machine.state(), after, "{return_by:?} {before:?} {event:?}");
        }
    }
}

#[test]
fn every_state_and_every_event() {
    //                       In       Ejected    Probation  Ramp
    let table = [
        (Event::Success, [In, Ejected, Probation, Ramp]),
        (Event::Successes, [In, Ejected, Ramp, Ramp]),
        (Event::Failure, [In, Ejected, Ejected, Ramp]),
        (Event::Run, [Ejected, Ejected, Ejected, Ejected]),
        (Event::Overload, [In, Ejected, Probation, Ramp]),
        (Event::Neutral, [In, Ejected, Probation, Ramp]),
        (Event::CheckPass, [In, Ejected, Probation, Ramp]),
        (Event::CheckFail, [In, Ejected, Probation, Ramp]),
        (Event::SweepBefore, [In, Ejected, Probation, Ramp]),
        (Event::Deadline, [In, Probation, Ramp, In]),
        (Event::Reload, [In, Ejected, Probation, Ramp]),
        (Event::OthersOut, [In, Ejected, Probation, Ramp]),
    ];
    assert_eq!(table.len(), EVENTS.len());
    check(ReturnBy::Time, table);
    let mut by_checks = table;
    by_checks[6].1[1] = Probation;
    check(ReturnBy::Checks(1), by_checks);
    check(ReturnBy::TimeOrChecks(1), by_checks);
}
