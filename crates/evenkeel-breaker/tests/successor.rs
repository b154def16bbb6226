//! A breaker that goes on with other settings.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::sync::Arc;
use std::time::Duration;

use evenkeel_breaker::{
    Breaker, BreakerConfig, Force, Guard, HalfOpen, Owner, ProbeRatio, Restart, Rule, Rules, State, Window,
};
use evenkeel_types::{Outcome, Ratio, Timestamp};

fn rules(config: &BreakerConfig) -> Arc<Rules> {
    Arc::new(Rules::new(config).unwrap())
}

fn second(second: u64) -> Timestamp {
    Timestamp::from_secs(second)
}

fn end(breaker: &Breaker, outcome: &Outcome, now: Timestamp) {
    let permit = breaker.try_acquire(now).unwrap().permit;
    let _ = breaker.record(permit, outcome, now);
}

/// Half-open at second 5 with two probes that have passed.
fn two_have_passed(config: &BreakerConfig) -> Breaker {
    let breaker = Breaker::new(config).unwrap();
    (0..5).for_each(|_| end(&breaker, &Outcome::failure(), second(0)));
    (0..2).for_each(|_| end(&breaker, &Outcome::success(), second(5)));
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker
}

#[test]
fn fewer_verdicts_are_asked_for_anew_and_not_never() {
    let by_ratio = |verdicts| HalfOpen {
        ratio: Some(ProbeRatio { verdicts, ..ProbeRatio::default() }),
        ..HalfOpen::default()
    };
    let by_row = |successes_needed| HalfOpen { successes_needed, ..HalfOpen::default() };
    for (before, after, needed) in [
        (by_row(3), by_row(2), 2),
        (by_row(3), by_row(1), 1),
        (by_ratio(4), by_ratio(2), 2),
        (by_ratio(4), by_ratio(1), 1),
    ] {
        let config = |half_open| BreakerConfig { half_open, ..BreakerConfig::default() };
        let next =
            two_have_passed(&config(before)).successor(&rules(&config(after)), Restart::Closed, second(6));
        for _ in 0..needed {
            assert_eq!(next.state(), State::HalfOpen, "{after:?}");
            end(&next, &Outcome::success(), second(6));
        }
        assert_eq!(next.state(), State::Closed, "{after:?}");
    }
}

#[test]
fn more_verdicts_leave_those_that_are_there() {
    let half_open = HalfOpen { successes_needed: 4, ..HalfOpen::default() };
    let config = BreakerConfig { half_open, ..BreakerConfig::default() };
    let next =
        two_have_passed(&BreakerConfig::default()).successor(&rules(&config), Restart::Closed, second(6));
    assert_eq!(next.stats(second(6)).probes_passed, 2);
}

#[test]
fn requests_under_way_end_wherever_their_guard_is() {
    let rule = Rule::Overdue { requests: 1, after: Duration::from_secs(1) };
    let config = BreakerConfig { rules: vec![rule], ..BreakerConfig::default() };
    let old = Arc::new(Breaker::new(&config).unwrap());
    let at_old = Guard::enter(Arc::clone(&old), || second(10)).unwrap();
    let given_over = old.try_acquire(second(10)).unwrap().permit;
    let rules = rules(&BreakerConfig { open_for: Duration::from_secs(9), ..config });
    let next = old.successor(&rules, Restart::Closed, second(10));
    assert_eq!(next.stats(second(10)).under_way, 2);
    drop(at_old);
    assert_eq!(next.record(given_over, &Outcome::success(), second(10)), None);
    assert_eq!(next.stats(second(10)).under_way, 0);
    assert_eq!(next.tick(second(12)), None);
}

#[test]
fn a_dry_run_keeps_its_owner_and_its_end() {
    let window = |size| Rule::Ratio { failures: Ratio::ONE, min_requests: 1, window: Window::Count { size } };
    let config =
        |size, dry_run| BreakerConfig { rules: vec![window(size)], dry_run, ..BreakerConfig::default() };
    let breaker = Breaker::new(&config(10, true)).unwrap();
    let ops: Owner = "ops".parse().unwrap();
    assert!(breaker.force(Force::DryRun, ops, Some(Duration::from_secs(600)), second(0)).unwrap().is_some());
    end(&breaker, &Outcome::failure(), second(0));
    end(&breaker, &Outcome::success(), second(0));

    let next = breaker.successor(&rules(&config(20, true)), Restart::Closed, second(1));
    let stats = next.stats(second(1));
    assert_eq!((stats.owner, stats.forced_until), (Some(ops), Some(second(600))));
    assert_eq!((stats.would_refuse, stats.would_refuse_ok), (1, 1));
    assert_eq!(next.tick(second(600)).map(|ended| ended.to), Some(State::Closed));

    for size in [10, 20] {
        let next = breaker.successor(&rules(&config(size, false)), Restart::HalfOpen, second(1));
        assert_eq!(next.state(), State::HalfOpen, "nothing is prepared for a dry run");
    }
}
