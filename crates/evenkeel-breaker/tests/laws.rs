//! Laws that hold for every sequence of events, at any times.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

use std::time::Duration;

use std::sync::Arc;

use evenkeel_breaker::{
    Backoff, Breaker, BreakerConfig, Combine, Decision, Fading, Force, Forget, Growth, HalfOpen, Initial,
    Jitter, Overload, OverloadProbe, Owner, Permit, ProbeRatio, Ramp, RampShape, Reason, Refusal, Restart,
    Rule, Rules, State, Stats, Transition, Window, WouldBe,
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
    Force(Force, Option<Duration>),
    Unforce,
    Open(Option<Duration>),
    HalfOpen,
    /// Other settings: of half-open, of the open time in milliseconds, and perhaps other rules.
    Reload(HalfOpen, u64, Option<Rule>, Restart),
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
    let outcomes = [Outcome::success(), Outcome::failure(), Outcome::overload(None), Outcome::neutral()];
    let slow = outcomes.map(|outcome| outcome.with_latency(Duration::from_secs(9)));
    let hint = Outcome::overload(Some(Duration::from_secs(20)));
    let at_once = Outcome::overload(Some(Duration::ZERO));
    let outcomes = [outcomes.to_vec(), slow.to_vec(), vec![hint, at_once]].concat();
    let restarts = vec![Restart::Closed, Restart::HalfOpen];
    prop_oneof![
        6 => Just(Event::Acquire),
        1 => Just(Event::Peek),
        6 => (any::<usize>(), prop::sample::select(outcomes)).prop_map(|(which, how)| Event::Record(which, how)),
        1 => any::<usize>().prop_map(Event::Release),
        1 => any::<usize>().prop_map(Event::Lose),
        1 => Just(Event::Tick),
        1 => Just(Event::Reset),
        1 => (prop::sample::select(vec![Force::Open, Force::Closed, Force::DryRun]), prop::option::of(1..100_u64))
            .prop_map(|(force, seconds)| Event::Force(force, seconds.map(Duration::from_secs))),
        1 => Just(Event::Unforce),
        1 => prop::option::of(1..100_000_u64)
            .prop_map(|millis| Event::Open(millis.map(Duration::from_millis))),
        1 => Just(Event::HalfOpen),
        1 => (probing(), 1..10_000_u64, prop::option::of(rule()), prop::sample::select(restarts))
            .prop_map(|(half_open, wait, rule, restart)| Event::Reload(half_open, wait, rule, restart)),
    ]
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (4..60_u32).prop_map(|size| Window::Count { size }),
        (1..12_u32).prop_map(|buckets| Window::Time { span: Duration::from_secs(10), buckets }),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let share = || (1..=100_u32).prop_map(|percent| Ratio::percent(percent).unwrap());
    let over = prop_oneof![
        (4..60_u32).prop_map(|window| Fading::Requests { window }),
        (1..60_u64).prop_map(|seconds| Fading::Time { window: Duration::from_secs(seconds) }),
    ];
    prop_oneof![
        (1..4_u32).prop_map(|failures| Rule::Consecutive { failures }),
        (share(), 1..4_u32, window()).prop_map(|(failures, min_requests, window)| Rule::Ratio {
            failures,
            min_requests,
            window
        }),
        (share(), 1..4_u32, window()).prop_map(|(slow, min_requests, window)| Rule::SlowRatio {
            slow,
            min_requests,
            window
        }),
        (share(), 1..4_u32, over).prop_map(|(failures, min_requests, over)| Rule::Ewma {
            failures,
            min_requests,
            over
        }),
        (1..=50_u32, 100..10_000_u64).prop_map(|(percent, requests_per_false_trip)| Rule::Statistical {
            tolerated: Ratio::percent(percent).unwrap(),
            requests_per_false_trip,
        }),
        (1..4_u32, 1..20_u64)
            .prop_map(|(requests, seconds)| Rule::Overdue { requests, after: Duration::from_secs(seconds) }),
    ]
}

fn probing() -> impl Strategy<Value = HalfOpen> {
    let ratio =
        prop::option::of((1..5_u32).prop_map(|verdicts| ProbeRatio { verdicts, ..ProbeRatio::default() }));
    let decide = prop::sample::select(vec![Decision::Open, Decision::Closed]);
    (1..4_u32, 1..4_u32, 1..40_000_u64, ratio, prop::option::of(1..60_u64), decide).prop_map(
        |(max_concurrent, successes_needed, lease, ratio, after, decide)| HalfOpen {
            max_concurrent,
            successes_needed,
            lease: Duration::from_millis(lease),
            ratio,
            decide_after: after.map(Duration::from_secs),
            decide: if after.is_some() { decide } else { Decision::Open },
        },
    )
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let growth = vec![Growth::Fixed, Growth::Linear, Growth::Exponential { factor: 3 }];
    let jitter = vec![Jitter::None, Jitter::Equal, Jitter::Full, Jitter::Decorrelated];
    let forget = vec![
        Forget::OnClose,
        Forget::Clean { period: Duration::from_secs(3), reset_after: None },
        Forget::Clean { period: Duration::from_secs(3), reset_after: Some(2) },
    ];
    let select = prop::sample::select::<Growth>;
    (select(growth), prop::sample::select(jitter), prop::sample::select(forget))
        .prop_map(|(growth, jitter, forget)| Backoff { growth, max: Duration::from_secs(60), jitter, forget })
}

fn config() -> impl Strategy<Value = BreakerConfig> {
    let overload =
        (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(in_ratio, lenient, obeys)| Overload {
            in_ratio,
            as_probe: if lenient { OverloadProbe::Lenient } else { OverloadProbe::Strict },
            open_for_retry_after: obeys,
            ..Overload::default()
        });
    let ramp = prop::option::of(any::<bool>().prop_map(|linear| Ramp {
        shape: if linear { RampShape::Linear } else { RampShape::Aimd },
        ..Ramp::default()
    }));
    let initial =
        vec![Initial::Closed, Initial::Open, Initial::ForcedOpen, Initial::Disabled, Initial::DryRun];
    let switches = (any::<bool>(), any::<bool>(), any::<bool>());
    let rules = prop::collection::vec(rule(), 1..4);
    let plain = 0..10_u32;
    (
        rules,
        1..10_000_u64,
        probing(),
        prop::option::of(backoff()),
        overload,
        ramp,
        prop::sample::select(initial),
        switches,
        plain,
    )
        .prop_map(
            |(rules, wait, half_open, backoff, overload, ramp, initial, (all, dry_run, striped), plain)| {
                let in_time = rules.iter().any(|rule| match rule {
                    Rule::Ratio { window, .. } | Rule::SlowRatio { window, .. } => {
                        matches!(window, Window::Time { .. })
                    }
                    _ => false,
                });
                let is_slow = |rule: &Rule| matches!(rule, Rule::SlowRatio { .. });
                let slow_call_duration = rules.iter().any(is_slow).then_some(Duration::from_secs(5));
                let open_for = Duration::from_millis(wait);
                let config = BreakerConfig {
                    rules,
                    slow_call_duration,
                    open_for,
                    half_open,
                    ..BreakerConfig::default()
                };
                // The small forms of a breaker need plain settings.
                if plain < 3 {
                    let half_open = HalfOpen { max_concurrent: 1, ratio: None, ..half_open };
                    return BreakerConfig { half_open, ..config };
                }
                let combine = if all { Combine::All } else { Combine::Any };
                let stripes = if striped && in_time { 3 } else { 1 };
                BreakerConfig { combine, backoff, overload, ramp, initial, dry_run, stripes, ..config }
            },
        )
}

#[derive(Debug, PartialEq)]
struct Step {
    refused: Option<Refusal>,
    transition: Option<Transition>,
    stats: Stats,
    factor: f64,
    deadline: Option<Timestamp>,
}

struct Run {
    breaker: Breaker,
    config: BreakerConfig,
    held: Vec<Permit>,
    lost: u64,
    /// The latest time that anybody has named.
    latest: Timestamp,
}

impl Run {
    fn new(config: &BreakerConfig) -> Self {
        let rules = Arc::new(Rules::new(config).unwrap());
        let breaker = Breaker::starting(&rules, 5, Timestamp::from_secs(1));
        let latest = Timestamp::from_secs(1);
        Self { breaker, config: config.clone(), held: Vec::new(), lost: 0, latest }
    }

    fn take(&mut self, which: usize) -> Option<Permit> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(which % self.held.len()))
    }

    fn step(&mut self, event: Event, now: Timestamp) -> Step {
        self.latest = self.latest.max(now);
        let before = self.breaker.stats(now);
        let mut refused = None;
        let transition = match event {
            Event::Acquire => {
                let peeked = self.breaker.peek(now);
                assert_eq!(self.breaker.stats(now), before, "peek is pure");
                match self.breaker.try_acquire(now) {
                    Ok(admission) => {
                        assert_eq!(peeked, Ok(()));
                        let probe = admission.permit.is_probe();
                        assert_eq!(
                            probe,
                            half_open(self.breaker.state()) && !admission.permit.would_be_refused()
                        );
                        self.held.push(admission.permit);
                        admission.transition
                    }
                    Err(refusal) => {
                        assert_eq!(peeked, Err(Refusal { transition: None, ..refusal }));
                        if refusal.transition.is_none() {
                            let unmoved =
                                Stats { regressions: before.regressions, ..self.breaker.stats(now) };
                            assert_eq!(unmoved, before, "a refusal writes nothing");
                        }
                        refused = Some(refusal);
                        refusal.transition
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
                self.lost += u64::from(self.take(which).is_some());
                None
            }
            Event::Tick => {
                let told = self.breaker.tick(now);
                if told.is_none() {
                    let due = self.breaker.next_deadline().is_some_and(|deadline| deadline <= now);
                    // At the end of time deadlines can be no later.
                    assert!(
                        !due || now == Timestamp::MAX,
                        "what is due is done, or whoever waits for it never sleeps again"
                    );
                }
                told
            }
            Event::Reset => {
                let told = self.breaker.reset(now);
                assert_eq!(self.breaker.state(), State::Closed);
                return self.unchecked(told, now);
            }
            Event::Force(force, limit) => match self.breaker.force(force, Owner::UNNAMED, limit, now) {
                // The same force again begins an epoch without a word.
                Ok(None) => return self.unchecked(None, now),
                Ok(told) => told,
                Err(_) => None,
            },
            Event::Unforce => self.breaker.unforce(now),
            Event::Open(wait) => self.breaker.open(wait, now).unwrap_or(None),
            Event::HalfOpen => self.breaker.half_open(now).unwrap_or(None),
            Event::Reload(half_open, wait, rule, restart) => {
                self.reload(half_open, wait, rule, restart, now);
                return self.unchecked(None, now);
            }
        };
        self.check(before, transition, now);
        Step { refused, ..self.unchecked(transition, now) }
    }

    /// The form of a breaker depends on its settings, so this also makes one form of another.
    fn reload(
        &mut self,
        half_open: HalfOpen,
        wait: u64,
        rule: Option<Rule>,
        restart: Restart,
        now: Timestamp,
    ) {
        self.config.half_open = half_open;
        self.config.open_for = Duration::from_millis(wait);
        if let Some(rule) = rule {
            let is_slow = matches!(rule, Rule::SlowRatio { .. });
            self.config.rules = vec![rule];
            self.config.slow_call_duration = is_slow.then_some(Duration::from_secs(5));
            self.config.stripes = 1;
        }
        let forced = self.breaker.stats(now);
        self.breaker = self.breaker.successor(&Arc::new(Rules::new(&self.config).unwrap()), restart, now);
        if forced.state.is_forced() {
            let stats = self.breaker.stats(now);
            assert_eq!((stats.owner, stats.forced_until), (forced.owner, forced.forced_until));
            assert_eq!(
                (stats.would_refuse, stats.would_refuse_ok),
                (forced.would_refuse, forced.would_refuse_ok)
            );
            assert!(stats.state.is_forced());
        }
    }

    fn unchecked(&self, transition: Option<Transition>, now: Timestamp) -> Step {
        let (stats, factor) = (self.breaker.stats(now), self.breaker.factor(now));
        assert!(factor > 0.0 && factor <= 1.0);
        Step { refused: None, transition, stats, factor, deadline: self.breaker.next_deadline() }
    }

    fn check(&self, before: Stats, transition: Option<Transition>, now: Timestamp) {
        let after = self.breaker.stats(now);
        assert!(after.probes_in_flight <= self.config.half_open.max_concurrent);
        let needed = self
            .config
            .half_open
            .ratio
            .map_or(self.config.half_open.successes_needed, |ratio| ratio.verdicts);
        assert!(after.probes_passed < needed);
        assert!(after.window_failures <= after.window_requests);
        assert!(after.window_slow <= after.slow_window_requests);
        assert!(after.overdue <= after.under_way && after.under_way <= self.held.len() as u64 + self.lost);
        match transition {
            Some(transition) => {
                assert_eq!(transition.to, after.state);
                assert_eq!(transition.epoch, after.epoch);
                assert!(transition.at >= now, "never before the caller's time");
                assert!(transition.at <= self.latest, "never at a time that nobody has named");
                // A request that ends a force and finds more to do tells the first of two changes, or the last.
                assert!(after.epoch > before.epoch);
            }
            None => assert_eq!((before.state, before.epoch), (after.state, after.epoch)),
        }
    }

    /// Whatever has happened: with a healthy endpoint, and nobody who forces anything, it closes.
    fn recovers(&mut self) {
        self.held.clear();
        let mut now = Timestamp::from_secs(1_000_000_000);
        let _ = self.breaker.unforce(now);
        for _ in 0..1_000 {
            while self.breaker.tick(now).is_some() {}
            match self.breaker.try_acquire(now) {
                Ok(admission) => {
                    let probe = admission.permit.is_probe();
                    let healthy = Outcome::success().with_latency(Duration::ZERO);
                    let _ = self.breaker.record(admission.permit, &healthy, now);
                    if !probe && self.breaker.state() == State::Closed {
                        return;
                    }
                }
                // As a refusal says: it is no good to ask earlier, and it is good to ask then.
                Err(refusal) => now = now.max(refusal.retry_at.unwrap_or(now)),
            }
        }
        panic!("stuck: {:?} {:?}", self.breaker.stats(now), self.config);
    }
}

fn half_open(state: State) -> bool {
    matches!(state, State::HalfOpen | State::DryRun { would_be: WouldBe::HalfOpen })
}

fn replay(config: &BreakerConfig, events: &[(Event, Timestamp)]) -> Vec<Step> {
    let mut run = Run::new(config);
    let steps = events.iter().map(|(event, now)| run.step(*event, *now)).collect();
    if events.iter().all(|(_, now)| *now < Timestamp::from_secs(1_000_000)) {
        run.recovers();
    }
    steps
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
