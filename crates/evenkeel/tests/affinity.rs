//! Policies that go by the request's key or the client's address, inside a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, Policy, PolicyConfig, Request, Tried, Wants, Weight};
use evenkeel_balance::{BuiltIn, MemberList};

fn id(name: &str) -> EndpointId {
    name.parse().expect("a name without odd characters")
}

fn endpoints(count: usize) -> Vec<Endpoint> {
    let endpoint = |n: usize| {
        let address = format!("10.1.{}.{}:8080", n / 256, n % 256).parse().expect("an address");
        Endpoint::new(id(&format!("e{n}")), address)
    };
    (0..count).map(endpoint).collect()
}

/// Other programs' modes: by default they take turns.
const COMPATIBLE: [&str; 6] = ["envoy", "grpc", "haproxy", "nginx", "pingora", "traefik"];

/// The policies that read keys or addresses.
fn keyed() -> Vec<PolicyConfig> {
    let reads = |config: &PolicyConfig| {
        let policy = BuiltIn::new(config, &MemberList::new(endpoints(4))).expect("the defaults are valid");
        policy.wants().intersects(Wants::KEY | Wants::SOURCE) && !COMPATIBLE.contains(&config.name())
    };
    let keyed: Vec<PolicyConfig> = PolicyConfig::all().into_iter().filter(reads).collect();
    assert!(keyed.len() >= 9, "{keyed:?}");
    keyed
}

fn cluster(policy: &PolicyConfig, count: usize) -> Cluster<()> {
    let cluster = Cluster::builder("x").policy(policy.clone()).seed(1).build().expect("valid settings");
    cluster.apply(endpoints(count)).expect("valid endpoints");
    cluster
}

/// Key number `n` and an address that goes with it.
fn with_key<R>(n: u32, act: impl FnOnce(Request<'_>) -> R) -> R {
    let key = format!("key-{n}");
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | n.wrapping_mul(2_654_435_761) >> 8));
    act(Request::with_key(&key).from_address(address))
}

fn home(cluster: &Cluster<()>, n: u32) -> EndpointId {
    with_key(n, |request| {
        let pick = cluster.pick(&request).expect("somebody is usable");
        let id = pick.endpoint().id();
        pick.finish(Outcome::success());
        id
    })
}

fn homes(cluster: &Cluster<()>) -> Vec<EndpointId> {
    (0..KEYS).map(|n| home(cluster, n)).collect()
}

#[test]
fn equal_keys_go_to_one_endpoint_and_keys_spread_over_all() {
    for policy in keyed() {
        let (ours, theirs) = (cluster(&policy, 5), cluster(&policy, 5));
        let homes = homes(&ours);
        assert!((0..3).all(|_| self::homes(&ours) == homes), "{policy:?}");
        assert_eq!(self::homes(&theirs), homes, "another process agrees: {policy:?}");
        let mut counts: BTreeMap<&EndpointId, u32> = BTreeMap::new();
        homes.iter().for_each(|home| *counts.entry(home).or_default() += 1);
        assert_eq!(counts.len(), 5, "{policy:?}: {counts:?}");
        // No more than twice its share; multi_probe promises nothing about the idlest.
        assert!(counts.values().all(|&count| count < KEYS / 5 * 2), "{policy:?}: {counts:?}");
    }
}

#[test]
fn keys_of_a_drained_endpoint_spread_and_come_back() {
    for policy in keyed() {
        let cluster = cluster(&policy, 5);
        let before = homes(&cluster);
        cluster.drain(&id("e2")).expect("a known endpoint");
        let during = homes(&cluster);
        let heirs: BTreeSet<&EndpointId> =
            before.iter().zip(&during).filter(|(home, _)| **home == id("e2")).map(|(_, heir)| heir).collect();
        assert!(!during.contains(&id("e2")) && heirs.len() >= 3, "{policy:?}: {heirs:?}");
        cluster.undrain(&id("e2")).expect("a known endpoint");
        assert_eq!(homes(&cluster), before, "{policy:?}");
    }
}

#[test]
fn a_retry_of_a_key_walks_through_every_endpoint_once() {
    for policy in keyed() {
        let cluster = cluster(&policy, 6);
        for n in 0..40 {
            let mut tried = Tried::default();
            let mut seen = BTreeSet::new();
            for _ in 0..6 {
                let pick = with_key(n, |request| cluster.pick(&request.excluding(&tried)));
                let pick = pick.expect("not all were tried");
                assert!(seen.insert(pick.endpoint().id()), "{policy:?}");
                tried.add(&pick);
                pick.finish(Outcome::failure());
            }
            assert!(with_key(n, |request| cluster.pick(&request.excluding(&tried)).is_err()), "{policy:?}");
        }
    }
}

#[test]
fn a_request_without_a_key_is_served_too() {
    for policy in keyed() {
        let cluster = cluster(&policy, 4);
        let pick = || cluster.pick(&Request::new()).map(|pick| pick.endpoint().id());
        assert!((0..50).all(|_| pick().is_ok()), "{policy:?}");
    }
}

#[test]
fn endpoints_come_and_go_and_no_pick_fails() {
    for policy in keyed() {
        let cluster = cluster(&policy, 4);
        for round in 0..12_u32 {
            let all = endpoints(20);
            let some = all.into_iter().enumerate().filter(|(n, _)| !(*n as u32 + round).is_multiple_of(3));
            let weight = |n: usize| Weight::new(1 + (n as u32 * round) % 4);
            let some: Vec<Endpoint> = some.map(|(n, endpoint)| endpoint.with_weight(weight(n))).collect();
            let known: BTreeSet<EndpointId> = some.iter().map(|endpoint| endpoint.id().clone()).collect();
            cluster.apply(some).expect("valid endpoints");
            assert!(homes(&cluster).iter().all(|home| known.contains(home)), "{policy:?}, round {round}");
        }
    }
}

const KEYS: u32 = 600;
