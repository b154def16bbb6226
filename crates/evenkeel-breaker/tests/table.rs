//! The table in the documentation of `Breaker`: every state meets every event.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::time::Duration;

use evenkeel_breaker::{
    Breaker, BreakerConfig, Force, HalfOpen, Owner, Permit, Reason, Rule, State, Transition, Window, WouldBe,
};
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
    Acquire,
    ByHandOpen,
    ByHandHalfOpen,
    ForceOpen,
    ForceClosed,
    ForceDryRun,
    Unforce,
}

use Event::{
    Acquire, ByHandHalfOpen, ByHandOpen, Deadline, Failure, ForceClosed, ForceDryRun, ForceOpen, Neutral,
    Overload, Release, Reset, Success, Unforce,
};

const EVENTS: [Event; 14] = [
    Success,
    Failure,
    Overload,
    Neutral,
    Release,
    Deadline,
    Reset,
    Acquire,
    ByHandOpen,
    ByHandHalfOpen,
    ForceOpen,
    ForceClosed,
    ForceDryRun,
    Unforce,
];
const MINUTE: Duration = Duration::from_secs(60);
const FORCED_OPEN: State = State::ForcedOpen { until: Some(Timestamp::from_secs(60)) };
const DISABLED: State = State::Disabled { until: Some(Timestamp::from_secs(60)) };
const DRY: State = State::DryRun { would_be: WouldBe::Closed };

/// Trips on the second failure in a row, or on two bad ones of two; one of those two has happened.
fn closed() -> (Breaker, Permit, Timestamp) {
    let two_of_two = Rule::Ratio { failures: Ratio::ONE, min_requests: 2, window: Window::Count { size: 2 } };
    let half_open = HalfOpen { successes_needed: 1, ..HalfOpen::default() };
    let rules = vec![Rule::Consecutive { failures: 2 }, two_of_two];
    let breaker =
        Breaker::new(&BreakerConfig { rules, half_open, dry_run: true, ..BreakerConfig::default() }).unwrap();
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

/// With the permit of a request that was admitted after the force, or before it where none is.
fn forced(force: Force) -> (Breaker, Permit, Timestamp) {
    let (breaker, late, now) = closed();
    assert!(breaker.force(force, Owner::UNNAMED, Some(MINUTE), now).unwrap().is_some());
    let permit = breaker.try_acquire(now).map_or(late, |admission| admission.permit);
    (breaker, permit, now)
}

fn forced_open() -> (Breaker, Permit, Timestamp) {
    forced(Force::Open)
}

fn disabled() -> (Breaker, Permit, Timestamp) {
    forced(Force::Closed)
}

/// One of two failures has happened.
fn dry_closed() -> (Breaker, Permit, Timestamp) {
    let (breaker, permit, now) = forced(Force::DryRun);
    assert_eq!(breaker.record(permit, &Outcome::failure(), now), None);
    let permit = breaker.try_acquire(now).unwrap().permit;
    (breaker, permit, now)
}

/// With a permit that would have been refused.
fn dry_open() -> (Breaker, Permit, Timestamp) {
    let (breaker, permit, now) = dry_closed();
    assert!(breaker.record(permit, &Outcome::failure(), now).is_some());
    let permit = breaker.try_acquire(now).unwrap().permit;
    assert!(permit.would_be_refused());
    (breaker, permit, now)
}

/// With the only probe.
fn dry_half_open() -> (Breaker, Permit, Timestamp) {
    let (breaker, _, _) = dry_open();
    let now = Timestamp::from_secs(5);
    let permit = breaker.try_acquire(now).unwrap().permit;
    assert!(permit.is_probe());
    (breaker, permit, now)
}

fn happen(breaker: &Breaker, permit: Permit, event: Event, now: Timestamp) -> Option<Transition> {
    let force = |force| breaker.force(force, Owner::UNNAMED, Some(MINUTE), START).unwrap();
    match event {
        Success => breaker.record(permit, &Outcome::success(), now),
        Failure => breaker.record(permit, &Outcome::failure(), now),
        Overload => breaker.record(permit, &Outcome::overload(None), now),
        Neutral => breaker.record(permit, &Outcome::neutral(), now),
        Release => breaker.release(permit, now),
        Deadline => breaker.tick(breaker.next_deadline().unwrap_or(Timestamp::MAX)),
        Reset => breaker.reset(now),
        Acquire => match breaker.try_acquire(now) {
            Ok(admission) => admission.transition,
            Err(refusal) => refusal.transition,
        },
        ByHandOpen => breaker.open(None, now).unwrap_or(None),
        ByHandHalfOpen => breaker.half_open(now).unwrap_or(None),
        ForceOpen => force(Force::Open),
        ForceClosed => force(Force::Closed),
        ForceDryRun => force(Force::DryRun),
        Unforce => breaker.unforce(now),
    }
}

/// A row: what follows each of `EVENTS`; `None` where nothing changes.
fn check(start: fn() -> (Breaker, Permit, Timestamp), row: [Option<(State, Reason)>; 14]) {
    for (event, expected) in EVENTS.into_iter().zip(row) {
        let (breaker, permit, now) = start();
        let before = breaker.state();
        let change = happen(&breaker, permit, event, now);
        let told = change.map(|change| (change.to, change.reason));
        assert_eq!(told, expected, "{before:?} {event:?}");
        let after = expected.map_or(before, |(after, _)| after);
        assert_eq!(breaker.state(), after, "{before:?} {event:?}");
        if let Some(change) = change {
            assert_eq!(
                (change.from, change.epoch),
                (before, breaker.stats(now).epoch),
                "{before:?} {event:?}"
            );
        }
    }
}

#[test]
fn every_state_meets_every_event() {
    let to = |state, reason| Some((state, reason));
    let would = |would_be| State::DryRun { would_be };
    let (closed_to, half) = (State::Closed, State::HalfOpen);
    let ratio = Reason::Ratio { failures: 2, requests: 2 };
    let consecutive = Reason::Consecutive { failures: 2 };
    let reset = to(closed_to, Reason::Reset);
    let over = to(closed_to, Reason::ForceOver);
    let force = |state| to(state, Reason::Forced);
    let forces = [force(FORCED_OPEN), force(DISABLED), force(DRY)];
    let until = Timestamp::from_secs(5);
    let would_open = would(WouldBe::Open { until });
    let would_reopen = would(WouldBe::Open { until: Timestamp::from_secs(10) });
    // In half-open the present second is the fifth, and nothing begins before it.
    let later = Some(Timestamp::from_secs(65));
    let later_forces =
        [force(State::ForcedOpen { until: later }), force(State::Disabled { until: later }), force(DRY)];
    let none = None;
    let [fo, fc, fd] = forces;
    let [lo, lc, ld] = later_forces;
    let by_hand = |state| to(state, Reason::ByHand);

    // Success, Failure, Overload, Neutral, Release, Deadline, Reset, Acquire, Open, HalfOpen, force open, closed, dry, none.
    check(
        closed,
        [
            none,
            to(OPEN, consecutive),
            to(OPEN, ratio),
            none,
            none,
            none,
            none,
            none,
            by_hand(OPEN),
            none,
            fo,
            fc,
            fd,
            none,
        ],
    );
    let waited = to(half, Reason::WaitOver);
    check(open, [none, none, none, none, none, waited, reset, none, none, by_hand(half), fo, fc, fd, none]);
    check(
        half_open,
        [
            to(closed_to, Reason::ProbesPassed),
            to(REOPENED, Reason::ProbeFailed),
            none,
            none,
            none,
            none,
            reset,
            none,
            by_hand(REOPENED),
            none,
            lo,
            lc,
            ld,
            none,
        ],
    );
    let probe_again = to(half, Reason::ForceOver);
    check(
        forced_open,
        [none, none, none, none, none, probe_again, reset, none, none, none, none, fc, fd, probe_again],
    );
    check(disabled, [none, none, none, none, none, over, reset, none, none, none, fo, none, fd, over]);
    check(
        dry_closed,
        [
            none,
            to(would_open, consecutive),
            to(would_open, ratio),
            none,
            none,
            over,
            reset,
            none,
            none,
            none,
            fo,
            fc,
            none,
            over,
        ],
    );
    let would_wait = to(would(WouldBe::HalfOpen), Reason::WaitOver);
    check(dry_open, [none, none, none, none, none, would_wait, reset, none, none, none, fo, fc, none, over]);
    check(
        dry_half_open,
        [
            to(DRY, Reason::ProbesPassed),
            to(would_reopen, Reason::ProbeFailed),
            none,
            none,
            none,
            none,
            reset,
            none,
            none,
            none,
            lo,
            lc,
            none,
            over,
        ],
    );
}
