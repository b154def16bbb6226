//! The registry itself stood still: nobody is declared dead for its own silence, and nobody lives for ever by it.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::time::Duration;

use evenkeel_registry::{Catalog, Lease, LeaseLost};
use evenkeel_types::{Endpoint, Timestamp};

/// Two leases of 10 s, from 0 s and from 4 s.
fn two_leases() -> (Catalog, Lease, Lease) {
    let mut catalog = Catalog::default();
    let (first, second) = (register(&mut catalog, "a", 0, 10), register(&mut catalog, "b", 4, 10));
    (catalog, first, second)
}

fn register(catalog: &mut Catalog, id: &str, at: u64, ttl: u64) -> Lease {
    let endpoint = Endpoint::new(id.parse().unwrap(), "10.0.0.1:80".parse().unwrap());
    let ttl = Some(Duration::from_secs(ttl));
    catalog.register(secs(at), &"users".parse().unwrap(), endpoint, ttl).unwrap().0
}

fn secs(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

#[test]
fn a_late_tick_moves_every_deadline() {
    let (mut catalog, first, second) = two_leases();
    assert!(catalog.tick(secs(60)).is_empty());
    assert_eq!(catalog.deadline(&first), Some(secs(65)), "at least half a ttl from the wake-up");
    assert_eq!(catalog.deadline(&second), Some(secs(65)), "14 s + 50 s late, or half a ttl");
    assert_eq!(catalog.renew(secs(61), &first), Ok(secs(71)));
    assert_eq!(catalog.tick(secs(65)).len(), 1, "the one that did not renew");
}

/// A short pause near the end of a long lease moves it by that pause, and not by half an hour.
#[test]
fn nobody_is_given_more_than_the_silence() {
    let mut catalog = Catalog::default();
    let long = register(&mut catalog, "long", 0, 3_600);
    let _short = register(&mut catalog, "short", 3_500, 10);
    assert!(catalog.tick(secs(3_520)).is_empty());
    assert_eq!(catalog.deadline(&long), Some(secs(3_620)));
}

#[test]
fn who_has_time_left_is_given_the_lateness() {
    let mut catalog = Catalog::default();
    let _short = register(&mut catalog, "short", 0, 10);
    let long = register(&mut catalog, "long", 9, 3_600);
    assert!(catalog.tick(secs(16)).is_empty());
    assert_eq!(catalog.deadline(&long), Some(secs(3_609 + 6)));
}

#[test]
fn it_does_not_matter_which_call_wakes_up_first() {
    let (mut by_tick, first, second) = two_leases();
    let mut by_renewal = by_tick.clone();
    by_tick.tick(secs(60));
    by_tick.renew(secs(60), &second).unwrap();
    by_renewal.renew(secs(60), &second).unwrap();
    by_renewal.tick(secs(60));
    for lease in [first, second] {
        assert_eq!(by_tick.deadline(&lease), by_renewal.deadline(&lease));
    }
}

#[test]
fn half_the_shortest_ttl_late_is_not_a_pause() {
    let (mut catalog, first, second) = two_leases();
    assert_eq!(catalog.renew(secs(15), &first), Err(LeaseLost::Expired));
    assert_eq!(catalog.tick(secs(15)).len(), 2);
    assert_eq!(catalog.renew(secs(15), &second), Err(LeaseLost::Gone));
}

#[test]
fn calls_in_between_show_that_the_registry_was_awake() {
    let (mut catalog, first, second) = two_leases();
    assert_eq!(catalog.renew(secs(12), &second), Ok(secs(22)));
    assert_eq!(catalog.renew(secs(17), &second), Ok(secs(27)));
    assert_eq!(catalog.renew(secs(17), &first), Err(LeaseLost::Expired));
    assert_eq!(catalog.tick(secs(17)).len(), 1);
}

#[test]
fn what_had_expired_before_the_pause_stays_expired() {
    let (mut catalog, first, second) = two_leases();
    assert_eq!(catalog.renew(secs(12), &first), Err(LeaseLost::Expired));
    assert_eq!(catalog.renew(secs(60), &first), Err(LeaseLost::Expired));
    assert!(catalog.renew(secs(60), &second).is_ok());
}

#[test]
fn a_driver_that_is_always_late_keeps_nobody_alive() {
    let (mut catalog, ..) = two_leases();
    assert!(catalog.tick(secs(60)).is_empty());
    assert_eq!(catalog.tick(secs(120)).len(), 2);
}
