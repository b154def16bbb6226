//! The table in the documentation of `Breaker`: every state meets every event.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use evenkeel_breaker::{Breaker, BreakerConfig, HalfOpen, Permit, Reason, Rule, State, Window};
use evenkeel_types::{Outcome, Ratio, Timestamp};

const START: Timestamp = Timestamp::from_secs(0);
const OPEN: State = State::Open { until: Timestamp::from_secs(5) };
const REOPENED: State = State::Open { until: Timestamp::from_secs(10) };

#[derive(Clone, Copy, Debug)]
enum Event {
    Success,
    Failure,
    Overload,
    Neutral,
    Release,
    Deadline,
    Reset,
}

use Event::{Deadline, Failure, Neutral, Overload, Release, Reset, Success};

/// Trips on the second failure in a row, or on two bad ones of two; one of those two has happened.
fn closed() -> (Breaker, Permit, Timestamp) {
    let two_of_two = Rule::Ratio { failures: Ratio::ONE, min_requests: 2, window: Window::Count { size: 2 } };
    let half_open = HalfOpen { successes_needed: 1, ..HalfOpen::default() };
    let rules = vec![Rule::Consecutive { failures: 2 }, two_of_two];
    let breaker = Breaker::new(&BreakerConfig { rules, half_open, ..BreakerConfig::default() }).unwrap();
    let permit = breaker.try_acquire(START).unwrap().permit;
    assert_eq!(breaker.record(permit, &Outcome::failure(), START), None);
    let permit = breaker.try_acquire(START).unwrap().permit;
    (breaker, permit, START)
}

/// With the permit of a request that was admitted while it was closed.
fn open() -> (Breaker, Permit, Timestamp) {
    let (breaker, late, now) = closed();
    let permit = breaker.try_acquire(now).unwrap().permit;
    assert_eq!(breaker.record(permit, &Outcome::failure(), now).map(|change| change.to), Some(OPEN));
    (breaker, late, now)
}

/// With the only probe.
fn half_open() -> (Breaker, Permit, Timestamp) {
    let (breaker, _, _) = open();
    let now = Timestamp::from_secs(5);
    let admission = breaker.try_acquire(now).unwrap();
    assert_eq!(admission.transition.map(|change| change.reason), Some(Reason::WaitOver));
    (breaker, admission.permit, now)
}

/// `after`: the state that follows; a transition is reported if and only if it is another one.
fn check(start: fn() -> (Breaker, Permit, Timestamp), event: Event, after: State, reason: Option<Reason>) {
    let (breaker, permit, now) = start();
    let before = breaker.state();
    let change = match event {
        Success => breaker.record(permit, &Outcome::success(), now),
        Failure => breaker.record(permit, &Outcome::failure(), now),
        Overload => breaker.record(permit, &Outcome::overload(None), now),
        Neutral => breaker.record(permit, &Outcome::neutral(), now),
        Release => breaker.release(permit, now),
        Deadline => breaker.tick(breaker.next_deadline().unwrap_or(Timestamp::MAX)),
        Reset => breaker.reset(now),
    };
    assert_eq!(breaker.state(), after, "{before:?} {event:?}");
    assert_eq!(change.map(|change| change.reason), reason, "{before:?} {event:?}");
    if let Some(change) = change {
        assert_eq!((change.from, change.to), (before, after));
        assert_eq!(change.epoch, breaker.stats(now).epoch);
    } else {
        assert_eq!(before, after);
    }
}

#[test]
fn every_state_meets_every_event() {
    let ratio = Reason::Ratio { failures: 2, requests: 2 };
    let consecutive = Reason::Consecutive { failures: 2 };

    check(closed, Success, State::Closed, None);
    check(closed, Failure, OPEN, Some(consecutive));
    check(closed, Overload, OPEN, Some(ratio));
    check(closed, Neutral, State::Closed, None);
    check(closed, Release, State::Closed, None);
    check(closed, Deadline, State::Closed, None);
    check(closed, Reset, State::Closed, None);

    check(open, Success, OPEN, None);
    check(open, Failure, OPEN, None);
    check(open, Overload, OPEN, None);
    check(open, Neutral, OPEN, None);
    check(open, Release, OPEN, None);
    check(open, Deadline, State::HalfOpen, Some(Reason::WaitOver));
    check(open, Reset, State::Closed, Some(Reason::Reset));

    check(half_open, Success, State::Closed, Some(Reason::ProbesPassed));
    check(half_open, Failure, REOPENED, Some(Reason::ProbeFailed));
    check(half_open, Overload, State::HalfOpen, None);
    check(half_open, Neutral, State::HalfOpen, None);
    check(half_open, Release, State::HalfOpen, None);
    check(half_open, Deadline, State::HalfOpen, None);
    check(half_open, Reset, State::Closed, Some(Reason::Reset));
}
