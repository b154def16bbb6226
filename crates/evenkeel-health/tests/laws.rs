//! Laws that hold for every sequence of events.

use std::time::Duration;

use evenkeel_health::{
    ActiveCheck, AdminState, Change, CheckConfig, CheckResult, CheckState, RiseFall, RiseFallConfig,
    Standing, Start, Status,
};
use evenkeel_types::{Announced, Ratio, SplitMix64, Timestamp};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Said {
    Admin(AdminState),
    Announced(Announced),
    Check(CheckState),
    Ejected(bool),
    BreakerOpen(bool),
    DrainedByWeight(bool),
}

impl Said {
    fn to(self, standing: &Standing) -> Change {
        match self {
            Self::Admin(state) => standing.set_admin(state),
            Self::Announced(state) => standing.set_announced(state),
            Self::Check(state) => standing.set_check(state),
            Self::Ejected(ejected) => standing.set_ejected(ejected),
            Self::BreakerOpen(open) => standing.set_breaker_open(open),
            Self::DrainedByWeight(drained) => standing.set_drained_by_weight(drained),
        }
    }

    fn is_in(self, status: Status) -> bool {
        match self {
            Self::Admin(state) => status.admin() == state,
            Self::Announced(state) => status.announced() == state,
            Self::Check(state) => status.check() == state,
            Self::Ejected(ejected) => status.ejected() == ejected,
            Self::BreakerOpen(open) => status.breaker_open() == open,
            Self::DrainedByWeight(drained) => status.drained_by_weight() == drained,
        }
    }

    fn is_usable(self) -> bool {
        match self {
            Self::Admin(state) => state == AdminState::Ready,
            Self::Announced(state) => state.is_usable(),
            Self::Check(state) => state.is_usable(),
            Self::Ejected(blocks) | Self::BreakerOpen(blocks) | Self::DrainedByWeight(blocks) => !blocks,
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
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
    ]);
    prop_oneof![
        admin.prop_map(Said::Admin),
        announced.prop_map(Said::Announced),
        check.prop_map(Said::Check),
        any::<bool>().prop_map(Said::Ejected),
        any::<bool>().prop_map(Said::BreakerOpen),
        any::<bool>().prop_map(Said::DrainedByWeight),
    ]
}

/// The last word of each source, in the order in which the sources first spoke.
fn last_words(all: &[Said]) -> Vec<Said> {
    let mut last: Vec<Said> = Vec::new();
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
    prop::sample::select(vec![Start::FirstVerdict, Start::Up, Start::Down, Start::FullyUp, Start::FullyDown])
}

proptest! {
    #[test]
    fn the_status_is_the_last_word_of_each_source(all in prop::collection::vec(said(), 0..40)) {
        let standing = Standing::new();
        for said in &all {
            let before = standing.load();
            let change = said.to(&standing);
            prop_assert_eq!(change.before, before);
            prop_assert_eq!(change.after, standing.load());
            prop_assert_eq!(change.is_noop(), said.is_in(before));
        }
        let last = last_words(&all);
        let status = standing.load();
        prop_assert!(last.iter().all(|said| said.is_in(status)));
        prop_assert_eq!(status.usable(), last.iter().all(|said| said.is_usable()));
        prop_assert_eq!(status.cause().is_none(), status.usable() && !status.is_degraded());

        // In any order: here, backwards.
        let again = Standing::new();
        for said in last.iter().rev() {
            let _ = said.to(&again);
        }
        prop_assert_eq!(again.load(), status);
    }

    #[test]
    fn nobody_clears_what_another_source_said(mine in said(), others in prop::collection::vec(said(), 0..40)) {
        let standing = Standing::new();
        let _ = mine.to(&standing);
        for said in others {
            if std::mem::discriminant(&said) != std::mem::discriminant(&mine) {
                let _ = said.to(&standing);
            }
            prop_assert!(mine.is_in(standing.load()));
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
