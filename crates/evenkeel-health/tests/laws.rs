//! Laws that hold for every sequence of events.

use std::time::Duration;

use evenkeel_health::{
    ActiveCheck, AdminState, Cause, CheckConfig, CheckResult, CheckState, Opinion, RiseFall, RiseFallConfig,
    Standing, Start, Status,
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
        start in start(), seed in any::<u64>(),
        jitter in 0_u32..=50,
        interval in 1_u64..=u64::MAX,
        stale in prop::option::of(Just(Duration::MAX)),
        events in prop::collection::vec((any::<u64>(), prop::option::of(result())), 0..60),
    ) {
        let config = CheckConfig {
            thresholds: RiseFallConfig { start, ..RiseFallConfig::default() },
            interval: Duration::from_nanos(interval),
            jitter: Ratio::percent(jitter).unwrap(),
            stale_after: stale,
            ..CheckConfig::default()
        };
        let replay = || {
            let mut check =
                ActiveCheck::new(config.clone(), Timestamp::ORIGIN, &mut SplitMix64::new(seed)).unwrap();
            let mut seen = Vec::new();
            for &(nanos, result) in &events {
                let now = Timestamp::from_nanos(nanos);
                let before = check.state(Timestamp::ORIGIN);
                let change = match result {
                    Some(result) => check.on_result(now, result),
                    None => check.tick(now),
                };
                let begun = check.begin(now);
                seen.push((before, change, begun, check.next_deadline()));
            }
            (check, seen)
        };
        prop_assert_eq!(format!("{:?}", replay()), format!("{:?}", replay()));
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
