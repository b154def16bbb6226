//! Zones that each request chooses: by its client, and by wait and way.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use allocation_counter::measure;
use evenkeel::route::locality::{Coordinates, Region};
use evenkeel::{
    BuildError, CheckState, ClientRegionConfig, Cluster, ClusterBuilder, Endpoint, FailoverConfig,
    FailoverMode, JointZonesConfig, LatencyConfig, Locality, LocalityConfig, ManualClock, Outcome, Pick,
    PolicyConfig, Priority, Request, Tried, ZoneWay,
};
use proptest::prelude::*;

fn region(name: &str, clients: &[&str], place: Option<(f64, f64)>) -> Region {
    let clients = clients.iter().map(|range| range.parse().unwrap()).collect();
    let place = place.map(|(north, east)| Coordinates::new(north, east).unwrap());
    Region { name: name.into(), clients, place }
}

/// Frankfurt, Virginia, Singapore, and one of which nobody knows where it is.
fn regions() -> Vec<Region> {
    vec![
        region("us", &["10.2.0.0/16"], Some((39.0, -77.5))),
        region("eu", &["10.1.0.0/16", "2001:db8:1::/48"], Some((50.1, 8.7))),
        region("asia", &["10.3.0.0/16"], Some((1.3, 103.8))),
        region("lab", &[], None),
    ]
}

fn by_client(own: &str) -> LocalityConfig {
    let config = ClientRegionConfig {
        own: Locality::new(own, "", ""),
        regions: regions(),
        ..ClientRegionConfig::default()
    };
    LocalityConfig::ClientRegion(config)
}

fn builder(locality: LocalityConfig) -> ClusterBuilder<()> {
    Cluster::builder("test").seed(11).clock(ManualClock::default()).locality(locality)
}

fn endpoint(place: &str, number: usize, priority: u8) -> Endpoint {
    let mut parts = place.split('/').chain([""]);
    let mut next = || parts.next().unwrap_or("");
    let at = Locality::new(next(), next(), "");
    let address = format!("10.{}.{priority}.{number}:80", place.len() + usize::from(place.as_bytes()[0]));
    let id = format!("{place}-{priority}-{number}").parse().unwrap();
    let priority = Priority::new(priority).unwrap();
    Endpoint::new(id, address.parse().unwrap()).with_locality(at).with_priority(priority)
}

fn fleet(zones: &[(&str, usize)]) -> Vec<Endpoint> {
    zones.iter().flat_map(|&(zone, count)| (0..count).map(move |n| endpoint(zone, n, 0))).collect()
}

fn down(cluster: &Cluster<()>, zone: &str, count: usize) {
    for number in 0..count {
        let id = format!("{zone}-0-{number}").parse().unwrap();
        assert!(!cluster.endpoint(&id).unwrap().set_check(CheckState::Down).usable());
    }
}

fn from(address: &str) -> Request<'static> {
    Request::new().from_address(address.parse().unwrap())
}

fn region_of(pick: &Pick<()>) -> String {
    pick.endpoint().description().locality().map_or_else(String::new, |at| at.region().to_owned())
}

/// Percent of the requests by region.
fn shares(cluster: &Cluster<()>, request: &Request<'_>) -> BTreeMap<String, f64> {
    let mut shares = BTreeMap::new();
    for _ in 0..10_000 {
        *shares.entry(region_of(&cluster.pick(request).unwrap())).or_insert(0.0) += 0.01;
    }
    shares
}

#[track_caller]
fn check(cluster: &Cluster<()>, request: &Request<'_>, expected: &[(&str, f64)]) {
    let found = shares(cluster, request);
    let total: f64 = expected.iter().map(|(_, share)| share).sum();
    assert!((total - 100.0).abs() < 0.1, "{expected:?}");
    for (region, share) in expected {
        assert!((found.get(*region).copied().unwrap_or(0.0) - share).abs() < 1.7, "{region}: {found:?}");
    }
}

#[test]
fn clients_are_served_where_they_are() {
    let cluster = builder(by_client("eu")).build().unwrap();
    cluster.apply(fleet(&[("us", 10), ("eu", 10), ("asia", 10), ("lab", 10)])).unwrap();
    let tokyo = Coordinates::new(35.7, 139.7).unwrap();
    for (request, region) in [
        (from("10.1.2.3"), "eu"),
        (from("10.2.2.3"), "us"),
        (from("10.3.2.3"), "asia"),
        (from("::ffff:10.3.2.3"), "asia"),
        (from("2001:db8:1::7"), "eu"),
        (from("192.0.2.1"), "eu"),
        (Request::new(), "eu"),
        (Request::new().at_place(tokyo), "asia"),
        (from("192.0.2.1").at_place(tokyo), "asia"),
        (from("10.2.2.3").at_place(tokyo), "us"),
    ] {
        check(&cluster, &request, &[(region, 100.0)]);
        let explained = cluster.explain(&request);
        assert_eq!(explained.regions[0], region, "{explained}");
        assert!(explained.picked.is_some_and(|id| id.as_str().starts_with(region)));
    }
    let said = cluster.explain(&from("10.2.2.3")).to_string();
    assert!(said.contains("regions, from the client's on: us, eu, asia, lab\n"), "{said}");
    // Nobody says where this process stands: strangers go everywhere, by size.
    let anywhere = builder(by_client("")).build().unwrap();
    anywhere.apply(fleet(&[("us", 10), ("eu", 30), ("asia", 10), ("mars", 50)])).unwrap();
    check(&anywhere, &from("192.0.2.1"), &[("us", 10.0), ("eu", 30.0), ("asia", 10.0), ("mars", 50.0)]);
    check(&anywhere, &from("10.3.0.1"), &[("asia", 100.0)]);
    assert!(anywhere.explain(&from("192.0.2.1")).regions.is_empty());
}

#[test]
fn a_region_that_loses_endpoints_spills_to_the_next() {
    let cluster = builder(by_client("eu")).build().unwrap();
    cluster.apply(fleet(&[("us", 10), ("eu", 10), ("asia", 10), ("mars", 10)])).unwrap();
    down(&cluster, "us", 2);
    check(&cluster, &from("10.2.0.1"), &[("us", 100.0)]);
    down(&cluster, "us", 6);
    check(&cluster, &from("10.2.0.1"), &[("us", 56.0), ("eu", 44.0)]);
    check(&cluster, &from("10.3.0.1"), &[("asia", 100.0)]);
    down(&cluster, "eu", 9);
    check(&cluster, &from("10.2.0.1"), &[("us", 56.0), ("eu", 14.0), ("asia", 30.0)]);
    check(&cluster, &from("10.1.0.1"), &[("eu", 14.0), ("us", 56.0), ("asia", 30.0)]);
    down(&cluster, "asia", 10);
    check(&cluster, &from("10.1.0.1"), &[("eu", 14.0), ("us", 56.0), ("mars", 30.0)]);
    // Together they cannot bear all, so they share it as they can bear it.
    down(&cluster, "mars", 10);
    check(&cluster, &from("10.3.0.1"), &[("eu", 20.0), ("us", 80.0)]);
    // The report tells what strangers get, who are taken for Europeans.
    let zones = cluster.report().tiers.remove(0).zones;
    let told: BTreeMap<_, _> =
        zones.iter().map(|zone| (zone.at.as_ref().unwrap().region(), (zone.share * 100.0).round())).collect();
    assert_eq!(told, [("asia", 0.0), ("eu", 20.0), ("mars", 0.0), ("us", 80.0)].into());
}

#[test]
fn tiers_come_first_and_retries_go_on() {
    let cluster =
        builder(by_client("eu")).failover(FailoverMode::Spill(FailoverConfig::default())).build().unwrap();
    let reserve = ["us", "eu"].into_iter().flat_map(|zone| (0..4).map(move |n| endpoint(zone, n, 1)));
    cluster.apply(fleet(&[("us", 2), ("eu", 2)]).into_iter().chain(reserve)).unwrap();
    let request = from("10.2.0.1");
    let mut tried = Tried::default();
    for expected in ["us", "us", "eu", "eu"] {
        let pick = cluster.pick(&request.excluding(&tried)).unwrap();
        assert_eq!((region_of(&pick).as_str(), pick.way().priority().get()), (expected, 0));
        tried.add(&pick);
    }
    // A retry that avoids the first tier stays in the client's region, if the next one has a share.
    down(&cluster, "us", 2);
    down(&cluster, "eu", 1);
    let mut tried = Tried::default();
    let last = "eu-0-1".parse().unwrap();
    tried.add(&cluster.pick_at(&last, &request, &Default::default()).unwrap());
    let again = request.excluding(&tried).avoiding(&[Priority::HIGHEST]);
    for _ in 0..20 {
        let pick = cluster.pick(&again).unwrap();
        assert_eq!((region_of(&pick).as_str(), pick.way().priority().get()), ("us", 1));
    }
    down(&cluster, "eu", 2);
    let pick = cluster.pick(&request).unwrap();
    assert_eq!((region_of(&pick).as_str(), pick.way().priority().get()), ("us", 1));
    // In panic, who is down is asked too, wherever: panic knows no zones.
    for zone in ["us", "eu"] {
        for number in 0..4 {
            let id = format!("{zone}-1-{number}").parse().unwrap();
            let _ = cluster.endpoint(&id).unwrap().set_check(CheckState::Down);
        }
    }
    let regions: BTreeSet<String> = (0..200)
        .map(|_| {
            let pick = cluster.pick(&request).unwrap();
            assert!(pick.way().is_panic(), "{:?}", pick.way());
            region_of(&pick)
        })
        .collect();
    assert_eq!(regions.len(), 2, "{regions:?}");
}

/// Who finds nobody in the region of the client goes on to the next nearest to the client, not to this process.
#[test]
fn who_is_refused_goes_on_in_the_order_of_the_client() {
    let cluster = builder(by_client("asia")).build().unwrap();
    cluster.apply(fleet(&[("us", 1), ("eu", 1), ("asia", 1), ("mars", 1)])).unwrap();
    for (client, expected) in [
        ("10.2.0.1", ["us", "eu", "asia", "mars"]),
        ("10.1.0.1", ["eu", "us", "asia", "mars"]),
        ("10.3.0.1", ["asia", "eu", "us", "mars"]),
    ] {
        let mut tried = Tried::default();
        for region in expected {
            let pick = cluster.pick(&from(client).excluding(&tried)).unwrap();
            assert_eq!(region_of(&pick), region, "{client}");
            tried.add(&pick);
        }
    }
}

/// Keys stay in their region while its share does not fall, and those that leave are no more than need be.
#[test]
fn keys_move_only_as_they_must() {
    let cluster = builder(by_client("eu")).policy(PolicyConfig::rendezvous()).build().unwrap();
    cluster.apply(fleet(&[("us", 10), ("eu", 10), ("asia", 10)])).unwrap();
    let keys: Vec<String> = (0..4000).map(|i| format!("user-{i}")).collect();
    let client: IpAddr = "10.2.0.1".parse().unwrap();
    let went = || -> Vec<String> {
        let at =
            |key: &String| region_of(&cluster.pick(&Request::with_key(key).from_address(client)).unwrap());
        keys.iter().map(at).collect()
    };
    let before = went();
    assert!(before.iter().all(|region| region == "us"));
    down(&cluster, "us", 5);
    let less = went();
    let left = less.iter().filter(|region| *region == "eu").count() as f64 / 4000.0;
    assert!((left - 0.3).abs() < 0.03, "{left}");
    assert_eq!(less, went());
    down(&cluster, "us", 6);
    let least = went();
    assert!(less.iter().zip(&least).all(|(less, least)| less == least || less == "us"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |locality: LocalityConfig, expected: &str| {
        let error = builder(locality).build().map(drop).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    };
    let client = |own: Locality, regions: Vec<Region>| {
        LocalityConfig::ClientRegion(ClientRegionConfig { own, regions, ..ClientRegionConfig::default() })
    };
    let nowhere = Locality::default;
    refused(client(nowhere(), vec![]), "locality.regions is empty");
    refused(client(nowhere(), vec![region("", &[], None)]), "locality.regions[0].name is empty");
    let twice = vec![region("a", &[], None), region("a", &[], None)];
    refused(client(nowhere(), twice), "locality.regions[1].name is \"a\" a second time");
    let same = vec![region("a", &["10.0.0.0/8"], None), region("b", &["10.0.0.0/8"], None)];
    refused(client(nowhere(), same), "locality.regions[1].clients holds 10.0.0.0/8, which another");
    refused(
        client(Locality::new("mars", "", ""), regions()),
        "locality.own.region is \"mars\", which is none",
    );
    refused(client(Locality::new("eu", "a", ""), regions()), "locality.own.zone would be ignored");
    let percent =
        ClientRegionConfig { regions: regions(), overprovisioning_percent: 99, ..Default::default() };
    refused(LocalityConfig::ClientRegion(percent), "locality.overprovisioning_percent is 99");
    refused(LocalityConfig::Joint(JointZonesConfig::default()), "locality.own.zone: this mode needs");
    refused(joint(&[]), "locality.mode = \"joint\" would be ignored: no latencies");
    refused(joint(&[("b", 1), ("b", 2)]), "locality.ways[1].at is the zone of ways[0] too");
    let keyed = builder(joint(&[])).latency(LatencyConfig::default()).policy(PolicyConfig::rendezvous());
    assert!(matches!(keyed.build().map(drop).unwrap_err(), BuildError::WouldBeIgnored(_)));
    // What was no mistake when the cluster was built is none later either.
    let cluster = builder(joint(&[])).latency(LatencyConfig::default()).build().unwrap();
    assert!(cluster.set_policy(PolicyConfig::rendezvous()).is_err());
}

fn joint(ways: &[(&str, u64)]) -> LocalityConfig {
    let way = |&(zone, millis): &(&str, u64)| ZoneWay {
        at: Locality::new("eu", zone, ""),
        cost: Duration::from_millis(millis),
    };
    let own = Locality::new("eu", "a", "");
    LocalityConfig::Joint(JointZonesConfig {
        own,
        ways: ways.iter().map(way).collect(),
        ..JointZonesConfig::default()
    })
}

/// A cluster of which every endpoint takes so many milliseconds.
fn waiting(ways: &[(&str, u64)], zones: &[(&str, usize, u64)]) -> Cluster<()> {
    let cluster = builder(joint(ways)).latency(LatencyConfig::default()).build().unwrap();
    let counts: Vec<(&str, usize)> = zones.iter().map(|&(zone, count, _)| (zone, count)).collect();
    cluster.apply(fleet(&counts)).unwrap();
    learn(&cluster, zones);
    cluster
}

fn learn(cluster: &Cluster<()>, zones: &[(&str, usize, u64)]) {
    for &(zone, count, millis) in zones {
        for number in 0..count {
            let id = format!("{zone}-0-{number}").parse().unwrap();
            let pick = cluster.pick_at(&id, &Request::new(), &Default::default()).unwrap();
            pick.finish(Outcome::success().with_latency(Duration::from_millis(millis)));
        }
    }
}

fn zone_of(pick: &Pick<()>) -> String {
    pick.endpoint().description().locality().map_or_else(String::new, |at| at.zone().to_owned())
}

/// How many of so many requests that are all in flight at once go to each zone.
fn in_flight(cluster: &Cluster<()>, count: usize) -> BTreeMap<String, usize> {
    let picks: Vec<Pick<()>> = (0..count).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
    let mut went = BTreeMap::new();
    picks.iter().for_each(|pick| *went.entry(zone_of(pick)).or_insert(0) += 1);
    went
}

#[test]
fn requests_stay_at_home_while_the_way_costs_more_than_waiting() {
    // 10 ms everywhere, and 25 ms for the way to b: 35 ms there, as with 2.5 requests in flight at home.
    let cluster = waiting(&[("b", 25)], &[("eu/a", 4, 10), ("eu/b", 4, 10)]);
    assert_eq!(in_flight(&cluster, 4), [("a".to_owned(), 4)].into());
    let went = in_flight(&cluster, 400);
    // On the whole b has the 2.5 requests an endpoint less that its way is worth.
    assert!((195..=215).contains(&went["a"]), "{went:?}");
    // One by one, nobody leaves.
    for _ in 0..100 {
        assert_eq!(zone_of(&cluster.pick(&Request::new()).unwrap()), "a");
    }
    let said = cluster.explain(&Request::new()).to_string();
    assert!(said.contains("in eu/a") && said.contains("costs 10.0ms and 0.0ns for the way"), "{said}");
    assert!(said.contains("costs 10.0ms and 25.0ms for the way"), "{said}");
}

#[test]
fn one_request_finds_out_what_nobody_knows() {
    let cluster = builder(joint(&[("b", 1)])).latency(LatencyConfig::default()).build().unwrap();
    cluster.apply(fleet(&[("eu/a", 1), ("eu/b", 1)])).unwrap();
    learn(&cluster, &[("eu/a", 1, 10)]);
    // While it is there, the others do not wait for what may never come.
    assert_eq!(in_flight(&cluster, 20), [("b".to_owned(), 1), ("a".to_owned(), 19)].into());
}

#[test]
fn a_slow_zone_is_left_and_a_fast_one_is_found() {
    let cluster = waiting(&[], &[("eu/a", 4, 10), ("eu/b", 4, 2), ("eu/c", 4, 2)]);
    let went = in_flight(&cluster, 2);
    assert!(!went.contains_key("a"), "the others are 7 ms nearer, way included: {went:?}");
    let cluster = waiting(&[("b", 9)], &[("eu/a", 4, 10), ("eu/b", 4, 1)]);
    assert_eq!(in_flight(&cluster, 1), [("a".to_owned(), 1)].into(), "among equals the own zone");
    // Nothing is usable at home.
    let cluster = waiting(&[("b", 9000)], &[("eu/a", 2, 1), ("eu/b", 2, 1)]);
    down(&cluster, "eu/a", 2);
    let pick = cluster.pick(&Request::new()).unwrap();
    assert!(zone_of(&pick) == "b" && pick.way().crosses_zone() && !pick.way().is_fallback());
    // A retry leaves the zone of which it has tried everybody.
    let cluster = waiting(&[("b", 9000)], &[("eu/a", 2, 1), ("eu/b", 2, 1)]);
    let mut tried = Tried::default();
    let mut went = Vec::new();
    for _ in 0..4 {
        let pick = cluster.pick(&Request::new().excluding(&tried)).unwrap();
        tried.add(&pick);
        went.push(zone_of(&pick));
    }
    assert_eq!(went, ["a", "a", "b", "b"]);
}

/// The example of the page is valid, and does what the picture beside it shows.
#[cfg(feature = "config")]
#[test]
fn the_page_tells_the_truth() {
    let page = include_str!("../../../docs/routing-and-failover.md");
    let section = page.split("### Zones by request").nth(1).unwrap();
    let text = section.split("```toml").nth(1).and_then(|text| text.split("```").next()).unwrap();
    let text = format!("name = \"pages\"\n{}", text.replace("[clusters.locality]", "[locality]"));
    let config = evenkeel::ClusterConfig::from_toml(&text).unwrap();
    let cluster: Cluster<()> = Cluster::from_config(config).unwrap();
    cluster.apply(fleet(&[("us", 10), ("eu", 10)])).unwrap();
    let request = from("10.80.0.1");
    check(&cluster, &request, &[("us", 100.0)]);
    down(&cluster, "us", 6);
    check(&cluster, &request, &[("us", 56.0), ("eu", 44.0)]);
    down(&cluster, "us", 10);
    check(&cluster, &request, &[("eu", 100.0)]);
}

#[test]
fn a_choice_allocates_nothing() {
    let client = builder(by_client("eu")).build().unwrap();
    client.apply(fleet(&[("us", 10), ("eu", 10), ("asia", 10), ("mars", 10)])).unwrap();
    down(&client, "us", 6);
    let joint = waiting(&[("b", 25)], &[("eu/a", 40, 10), ("eu/b", 40, 10)]);
    let tokyo = Coordinates::new(35.7, 139.7).unwrap();
    for (what, cluster, request) in [
        ("address", &client, from("10.2.0.1")),
        ("place", &client, Request::new().at_place(tokyo)),
        ("nothing", &client, Request::new()),
        ("wait", &joint, Request::new()),
    ] {
        let act = || (0..1000).for_each(|_| drop(cluster.pick(&request).unwrap()));
        act();
        assert_eq!(measure(act).count_total, 0, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever is usable is found, whatever is down and wherever the client is.
    #[test]
    fn there_is_a_pick_while_anybody_is_usable(
        usable in prop::collection::vec(0_usize..4, 4),
        client in 0_u8..6,
        joint_mode: bool,
    ) {
        let names = ["us", "eu", "asia", "mars"];
        let zones: Vec<(&str, usize)> = names.map(|name| (name, 3)).into();
        let cluster = if joint_mode {
            let own = Locality::new("eu", "", "");
            let config = JointZonesConfig { own, by: evenkeel::ZoneBy::Region, ..JointZonesConfig::default() };
            builder(LocalityConfig::Joint(config)).latency(LatencyConfig::default()).build().unwrap()
        } else {
            builder(by_client("asia")).build().unwrap()
        };
        cluster.apply(fleet(&zones)).unwrap();
        for (name, up) in names.iter().zip(&usable) {
            down(&cluster, name, 3_usize.saturating_sub(*up));
        }
        let request = from(&format!("10.{client}.0.1"));
        for _ in 0..50 {
            match cluster.pick(&request) {
                Ok(pick) => {
                    let at = names.iter().position(|name| *name == region_of(&pick)).unwrap();
                    prop_assert!(usable[at] > 0, "{} has nobody", names[at]);
                }
                Err(_) => prop_assert!(usable.iter().all(|&up| up == 0)),
            }
        }
    }
}
