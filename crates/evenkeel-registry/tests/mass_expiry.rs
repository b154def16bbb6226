//! Many fall silent at once: the first loss is believed up to a limit, the rest is held, and the hold ends.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::time::Duration;

use evenkeel_registry::{
    Catalog, CatalogConfig, EvictionLimit, InvalidCatalogConfig, Lease, LeaseLost, ServiceName,
};
use evenkeel_types::{Endpoint, Ratio, Timestamp};

/// Ticks whenever asked until everybody has expired, and tells when (in seconds) how many went.
fn check(endpoints: u64, limit: EvictionLimit, expected: &[(u64, usize)]) {
    let (mut catalog, _) = fleet(endpoints, limit);
    let mut went = Vec::new();
    while let Some(asked) = catalog.next_deadline() {
        went.push((asked.as_nanos() / 1_000_000_000, catalog.tick(asked).len()));
    }
    assert_eq!(went, expected, "{endpoints} endpoints");
}

#[test]
fn half_goes_at_once_and_the_rest_by_and_by() {
    let limit = EvictionLimit::default();
    check(1, limit, &[(10, 1)]);
    check(3, limit, &[(10, 3)]);
    check(4, limit, &[(10, 3), (70, 1)]);
    check(13, limit, &[(10, 6), (70, 1), (130, 1), (190, 1), (250, 1), (310, 1), (370, 1), (430, 1)]);
    check(20, limit, &[(10, 10), (70, 3), (130, 3), (190, 3), (250, 1)]);
    check(20, EvictionLimit { at_once: Ratio::ONE, ..limit }, &[(10, 20)]);
    check(20, EvictionLimit { later: Ratio::ONE, ..limit }, &[(10, 10), (70, 10)]);
}

#[test]
fn a_hold_can_be_seen_and_ends_with_a_goodbye_or_a_registration() {
    let (mut catalog, leases) = fleet(8, EvictionLimit::default());
    assert_eq!(catalog.held(&users()), None);
    assert_eq!(catalog.tick(Timestamp::from_secs(10)).len(), 4);
    let held = catalog.held(&users()).unwrap();
    assert_eq!((held.endpoints, held.until), (4, Timestamp::from_secs(70)));
    assert_eq!(catalog.snapshot(&users()).endpoints().len(), 4);

    let now = Timestamp::from_secs(11);
    assert_eq!(catalog.renew(now, &leases[7]), Err(LeaseLost::Expired), "held, and lost all the same");
    assert_eq!(catalog.deregister(now, &leases[7]).unwrap().len(), 1);
    let same = Endpoint::clone(catalog.snapshot(&users()).endpoint(leases[6].id()).unwrap());
    let (_, changes) = catalog.register(now, &users(), same, None).unwrap();
    assert!(changes.is_empty(), "the same process came back: no reader sees anything");
    assert_eq!(catalog.held(&users()).unwrap().endpoints, 2);
}

#[test]
fn a_later_loss_finds_a_new_window() {
    let (mut catalog, _) = fleet(2, EvictionLimit::default());
    assert_eq!(catalog.tick(Timestamp::from_secs(10)).len(), 2);
    for id in 0..3_u64 {
        let (_lease, _) = catalog
            .register(Timestamp::from_secs(100), &users(), endpoint(id), Some(Duration::from_secs(10)))
            .unwrap();
    }
    assert_eq!(catalog.tick(Timestamp::from_secs(110)).len(), 3);
}

#[test]
fn a_window_without_length_is_refused() {
    let eviction = EvictionLimit { window: Duration::ZERO, ..Default::default() };
    let error = Catalog::new(CatalogConfig { eviction, ..Default::default() }).unwrap_err();
    assert!(matches!(error, InvalidCatalogConfig::Eviction(_)), "{error}");
}

fn fleet(endpoints: u64, eviction: EvictionLimit) -> (Catalog, Vec<Lease>) {
    let mut catalog = Catalog::new(CatalogConfig { eviction, ..Default::default() }).unwrap();
    let ttl = Some(Duration::from_secs(10));
    let leases = (0..endpoints)
        .map(|id| catalog.register(Timestamp::ORIGIN, &users(), endpoint(id), ttl).unwrap().0)
        .collect();
    (catalog, leases)
}

fn users() -> ServiceName {
    "users".parse().unwrap()
}

fn endpoint(id: u64) -> Endpoint {
    Endpoint::new(format!("e{id:03}").parse().unwrap(), "10.0.0.1:80".parse().unwrap())
}
