//! What is refused at the start, and what the clock is asked for.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::sync::Arc;
use std::time::Duration;

use evenkeel_breaker::{
    Breaker, BreakerConfig, ConfigError, Decision, HalfOpen, Overload, Rule, Rules, State, Window,
};
use evenkeel_types::{Outcome, Ratio, Timestamp};

const MILLI: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn consecutive(failures: u32) -> BreakerConfig {
    BreakerConfig { rules: vec![Rule::Consecutive { failures }], ..BreakerConfig::default() }
}

fn ratio(failures: Ratio, min_requests: u32, window: Window) -> BreakerConfig {
    BreakerConfig { rules: vec![Rule::Ratio { failures, min_requests, window }], ..BreakerConfig::default() }
}

fn count(min_requests: u32, size: u32) -> BreakerConfig {
    ratio(Ratio::HALF, min_requests, Window::Count { size })
}

fn time(span: Duration, buckets: u32) -> BreakerConfig {
    ratio(Ratio::HALF, 1, Window::Time { span, buckets })
}

fn half_open(half_open: HalfOpen) -> BreakerConfig {
    BreakerConfig { half_open, ..BreakerConfig::default() }
}

fn check(config: &BreakerConfig, expected: Result<(), ConfigError>) {
    assert_eq!(Rules::new(config).map(|_| ()), expected, "{config:?}");
}

#[test]
fn nonsense_is_refused_at_the_start() {
    check(&BreakerConfig::default(), Ok(()));
    check(&BreakerConfig { rules: vec![], ..BreakerConfig::default() }, Err(ConfigError::NoRules));
    let many = vec![Rule::Consecutive { failures: 1 }; 9];
    check(&BreakerConfig { rules: many, ..BreakerConfig::default() }, Err(ConfigError::TooManyRules(9)));
    check(&consecutive(0), Err(ConfigError::ConsecutiveFailures(0)));
    check(&consecutive(65_535), Ok(()));
    check(&consecutive(65_536), Err(ConfigError::ConsecutiveFailures(65_536)));

    check(&ratio(Ratio::ZERO, 1, Window::Count { size: 1 }), Err(ConfigError::ZeroRatio("ratio.failures")));
    check(&count(0, 1), Err(ConfigError::ZeroMinRequests("ratio")));
    check(&count(1, 0), Err(ConfigError::WindowSize { rule: "ratio", size: 0 }));
    check(&count(1, 65_535), Ok(()));
    check(&count(1, 65_536), Err(ConfigError::WindowSize { rule: "ratio", size: 65_536 }));
    check(
        &count(11, 10),
        Err(ConfigError::MinRequestsBeyondWindow { rule: "ratio", min_requests: 11, size: 10 }),
    );

    check(&time(DAY, 0), Err(ConfigError::WindowBuckets { rule: "ratio", buckets: 0 }));
    check(&time(DAY, 1024), Ok(()));
    check(&time(DAY, 1025), Err(ConfigError::WindowBuckets { rule: "ratio", buckets: 1025 }));
    check(&time(10 * MILLI, 1), Ok(()));
    for (span, buckets) in [(Duration::ZERO, 1), (19 * MILLI, 2), (DAY + MILLI, 10), (Duration::MAX, 1)] {
        check(&time(span, buckets), Err(ConfigError::WindowSpan { rule: "ratio", span, buckets }));
    }

    let wait = |open_for| BreakerConfig { open_for, ..BreakerConfig::default() };
    check(&wait(Duration::ZERO), Err(ConfigError::OpenFor(Duration::ZERO)));
    check(&wait(MILLI), Ok(()));
    check(&wait(Duration::MAX), Ok(()));
    let default = HalfOpen::default();
    check(&half_open(HalfOpen { max_concurrent: 0, ..default }), Err(ConfigError::MaxConcurrent(0)));
    check(&half_open(HalfOpen { max_concurrent: 1025, ..default }), Err(ConfigError::MaxConcurrent(1025)));
    check(&half_open(HalfOpen { successes_needed: 0, ..default }), Err(ConfigError::SuccessesNeeded(0)));
    check(&half_open(HalfOpen { lease: Duration::ZERO, ..default }), Err(ConfigError::Lease(Duration::ZERO)));
}

#[test]
fn what_nothing_would_look_at_is_refused() {
    let decide = HalfOpen { decide: Decision::Closed, ..HalfOpen::default() };
    check(&half_open(decide), Err(ConfigError::DecideWithoutAfter));
    check(&half_open(HalfOpen { decide_after: Some(DAY), ..decide }), Ok(()));
    let overload = Overload { max_retry_after: DAY, ..Overload::default() };
    let config = |overload| BreakerConfig { overload, ..BreakerConfig::default() };
    check(&config(overload), Err(ConfigError::MaxRetryAfterWithoutHints(DAY)));
    check(&config(Overload { open_for_retry_after: true, ..overload }), Ok(()));
}

#[test]
fn errors_name_the_field_and_what_is_allowed() {
    let message = Breaker::new(&count(11, 10)).unwrap_err().to_string();
    assert_eq!(
        message,
        "rules.ratio.min_requests is 11, more than the 10 of its window: lower it to the size"
    );
}

fn unread() -> Timestamp {
    unreachable!("the clock is not needed")
}

#[test]
fn a_healthy_breaker_reads_no_clock() {
    for config in [consecutive(2), count(1, 10)] {
        let breaker = Breaker::new(&config).unwrap();
        assert_eq!(breaker.peek(unread), Ok(()));
        for outcome in [Outcome::success(), Outcome::neutral()] {
            let permit = breaker.try_acquire(unread).unwrap().permit;
            assert_eq!(breaker.record(permit, &outcome, unread), None);
        }
    }
}

#[test]
fn one_that_is_late_reads_no_clock() {
    let breaker = Breaker::new(&consecutive(1)).unwrap();
    let late = breaker.try_acquire(unread).unwrap().permit;
    let permit = breaker.try_acquire(unread).unwrap().permit;
    assert!(breaker.record(permit, &Outcome::failure(), Timestamp::ORIGIN).is_some());
    assert_eq!(breaker.record(late, &Outcome::failure(), unread), None);
}

#[test]
fn breakers_share_rules_and_nothing_else() {
    let rules = Arc::new(Rules::new(&consecutive(1)).unwrap());
    let [first, second] = [Breaker::with_rules(&rules), Breaker::with_rules(&rules)];
    let permit = first.try_acquire(unread).unwrap().permit;
    assert!(first.record(permit, &Outcome::failure(), Timestamp::ORIGIN).is_some());
    assert_eq!(second.state(), State::Closed);
}

/// Deadlines are whole milliseconds, rounded up: never early.
#[test]
fn a_deadline_inside_a_millisecond_rounds_up() {
    let breaker = Breaker::new(&consecutive(1)).unwrap();
    let permit = breaker.try_acquire(unread).unwrap().permit;
    assert!(breaker.record(permit, &Outcome::failure(), Timestamp::from_nanos(1)).is_some());
    assert_eq!(breaker.state(), State::Open { until: Timestamp::from_millis(5001) });
    assert_eq!(breaker.tick(Timestamp::from_nanos(5_000_999_999)), None);
    assert!(breaker.tick(Timestamp::from_millis(5001)).is_some());
}

#[test]
fn everything_crosses_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Breaker>();
    check::<evenkeel_breaker::Permit>();
    check::<Rules>();
    assert!(size_of::<Breaker>() <= 32);
    assert!(size_of::<evenkeel_breaker::Permit>() <= 16);
}
