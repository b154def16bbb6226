//! What a pick answers: tiers, exclusions, degraded endpoints, and errors that count their causes.

use std::net::IpAddr;

use evenkeel::{
    AdminState, Announced, CheckState, Cluster, Endpoint, EndpointId, Freshness, ManualClock, Outcome,
    PickError, PolicyConfig, Priority, Request, Tried, Weight,
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

fn cluster(policy: PolicyConfig, endpoints: impl IntoIterator<Item = Endpoint>) -> Cluster<()> {
    let cluster = Cluster::builder("test")
        .policy(policy)
        .seed(3)
        .clock(ManualClock::default())
        .build()
        .expect("valid settings");
    cluster.apply(endpoints).expect("a valid set");
    cluster
}

/// The ids of `count` picks, each finished at once, without repetitions, sorted.
fn reached(cluster: &Cluster<()>, count: usize) -> Vec<String> {
    let mut ids: Vec<String> = (0..count).map(|n| reached_by(cluster, n)).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Where a request with a key and an address of its own goes.
fn reached_by(cluster: &Cluster<()>, n: usize) -> String {
    let key = format!("key-{n}");
    let address = IpAddr::from([192, 0, (n / 256) as u8, n as u8]);
    let request = Request::with_key(&key).from_address(address);
    cluster.pick(&request).expect("one is usable").endpoint().id().to_string()
}

/// Policies that send everything to one endpoint while they can.
const ONE_AFTER_THE_OTHER: [&str; 2] = ["first_available", "pick_first"];

fn for_every_policy_that_spreads(check: impl Fn(PolicyConfig)) {
    PolicyConfig::all()
        .into_iter()
        .filter(|policy| !ONE_AFTER_THE_OTHER.contains(&policy.name()))
        .for_each(check);
}

fn for_every_policy(check: impl Fn(PolicyConfig)) {
    PolicyConfig::all().into_iter().for_each(check);
}

#[test]
fn every_policy_reaches_every_usable_endpoint_and_no_other() {
    for_every_policy_that_spreads(|policy| {
        let cluster = cluster(policy, ["a", "b", "c", "d"].map(endpoint));
        assert_eq!(reached(&cluster, 200), ["a", "b", "c", "d"]);
        cluster.drain(&id("b")).unwrap();
        cluster.set_weight(&id("d"), Weight::DRAIN).unwrap();
        assert_eq!(reached(&cluster, 200), ["a", "c"]);
        cluster.undrain(&id("b")).unwrap();
        assert_eq!(reached(&cluster, 200), ["a", "b", "c"]);
    });
}

#[test]
fn a_retry_goes_elsewhere_until_all_were_tried() {
    for_every_policy(|policy| {
        let cluster = cluster(policy, ["a", "b", "c", "d"].map(endpoint));
        cluster.drain(&id("d")).unwrap();
        let mut tried = Tried::default();
        let mut ids = Vec::new();
        for _ in 0..3 {
            let pick = cluster.pick(&Request::new().excluding(&tried)).unwrap();
            ids.push(pick.endpoint().id().to_string());
            tried.add(&pick);
        }
        ids.sort();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(
            cluster.pick(&Request::new().excluding(&tried)).unwrap_err(),
            PickError::AllTried { tried: 3 }
        );
        assert!(cluster.pick(&Request::new().preferring_others(&tried)).is_ok());
    });
}

#[test]
fn tiers_are_used_in_order_and_degraded_endpoints_last() {
    let backup = Priority::new(1).unwrap();
    for_every_policy_that_spreads(|policy| {
        let cluster =
            cluster(policy, [endpoint("a"), endpoint("b"), endpoint("backup").with_priority(backup)]);
        assert_eq!(reached(&cluster, 100), ["a", "b"]);
        cluster.endpoint(&id("a")).unwrap().set_check(CheckState::Degraded);
        assert_eq!(reached(&cluster, 100), ["b"], "degraded is used after its peers");
        cluster.endpoint(&id("b")).unwrap().set_check(CheckState::Down);
        assert_eq!(reached(&cluster, 100), ["backup"], "a healthy backup before a degraded primary");
        cluster.drain(&id("backup")).unwrap();
        assert_eq!(reached(&cluster, 100), ["a"], "degraded is better than nothing");
        cluster.endpoint(&id("a")).unwrap().set_check(CheckState::Up);
        assert_eq!(reached(&cluster, 100), ["a"]);
    });
}

#[test]
fn retries_move_on_to_the_next_tier() {
    let backup = Priority::new(7).unwrap();
    let cluster =
        cluster(PolicyConfig::round_robin(), [endpoint("a"), endpoint("backup").with_priority(backup)]);
    let mut tried = Tried::default();
    let first = cluster.pick(&Request::new()).unwrap();
    tried.add(&first);
    assert_eq!(first.endpoint().id(), id("a"));
    let second = cluster.pick(&Request::new().excluding(&tried)).unwrap();
    assert_eq!(second.endpoint().id(), id("backup"));
}

#[test]
fn never_told_empty_and_unusable_are_three_errors() {
    let cluster =
        Cluster::<()>::builder("test").clock(ManualClock::default()).build().expect("valid settings");
    assert_eq!(cluster.pick(&Request::new()).unwrap_err(), PickError::NotKnown(Freshness::Applied));
    cluster.set_policy(PolicyConfig::random()).unwrap();
    assert_eq!(
        cluster.pick(&Request::new()).unwrap_err(),
        PickError::NotKnown(Freshness::Applied),
        "a policy is no endpoint"
    );
    cluster.clear();
    assert_eq!(cluster.pick(&Request::new()).unwrap_err(), PickError::Empty(Freshness::Applied));
    cluster.apply([endpoint("a")]).unwrap();
    cluster.endpoint(&id("a")).unwrap().set_admin(AdminState::Maintenance);
    assert!(matches!(cluster.pick(&Request::new()), Err(PickError::NoneUsable(_))));
}

#[test]
fn an_error_counts_each_endpoint_under_its_first_cause() {
    let cluster = cluster(
        PolicyConfig::least_request(),
        [
            endpoint("drained"),
            endpoint("maintenance"),
            endpoint("zero").with_weight(Weight::DRAIN),
            endpoint("announced").with_announced(Announced::Draining),
            endpoint("failing"),
            endpoint("failing too"),
        ],
    );
    cluster.drain(&id("drained")).unwrap();
    cluster.endpoint(&id("maintenance")).unwrap().set_admin(AdminState::Maintenance);
    for name in ["failing", "failing too"] {
        cluster.endpoint(&id(name)).unwrap().set_check(CheckState::Down);
    }
    let error = cluster.pick(&Request::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of 6 endpoints is usable: 2 drained or in maintenance, 1 of weight zero, 1 announced as out, \
         2 failing checks"
    );
}

#[test]
fn rise_and_fall_decide_what_checks_say() {
    let cluster = cluster(PolicyConfig::round_robin(), ["a", "b"].map(endpoint));
    let report = |passed| cluster.record_check(&id("a"), passed).unwrap().usable();
    assert!(!report(false), "the first verdict decides alone");
    assert!(!report(true));
    assert!(report(true), "two passes in a row bring it back");
    assert!(report(false));
    assert!(report(false));
    assert!(!report(false), "three failures in a row take it out");
}

#[test]
fn a_passing_check_does_not_end_a_drain() {
    let cluster = cluster(PolicyConfig::round_robin(), ["a", "b"].map(endpoint));
    cluster.drain(&id("a")).unwrap();
    for _ in 0..5 {
        cluster.record_check(&id("a"), true).unwrap();
    }
    assert_eq!(reached(&cluster, 20), ["b"]);
}

#[test]
fn a_pick_counts_until_it_is_dropped_also_in_small_striped_clusters() {
    for_every_policy(|policy| {
        for size in [2, 100] {
            let cluster = cluster(policy.clone(), (0..size).map(|n| endpoint(&format!("e{n}"))));
            let in_flight =
                || (0..size).map(|n| cluster.in_flight(&id(&format!("e{n}"))).unwrap()).sum::<usize>();
            let picks: Vec<_> = (0..50).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
            assert_eq!(in_flight(), 50);
            let mut kept = picks.into_iter();
            kept.next().unwrap().finish(Outcome::success());
            drop(kept.next());
            assert_eq!(in_flight(), 48);
            drop(kept);
            assert_eq!(in_flight(), 0);
        }
    });
}

#[test]
fn least_request_avoids_the_busy_endpoint() {
    let cluster = cluster(PolicyConfig::least_request(), ["a", "b"].map(endpoint));
    let held: Vec<_> = (0..10).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
    assert_eq!((cluster.in_flight(&id("a")), cluster.in_flight(&id("b"))), (Some(5), Some(5)));
    let (on_a, _on_b): (Vec<_>, Vec<_>) = held.into_iter().partition(|pick| pick.endpoint().id() == id("a"));
    drop(on_a);
    assert_eq!(reached(&cluster, 20), ["a"]);
}

#[test]
fn the_same_seed_gives_the_same_picks() {
    let run = || {
        let cluster = cluster(PolicyConfig::least_request(), (0..50).map(|n| endpoint(&format!("e{n}"))));
        let pick = |_| cluster.pick(&Request::new()).expect("one is usable").endpoint().id().to_string();
        (0..200).map(pick).collect::<Vec<_>>()
    };
    // One thread each, so both clusters use the lane of the same ordinal.
    assert_eq!(run(), run());
}

#[test]
fn a_numbered_picker_draws_what_seed_and_number_say_on_any_thread() {
    let run = |lane: u32| {
        let cluster = cluster(PolicyConfig::least_request(), (0..50).map(|n| endpoint(&format!("e{n}"))));
        // Others in between take numbers, not draws.
        let _others = [cluster.picker(), cluster.picker()];
        let mut picker = cluster.picker_of_lane(lane);
        let mut pick = |_| picker.pick(&Request::new()).expect("one is usable").endpoint().id().to_string();
        (0..200).map(&mut pick).collect::<Vec<_>>()
    };
    let elsewhere = std::thread::scope(|scope| scope.spawn(|| run(3)).join().unwrap());
    assert_eq!(run(3), elsewhere);
    assert_ne!(run(3), run(4));
}

#[test]
fn pickers_give_the_same_answers_and_see_every_update() {
    let cluster = cluster(PolicyConfig::round_robin(), ["a", "b", "c"].map(endpoint));
    let mut picker = cluster.picker();
    let mut reached = |count: usize| {
        let mut ids: Vec<_> =
            (0..count).map(|_| picker.pick(&Request::new()).unwrap().endpoint().id().to_string()).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(reached(3), ["a", "b", "c"]);
    cluster.remove(&id("b")).unwrap();
    assert_eq!(reached(2), ["a", "c"]);
    cluster.drain(&id("a")).unwrap();
    assert_eq!(reached(2), ["c"]);
}

fn shares(cluster: &Cluster<()>, picks: usize, mut request: impl FnMut() -> Tried) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..picks {
        let tried = request();
        let pick = cluster.pick(&Request::new().excluding(&tried)).expect("one is usable");
        *counts.entry(pick.endpoint().id().to_string()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// Shares hold in every tier, among degraded ones, and for retries: nobody gets what belongs to four.
#[test]
fn shares_hold_beyond_the_first_tier() {
    let backup = Priority::new(1).unwrap();
    let backups = || ["b0", "b1", "b2", "b3"].map(|name| endpoint(name).with_priority(backup));
    // Those that owe exact or drawn shares; the laws test the others with the bounds that each has.
    for name in ["round_robin", "smooth_weighted_round_robin", "random", "weighted_random", "least_request"] {
        let policy: PolicyConfig = name.parse().unwrap();
        let is_exact = name.ends_with("round_robin");
        let check = |shares: Vec<(String, usize)>, expected: &[usize], what: &str| {
            assert_eq!(shares.len(), expected.len(), "{what} under {}: {shares:?}", policy.name());
            for ((_, count), &expected) in shares.iter().zip(expected) {
                let bound = if is_exact { 1 } else { 5 * (expected as f64).sqrt() as usize };
                assert!(count.abs_diff(expected) <= bound, "{what} under {}: {shares:?}", policy.name());
            }
        };
        let failover = cluster(policy.clone(), [endpoint("p")].into_iter().chain(backups()));
        failover.drain(&id("p")).unwrap();
        check(shares(&failover, 4000, Tried::default), &[1000; 4], "failover");

        let weighted = backups().into_iter().zip(1..).map(|(b, weight)| b.with_weight(Weight::new(weight)));
        let weighted = cluster(policy.clone(), [endpoint("p")].into_iter().chain(weighted));
        weighted.drain(&id("p")).unwrap();
        check(shares(&weighted, 4000, Tried::default), &[400, 800, 1200, 1600], "weighted failover");

        let degraded = cluster(policy.clone(), ["d0", "d1", "d2", "d3"].map(endpoint));
        for endpoint in degraded.endpoints() {
            endpoint.set_check(CheckState::Degraded);
        }
        check(shares(&degraded, 4000, Tried::default), &[1000; 4], "degraded");
    }
}

#[test]
fn retries_take_no_turn_from_first_attempts() {
    let cluster = cluster(PolicyConfig::round_robin(), ["a", "b"].map(endpoint));
    let mut firsts = [0; 2];
    for _ in 0..1000 {
        let first = cluster.pick(&Request::new()).unwrap();
        let is_a = first.endpoint().id() == id("a");
        firsts[usize::from(is_a)] += 1;
        if is_a {
            let mut tried = Tried::default();
            tried.add(&first);
            first.finish(Outcome::failure());
            assert_eq!(cluster.pick(&Request::new().excluding(&tried)).unwrap().endpoint().id(), id("b"));
        }
    }
    assert_eq!(firsts, [500, 500]);
}

#[test]
fn what_was_tried_in_one_cluster_excludes_nobody_in_another() {
    let (first, second) =
        (cluster(PolicyConfig::random(), [endpoint("a")]), cluster(PolicyConfig::random(), [endpoint("a")]));
    let mut tried = Tried::default();
    tried.add(&first.pick(&Request::new()).unwrap());
    assert!(first.pick(&Request::new().excluding(&tried)).is_err());
    assert!(second.pick(&Request::new().excluding(&tried)).is_ok());
}

#[test]
fn every_start_of_health_checks_is_what_it_says() {
    use evenkeel::{RiseFallConfig, Start};
    for (start, usable, after_one_failure, after_one_pass) in [
        (Start::FirstVerdict, true, false, true),
        (Start::Up, true, false, true),
        (Start::FullyUp, true, true, true),
        (Start::Down, false, false, true),
        (Start::FullyDown, false, false, false),
    ] {
        let health = RiseFallConfig { start, ..RiseFallConfig::default() };
        let fresh = || {
            let cluster = Cluster::<()>::builder("test").health(health).build().unwrap();
            cluster.apply([endpoint("a")]).unwrap();
            cluster.endpoint(&id("a")).unwrap()
        };
        assert_eq!(fresh().status().usable(), usable, "{start:?}");
        assert_eq!(fresh().record_check(false).usable(), after_one_failure, "{start:?}");
        assert_eq!(fresh().record_check(true).usable(), after_one_pass, "{start:?}");
        let failing = fresh();
        (0..5).for_each(|_| drop(failing.record_check(false).to_string()));
        assert!(!failing.status().usable(), "{start:?}");
    }
}

/// Where clients go by their address is the secret of the cluster's keys, unless the policy has one of its own.
#[test]
fn addresses_are_hashed_under_the_seed_of_the_keys() {
    let homes = |hash_seed: u64, seed: Option<u64>| {
        let policy = PolicyConfig::IpHash(evenkeel::IpHashConfig { seed, ..Default::default() });
        let cluster = Cluster::<()>::builder("clients").policy(policy).hash_seed(hash_seed).build().unwrap();
        let endpoint = |number: u8| Endpoint::at(format!("10.0.0.{number}:80").parse().unwrap()).unwrap();
        cluster.apply((0..50).map(endpoint)).unwrap();
        let home = |client: u8| {
            let request = Request::new().from_address(IpAddr::from([192, 0, 2, client]));
            cluster.pick(&request).unwrap().endpoint().id().clone()
        };
        (0..=255).map(home).collect::<Vec<_>>()
    };
    let same =
        |one: Vec<_>, other: Vec<_>| one.iter().zip(&other).filter(|(one, other)| one == other).count();
    assert_eq!(same(homes(1, None), homes(1, None)), 256);
    assert!(same(homes(1, None), homes(2, None)) < 30);
    assert_eq!(same(homes(1, Some(7)), homes(2, Some(7))), 256);
    assert_eq!(same(homes(7, None), homes(1, Some(7))), 256);
}
