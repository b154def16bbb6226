//! Every interleaving of concurrent callers. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p evenkeel-breaker --release --test loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

use std::time::Duration;

use evenkeel_breaker::{
    Breaker, BreakerConfig, Force, HalfOpen, Owner, Permit, ProbeRatio, Reason, Rule, State, Transition,
    Window,
};
use evenkeel_types::{Outcome, Ratio, Timestamp};
use loom::sync::Arc;
use loom::thread;

const OPEN: Timestamp = Timestamp::from_secs(1);
const DUE: Timestamp = Timestamp::from_secs(6);
/// After a second trip at `DUE`.
const DUE_AGAIN: Timestamp = Timestamp::from_secs(11);
/// No failure of `OPEN` or `DUE` is in a window of ten seconds any more.
const LATER: Timestamp = Timestamp::from_secs(20);
const LEASE_OVER: Timestamp = Timestamp::from_secs(36);

fn model(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(scenario);
}

fn breaker(rule: Rule, half_open: HalfOpen) -> Arc<Breaker> {
    let config = BreakerConfig { rules: vec![rule], half_open, ..BreakerConfig::default() };
    Arc::new(Breaker::new(&config).unwrap())
}

/// Open since second 1, until second 6.
fn opened(half_open: HalfOpen) -> Arc<Breaker> {
    let breaker = breaker(Rule::Consecutive { failures: 1 }, half_open);
    let permit = breaker.try_acquire(OPEN).unwrap().permit;
    assert_eq!(
        reason(breaker.record(permit, &Outcome::failure(), OPEN)),
        Some(Reason::Consecutive { failures: 1 })
    );
    breaker
}

fn reason(transition: Option<Transition>) -> Option<Reason> {
    transition.map(|transition| transition.reason)
}

type Probe = (Option<Permit>, usize);

/// The permit, and how many transitions were reported.
fn probe(breaker: &Breaker) -> Probe {
    match breaker.try_acquire(DUE) {
        Ok(admission) => (Some(admission.permit), usize::from(admission.transition.is_some())),
        Err(_) => (None, 0),
    }
}

fn check_probes(half_open: HalfOpen, ticks: bool, granted: usize) {
    model(3, move || {
        let breaker = opened(half_open);
        let others: Vec<_> = (0..2)
            .map(|index| {
                let breaker = breaker.clone();
                thread::spawn(move || match (ticks, index) {
                    (true, 1) => (None, usize::from(breaker.tick(DUE).is_some())),
                    _ => probe(&breaker),
                })
            })
            .collect();
        let mut all = vec![probe(&breaker)];
        all.extend(others.into_iter().map(|other| other.join().unwrap()));
        assert_eq!(all.iter().map(|(_, reported)| reported).sum::<usize>(), 1, "one transition");
        assert_eq!(all.iter().filter(|(permit, _)| permit.is_some()).count(), granted);
        assert_eq!(breaker.stats(DUE).probes_in_flight as usize, granted);
    });
}

#[test]
fn probes_are_never_oversubscribed() {
    let one = HalfOpen::default();
    let two = HalfOpen { max_concurrent: 2, ..one };
    check_probes(one, false, 1);
    check_probes(two, false, 2);
    check_probes(one, true, 1);
}

fn check_one_trip(rule: Rule, already: usize, preemptions: usize) {
    model(preemptions, move || {
        let breaker = breaker(rule, HalfOpen::default());
        let fail = |breaker: &Breaker| {
            let permit = breaker.try_acquire(OPEN).ok().map(|admission| admission.permit);
            permit.and_then(|permit| breaker.record(permit, &Outcome::failure(), OPEN))
        };
        for _ in 0..already {
            assert_eq!(fail(&breaker), None);
        }
        let others: Vec<_> = (0..2)
            .map(|_| {
                let breaker = breaker.clone();
                thread::spawn(move || fail(&breaker))
            })
            .collect();
        let mine = fail(&breaker);
        let trips: Vec<_> =
            others.into_iter().filter_map(|other| other.join().unwrap()).chain(mine).collect();
        assert_eq!(trips.len(), 1, "{trips:?}");
        assert_eq!(breaker.state(), trips[0].to);
        assert_eq!(breaker.stats(OPEN).times_opened, 1);
    });
}

#[test]
fn a_run_of_failures_trips_once() {
    check_one_trip(Rule::Consecutive { failures: 3 }, 0, 3);
    check_one_trip(Rule::Consecutive { failures: 3 }, 1, 3);
}

#[test]
fn a_ratio_trips_once() {
    let ratio = |window| Rule::Ratio { failures: Ratio::HALF, min_requests: 3, window };
    check_one_trip(ratio(Window::Count { size: 3 }), 0, 3);
    // A step that begins empties buckets, so there is more to interleave.
    check_one_trip(ratio(Window::Time { span: Duration::from_secs(10), buckets: 2 }), 1, 2);
}

/// A failure and the successes that complete the number of requests, in one bucket or in two: whoever comes last trips,
/// and neither takes the other for the last.
fn check_last_request(already: u32, successes: u32, failed_at: Timestamp) {
    model(3, move || {
        let window = Window::Time { span: Duration::from_secs(10), buckets: 2 };
        let min_requests = already + successes + 1;
        let failures = Ratio::percent(100 / min_requests).unwrap();
        let breaker = breaker(Rule::Ratio { failures, min_requests, window }, HalfOpen::default());
        let end = |breaker: &Breaker, outcome, at| {
            let permit = breaker.try_acquire(OPEN).ok().map(|admission| admission.permit);
            permit.and_then(|permit| breaker.record(permit, &outcome, at))
        };
        // The model lets a `SeqCst` load return the value of the constructor although there is a newer one; so write first.
        for at in [OPEN, DUE] {
            assert_eq!(end(&breaker, Outcome::failure(), at), None);
            assert_eq!(breaker.reset(at), None);
        }
        for _ in 0..already {
            assert_eq!(end(&breaker, Outcome::success(), LATER), None);
        }
        let others: Vec<_> = (0..successes)
            .map(|_| {
                let breaker = breaker.clone();
                thread::spawn(move || end(&breaker, Outcome::success(), LATER))
            })
            .collect();
        let mine = end(&breaker, Outcome::failure(), failed_at);
        let trips: Vec<_> =
            others.into_iter().filter_map(|other| other.join().unwrap()).chain(mine).collect();
        assert_eq!(trips.len(), 1, "{trips:?}");
        assert_eq!(trips[0].reason, Reason::Ratio { failures: 1, requests: u64::from(min_requests) });
    });
}

#[test]
fn the_last_request_is_judged() {
    let next_bucket = LATER.saturating_add(Duration::from_secs(5));
    for already in [0, 1] {
        check_last_request(already, 1, LATER);
        check_last_request(already, 1, next_bucket);
    }
    check_last_request(1, 2, LATER);
}

/// A lost probe's late failure against a tick that frees its slot and the next probe that takes it and succeeds: one of
/// the two probes ends the epoch, never both, and never none.
#[test]
fn a_lease_that_ended_decides_nothing() {
    model(3, || {
        let breaker = opened(HalfOpen { successes_needed: 1, ..HalfOpen::default() });
        let lost = breaker.try_acquire(DUE).unwrap().permit;
        let epoch = lost.epoch();
        let (late, ticker) = (breaker.clone(), breaker.clone());
        // The clock of the late thread is behind: as it sees it, the lease still runs.
        let late = thread::spawn(move || late.record(lost, &Outcome::failure(), DUE));
        let ticker = thread::spawn(move || ticker.tick(LEASE_OVER));
        let next = breaker.try_acquire(LEASE_OVER).ok().map(|admission| admission.permit);
        let passed = next.and_then(|permit| breaker.record(permit, &Outcome::success(), LEASE_OVER));
        let said = [passed, ticker.join().unwrap(), late.join().unwrap()];
        let ended = said.iter().flatten().filter(|said| said.epoch == epoch + 1).count();
        assert!(ended == 1, "{said:?}");
    });
}

/// The last success that is needed, a failure, and an operator, all at once: the epoch ends once.
#[test]
fn one_of_several_ends_the_epoch() {
    model(3, || {
        let breaker = opened(HalfOpen { max_concurrent: 2, successes_needed: 2, ..HalfOpen::default() });
        let first = breaker.try_acquire(DUE).unwrap().permit;
        let second = breaker.try_acquire(DUE).unwrap().permit;
        let epoch = second.epoch();
        assert_eq!(breaker.record(first, &Outcome::success(), DUE), None);
        let third = breaker.try_acquire(DUE);
        assert!(third.is_err(), "only one success is missing");

        let (prober, operator) = (breaker.clone(), breaker.clone());
        let prober = thread::spawn(move || prober.record(second, &Outcome::success(), DUE));
        let operator = thread::spawn(move || operator.reset(DUE));
        let third = breaker.try_acquire(DUE).ok().map(|admission| admission.permit);
        let failed = third.and_then(|permit| breaker.record(permit, &Outcome::failure(), DUE));
        let said = [prober.join().unwrap(), operator.join().unwrap(), failed];
        let ended = said.iter().flatten().filter(|said| said.epoch == epoch + 1).count();
        assert!(ended == 1, "{said:?}");
    });
}

/// A result that crosses a reset counts either before it or not at all.
#[test]
fn an_ended_epoch_leaves_nothing_behind() {
    let ratio = |window| Rule::Ratio { failures: Ratio::ONE, min_requests: 2, window };
    for rule in [
        Rule::Consecutive { failures: 2 },
        ratio(Window::Count { size: 2 }),
        ratio(Window::Time { span: Duration::from_secs(10), buckets: 2 }),
    ] {
        model(3, move || {
            let breaker = breaker(rule, HalfOpen::default());
            let permit = breaker.try_acquire(OPEN).unwrap().permit;
            let late = breaker.clone();
            let late = thread::spawn(move || late.record(permit, &Outcome::failure(), OPEN));
            assert_eq!(breaker.reset(OPEN), None);
            let permit = breaker.try_acquire(OPEN).unwrap().permit;
            assert_eq!(breaker.record(permit, &Outcome::failure(), OPEN), None, "the first of this epoch");
            assert_eq!(late.join().unwrap(), None);
            assert_eq!(breaker.stats(OPEN).window_failures.max(1), 1);
        });
    }
}

/// A thread that looked for a slot in an ended epoch, and finds its slot free in the next: the probe of the next epoch
/// keeps its lease, and decides.
#[test]
fn a_late_look_for_a_slot_takes_none_from_the_next_epoch() {
    model(3, || {
        let breaker = opened(HalfOpen { successes_needed: 1, ..HalfOpen::default() });
        assert_eq!(reason(breaker.tick(DUE)), Some(Reason::WaitOver));
        let late = breaker.clone();
        let late = thread::spawn(move || late.try_acquire(DUE).map(|admission| admission.permit.epoch()));
        assert_eq!(reason(breaker.reset(DUE)), Some(Reason::Reset));
        let permit = breaker.try_acquire(DUE).unwrap().permit;
        assert!(breaker.record(permit, &Outcome::failure(), DUE).is_some());
        let probe = breaker.try_acquire(DUE_AGAIN).unwrap().permit;
        let closed = breaker.record(probe, &Outcome::success(), DUE_AGAIN);
        assert_eq!(reason(closed), Some(Reason::ProbesPassed));
        let _ = late.join().unwrap();
    });
}

/// An operator forces it open while the last failure of a row ends: whichever comes first, it ends forced open, each change
/// is told once, and the failure decides nothing in the epoch that the force began.
#[test]
fn a_force_and_an_outcome() {
    model(3, || {
        let breaker = breaker(Rule::Consecutive { failures: 1 }, HalfOpen::default());
        let permit = breaker.try_acquire(OPEN).unwrap().permit;
        let other = breaker.clone();
        let failed = thread::spawn(move || other.record(permit, &Outcome::failure(), OPEN));
        let forced = breaker.force(Force::Open, Owner::UNNAMED, None, OPEN).unwrap();
        let failed = failed.join().unwrap();
        assert_eq!(breaker.state(), State::ForcedOpen { until: None });
        assert_eq!(reason(forced), Some(Reason::Forced));
        let epochs = 1 + u32::from(failed.is_some());
        assert_eq!(breaker.stats(OPEN).epoch, epochs);
        assert_eq!(breaker.stats(OPEN).times_opened, epochs - 1);
        assert!(breaker.try_acquire(DUE).is_err());
    });
}

/// Two operators at once: one of them has the last word, and its owner is the one that is named.
#[test]
fn two_forces() {
    model(3, || {
        let breaker = breaker(Rule::Consecutive { failures: 1 }, HalfOpen::default());
        let other = breaker.clone();
        let names: [Owner; 2] = ["a".parse().unwrap(), "b".parse().unwrap()];
        let closed = thread::spawn(move || other.force(Force::Closed, names[1], None, OPEN).unwrap());
        let opened = breaker.force(Force::Open, names[0], None, OPEN).unwrap();
        assert!(opened.is_some() && closed.join().unwrap().is_some());
        let owner = breaker.owner();
        match breaker.state() {
            State::ForcedOpen { .. } => assert_ne!(owner, Some(names[1])),
            State::Disabled { .. } => assert_ne!(owner, Some(names[0])),
            other => panic!("{other:?}"),
        }
    });
}

/// Requests begin and end on two threads while a third looks: never more overdue than under way, and none in the end.
#[test]
fn overdue_requests_settle() {
    model(2, || {
        let rule = Rule::Overdue { requests: 2, after: Duration::from_secs(3) };
        let breaker = breaker(rule, HalfOpen::default());
        let others: Vec<_> = [OPEN, LATER]
            .map(|start| {
                let breaker = breaker.clone();
                thread::spawn(move || {
                    let permit = breaker.try_acquire(start).unwrap().permit;
                    assert_eq!(
                        breaker.record(permit, &Outcome::success(), start),
                        None,
                        "one alone is not two"
                    );
                })
            })
            .into_iter()
            .collect();
        let stats = breaker.stats(LATER);
        assert!(stats.overdue <= 1, "the one that began at LATER is young: {stats:?}");
        others.into_iter().for_each(|other| other.join().unwrap());
        let stats = breaker.stats(LATER);
        assert_eq!((stats.overdue, stats.under_way), (0, 0));
        assert_eq!(breaker.tick(LATER), None);
    });
}

/// Requests begin and end at one moment on two threads: none of them was ever overdue, whoever looks when.
#[test]
fn a_request_that_ends_is_not_overdue() {
    model(3, || {
        let rule = Rule::Overdue { requests: 1, after: Duration::from_secs(3) };
        let breaker = breaker(rule, HalfOpen::default());
        let one = |breaker: &Breaker| {
            let permit = breaker.try_acquire(OPEN).unwrap().permit;
            breaker.record(permit, &Outcome::success(), OPEN)
        };
        let other = breaker.clone();
        let other = thread::spawn(move || one(&other));
        assert_eq!((one(&breaker), other.join().unwrap()), (None, None));
        assert_eq!(breaker.next_deadline(), None);
    });
}

/// Two requests hang; two threads find them overdue at once: one of them trips it.
#[test]
fn overdue_requests_trip_once() {
    model(3, || {
        let rule = Rule::Overdue { requests: 2, after: Duration::from_secs(3) };
        let breaker = breaker(rule, HalfOpen::default());
        let hanging = [breaker.try_acquire(OPEN).unwrap(), breaker.try_acquire(OPEN).unwrap()];
        let other = breaker.clone();
        let ticked = thread::spawn(move || other.tick(DUE));
        let refused = breaker.try_acquire(DUE).map(|admission| admission.permit.epoch()).unwrap_err();
        let told = [refused.transition, ticked.join().unwrap()];
        assert_eq!(told.iter().flatten().count(), 1, "{told:?}");
        drop(hanging);
    });
}

/// Two threads on two stripes complete the number of requests: whoever comes last trips.
#[test]
fn a_striped_ratio_trips_once() {
    model(3, || {
        let window = Window::Time { span: Duration::from_secs(10), buckets: 1 };
        let rule = Rule::Ratio { failures: Ratio::HALF, min_requests: 2, window };
        let config = BreakerConfig { rules: vec![rule], stripes: 2, ..BreakerConfig::default() };
        let breaker = Arc::new(Breaker::new(&config).unwrap());
        let end = |breaker: &Breaker, outcome| {
            let permit = breaker.try_acquire(LATER).ok().map(|admission| admission.permit);
            permit.and_then(|permit| breaker.record(permit, &outcome, LATER))
        };
        // As above: the model lets a `SeqCst` load return the value of the constructor; so write first, on each stripe. Of
        // the model's threads 0, 1, 2 and 3 the odd ones count in the second stripe.
        assert_eq!(end(&breaker, Outcome::failure()), None);
        assert_eq!(breaker.reset(LATER), None);
        let first = breaker.clone();
        assert_eq!(thread::spawn(move || end(&first, Outcome::failure())).join().unwrap(), None);
        assert_eq!(breaker.reset(LATER), None);
        thread::spawn(|| ()).join().unwrap();
        let other = breaker.clone();
        let other = thread::spawn(move || end(&other, Outcome::success()));
        let mine = end(&breaker, Outcome::failure());
        let trips: Vec<_> = [mine, other.join().unwrap()].into_iter().flatten().collect();
        assert_eq!(trips.len(), 1, "{trips:?}");
        assert_eq!(trips[0].reason, Reason::Ratio { failures: 1, requests: 2 });
    });
}

/// The last two verdicts of a ratio over probes at once: one decides.
#[test]
fn a_ratio_of_probes_decides_once() {
    model(3, || {
        let ratio = Some(ProbeRatio { verdicts: 2, ..ProbeRatio::default() });
        let breaker = opened(HalfOpen { max_concurrent: 2, ratio, ..HalfOpen::default() });
        let probes = [breaker.try_acquire(DUE).unwrap().permit, breaker.try_acquire(DUE).unwrap().permit];
        let [first, second] = probes;
        let other = breaker.clone();
        let passed = thread::spawn(move || other.record(first, &Outcome::success(), DUE));
        let failed = breaker.record(second, &Outcome::failure(), DUE);
        let told: Vec<_> = [failed, passed.join().unwrap()].into_iter().flatten().collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].reason, Reason::ProbeRatio { failures: 1, slow: 0, verdicts: 2 });
    });
}

/// Failures of two threads are both evidence.
#[test]
fn evidence_is_not_lost() {
    model(3, || {
        let tolerated = Ratio::percent(1).unwrap();
        let rule = Rule::Statistical { tolerated, requests_per_false_trip: 200 };
        let breaker = breaker(rule, HalfOpen::default());
        let fail = |breaker: &Breaker| {
            let permit = breaker.try_acquire(OPEN).unwrap().permit;
            breaker.record(permit, &Outcome::failure(), OPEN)
        };
        let other = breaker.clone();
        let other = thread::spawn(move || fail(&other));
        let trips = [fail(&breaker), other.join().unwrap()];
        assert_eq!(trips.iter().flatten().count(), 1, "two failures of two are enough: {trips:?}");
    });
}
