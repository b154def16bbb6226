//! Shares of zones: the worked example, each mode, keys, and laws.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{
    Announced, ApplyError, BuildError, CheckState, Cluster, Endpoint, EndpointId, EnvoyZoneConfig,
    FailoverConfig, FailoverMode, FailoverOrder, LoadAwareZonesConfig, LoadReport, Locality, LocalityConfig,
    LocalityConfigError, ManualClock, NearestZonesConfig, PolicyConfig, Priority, RandomSubsetConfig,
    Request, SubsetConfig, Tried, Weight, ZoneAwareConfig, ZoneBy, ZoneCallers, ZoneWeight,
    ZoneWeightsConfig,
};
use proptest::prelude::*;

fn id(zone: &str, number: usize) -> EndpointId {
    format!("{zone}-{number}").parse().unwrap()
}

/// A place written `region/zone/sub_zone`.
fn at(place: &str) -> Locality {
    let mut parts = place.split('/').chain(["", ""]);
    let mut next = || parts.next().unwrap_or("");
    let (region, zone) = (next(), next());
    Locality::new(region, zone, next())
}

fn endpoint(zone: &str, number: usize) -> Endpoint {
    let hash = zone.bytes().fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    let address = format!("10.{hash}.{}.{}:80", number / 250, number % 250).parse().unwrap();
    Endpoint::new(id(zone, number), address).with_locality(at(&format!("eu/{zone}")))
}

fn fleet(zones: &[(&str, usize)]) -> Vec<Endpoint> {
    zones.iter().flat_map(|&(zone, count)| (0..count).map(move |number| endpoint(zone, number))).collect()
}

fn callers(zones: &[(&str, u32)]) -> Vec<ZoneCallers> {
    zones.iter().map(|&(zone, count)| ZoneCallers { at: at(&format!("eu/{zone}")), count }).collect()
}

fn aware(own: &str, counts: &[(&str, u32)]) -> LocalityConfig {
    LocalityConfig::ZoneAware(ZoneAwareConfig {
        own: at(own),
        callers: callers(counts),
        ..ZoneAwareConfig::default()
    })
}

fn envoy(own: &str, counts: &[(&str, u32)]) -> LocalityConfig {
    LocalityConfig::EnvoyZoneAware(EnvoyZoneConfig {
        own: at(own),
        callers: callers(counts),
        ..EnvoyZoneConfig::default()
    })
}

fn build(locality: LocalityConfig) -> Cluster<()> {
    Cluster::builder("test").seed(11).clock(ManualClock::default()).locality(locality).build().unwrap()
}

fn cluster(locality: LocalityConfig, zones: &[(&str, usize)]) -> Cluster<()> {
    let cluster = build(locality);
    cluster.apply(fleet(zones)).unwrap();
    cluster
}

/// Percent of the first tier's requests by zone, as the report tells.
fn reported(cluster: &Cluster<()>) -> BTreeMap<String, f64> {
    let round = |share: f64| (share * 1e6).round() / 1e4;
    let zones = cluster.report().tiers.remove(0).zones;
    let name = |at: &Option<Locality>| at.as_ref().map_or_else(String::new, |at| at.zone().to_owned());
    zones.iter().map(|zone| (name(&zone.at), round(zone.share))).collect()
}

fn drawn(cluster: &Cluster<()>, picks: usize) -> BTreeMap<String, f64> {
    let mut shares = BTreeMap::new();
    for _ in 0..picks {
        let pick = cluster.pick(&Request::new()).unwrap();
        let description = pick.endpoint().description();
        let zone = description.locality().map_or("", |at| at.zone()).to_owned();
        *shares.entry(zone).or_insert(0.0) += 100.0 / picks as f64;
    }
    shares
}

#[track_caller]
fn check(cluster: &Cluster<()>, expected: &[(&str, f64)]) {
    let found = reported(cluster);
    let expected: BTreeMap<String, f64> =
        expected.iter().map(|&(zone, share)| (zone.to_owned(), share)).collect();
    assert_eq!(found, expected);
    let drawn = drawn(cluster, 20_000);
    for (zone, share) in expected {
        assert!((drawn.get(&zone).copied().unwrap_or(0.0) - share).abs() < 1.5, "{drawn:?}");
    }
}

/// Envoy's example: callers 40, 40, 20 and endpoints 25, 50, 25: 62.5 % stay, the rest goes 2 to 1.
#[test]
fn the_worked_example() {
    let zones = [("a", 25), ("b", 50), ("c", 25)];
    let asking = [("a", 40), ("b", 40), ("c", 20)];
    for mode in [aware, envoy] {
        let at_home =
            [("eu/a", [62.5, 25.0, 12.5]), ("eu/b", [0.0, 100.0, 0.0]), ("eu/c", [0.0, 0.0, 100.0])];
        for (own, shares) in at_home {
            let expected: Vec<_> = ["a", "b", "c"].into_iter().zip(shares).collect();
            check(&cluster(mode(own, &asking), &zones), &expected);
        }
    }
    let cluster = cluster(aware("eu/a", &[]), &zones);
    check(&cluster, &[("a", 100.0), ("b", 0.0), ("c", 0.0)]);
    cluster.set_callers(asking.map(|(zone, count)| (at(&format!("eu/{zone}")), count)));
    check(&cluster, &[("a", 62.5), ("b", 25.0), ("c", 12.5)]);
    // A peer is listed in two sub-zones of one zone, and some stand where there is no endpoint.
    let more = [("eu/a/1", 20), ("eu/a/2", 20), ("eu/b", 40), ("eu/c", 20), ("eu/d", 0)];
    cluster.set_callers(more.map(|(place, count)| (at(place), count)));
    check(&cluster, &[("a", 62.5), ("b", 25.0), ("c", 12.5)]);
}

/// What Envoy refuses to do with fewer than six hosts, and what users of it ask for.
#[test]
fn few_endpoints_are_enough() {
    let zones = [("a", 1), ("b", 1), ("c", 1)];
    let asking = [("a", 1), ("b", 1), ("c", 1)];
    check(&cluster(aware("eu/b", &asking), &zones), &[("a", 0.0), ("b", 100.0), ("c", 0.0)]);
    let third = 33.3333;
    check(&cluster(envoy("eu/b", &asking), &zones), &[("a", third), ("b", third), ("c", third)]);
}

#[test]
fn the_own_zone_loses_what_it_cannot_bear() {
    let cluster = cluster(aware("eu/a", &[]), &[("a", 3), ("b", 3), ("c", 3)]);
    let set = |number, state| cluster.endpoint(&id("a", number)).unwrap().set_check(state);
    check(&cluster, &[("a", 100.0), ("b", 0.0), ("c", 0.0)]);
    set(0, CheckState::Down);
    // Two of nine thirds are left at home: each of the eight gets the same.
    check(&cluster, &[("a", 75.0), ("b", 12.5), ("c", 12.5)]);
    set(1, CheckState::Down);
    set(2, CheckState::Down);
    check(&cluster, &[("a", 0.0), ("b", 50.0), ("c", 50.0)]);
    let pick = cluster.pick(&Request::new()).unwrap();
    assert!(pick.way().crosses_zone() && !pick.way().is_fallback(), "{:?}", pick.way());
    set(0, CheckState::Up);
    assert!(reported(&cluster)["a"] > 0.0);
}

/// Weights count, not heads.
#[test]
fn zones_share_by_weight() {
    let cluster = build(aware("eu/a", &[("a", 1), ("b", 1)]));
    let mut endpoints = fleet(&[("a", 1), ("b", 3)]);
    endpoints[0] = endpoints[0].clone().with_weight(Weight::new(3));
    cluster.apply(endpoints).unwrap();
    check(&cluster, &[("a", 100.0), ("b", 0.0)]);
    cluster.set_weight(&id("a", 0), Weight::new(1)).unwrap();
    check(&cluster, &[("a", 50.0), ("b", 50.0)]);
    let absurd = Weight::new(u32::MAX);
    cluster.set_weight(&id("a", 0), absurd).unwrap();
    check(&cluster, &[("a", 100.0), ("b", 0.0)]);
}

#[test]
fn configured_weights() {
    let weights =
        [("a", 80), ("b", 20)].map(|(zone, weight)| ZoneWeight { at: at(&format!("eu/{zone}")), weight });
    let config = ZoneWeightsConfig { weights: weights.to_vec(), others: 0, ..ZoneWeightsConfig::default() };
    let cluster = cluster(LocalityConfig::Weights(config), &[("a", 10), ("b", 10), ("c", 10)]);
    check(&cluster, &[("a", 80.0), ("b", 20.0), ("c", 0.0)]);
    for number in 0..5 {
        cluster.endpoint(&id("a", number)).unwrap().set_check(CheckState::Down);
    }
    // 80 times 70 % to 20.
    check(&cluster, &[("a", 73.6842), ("b", 26.3158), ("c", 0.0)]);
    for zone in ["a", "b"] {
        (0..10).for_each(|number| drop(cluster.drain(&id(zone, number))));
    }
    check(&cluster, &[("a", 0.0), ("b", 0.0), ("c", 100.0)]);
}

#[test]
fn loads_that_are_reported_move_requests() {
    let clock = Arc::new(ManualClock::default());
    let config = LoadAwareZonesConfig { own: at("eu/a"), ..LoadAwareZonesConfig::default() };
    let cluster: Cluster<()> = Cluster::builder("test")
        .seed(3)
        .clock(Arc::clone(&clock))
        .locality(LocalityConfig::LoadAware(config))
        .build()
        .unwrap();
    cluster.apply(fleet(&[("a", 5), ("b", 5)])).unwrap();
    check(&cluster, &[("a", 99.0), ("b", 1.0)]);
    let busy = |zone: &str, utilisation: f64| {
        for number in 0..5 {
            cluster.endpoint(&id(zone, number)).unwrap().report(LoadReport::new(10.0, 0.0, utilisation));
        }
    };
    busy("a", 0.8);
    busy("b", 0.2);
    check(&cluster, &[("a", 99.0), ("b", 1.0)]);
    clock.advance(Duration::from_secs(1));
    cluster.tick();
    check(&cluster, &[("a", 20.0), ("b", 80.0)]);
    busy("a", f64::NAN);
    clock.advance(Duration::from_secs(1));
    cluster.tick();
    check(&cluster, &[("a", 99.0), ("b", 1.0)]);
}

#[test]
fn the_nearest_zones_first() {
    let order = FailoverOrder {
        regions: [("eu".into(), vec!["us".into()])].into(),
        zones: [("eu/a".into(), vec!["eu/c".into()])].into(),
    };
    let config = NearestZonesConfig { own: at("eu/a"), order, ..NearestZonesConfig::default() };
    let cluster = build(LocalityConfig::Nearest(config));
    let mut endpoints = fleet(&[("a", 10), ("b", 10), ("c", 10)]);
    endpoints.extend((0..10).map(|number| endpoint("far", number).with_locality(at("us/far"))));
    endpoints.push(endpoint("nowhere", 0).with_locality(Locality::default()));
    cluster.apply(endpoints).unwrap();
    let none = |zone: &str, count| {
        (0..count).for_each(|number| {
            cluster.endpoint(&id(zone, number)).unwrap().set_check(CheckState::Down);
        });
    };
    check(&cluster, &[("a", 100.0), ("b", 0.0), ("c", 0.0), ("far", 0.0), ("", 0.0)]);
    none("a", 4);
    check(&cluster, &[("a", 84.0), ("b", 0.0), ("c", 16.0), ("far", 0.0), ("", 0.0)]);
    none("a", 10);
    none("c", 10);
    check(&cluster, &[("a", 0.0), ("b", 100.0), ("c", 0.0), ("far", 0.0), ("", 0.0)]);
    none("b", 10);
    check(&cluster, &[("a", 0.0), ("b", 0.0), ("c", 0.0), ("far", 100.0), ("", 0.0)]);
}

/// A zone whose share moves takes keys from others, or gives some, and no key changes between two others.
#[test]
fn keys_stay_when_shares_move() {
    for policy in [PolicyConfig::maglev(), PolicyConfig::ring_hash(), PolicyConfig::rendezvous()] {
        let cluster = cluster(aware("eu/a", &[]), &[("a", 6), ("b", 6), ("c", 6)]);
        cluster.set_policy(policy).unwrap();
        let picks = || -> Vec<EndpointId> {
            let pick =
                |key: u64| cluster.pick(&Request::with_key(&key.to_le_bytes())).unwrap().endpoint().id();
            (0..3000).map(pick).collect()
        };
        let zone = |id: &EndpointId| id.as_str().chars().next().unwrap();
        let mut before = picks();
        for down in 0..6 {
            cluster.endpoint(&id("a", down)).unwrap().set_check(CheckState::Down);
            let after = picks();
            for (before, after) in before.iter().zip(&after) {
                let was_hit = *before == id("a", down);
                // Keys leave home; between the others, and into home, none moves.
                assert!(zone(before) == zone(after) || zone(before) == 'a', "{before} {after}");
                assert!(was_hit || before == after || zone(before) == 'a' && zone(after) != 'a');
            }
            let share = after.iter().filter(|id| zone(id) == 'a').count() as f64 / 30.0;
            assert!((share - reported(&cluster)["a"]).abs() < 4.0, "{share} {:?}", reported(&cluster));
            before = after;
        }
    }
}

#[test]
fn a_zone_that_refuses_is_left_for_the_others() {
    for policy in PolicyConfig::all() {
        let cluster = cluster(aware("eu/a", &[]), &[("a", 2), ("b", 1), ("c", 1)]);
        cluster.set_policy(policy).unwrap();
        let mut tried = Tried::default();
        let mut zones = Vec::new();
        for _ in 0..4 {
            let pick = cluster.pick(&Request::with_key("k").excluding(&tried)).unwrap();
            assert_eq!(pick.way().crosses_zone(), zones.len() > 1);
            assert_eq!(pick.way().is_fallback(), zones.len() > 1);
            tried.add(&pick);
            zones.push(pick.endpoint().id().to_string());
        }
        assert_eq!(zones.iter().collect::<BTreeSet<_>>().len(), 4);
    }
}

/// Endpoints that move to another zone, or weigh more, or come one by one, stand where they should.
#[test]
fn zones_follow_every_change() {
    let cluster = cluster(aware("eu/a", &[]), &[("a", 2), ("b", 2)]);
    let generation = cluster.generation();
    assert!(cluster.apply(fleet(&[("a", 2), ("b", 2)])).unwrap().is_noop());
    assert_eq!(cluster.generation(), generation);
    cluster.upsert(endpoint("a", 0).with_locality(at("eu/b"))).unwrap();
    cluster.upsert(endpoint("a", 2)).unwrap();
    cluster.remove(&id("a", 1)).unwrap();
    cluster.upsert(endpoint("b", 1).with_priority(Priority::new(3).unwrap())).unwrap();
    let explained = cluster.explain(&Request::new());
    let tiers: Vec<_> = explained
        .tiers
        .iter()
        .map(|tier| {
            let names: Vec<_> = tier.candidates.iter().map(|candidate| candidate.id.to_string()).collect();
            let zone = tier.zone.as_ref().expect("all are known").zone().to_owned();
            (tier.priority.get(), zone, names)
        })
        .collect();
    let row = |tier, zone: &str, names: &[&str]| {
        (tier, zone.to_owned(), names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(tiers, [row(0, "a", &["a-2"]), row(0, "b", &["a-0", "b-0"]), row(3, "b", &["b-1"])]);
    assert!(
        explained.to_string().starts_with(
            "generation 5, policy least_request\n\
         tier 0 in eu/a: 1 of 1 usable, 0 degraded; gets 100.0 %\n\
         \x20 * a-2: weight 1, 0 in flight, usable\n\
         tier 0 in eu/b: 2 of 2 usable, 0 degraded; gets 0.0 %\n"
        ),
        "{explained}"
    );
    for endpoint in cluster.endpoints() {
        let _ = endpoint.set_check(CheckState::Down);
    }
    cluster.endpoint(&id("b", 0)).unwrap().set_check(CheckState::Up);
    let pick = cluster.pick(&Request::new()).unwrap();
    assert_eq!((pick.endpoint().id(), pick.way().crosses_zone()), (id("b", 0), true));
    drop(pick);
    let explained = cluster.explain(&Request::new());
    assert!(explained.to_string().ends_with("picked b-0: tier 0, in another zone"), "{explained}");
}

#[test]
fn subset_tiers_and_zones_together() {
    let subset =
        SubsetConfig::Random(RandomSubsetConfig { size: 12, seed: Some(3), ..RandomSubsetConfig::default() });
    let cluster: Cluster<()> = Cluster::builder("test")
        .seed(5)
        .clock(ManualClock::default())
        .subset(subset)
        .failover(FailoverMode::Spill(FailoverConfig::default()))
        .locality(aware("eu/a", &[]))
        .build()
        .unwrap();
    let all = (0..2_u8).flat_map(|level| {
        ["a", "b", "c"].into_iter().flat_map(move |zone| {
            (0..20).map(move |number| {
                let name = format!("{zone}{level}");
                endpoint(&name, number)
                    .with_locality(at(&format!("eu/{zone}")))
                    .with_priority(Priority::new(level).unwrap())
            })
        })
    });
    cluster.apply(all).unwrap();
    let report = cluster.report();
    assert_eq!(report.tiers.len(), 4, "two tiers, inside and outside");
    assert_eq!(report.tiers[0].zones.iter().map(|zone| zone.total).sum::<u64>(), 12);
    assert_eq!(report.tiers[0].zones[0].share, 1.0);
    let inside: BTreeSet<_> = cluster.subset().iter().map(|endpoint| endpoint.id()).collect();
    for _ in 0..500 {
        let pick = cluster.pick(&Request::new()).unwrap();
        assert!(inside.contains(&pick.endpoint().id()) && pick.way().is_plain());
    }
    // Everything at home in the first tier is gone, inside and outside.
    for endpoint in cluster.endpoints() {
        if endpoint.id().as_str().starts_with("a0") {
            let _ = endpoint.set_check(CheckState::Down);
        }
    }
    for _ in 0..500 {
        let pick = cluster.pick(&Request::new()).unwrap();
        assert!(pick.endpoint().status().usable());
        assert!(pick.way().crosses_zone() || pick.way().is_spilled());
    }
}

/// In panic zones share by size: who is healthy does not matter.
#[test]
fn panic_knows_no_zones() {
    let cluster: Cluster<()> = Cluster::builder("test")
        .seed(5)
        .failover(FailoverMode::Spill(FailoverConfig::default()))
        .locality(aware("eu/a", &[]))
        .build()
        .unwrap();
    let down = fleet(&[("a", 5), ("b", 10), ("c", 5)])
        .into_iter()
        .map(|endpoint| endpoint.with_announced(Announced::Down));
    cluster.apply(down).unwrap();
    check(&cluster, &[("a", 25.0), ("b", 50.0), ("c", 25.0)]);
    let pick = cluster.pick(&Request::new()).unwrap();
    assert!(pick.way().is_panic() && !pick.way().is_fallback());
}

#[test]
fn bad_settings_and_bad_sets() {
    let error = |config: LocalityConfig| match Cluster::<()>::builder("test").locality(config).build() {
        Err(BuildError::Locality(error)) => error,
        other => panic!("{other:?}"),
    };
    let nowhere = ZoneAwareConfig { by: ZoneBy::Region, ..ZoneAwareConfig::default() };
    assert_eq!(error(LocalityConfig::ZoneAware(nowhere)), LocalityConfigError::NoOwnZone("region"));
    let twice = aware("eu/a", &[("a", 1), ("b", 2), ("a", 3)]);
    assert_eq!(error(twice).to_string(), "callers[2].at is the zone of callers[0] too");
    let nothing = ZoneWeightsConfig { others: 0, ..ZoneWeightsConfig::default() };
    assert_eq!(error(LocalityConfig::Weights(nothing)), LocalityConfigError::NoWeight);
    let much = ZoneWeightsConfig { overprovisioning_percent: 100_001, ..ZoneWeightsConfig::default() };
    assert_eq!(error(LocalityConfig::Weights(much)), LocalityConfigError::Overprovisioning(100_001));
    let fast =
        LoadAwareZonesConfig { own: at("eu/a"), period: Duration::ZERO, ..LoadAwareZonesConfig::default() };
    assert_eq!(error(LocalityConfig::LoadAware(fast)), LocalityConfigError::Period(Duration::ZERO));
    let order =
        FailoverOrder { regions: [("eu".into(), vec!["eu".into()])].into(), ..FailoverOrder::default() };
    let itself = NearestZonesConfig { own: at("eu/a"), order, ..NearestZonesConfig::default() };
    assert_eq!(error(LocalityConfig::Nearest(itself)).to_string(), "order.regions.eu[0] is \"eu\" itself");

    let cluster = cluster(aware("eu/a", &[]), &[("a", 2)]);
    let hosts = (0..300).map(|number| endpoint("x", number).with_locality(at(&format!("eu/host{number}"))));
    let error = cluster.apply(hosts).unwrap_err();
    assert_eq!(error, ApplyError::TooManyZones { max: 256 });
    assert_eq!(cluster.len(), 2, "the old set stays");
}

#[cfg(feature = "config")]
#[test]
fn a_locality_is_read_from_a_file() {
    let read = |locality: &str| {
        let text = format!("name = \"users\"\n[locality]\n{locality}");
        evenkeel::ClusterConfig::from_toml(&text).map(|config| config.locality.expect("it was given"))
    };
    let own = "own = { region = \"eu\", zone = \"a\" }";
    let text = format!(
        "mode = \"zone_aware\"\n{own}\ncallers = [{{ at = {{ region = \"eu\", zone = \"a\" }}, count = 4 }}]"
    );
    assert_eq!(read(&text).unwrap(), aware("eu/a", &[("a", 4)]));
    for mode in ["envoy_zone_aware", "load_aware", "nearest", "weights"] {
        let config = read(&format!("mode = \"{mode}\"\n{own}\nby = \"region\"")).unwrap();
        assert_eq!((config.name(), config.by(), config.own().zone()), (mode, ZoneBy::Region, "a"));
        assert_eq!(config.check(), Ok(()));
        let config =
            evenkeel::ClusterConfig { locality: Some(config), ..evenkeel::ClusterConfig::new("users") };
        assert_eq!(serde_json::to_value(&config).unwrap()["locality"]["mode"], mode);
    }
    let client = "mode = \"client_region\"\nown = { region = \"eu\" }\n\
        regions = [{ name = \"eu\", clients = [\"10.1.0.0/16\"], place = [50.1, 8.7] }, { name = \"us\" }]";
    let LocalityConfig::ClientRegion(config) = read(client).unwrap() else { panic!("another mode") };
    assert_eq!((config.regions.len(), config.overprovisioning_percent), (2, 140));
    assert_eq!(LocalityConfig::ClientRegion(config).check(), Ok(()));
    assert!(read(&client.replace("50.1", "95.1")).unwrap_err().to_string().contains("latitudes"));
    let ways = "ways = [{ at = { region = \"us\", zone = \"a\" }, cost = \"90ms\" }]";
    let LocalityConfig::Joint(config) = read(&format!("mode = \"joint\"\n{own}\n{ways}")).unwrap() else {
        panic!("another mode")
    };
    assert_eq!(config.ways[0].cost, Duration::from_millis(90));
    assert_eq!((config.others, config.stay), (Duration::from_millis(1), Duration::from_micros(200)));
    assert!(read("mode = \"zone_aware\"\nzone = \"a\"").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Over the callers of all zones, every usable endpoint gets the same; and nobody is refused.
    #[test]
    fn every_endpoint_gets_the_same(
        asking in prop::collection::vec(1..20_u32, 3),
        serving in prop::collection::vec(0..8_usize, 3),
        down in prop::collection::vec(0..8_usize, 3),
    ) {
        let names = ["a", "b", "c"];
        prop_assume!(serving.iter().zip(&down).any(|(all, down)| all > down));
        let asking: Vec<_> = names.into_iter().zip(asking).collect();
        let zones: Vec<_> = names.into_iter().zip(serving.iter().copied()).collect();
        let all: u32 = asking.iter().map(|(_, count)| count).sum();
        let mut got = BTreeMap::new();
        for (own, count) in &asking {
            let cluster = cluster(aware(&format!("eu/{own}"), &asking), &zones);
            for (zone, down) in names.into_iter().zip(&down) {
                for number in 0..*down {
                    if let Ok(endpoint) = cluster.endpoint(&id(zone, number)) {
                        let _ = endpoint.set_check(CheckState::Down);
                    }
                }
            }
            for (zone, share) in reported(&cluster) {
                *got.entry(zone).or_insert(0.0) += share * f64::from(*count) / f64::from(all);
            }
            prop_assert!(cluster.pick(&Request::new()).unwrap().endpoint().status().usable());
        }
        let usable = |zone: &str| {
            let at = names.iter().position(|name| *name == zone).unwrap();
            serving[at].saturating_sub(down[at]) as f64
        };
        let sum: f64 = names.iter().map(|zone| usable(zone)).sum();
        for (zone, share) in got {
            let fair = usable(&zone) * 100.0 / sum;
            prop_assert!((share - fair).abs() < 0.01, "{zone}: {share}, fair {fair}");
        }
    }
}
