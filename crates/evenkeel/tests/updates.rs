//! What updates keep, what they change, and what they refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel::{
    Announced, ApplyError, BuildError, Cluster, Endpoint, EndpointId, LeastRequestConfig, ManualClock,
    PolicyConfig, Priority, Request, Weight,
};

fn id(name: &str) -> EndpointId {
    name.parse().expect("a valid id")
}

fn endpoint(name: &str) -> Endpoint {
    // Some policies hash addresses, so each has its own.
    let number = name.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let [high, low] = number.to_be_bytes();
    Endpoint::new(id(name), format!("10.0.{high}.{low}:80").parse().expect("an address"))
}

fn cluster<T>(policy: PolicyConfig) -> Cluster<T> {
    Cluster::builder("test")
        .policy(policy)
        .seed(3)
        .clock(ManualClock::default())
        .build()
        .expect("valid settings")
}

fn shares(cluster: &Cluster<()>, picks: usize) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..picks {
        *counts
            .entry(cluster.pick(&Request::new()).expect("one is usable").endpoint().id().to_string())
            .or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

#[test]
fn what_was_learnt_survives_every_update() {
    for policy in PolicyConfig::all() {
        let cluster = cluster(policy);
        cluster.apply(["a", "b", "c"].map(endpoint)).unwrap();
        cluster.drain(&id("b")).unwrap();
        let held: Vec<_> = (0..10).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
        let before = cluster.in_flight(&id("a"));

        cluster.set_weight(&id("a"), Weight::new(5)).unwrap();
        cluster.upsert(endpoint("a").with_address("10.9.9.9:1".parse().unwrap())).unwrap();
        cluster.upsert(endpoint("a").with_priority(Priority::new(1).unwrap())).unwrap();
        cluster.upsert(endpoint("new")).unwrap();
        cluster.apply(["new", "c", "b", "a"].map(endpoint)).unwrap();
        cluster.set_policy(PolicyConfig::random()).unwrap();
        cluster.remove(&id("new")).unwrap();

        assert_eq!(cluster.in_flight(&id("a")), before);
        assert!(
            !cluster.report().endpoints.iter().find(|e| e.id == id("b")).unwrap().usable,
            "still drained"
        );
        drop(held);
        assert_eq!(cluster.in_flight(&id("a")), Some(0));
    }
}

#[test]
fn a_new_address_is_seen_by_picks_that_are_under_way() {
    let cluster = cluster(PolicyConfig::round_robin());
    cluster.apply([endpoint("a")]).unwrap();
    let pick = cluster.pick(&Request::new()).unwrap();
    let applied = cluster.upsert(endpoint("a").with_address("10.0.0.2:80".parse().unwrap())).unwrap();
    assert_eq!((applied.updated, applied.added.len()), (vec![id("a")], 0));
    assert_eq!(pick.endpoint().address().to_string(), "10.0.0.2:80");
}

#[test]
fn a_payload_is_made_once_for_each_incarnation() {
    let made = AtomicUsize::new(0);
    let make = |_: &Endpoint| made.fetch_add(1, Ordering::Relaxed);
    let cluster = cluster::<usize>(PolicyConfig::round_robin());
    cluster.apply_with(["a", "b"].map(endpoint), make).unwrap();
    cluster
        .apply_with([endpoint("a").with_weight(Weight::new(9)), endpoint("b"), endpoint("c")], make)
        .unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 3);
    let applied = cluster.apply_with([endpoint("a").with_incarnation(1), endpoint("b")], make).unwrap();
    assert_eq!((applied.added, applied.removed), (vec![id("a")], vec![id("c")]));
    assert_eq!(made.load(Ordering::Relaxed), 4);
    let payloads: Vec<usize> = (0..2).map(|_| *cluster.pick(&Request::new()).unwrap().payload()).collect();
    assert!(payloads.contains(&3) && payloads.contains(&1), "{payloads:?}");
}

#[test]
fn a_new_incarnation_starts_afresh_and_the_old_one_ends_in_peace() {
    let cluster = cluster(PolicyConfig::round_robin());
    cluster.apply([endpoint("a")]).unwrap();
    cluster.drain(&id("a")).unwrap();
    cluster.undrain(&id("a")).unwrap();
    let old = cluster.pick(&Request::new()).unwrap();
    cluster.upsert(endpoint("a").with_incarnation(1)).unwrap();
    assert_eq!((cluster.len(), cluster.in_flight(&id("a"))), (1, Some(0)));
    drop(old);
    assert_eq!(cluster.in_flight(&id("a")), Some(0));
}

#[test]
fn picks_outlive_their_endpoint_and_the_cluster() {
    let dropped = Arc::new(AtomicUsize::new(0));
    #[derive(Debug)]
    struct Payload(Arc<AtomicUsize>);
    impl Drop for Payload {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let cluster = cluster(PolicyConfig::round_robin());
    cluster.apply([endpoint("a").with_payload(Payload(Arc::clone(&dropped)))]).unwrap();
    let pick = cluster.pick(&Request::new()).unwrap();
    cluster.clear();
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(cluster);
    assert_eq!(pick.endpoint().id(), id("a"));
    drop(pick);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn weights_take_effect_at_the_next_pick() {
    let cluster = cluster(PolicyConfig::round_robin());
    cluster.apply(["a", "b"].map(endpoint)).unwrap();
    assert_eq!(shares(&cluster, 40), [("a".into(), 20), ("b".into(), 20)]);
    cluster.set_weight(&id("a"), Weight::new(3)).unwrap();
    assert_eq!(shares(&cluster, 40), [("a".into(), 30), ("b".into(), 10)]);
    cluster.set_weight(&id("a"), Weight::DRAIN).unwrap();
    assert_eq!(shares(&cluster, 40), [("b".into(), 40)]);
    cluster.set_weight(&id("a"), Weight::ONE).unwrap();
    assert_eq!(shares(&cluster, 40), [("a".into(), 20), ("b".into(), 20)]);
}

#[test]
fn what_is_announced_counts() {
    let cluster = cluster(PolicyConfig::round_robin());
    cluster.apply([endpoint("a").with_announced(Announced::Starting), endpoint("b")]).unwrap();
    assert_eq!(shares(&cluster, 10), [("b".into(), 10)]);
    cluster.apply([endpoint("a").with_announced(Announced::Up), endpoint("b")]).unwrap();
    assert_eq!(shares(&cluster, 10), [("a".into(), 5), ("b".into(), 5)]);
}

#[test]
fn an_update_that_changes_nothing_is_no_new_generation() {
    let cluster = cluster(PolicyConfig::round_robin());
    cluster.apply(["a", "b"].map(endpoint)).unwrap();
    let generation = cluster.generation();
    assert!(cluster.apply(["a", "b"].map(endpoint)).unwrap().is_noop());
    assert!(cluster.upsert(endpoint("b")).unwrap().is_noop());
    assert_eq!(cluster.generation(), generation);
    cluster.apply(["b", "a"].map(endpoint)).unwrap();
    assert_eq!(cluster.generation(), generation + 1, "the order of the list is part of it");
}

#[test]
fn bad_sets_are_refused_and_the_old_one_stays() {
    let cluster = Cluster::<()>::builder("test").max_endpoints(3).build().unwrap();
    cluster.apply(["a", "b"].map(endpoint)).unwrap();
    let refusals = [
        (
            cluster.apply(["a", "b", "a"].map(endpoint)),
            "endpoints[2].id: \"a\" is already the id of endpoints[0]; ids must be unique",
        ),
        (cluster.apply([]), "endpoints: the set is empty; if there really are none, call clear()"),
        (
            cluster.apply(["a", "b", "c", "d"].map(endpoint)),
            "endpoints: 4 are more than max_endpoints = 3; raise it if that is meant",
        ),
        (cluster.remove(&id("x")), "id: no endpoint of this cluster is called \"x\""),
        (cluster.set_weight(&id("x"), Weight::ONE), "id: no endpoint of this cluster is called \"x\""),
        (
            cluster.set_policy(PolicyConfig::LeastRequest(LeastRequestConfig {
                choices: evenkeel::Choices::Draw(1),
                ..LeastRequestConfig::default()
            })),
            "policy least_request: choices: 1 is out of range: allowed are 2 to 32, or \"all\"",
        ),
    ];
    for (result, message) in refusals {
        assert_eq!(result.unwrap_err().to_string(), message);
    }
    cluster.upsert(endpoint("c")).unwrap();
    assert_eq!(cluster.upsert(endpoint("d")), Err(ApplyError::TooMany { count: 4, max: 3 }));
    assert_eq!(cluster.drain(&id("x")), Err(ApplyError::UnknownId(id("x"))));
    assert_eq!((cluster.len(), cluster.report().policy), (3, "least_request"));
}

#[test]
fn bad_settings_are_refused_at_build() {
    let refuse = |cluster: Result<Cluster<()>, BuildError>| cluster.unwrap_err().to_string();
    assert!(refuse(Cluster::builder("").build()).starts_with("name:"));
    assert!(refuse(Cluster::builder("x").max_endpoints(0).build()).starts_with("max_endpoints = 0"));
    let zero = evenkeel::LatencyConfig { decay: std::time::Duration::ZERO };
    assert!(refuse(Cluster::builder("x").latency(zero).build()).starts_with("latency.decay:"));
    let flat = evenkeel::RiseFallConfig { rise: 0, ..Default::default() };
    assert!(refuse(Cluster::builder("x").health(flat).build()).starts_with("health.rise"));
    let none = PolicyConfig::LeastRequest(LeastRequestConfig {
        choices: evenkeel::Choices::Draw(0),
        ..LeastRequestConfig::default()
    });
    assert!(
        refuse(Cluster::builder("x").policy(none).build()).starts_with("policy least_request: choices: 0")
    );
}

/// Weights that a policy cannot represent are refused by name, and what was there stays.
#[test]
fn absurd_weights_overflow_nothing() {
    for policy in PolicyConfig::all() {
        let name = policy.name();
        let cluster = cluster(policy);
        let heavy = |n: usize| endpoint(&format!("e{n}")).with_weight(Weight::new(u32::MAX));
        if let Err(error) = cluster.apply((0..1000).map(heavy)) {
            assert!(error.to_string().contains(name), "{error}");
            continue;
        }
        assert!((0..100).all(|_| cluster.pick(&Request::new()).is_ok()), "{name}");
        if let Err(error) = cluster.set_weight(&id("e7"), Weight::ONE) {
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!((0..100).all(|_| cluster.pick(&Request::new()).is_ok()), "{name}");
    }
}

#[test]
fn slots_are_used_again_and_late_flips_hit_nobody_else() {
    let cluster = cluster(PolicyConfig::round_robin());
    cluster.apply(["a", "b"].map(endpoint)).unwrap();
    for round in 0..200 {
        let guest = format!("guest-{round}");
        cluster.upsert(endpoint(&guest)).unwrap();
        cluster.drain(&id(&guest)).unwrap();
        cluster.remove(&id(&guest)).unwrap();
    }
    cluster.upsert(endpoint("c")).unwrap();
    assert_eq!(shares(&cluster, 30), [("a".into(), 10), ("b".into(), 10), ("c".into(), 10)]);
}
