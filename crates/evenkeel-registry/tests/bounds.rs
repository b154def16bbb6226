//! What comes from outside is bounded, and a refusal changes nothing and says what to do.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::time::Duration;

use evenkeel_registry::{
    Catalog, CatalogConfig, ChangeKind, ForgetError, InvalidCatalogConfig, RegisterError, Selector,
    ServiceName, SourceState,
};
use evenkeel_types::{Announced, Difference, Endpoint, Timestamp, Weight};

const NOW: Timestamp = Timestamp::ORIGIN;

fn small() -> Catalog {
    Catalog::new(CatalogConfig { max_services: 2, max_endpoints: 2, ..Default::default() }).unwrap()
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn endpoint(id: &str) -> Endpoint {
    Endpoint::new(id.parse().unwrap(), "10.0.0.1:80".parse().unwrap())
}

#[test]
fn services_and_endpoints_are_counted() {
    let mut catalog = small();
    for (service, id) in [("x", "a"), ("x", "b"), ("y", "a"), ("x", "a")] {
        let (_lease, _) = catalog.register(NOW, &name(service), endpoint(id), None).unwrap();
    }
    let before = format!("{catalog:?}");
    let full = catalog.register(NOW, &name("x"), endpoint("c"), None).unwrap_err();
    assert_eq!(full, RegisterError::TooManyEndpoints { max_endpoints: 2 });
    let full = catalog.register(NOW, &name("z"), endpoint("a"), None).unwrap_err();
    assert_eq!(full, RegisterError::TooManyServices { max_services: 2 });
    assert_eq!(format!("{catalog:?}"), before, "a refusal changes nothing");
}

#[test]
fn asking_for_unknown_services_stores_nothing() {
    let catalog = small();
    for i in 0..100 {
        assert_eq!(catalog.snapshot(&name(&format!("s{i}"))).state(), SourceState::Pending);
    }
    assert!(catalog.services().names().is_empty());
}

#[test]
fn a_time_to_live_has_a_floor_and_a_ceiling() {
    let mut catalog = Catalog::default();
    let (min, max) = (Duration::from_secs(1), Duration::from_secs(86_400));
    let mut check = |ttl| catalog.register(NOW, &name("x"), endpoint("a"), Some(ttl)).map(|_| ());
    let short = min - Duration::from_nanos(1);
    assert_eq!(check(short), Err(RegisterError::TtlTooShort { given: short, min }));
    assert_eq!(check(Duration::MAX), Err(RegisterError::TtlTooLong { given: Duration::MAX, max }));
    assert_eq!((check(min), check(max)), (Ok(()), Ok(())));
}

#[test]
fn bounds_that_let_nothing_in_are_refused() {
    let default = CatalogConfig::default();
    for (config, error) in [
        (CatalogConfig { max_services: 0, ..default }, InvalidCatalogConfig::NoServices),
        (CatalogConfig { max_endpoints: 0, ..default }, InvalidCatalogConfig::NoEndpoints),
        (
            CatalogConfig { min_ttl: Duration::ZERO, ..default },
            InvalidCatalogConfig::Ttl { min: Duration::ZERO, max: default.max_ttl },
        ),
        (
            CatalogConfig { max_ttl: Duration::ZERO, ..default },
            InvalidCatalogConfig::Ttl { min: default.min_ttl, max: Duration::ZERO },
        ),
        (CatalogConfig { epoch_floor: u64::MAX, ..default }, InvalidCatalogConfig::Epoch { given: u64::MAX }),
    ] {
        assert_eq!(Catalog::new(config).unwrap_err(), error);
    }
}

#[test]
fn incarnations_are_given_unless_the_caller_vouches_for_one() {
    let (mut catalog, x) = (Catalog::default(), name("x"));
    let mut register = |endpoint: Endpoint| {
        let (_lease, changes) = catalog.register(NOW, &x, endpoint, None)?;
        let incarnation = catalog.snapshot(&x).endpoints()[0].incarnation();
        Ok((incarnation, changes.into_iter().map(|change| change.kind).collect::<Vec<_>>()))
    };
    let replaced = || {
        let cause = evenkeel_registry::Cause::Replaced;
        vec![ChangeKind::Removed { cause }, ChangeKind::Added]
    };
    assert_eq!(register(endpoint("a")), Ok((1, vec![ChangeKind::Added])));
    assert_eq!(register(endpoint("a")), Ok((2, replaced())));
    assert_eq!(register(endpoint("a").with_incarnation(2)), Ok((2, vec![])), "the same process");
    let heavier = endpoint("a").with_incarnation(2).with_weight(Weight::new(2));
    assert_eq!(register(heavier), Ok((2, vec![ChangeKind::Updated { what: Difference::WEIGHT }])));
    assert_eq!(register(endpoint("a").with_incarnation(7)), Ok((7, replaced())));
    assert_eq!(
        register(endpoint("a").with_incarnation(6)),
        Err(RegisterError::OlderIncarnation { given: 6, present: 7 })
    );
    assert_eq!(register(endpoint("a")), Ok((8, replaced())));
    assert_eq!(
        register(endpoint("a").with_incarnation(u64::MAX)),
        Err(RegisterError::IncarnationTooHigh { given: u64::MAX })
    );
    let highest = Catalog::MAX_INCARNATION;
    assert_eq!(register(endpoint("a").with_incarnation(highest)), Ok((highest, replaced())));
    assert_eq!(register(endpoint("a")), Ok((highest + 1, replaced())));
    let same = endpoint("a").with_incarnation(highest + 1);
    assert_eq!(register(same), Ok((highest + 1, vec![])), "what was given can be vouched for");
}

#[test]
fn a_forgotten_service_makes_room_and_never_counts_back() {
    let mut catalog = small();
    let (lease, _) = catalog.register(NOW, &name("x"), endpoint("a"), None).unwrap();
    let (_other, _) = catalog.register(NOW, &name("y"), endpoint("a"), None).unwrap();
    assert_eq!(catalog.forget(&name("x")), Err(ForgetError::InUse { endpoints: 1 }));
    assert_eq!(catalog.forget(&name("z")), Err(ForgetError::Unknown));
    catalog.deregister(NOW, &lease).unwrap();
    assert_eq!(catalog.snapshot(&name("x")).state(), SourceState::Absent);
    assert_eq!(catalog.forget(&name("x")), Ok(()));
    assert_eq!(catalog.snapshot(&name("x")).state(), SourceState::Pending);
    let (_lease, _) = catalog.register(NOW, &name("z"), endpoint("a"), None).unwrap();
    catalog.forget(&name("x")).unwrap_err();
    assert_eq!(catalog.generation(&name("z")), 3, "above the two generations of x");
    assert_eq!(catalog.services().names().iter().map(ServiceName::as_str).collect::<Vec<_>>(), ["y", "z"]);
}

#[test]
fn endpoints_are_found_over_all_services_and_by_their_lease() {
    let mut catalog = Catalog::default();
    let (lease, _) = catalog.register(NOW, &name("x"), endpoint("a"), None).unwrap();
    let up = endpoint("b").with_announced(Announced::Up);
    let (_up, _) = catalog.register(NOW, &name("y"), up, None).unwrap();
    let found = catalog.find(&Selector::any().with_announced(Announced::Up));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].0.as_str(), found[0].1.id().as_str()), ("y", "b"));
    assert_eq!(catalog.find(&Selector::any()).len(), 2);
    assert_eq!(catalog.lease(&name("x"), lease.id()), Some(lease));
    assert_eq!(catalog.lease(&name("x"), found[0].1.id()), None);
}

#[cfg(feature = "serde")]
#[test]
fn bounds_and_leases_have_a_written_form() {
    let text = r#"{"max_services":5,"min_ttl":"2s","eviction":{"window":"30s"}}"#;
    let config: CatalogConfig = serde_json::from_str(text).unwrap();
    assert_eq!((config.max_services, config.min_ttl), (5, Duration::from_secs(2)));
    assert_eq!(config.eviction.window, Duration::from_secs(30));
    assert_eq!(config.max_endpoints, CatalogConfig::default().max_endpoints);
    let back: CatalogConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(back, config);
    assert!(serde_json::from_str::<CatalogConfig>(r#"{"max_service":5}"#).is_err());

    let (lease, _) = Catalog::default().register(NOW, &name("x"), endpoint("a"), None).unwrap();
    let text = serde_json::to_string(&lease).unwrap();
    assert_eq!(text, r#"{"service":"x","id":"a","epoch":1}"#);
    assert_eq!(serde_json::from_str::<evenkeel_registry::Lease>(&text).unwrap(), lease);
}

#[test]
fn a_whole_fleet_is_replaced_in_one_swap() {
    let mut catalog = Catalog::default();
    let service = name("fleet");
    let (leases, changes) =
        catalog.replace_all(NOW, &service, vec![endpoint("b"), endpoint("a")], None).unwrap();
    assert_eq!((leases[0].id().as_str(), changes.len(), catalog.generation(&service)), ("a", 2, 1));
    let set = vec![endpoint("b").with_weight(Weight::new(2)), endpoint("c")];
    let (_, changes) = catalog.replace_all(NOW, &service, set, None).unwrap();
    let told: Vec<_> = changes.iter().map(|change| (change.id().as_str(), change.kind)).collect();
    let gone = ChangeKind::Removed { cause: evenkeel_registry::Cause::Deregistered };
    let weight = ChangeKind::Updated { what: Difference::WEIGHT };
    assert_eq!(told, [("a", gone), ("b", weight), ("c", ChangeKind::Added)]);
    assert!(catalog.renew(NOW, &leases[1]).is_err(), "the list holds the id now");
    assert!(
        small().replace_all(NOW, &service, vec![endpoint("a"), endpoint("b"), endpoint("c")], None).is_err()
    );
}
