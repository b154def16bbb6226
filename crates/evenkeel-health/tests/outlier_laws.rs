//! Laws of outlier detection that hold for every sequence of events.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_health::CheckResult;
use evenkeel_health::outlier::{
    Brake, EjectionCaps, EjectionTime, OutlierChange, OutlierConfig, OutlierCounters, OutlierDetector,
    OutlierRules, OutlierState, Probation, Return, ReturnBy, Suspicion,
};
use evenkeel_types::{Origin, Outcome, Ratio, Timestamp};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Insert(u8),
    Remove(u8),
    Ok(u8, u8),
    Fail(u8, u8),
    Local(u8, u8),
    Stray(u8, Suspicion),
    Check(u8, CheckResult),
    Usable(u8, bool),
    Sweep,
    /// Sweeps at the next deadline.
    Due,
    Wait(u16),
    Back(u16),
    /// New caps.
    Caps(EjectionCaps),
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..9_u8;
    let suspicion = prop::sample::select(vec![
        Suspicion::ConsecutiveFailures,
        Suspicion::ProbationPassed,
        Suspicion::ProbationFailed,
    ]);
    let result = prop::sample::select(vec![CheckResult::Pass, CheckResult::Fail]);
    prop_oneof![
        2 => who.clone().prop_map(Event::Insert),
        1 => who.clone().prop_map(Event::Remove),
        3 => (who.clone(), 0..60_u8).prop_map(|(who, count)| Event::Ok(who, count)),
        4 => (who.clone(), 0..60_u8).prop_map(|(who, count)| Event::Fail(who, count)),
        2 => (who.clone(), 0..60_u8).prop_map(|(who, count)| Event::Local(who, count)),
        1 => (who.clone(), suspicion).prop_map(|(who, suspicion)| Event::Stray(who, suspicion)),
        1 => (who.clone(), result).prop_map(|(who, result)| Event::Check(who, result)),
        1 => (who, any::<bool>()).prop_map(|(who, usable)| Event::Usable(who, usable)),
        2 => Just(Event::Sweep),
        3 => Just(Event::Due),
        2 => any::<u16>().prop_map(Event::Wait),
        1 => any::<u16>().prop_map(Event::Back),
        1 => caps().prop_map(Event::Caps),
    ]
}

fn caps() -> impl Strategy<Value = EjectionCaps> {
    (prop::option::of(0..4_u32), 0..101_u32, any::<bool>(), 0..4_u32).prop_map(
        |(max_ejected, percent, at_least_one, min_remaining)| EjectionCaps {
            max_ejected,
            max_ejected_ratio: Ratio::percent(percent).unwrap(),
            at_least_one,
            min_remaining,
        },
    )
}

fn config() -> impl Strategy<Value = OutlierConfig> {
    let back = prop_oneof![
        Just(Return::Full),
        Just(Return::Probation(Probation::default())),
        Just(Return::Probation(Probation { ramp: Duration::ZERO, ..Probation::default() })),
    ];
    let by = prop::sample::select(vec![ReturnBy::Time, ReturnBy::Checks(2), ReturnBy::TimeOrChecks(1)]);
    (caps(), any::<bool>(), any::<bool>(), back, by).prop_map(|(caps, split, brake, on_return, return_by)| {
        OutlierConfig {
            split_local_origin: split,
            caps,
            brake: brake.then(Brake::default),
            on_return,
            return_by,
            ejection: EjectionTime { max: Duration::from_secs(60), ..EjectionTime::default() },
            ..OutlierConfig::default()
        }
    })
}

struct World {
    rules: Arc<OutlierRules>,
    detector: OutlierDetector<u8>,
    counters: BTreeMap<u8, Arc<OutlierCounters>>,
    out: BTreeMap<u8, bool>,
    now: Timestamp,
    log: Vec<String>,
}

impl World {
    fn new(config: &OutlierConfig, seed: u64) -> Self {
        let rules = Arc::new(OutlierRules::new(config.clone()).unwrap());
        Self {
            detector: OutlierDetector::new(Arc::clone(&rules), seed, Timestamp::ORIGIN),
            rules,
            counters: BTreeMap::new(),
            out: BTreeMap::new(),
            now: Timestamp::ORIGIN,
            log: Vec::new(),
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Insert(who) => {
                let counters = self.counters.entry(who).or_default();
                self.detector.insert(who, Arc::clone(counters), now);
            }
            Event::Remove(who) => {
                self.counters.remove(&who);
                let changes = self.detector.remove(who, now);
                self.out.remove(&who);
                self.note(changes);
            }
            Event::Ok(who, count) => self.record(who, count, &Outcome::success()),
            Event::Fail(who, count) => self.record(who, count, &Outcome::failure()),
            Event::Local(who, count) => {
                self.record(who, count, &Outcome::failure().with_origin(Origin::Local));
            }
            Event::Stray(who, suspicion) => {
                let changes = self.detector.suspect(who, suspicion, now);
                self.note(changes);
            }
            Event::Check(who, result) => {
                let changes = self.detector.on_check(who, result, now);
                self.note(changes);
            }
            Event::Usable(who, usable) => self.detector.set_usable(who, usable),
            Event::Sweep => {
                let changes = self.detector.sweep(now);
                self.note(changes);
            }
            Event::Due => {
                self.now = self.now.max(self.detector.next_deadline());
                let changes = self.detector.sweep(self.now);
                self.note(changes);
            }
            Event::Wait(millis) => self.now = now.saturating_add(Duration::from_millis(millis.into())),
            Event::Back(millis) => self.now = now.saturating_sub(Duration::from_millis(millis.into())),
            Event::Caps(caps) => {
                let config = OutlierConfig { caps, ..self.rules.config().clone() };
                self.rules = Arc::new(OutlierRules::new(config).unwrap());
                let changes = self.detector.set_rules(Arc::clone(&self.rules), now);
                self.note(changes);
            }
        }
    }

    fn record(&mut self, who: u8, count: u8, outcome: &Outcome) {
        let Some(counters) = self.counters.get(&who).cloned() else { return };
        for _ in 0..count {
            if let Some(suspicion) = counters.record(outcome, &self.rules) {
                let changes = self.detector.suspect(who, suspicion, self.now);
                self.note(changes);
            }
        }
    }

    /// What a caller knows who only listens to changes.
    fn note(&mut self, changes: Vec<OutlierChange<u8>>) {
        for change in changes {
            self.log.push(format!("{change:?}"));
            match change {
                OutlierChange::Ejected { token, .. } => self.out.insert(token, true),
                OutlierChange::Probation { token, .. } => {
                    assert_eq!(self.out.insert(token, true), Some(true), "a probation follows an ejection");
                    None
                }
                OutlierChange::Returned { token, .. } => {
                    assert_eq!(self.out.insert(token, false), Some(true), "only who is out comes back");
                    None
                }
                _ => None,
            };
        }
    }

    fn check(&self) {
        let n = self.detector.len();
        assert_eq!(n, self.counters.len());
        let config = self.rules.config();
        let told = self.out.values().filter(|out| **out).count();
        assert_eq!(self.detector.ejected(), told, "the count is what changes told");
        assert!(self.detector.ejected() <= config.caps.allowed(n), "{} of {n}", self.detector.ejected());
        for &who in self.counters.keys() {
            let status = self.detector.status(who).unwrap();
            let is_out = matches!(status.state, OutlierState::Ejected | OutlierState::Probation);
            assert_eq!(is_out, self.out.get(&who).copied().unwrap_or(false), "{who}: {status:?}");
            let factor = self.detector.factor(who, self.now);
            assert!((0.0..=1.0).contains(&factor), "{factor}");
            assert_eq!(status.state == OutlierState::Ejected, factor == 0.0);
            assert_eq!(status.state == OutlierState::In, status.until.is_none());
            if let Some(until) = status.until {
                assert!(self.detector.next_deadline() <= until, "somebody waits for it");
            }
        }
    }
}

fn world_of(config: &OutlierConfig, events: &[Event]) -> World {
    let mut world = World::new(config, 7);
    for &event in events {
        world.happen(event);
        world.check();
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Caps hold after every event, changes tell everything, and whoever waits has a deadline.
    #[test]
    fn caps_hold_and_changes_tell_all(config in config(), events in prop::collection::vec(event(), 0..120)) {
        world_of(&config, &events);
    }

    #[test]
    fn replays_are_equal(config in config(), events in prop::collection::vec(event(), 0..120)) {
        prop_assert_eq!(world_of(&config, &events).log, world_of(&config, &events).log);
    }

    /// Without failures everybody is back after the deadlines that are told, whatever happened before.
    #[test]
    fn nobody_is_out_for_ever(config in config(), events in prop::collection::vec(event(), 0..120)) {
        let mut world = world_of(&config, &events);
        let tokens: Vec<u8> = world.counters.keys().copied().collect();
        tokens.iter().for_each(|&who| world.happen(Event::Ok(who, 1)));
        // An ejection of at most 66 s, a probation of 60, a ramp of 30, and sweeps every 10.
        for _ in 0..60 {
            world.happen(Event::Due);
            world.check();
        }
        prop_assert_eq!(world.detector.ejected(), 0);
        for who in tokens {
            prop_assert_eq!(world.detector.status(who).unwrap().state, OutlierState::In);
            prop_assert_eq!(world.detector.factor(who, world.now), 1.0);
        }
        prop_assert_eq!(world.detector.braked_until(), None);
    }

    /// A clock that goes back is a clock that stands still.
    #[test]
    fn a_clock_that_goes_back_stands_still(config in config(), events in prop::collection::vec(event(), 0..120)) {
        let mut back = World::new(&config, 7);
        let mut still = World::new(&config, 7);
        // The latest that the machine was told: what the clock showed in between does not count.
        let mut told = Timestamp::ORIGIN;
        for event in events {
            if matches!(event, Event::Wait(_) | Event::Back(_)) {
                back.happen(event);
                continue;
            }
            // Touches the time, as every event of the machine does that takes it.
            back.happen(Event::Sweep);
            told = told.max(back.now);
            still.now = told;
            still.happen(Event::Sweep);
            back.happen(event);
            still.happen(event);
            told = told.max(back.now).max(still.now);
        }
        prop_assert_eq!(back.log, still.log);
    }
}

/// Each rule that can be met, at every number of endpoints: never more out than may be, never the last.
#[test]
fn caps_are_exact_for_one_to_nine() {
    for n in 1..=9_u8 {
        for percent in [0, 10, 33, 50, 100] {
            for min_remaining in 0..=2 {
                let caps = EjectionCaps {
                    max_ejected_ratio: Ratio::percent(percent).unwrap(),
                    min_remaining,
                    ..EjectionCaps::default()
                };
                let config = OutlierConfig { caps, brake: None, ..OutlierConfig::default() };
                let mut world = World::new(&config, 1);
                (0..n).for_each(|who| world.happen(Event::Insert(who)));
                (0..n).for_each(|who| world.happen(Event::Fail(who, 5)));
                world.check();
                let expected = (usize::from(n) * percent as usize / 100)
                    .max(1)
                    .min(usize::from(n).saturating_sub(min_remaining as usize));
                assert_eq!(world.detector.ejected(), expected, "{n} {percent} {min_remaining}");
            }
        }
    }
}
