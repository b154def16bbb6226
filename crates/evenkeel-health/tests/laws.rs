//! Laws that hold for every sequence of events.
#![cfg(not(loom))]

use std::time::Duration;

use evenkeel_health::{
    ActiveCheck, AdminState, Cause, CheckChange, CheckConfig, CheckResult, CheckState, ObserveConfig,
    OnError, Opinion, Probe, RiseFall, RiseFallConfig, Standing, Start, StartupConfig, Status,
};
use evenkeel_types::{Announced, Ratio, SplitMix64, Timestamp};
use proptest::prelude::*;

fn is_in(opinion: Opinion, status: Status) -> bool {
    status.opinion(opinion.source()) == opinion
}

fn is_usable(opinion: Opinion) -> bool {
    match opinion {
        Opinion::Admin(state) => state == AdminState::Ready,
        Opinion::Announced(state) => state.is_usable(),
        Opinion::Check(state) => state.is_usable(),
        Opinion::Ejected(blocks)
        | Opinion::BreakerOpen(blocks)
        | Opinion::DrainedByWeight(blocks)
        | Opinion::Draining(blocks)
        | Opinion::Unlisted(blocks)
        | Opinion::Suspected(blocks)
        | Opinion::FlapDamped(blocks) => !blocks,
        _ => true,
    }
}

fn said() -> impl Strategy<Value = Opinion> {
    let admin = prop::sample::select(vec![AdminState::Ready, AdminState::Drain, AdminState::Maintenance]);
    let announced = prop::sample::select(vec![
        Announced::Unknown,
        Announced::Up,
        Announced::Degraded,
        Announced::Starting,
        Announced::Draining,
        Announced::Down,
    ]);
    let check = prop::sample::select(vec![
        CheckState::Unknown,
        CheckState::Up,
        CheckState::Degraded,
        CheckState::Down,
        CheckState::Starting,
    ]);
    let flag = prop::sample::select(vec![
        Opinion::Ejected as fn(bool) -> Opinion,
        Opinion::BreakerOpen,
        Opinion::DrainedByWeight,
        Opinion::Draining,
        Opinion::Unlisted,
        Opinion::Suspected,
        Opinion::FlapDamped,
        Opinion::Probation,
        Opinion::Warming,
    ]);
    prop_oneof![
        admin.prop_map(Opinion::Admin),
        announced.prop_map(Opinion::Announced),
        check.prop_map(Opinion::Check),
        (flag, any::<bool>()).prop_map(|(flag, said)| flag(said)),
    ]
}

/// The last word of each source, in the order in which the sources first spoke.
fn last_words(all: &[Opinion]) -> Vec<Opinion> {
    let mut last: Vec<Opinion> = Vec::new();
    for &said in all {
        match last.iter_mut().find(|other| std::mem::discriminant(*other) == std::mem::discriminant(&said)) {
            Some(earlier) => *earlier = said,
            None => last.push(said),
        }
    }
    last
}

fn result() -> impl Strategy<Value = CheckResult> {
    prop::sample::select(vec![
        CheckResult::Pass,
        CheckResult::Degraded,
        CheckResult::Fail,
        CheckResult::FailAtOnce,
    ])
}

fn start() -> impl Strategy<Value = Start> {
    prop::sample::select(vec![
        Start::FirstVerdict,
        Start::Up,
        Start::Down,
        Start::FullyUp,
        Start::FullyDown,
        Start::FirstPass,
    ])
}

/// What happens to a check.
#[derive(Clone, Copy, Debug)]
enum Event {
    Result(CheckResult),
    Start,
    Finish(usize, CheckResult),
    Request(bool),
    Traffic,
    Restart,
    Tick,
}

impl Event {
    fn happen(self, check: &mut ActiveCheck, probes: &mut Vec<Probe>, now: Timestamp) -> Option<CheckChange> {
        match self {
            Self::Result(result) => check.on_result(now, result),
            Self::Start => {
                probes.extend(check.start(now));
                None
            }
            Self::Finish(place, result) => {
                let probe = *probes.get(place % probes.len().max(1))?;
                check.finish(probe, now, result)
            }
            Self::Request(good) => check.on_request(now, good),
            Self::Traffic => {
                check.on_traffic(now);
                None
            }
            Self::Restart => check.restart(now),
            Self::Tick => check.tick(now),
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        result().prop_map(Event::Result),
        Just(Event::Start),
        (any::<usize>(), result()).prop_map(|(place, result)| Event::Finish(place, result)),
        any::<bool>().prop_map(Event::Request),
        Just(Event::Traffic),
        Just(Event::Restart),
        Just(Event::Tick),
    ]
}

fn on_error() -> impl Strategy<Value = OnError> {
    prop::sample::select(vec![
        OnError::FastInterval,
        OnError::FailCheck,
        OnError::SuddenDeath,
        OnError::MarkDown,
    ])
}

prop_compose! {
    fn config()(
        start in start(), jitter in 0_u32..=50,
        interval in prop_oneof![1_u64..=u64::MAX, 1_u64..10_000_000_000],
        timeout in prop::option::of(1_u64..20_000_000_000),
        stale in prop::option::of(Just(Duration::MAX)),
        longer in prop::option::of(0_u64..1_000_000_000),
        on_error in prop::option::of(on_error()),
        failure_threshold in prop::option::of(1_u32..4),
    ) -> CheckConfig {
        let start = if failure_threshold.is_some() { Start::FirstVerdict } else { start };
        CheckConfig {
            thresholds: RiseFallConfig { start, ..RiseFallConfig::default() },
            interval: Duration::from_nanos(interval),
            no_traffic_interval: longer.map(|longer| Duration::from_nanos(interval.saturating_add(longer))),
            no_traffic_after: longer.map(|longer| Duration::from_nanos(longer + 1)),
            timeout: timeout.map(Duration::from_nanos),
            jitter: Ratio::percent(jitter).expect("a percentage"),
            stale_after: stale,
            observe: on_error.map(|on_error| ObserveConfig { error_limit: 2, on_error }),
            startup: failure_threshold.map(|failure_threshold| StartupConfig { failure_threshold }),
            ..CheckConfig::default()
        }
    }
}

proptest! {
    #[test]
    fn the_status_is_the_last_word_of_each_source(all in prop::collection::vec(said(), 0..40)) {
        let standing = Standing::new();
        for &said in &all {
            let before = standing.load();
            let change = standing.say(said);
            prop_assert_eq!(change.before, before);
            prop_assert_eq!(change.after, standing.load());
            prop_assert_eq!(change.is_noop(), is_in(said, before));
        }
        let last = last_words(&all);
        let status = standing.load();
        prop_assert!(last.iter().all(|said| is_in(*said, status)));
        prop_assert_eq!(status.usable(), last.iter().all(|said| is_usable(*said)));
        prop_assert_eq!(status.causes().any(Cause::is_blocking), !status.usable());
        prop_assert_eq!(status.causes().any(|cause| cause == Cause::Degraded) && status.usable(), status.is_degraded());

        // In any order: here, backwards.
        let again = Standing::new();
        for &said in last.iter().rev() {
            let _ = again.say(said);
        }
        prop_assert_eq!(again.load(), status);
    }

    #[test]
    fn nobody_clears_what_another_source_said(mine in said(), others in prop::collection::vec(said(), 0..40)) {
        let standing = Standing::new();
        let _ = standing.say(mine);
        for said in others {
            if std::mem::discriminant(&said) != std::mem::discriminant(&mine) {
                let _ = standing.say(said);
            }
            prop_assert!(is_in(mine, standing.load()));
        }
    }

    /// Against the plain definition: so many in a row, counted in two numbers.
    #[test]
    fn rise_and_fall_mean_in_a_row(
        rise in 1_u8..6, fall in 1_u8..6, up in any::<bool>(), passes in prop::collection::vec(any::<bool>(), 0..80),
    ) {
        let start = if up { Start::FullyUp } else { Start::FullyDown };
        let mut machine = RiseFall::new(&RiseFallConfig { rise, fall, start }).unwrap();
        let (mut is_up, mut passed, mut failed) = (up, 0, 0);
        for pass in passes {
            let turn = if pass { machine.pass() } else { machine.fail() };
            (passed, failed) = if pass { (passed + 1, 0) } else { (0, failed + 1) };
            let was = is_up;
            is_up = if is_up { failed < fall } else { passed >= rise };
            prop_assert_eq!(machine.is_up(), is_up);
            prop_assert_eq!(turn.is_some(), was != is_up);
        }
    }

    /// Nothing panics at any time in any order, and the same seed and events give the same machine.
    #[test]
    fn a_check_survives_any_time_and_replays(
        config in config(), seed in any::<u64>(),
        events in prop::collection::vec((any::<u64>(), event()), 0..60),
    ) {
        let replay = || {
            let mut check =
                ActiveCheck::new(config.clone(), Timestamp::ORIGIN, &mut SplitMix64::new(seed)).unwrap();
            let mut probes = Vec::new();
            let mut seen = Vec::new();
            for &(nanos, event) in &events {
                let now = Timestamp::from_nanos(nanos);
                let before = check.state(Timestamp::ORIGIN);
                let change = event.happen(&mut check, &mut probes, now);
                seen.push((before, change, probes.len(), check.next_deadline()));
            }
            (check, seen)
        };
        prop_assert_eq!(format!("{:?}", replay()), format!("{:?}", replay()));
    }

    /// Whatever happened: who follows the deadlines gets to probe, and passes bring the endpoint back.
    #[test]
    fn a_check_is_never_stuck(
        config in config(), seed in any::<u64>(),
        events in prop::collection::vec((0_u64..1_000_000_000_000, event()), 0..60),
    ) {
        let mut check =
            ActiveCheck::new(config.clone(), Timestamp::ORIGIN, &mut SplitMix64::new(seed)).unwrap();
        let mut probes = Vec::new();
        for (nanos, event) in events {
            let _ = event.happen(&mut check, &mut probes, Timestamp::from_nanos(nanos));
        }
        let mut passed = 0;
        for _ in 0..100 {
            let now = check.next_deadline();
            if now == Timestamp::MAX {
                return Ok(());
            }
            let _ = check.tick(now);
            if let Some(probe) = check.start(now) {
                prop_assert!(check.start(now).is_none(), "two at once");
                let _ = check.finish(probe, now, CheckResult::Pass);
                passed += 1;
            }
        }
        prop_assert!(passed >= 49, "at most every other deadline is staleness: {passed}");
        prop_assert_eq!(check.state(Timestamp::ORIGIN), CheckState::Up);
    }

    /// Time that goes back changes no verdict and no deadline.
    #[test]
    fn time_going_back_changes_nothing(
        results in prop::collection::vec(result(), 1..20), back in prop::collection::vec(0_u64..1_000, 1..10),
    ) {
        let now = Timestamp::from_secs(1_000);
        let mut check = ActiveCheck::new(CheckConfig::default(), now, &mut SplitMix64::new(1)).unwrap();
        for result in results {
            let _ = check.on_result(now, result);
        }
        let before = (check.clone(), check.state(now));
        for secs in back {
            prop_assert_eq!(check.tick(Timestamp::from_secs(secs)), None);
            prop_assert!(!check.begin(Timestamp::from_secs(secs)));
            prop_assert_eq!(check.state(Timestamp::from_secs(secs)), before.1);
        }
        prop_assert_eq!(check, before.0);
    }
}
