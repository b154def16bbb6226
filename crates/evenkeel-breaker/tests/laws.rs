//! Laws that hold for every sequence of events, at any times.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::time::Duration;

use evenkeel_breaker::{
    Breaker, BreakerConfig, HalfOpen, Permit, Reason, Refusal, Rule, State, Stats, Transition, Window,
};
use evenkeel_types::{Outcome, Ratio, Timestamp};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Acquire,
    Peek,
    /// Ends one of the permits that are held; the number is taken modulo how many there are.
    Record(usize, Outcome),
    Release(usize),
    /// A permit is lost.
    Lose(usize),
    Tick,
    Reset,
}

/// Times near each other, times of the scale of the waits, and the ends of time; in any order.
fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => (0..200_u64).prop_map(Timestamp::from_millis),
        4 => (0..200_u64).prop_map(Timestamp::from_secs),
        1 => any::<u64>().prop_map(Timestamp::from_nanos),
        1 => Just(Timestamp::MAX),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let outcomes =
        [Outcome::success(), Outcome::failure(), Outcome::overload(None), Outcome::neutral()].to_vec();
    prop_oneof![
        6 => Just(Event::Acquire),
        1 => Just(Event::Peek),
        6 => (any::<usize>(), prop::sample::select(outcomes)).prop_map(|(which, how)| Event::Record(which, how)),
        1 => any::<usize>().prop_map(Event::Release),
        1 => any::<usize>().prop_map(Event::Lose),
        1 => Just(Event::Tick),
        1 => Just(Event::Reset),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let window = prop_oneof![
        (4..60_u32).prop_map(|size| Window::Count { size }),
        (1..6_u32).prop_map(|buckets| Window::Time { span: Duration::from_secs(10), buckets }),
    ];
    prop_oneof![
        (1..4_u32).prop_map(|failures| Rule::Consecutive { failures }),
        (1..=100_u32, 1..4_u32, window).prop_map(|(percent, min_requests, window)| {
            Rule::Ratio { failures: Ratio::percent(percent).unwrap(), min_requests, window }
        }),
    ]
}

fn config() -> impl Strategy<Value = BreakerConfig> {
    let half_open = (1..4_u32, 1..4_u32, 1..40_000_u64).prop_map(|(max_concurrent, needed, lease)| {
        HalfOpen { max_concurrent, successes_needed: needed, lease: Duration::from_millis(lease), ..HalfOpen::default() }
    });
    (prop::collection::vec(rule(), 1..4), 1..10_000_u64, half_open).prop_map(|(rules, wait, half_open)| {
        BreakerConfig { rules, open_for: Duration::from_millis(wait), half_open, ..BreakerConfig::default() }
    })
}

#[derive(Debug, PartialEq)]
struct Step {
    refused: Option<Refusal>,
    transition: Option<Transition>,
    stats: Stats,
}

struct Run {
    breaker: Breaker,
    config: BreakerConfig,
    held: Vec<Permit>,
}

impl Run {
    fn new(config: &BreakerConfig) -> Self {
        Self { breaker: Breaker::new(config).unwrap(), config: config.clone(), held: Vec::new() }
    }

    fn take(&mut self, which: usize) -> Option<Permit> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(which % self.held.len()))
    }

    fn step(&mut self, event: Event, now: Timestamp) -> Step {
        let before = self.breaker.stats(now);
        let mut refused = None;
        let transition = match event {
            Event::Acquire => {
                let peeked = self.breaker.peek(now);
                assert_eq!(self.breaker.stats(now), before, "peek is pure");
                match self.breaker.try_acquire(now) {
                    Ok(admission) => {
                        assert_eq!(peeked, Ok(()));
                        assert_eq!(admission.permit.is_probe(), self.breaker.state() == State::HalfOpen);
                        self.held.push(admission.permit);
                        admission.transition
                    }
                    Err(refusal) => {
                        assert_eq!(peeked, Err(refusal));
                        assert_eq!(self.breaker.stats(now), before, "a refusal writes nothing");
                        refused = Some(refusal);
                        None
                    }
                }
            }
            Event::Peek => {
                refused = self.breaker.peek(now).err();
                None
            }
            Event::Record(which, outcome) => self.take(which).and_then(|permit| {
                let ended =
                    permit.epoch() != before.epoch || permit.lease_until().is_some_and(|until| until <= now);
                let transition = self.breaker.record(permit, &outcome, now);
                assert!(!ended || transition.is_none(), "what has ended decides nothing");
                transition
            }),
            Event::Release(which) => self.take(which).and_then(|permit| self.breaker.release(permit, now)),
            Event::Lose(which) => {
                let _ = self.take(which);
                None
            }
            Event::Tick => self.breaker.tick(now),
            Event::Reset => self.breaker.reset(now),
        };
        self.check(before, transition, now);
        Step { refused, transition, stats: self.breaker.stats(now) }
    }

    fn check(&self, before: Stats, transition: Option<Transition>, now: Timestamp) {
        let after = self.breaker.stats(now);
        assert!(after.probes_in_flight <= self.config.half_open.max_concurrent);
        assert!(after.probes_passed < self.config.half_open.successes_needed);
        assert!(after.window_failures <= after.window_requests);
        match transition {
            Some(transition) => {
                assert_eq!((transition.from, transition.to), (before.state, after.state));
                assert_eq!(transition.epoch, after.epoch);
                assert_eq!(after.epoch, before.epoch + 1);
                assert!(transition.at >= now, "never before the caller's time");
            }
            None => assert_eq!(before.state, after.state),
        }
    }
}

fn replay(config: &BreakerConfig, events: &[(Event, Timestamp)]) -> Vec<Step> {
    let mut run = Run::new(config);
    events.iter().map(|(event, now)| run.step(*event, *now)).collect()
}

proptest! {
    #[test]
    fn any_sequence_obeys_the_laws_and_can_be_replayed(
        config in config(),
        events in prop::collection::vec((event(), time()), 0..200),
    ) {
        prop_assert_eq!(replay(&config, &events), replay(&config, &events));
    }

    /// A window is what a list of the last outcomes says.
    #[test]
    fn a_count_window_is_exact(
        size in 1..130_u32,
        outcomes in prop::collection::vec(any::<bool>(), 0..500),
    ) {
        let never = Rule::Ratio { failures: Ratio::ONE, min_requests: size, window: Window::Count { size } };
        let breaker = Breaker::new(&BreakerConfig { rules: vec![never], ..BreakerConfig::default() }).unwrap();
        for (count, failed) in outcomes.iter().enumerate() {
            let permit = breaker.try_acquire(Timestamp::ORIGIN).unwrap().permit;
            let outcome = if *failed { Outcome::failure() } else { Outcome::success() };
            let tripped = breaker.record(permit, &outcome, Timestamp::ORIGIN);
            let last = &outcomes[(count + 1).saturating_sub(size as usize)..=count];
            let failures = last.iter().filter(|failed| **failed).count() as u64;
            if failures == u64::from(size) {
                let reason = Reason::Ratio { failures, requests: failures };
                prop_assert_eq!(tripped.map(|tripped| tripped.reason), Some(reason));
                return Ok(());
            }
            let stats = breaker.stats(Timestamp::ORIGIN);
            prop_assert_eq!((stats.window_failures, stats.window_requests), (failures, last.len() as u64));
        }
    }

    /// A time window is what a list of the last buckets says, whatever the order of the times.
    #[test]
    fn a_time_window_is_exact(
        buckets in 1..12_u32,
        outcomes in prop::collection::vec((any::<bool>(), 0..300_u64), 0..300),
    ) {
        let window = Window::Time { span: Duration::from_millis(10) * buckets, buckets };
        let never = Rule::Ratio { failures: Ratio::ONE, min_requests: 1000, window };
        let breaker = Breaker::new(&BreakerConfig { rules: vec![never], ..BreakerConfig::default() }).unwrap();
        let mut ended = Vec::new();
        let mut newest = 0;
        for (failed, millis) in outcomes {
            let now = Timestamp::from_millis(millis);
            let permit = breaker.try_acquire(now).unwrap().permit;
            let outcome = if failed { Outcome::overload(None) } else { Outcome::success() };
            prop_assert_eq!(breaker.record(permit, &outcome, now), None);
            newest = newest.max(millis / 10);
            ended.push((newest, failed));
            let inside = ended.iter().filter(|(bucket, _)| bucket + u64::from(buckets) > newest);
            let failures = inside.clone().filter(|(_, failed)| *failed).count() as u64;
            let stats = breaker.stats(now);
            prop_assert_eq!((stats.window_failures, stats.window_requests), (failures, inside.count() as u64));
        }
    }
}
