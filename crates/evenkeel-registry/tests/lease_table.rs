//! Every state of a lease meets every event: the table in the documentation of `Lease`, line by line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::time::Duration;

use evenkeel_registry::{
    Catalog, CatalogConfig, Cause, ChangeKind, EvictionLimit, Lease, LeaseLost, ServiceName, UpdateError,
};
use evenkeel_types::{Endpoint, Ratio, Timestamp, Weight};

const TTL: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Kept,
    /// Past its deadline, and not ticked yet.
    Overdue,
    /// Past its deadline, ticked, and held by the eviction limit.
    Held,
    Replaced,
    Gone,
}
use State::{Gone, Held, Kept, Overdue, Replaced};

#[test]
fn every_state_meets_every_event() {
    check(Kept, "renew", "ok", Kept);
    check(Kept, "update", "ok", Kept);
    check(Kept, "deregister", "ok", Gone);
    check(Kept, "tick", "none", Kept);
    check(Kept, "register", "ok", Replaced);

    check(Overdue, "renew", "expired", Overdue);
    check(Overdue, "update", "expired", Overdue);
    check(Overdue, "deregister", "ok", Gone);
    check(Overdue, "tick", "expired", Gone);
    check(Overdue, "register", "ok", Replaced);

    check(Held, "renew", "expired", Held);
    check(Held, "update", "expired", Held);
    check(Held, "deregister", "ok", Gone);
    check(Held, "tick", "none", Held);
    check(Held, "register", "ok", Replaced);

    check(Replaced, "renew", "replaced", Replaced);
    check(Replaced, "update", "replaced", Replaced);
    check(Replaced, "deregister", "replaced", Replaced);
    check(Replaced, "tick", "none", Replaced);
    check(Replaced, "register", "ok", Replaced);

    check(Gone, "renew", "gone", Gone);
    check(Gone, "update", "gone", Gone);
    check(Gone, "deregister", "gone", Gone);
    check(Gone, "tick", "none", Gone);
    check(Gone, "register", "ok", Replaced);
}

#[test]
fn a_deadline_is_inclusive_and_counted_once() {
    let (mut catalog, service) = (Catalog::default(), service());
    let (lease, _) = catalog.register(secs(0), &service, endpoint(), Some(TTL)).unwrap();
    assert_eq!(catalog.renew(secs(4), &lease), Ok(secs(14)));
    assert_eq!(catalog.next_deadline(), Some(secs(14)));
    assert!(catalog.tick(Timestamp::from_nanos(secs(14).as_nanos() - 1)).is_empty());
    assert_eq!(catalog.tick(secs(14))[0].kind, ChangeKind::Removed { cause: Cause::Expired });
    assert_eq!(catalog.next_deadline(), None);
}

#[test]
fn time_that_goes_back_counts_as_the_latest() {
    let (mut catalog, service) = (Catalog::default(), service());
    catalog.tick(secs(100));
    let (lease, _) = catalog.register(secs(1), &service, endpoint(), Some(TTL)).unwrap();
    assert_eq!(catalog.deadline(&lease), Some(secs(110)));
    assert_eq!(catalog.renew(secs(2), &lease), Ok(secs(110)));
    assert_eq!(catalog.snapshot(&service).as_of(), secs(100));
}

#[test]
fn a_lease_without_end_needs_no_renewal() {
    let (mut catalog, service) = (Catalog::default(), service());
    let (lease, _) = catalog.register(secs(0), &service, endpoint(), None).unwrap();
    assert_eq!(catalog.next_deadline(), None);
    assert!(catalog.tick(Timestamp::MAX).is_empty());
    assert_eq!(catalog.renew(secs(0), &lease), Ok(Timestamp::MAX));
    assert_eq!(catalog.deregister(secs(0), &lease).unwrap().len(), 1);
}

#[test]
fn an_update_is_neither_a_renewal_nor_a_registration() {
    let (mut catalog, service) = (Catalog::default(), service());
    let (lease, _) = catalog.register(secs(0), &service, endpoint(), Some(TTL)).unwrap();
    catalog.update(secs(5), &lease, endpoint().with_weight(Weight::DRAIN)).unwrap();
    assert_eq!(catalog.deadline(&lease), Some(secs(10)));
    let other = Endpoint::new("b".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
    assert_eq!(catalog.update(secs(5), &lease, other), Err(UpdateError::OtherId));
    let later = endpoint().with_incarnation(9);
    assert_eq!(
        catalog.update(secs(5), &lease, later),
        Err(UpdateError::OtherIncarnation { given: 9, present: 1 })
    );
    assert_eq!(catalog.generation(&service), 2, "refused updates are not visible");
}

#[test]
fn a_lease_of_an_earlier_life_touches_nothing() {
    let life = |epoch_floor| Catalog::new(CatalogConfig { epoch_floor, ..Default::default() }).unwrap();
    let (mut first, mut second, service) = (life(1_000), life(2_000), service());
    let (old, _) = first.register(secs(0), &service, endpoint(), Some(TTL)).unwrap();
    assert_eq!(second.renew(secs(0), &old), Err(LeaseLost::Gone));
    let (new, _) = second.register(secs(0), &service, endpoint(), Some(TTL)).unwrap();
    assert_eq!(second.deregister(secs(0), &old), Err(LeaseLost::Replaced));
    assert_eq!(first.deregister(secs(0), &new), Err(LeaseLost::Gone), "not given yet");
    assert!(second.renew(secs(1), &new).is_ok());
    assert_eq!(second.snapshot(&service).endpoints()[0].incarnation(), 2_001);
}

/// Brings a lease into a state, lets one event happen, and looks at the answer and at the state after.
fn check(from: State, event: &str, answer: &str, to: State) {
    let case = format!("{from:?} + {event}");
    let (mut catalog, service) = (one_at_a_time(), service());
    // A second endpoint, overdue at the same time and longer: it takes the only eviction of the window.
    let bait = Endpoint::new("bait".parse().unwrap(), "10.0.0.9:80".parse().unwrap());
    let (_bait, _) = catalog.register(secs(0), &service, bait, Some(TTL)).unwrap();
    let (lease, _) = catalog.register(secs(1), &service, endpoint(), Some(TTL)).unwrap();
    let now = match from {
        Kept => secs(2),
        Overdue => {
            catalog.tick(secs(10));
            // The next window, so that the tick finds room for one more.
            catalog.tick(Timestamp::from_millis(10_999));
            secs(11)
        }
        Held => {
            catalog.tick(secs(11));
            secs(11)
        }
        Replaced => {
            let _ = catalog.register(secs(1), &service, endpoint(), Some(TTL)).unwrap();
            secs(2)
        }
        Gone => {
            catalog.deregister(secs(1), &lease).unwrap();
            secs(2)
        }
    };
    let got = match event {
        "renew" => catalog.renew(now, &lease).map_or_else(name, |_| "ok"),
        "deregister" => catalog.deregister(now, &lease).map_or_else(name, |_| "ok"),
        "register" => catalog.register(now, &service, endpoint(), Some(TTL)).map_or("refused", |_| "ok"),
        "update" => match catalog.update(now, &lease, endpoint().with_weight(Weight::new(7))) {
            Ok(_) => "ok",
            Err(UpdateError::Lost(lost)) => name(lost),
            Err(_) => "refused",
        },
        "tick" => match catalog.tick(now).as_slice() {
            [] => "none",
            [change] if change.kind == (ChangeKind::Removed { cause: Cause::Expired }) => "expired",
            _ => "other",
        },
        _ => panic!("no such event: {event}"),
    };
    assert_eq!(got, answer, "{case}");
    assert_eq!(state(&catalog, now, &lease), to, "{case}");
}

fn state(catalog: &Catalog, now: Timestamp, lease: &Lease) -> State {
    let held = catalog.held(lease.service()).is_some();
    match catalog.clone().renew(now, lease) {
        Ok(_) => Kept,
        Err(LeaseLost::Expired) if held => Held,
        Err(LeaseLost::Expired) => Overdue,
        Err(LeaseLost::Replaced) => Replaced,
        Err(_) => Gone,
    }
}

fn name(lost: LeaseLost) -> &'static str {
    match lost {
        LeaseLost::Expired => "expired",
        LeaseLost::Replaced => "replaced",
        LeaseLost::Gone => "gone",
        _ => "other",
    }
}

/// One eviction per half second.
fn one_at_a_time() -> Catalog {
    let eviction = EvictionLimit {
        at_once: Ratio::ZERO,
        always: 1,
        later: Ratio::ZERO,
        window: Duration::from_millis(500),
    };
    Catalog::new(CatalogConfig { eviction, ..Default::default() }).unwrap()
}

fn service() -> ServiceName {
    "users".parse().unwrap()
}

fn endpoint() -> Endpoint {
    Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap())
}

fn secs(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}
