//! A cluster that uses a part of its endpoints: what is picked, what is kept, and what happens when the part fails.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel::{
    ApertureConfig, ApplyError, BuildError, Cluster, DeterministicSubsetConfig, Endpoint, EndpointId,
    Freshness, LabelFallback, LabelSubsetConfig, Labels, ManualClock, OutsideSubset, PickError, PolicyConfig,
    Priority, RandomSubsetConfig, Request, SubsetConfig, SubsetFallback, Tried, Weight,
};
use evenkeel_balance::MemberList;
use proptest::prelude::*;

fn id(name: &str) -> EndpointId {
    name.parse().expect("a valid id")
}

fn endpoint(name: &str) -> Endpoint {
    // Some policies hash addresses, so each has its own.
    let number = name.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let [high, low] = number.to_be_bytes();
    Endpoint::new(id(name), format!("10.0.{high}.{low}:80").parse().expect("an address"))
}

fn fleet(count: usize) -> Vec<Endpoint> {
    (0..count).map(|number| endpoint(&format!("e{number}"))).collect()
}

fn labelled(name: &str, version: &str) -> Endpoint {
    endpoint(name).with_labels(Labels::new([("version", version)]).expect("one label"))
}

fn random(size: u32) -> SubsetConfig {
    SubsetConfig::Random(RandomSubsetConfig { size, seed: Some(7), ..RandomSubsetConfig::default() })
}

fn version(version: &str) -> SubsetConfig {
    SubsetConfig::Label(LabelSubsetConfig::new(Labels::new([("version", version)]).expect("one label")))
}

fn cluster(subset: SubsetConfig, outside: Option<OutsideSubset>) -> Cluster<()> {
    let builder = Cluster::builder("test").seed(3).clock(ManualClock::default()).subset(subset);
    let builder = match outside {
        Some(outside) => builder.outside_subset(outside),
        None => builder,
    };
    builder.build().expect("valid settings")
}

fn inside(cluster: &Cluster<()>) -> BTreeSet<String> {
    cluster.subset().iter().map(|endpoint| endpoint.id().to_string()).collect()
}

fn picked(cluster: &Cluster<()>, picks: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..picks {
        let pick = cluster.pick(&Request::new()).expect("one is usable");
        *counts.entry(pick.endpoint().id().to_string()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn picks_stay_inside_and_everything_is_known() {
    for policy in PolicyConfig::all() {
        let cluster = cluster(random(5), None);
        cluster.set_policy(policy).unwrap();
        cluster.apply(fleet(100)).unwrap();
        let inside = inside(&cluster);
        assert_eq!((inside.len(), cluster.len(), cluster.endpoints().len()), (5, 100, 100));
        let reached: BTreeSet<_> = picked(&cluster, 500).into_keys().collect();
        assert!(reached.is_subset(&inside), "{reached:?}");
        let report = cluster.report();
        assert_eq!(report.subset, Some("random"));
        for endpoint in report.endpoints {
            assert_eq!(endpoint.in_subset, inside.contains(endpoint.id.as_str()));
            assert!(endpoint.usable && endpoint.cause.is_none(), "being outside is no matter of health");
        }
    }
}

#[test]
fn outside_is_the_last_resort_and_no_longer_than_needed() {
    let cluster = cluster(random(3), None);
    cluster.apply(fleet(20)).unwrap();
    let inside = inside(&cluster);
    for name in &inside {
        cluster.drain(&id(name)).unwrap();
    }
    let reached = picked(&cluster, 500);
    assert!(reached.keys().all(|name| !inside.contains(name)), "{reached:?}");
    assert_eq!(reached.len(), 17, "the load of a lost subset is spread over all others");
    let first = inside.first().expect("three");
    cluster.undrain(&id(first)).unwrap();
    assert_eq!(picked(&cluster, 100).into_keys().collect::<Vec<_>>(), [first.as_str()]);
}

#[test]
fn a_retry_that_has_tried_the_subset_goes_outside() {
    let cluster = cluster(random(2), None);
    cluster.apply(fleet(5)).unwrap();
    let mut tried = Tried::default();
    let mut names = Vec::new();
    for _ in 0..5 {
        let pick = cluster.pick(&Request::new().excluding(&tried)).unwrap();
        tried.add(&pick);
        names.push(pick.endpoint().id().to_string());
    }
    let inside = inside(&cluster);
    assert!(names[..2].iter().all(|name| inside.contains(name)));
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 5);
}

#[test]
fn never_outside_means_never() {
    let cluster = cluster(random(3), Some(OutsideSubset::Never));
    cluster.apply(fleet(20)).unwrap();
    for name in inside(&cluster) {
        cluster.drain(&id(&name)).unwrap();
    }
    let error = cluster.pick(&Request::new()).unwrap_err();
    let PickError::NoneUsable(shortage) = error else { panic!("{error}") };
    assert_eq!((shortage.total, shortage.withdrawn, shortage.outside_subset), (20, 3, 17));
    assert_eq!(
        error.to_string(),
        "none of 20 endpoints is usable: 3 drained or in maintenance, 17 not in this client's subset"
    );
    assert_eq!((cluster.usable(), cluster.report().usable), (0, 0));
    let explained = cluster.explain(&Request::new()).to_string();
    assert!(explained.contains("tier 0, outside the subset: 0 of 17 usable"), "{explained}");
    // What flips out there is known, and seen as soon as it is inside.
    for number in 0..19 {
        cluster.drain(&id(&format!("e{number}"))).unwrap();
    }
    cluster.undrain(&id("e5")).unwrap();
    cluster.clear_subset().unwrap();
    assert_eq!(picked(&cluster, 50).into_keys().collect::<Vec<_>>(), ["e19", "e5"]);
}

/// Whoever asks for a version does not get another, unless it says so.
#[test]
fn labels_are_kept_unless_a_fallback_is_asked_for() {
    let fleet = || [labelled("a", "7"), labelled("b", "8"), labelled("c", "8")];
    let strict = cluster(version("9"), None);
    strict.apply(fleet()).unwrap();
    let error = strict.pick(&Request::new()).unwrap_err().to_string();
    assert_eq!(error, "none of 3 endpoints is usable: 3 not in this client's subset");
    strict.upsert(labelled("a", "9")).unwrap();
    assert_eq!(picked(&strict, 20).into_keys().collect::<Vec<_>>(), ["a"]);

    let fallback = LabelFallback::Any;
    let labels = Labels::new([("version", "9")]).unwrap();
    let lenient = cluster(SubsetConfig::Label(LabelSubsetConfig { labels, fallback }), None);
    lenient.apply(fleet()).unwrap();
    assert_eq!(picked(&lenient, 100).len(), 3);
    let explained = lenient.explain(&Request::new());
    assert_eq!(explained.tiers[0].fallback, Some(SubsetFallback::Any));
    let text = "tier 0, all of it since nothing has the labels: 3 of 3 usable";
    assert!(explained.to_string().contains(text), "{explained}");
}

#[test]
fn what_was_learnt_survives_a_stay_outside() {
    let cluster = cluster(version("7"), None);
    cluster.apply([labelled("a", "7"), labelled("b", "8")]).unwrap();
    let held: Vec<_> = (0..3).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
    cluster.set_subset(version("8"), None).unwrap();
    assert_eq!(picked(&cluster, 10).into_keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(cluster.in_flight(&id("a")), Some(3));
    cluster.drain(&id("a")).unwrap();
    drop(held);
    cluster.set_subset(version("7"), None).unwrap();
    assert_eq!(cluster.in_flight(&id("a")), Some(0));
    assert!(cluster.pick(&Request::new()).is_err(), "still drained");
    assert_eq!(cluster.report().endpoints.len(), 2);
}

#[test]
fn an_aperture_weighs_its_edges() {
    // Client 1 of 4 sees five of ten: half of the first and of the last.
    let aperture = ApertureConfig { size: 3, ..ApertureConfig::new(1, 4) };
    let cluster = cluster(SubsetConfig::Aperture(aperture), None);
    cluster.set_policy(PolicyConfig::weighted_random()).unwrap();
    cluster.apply(fleet(10)).unwrap();
    let counts = picked(&cluster, 10_000);
    assert_eq!(counts.len(), 6);
    let mut shares: Vec<f64> = cluster
        .report()
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.in_subset)
        .map(|endpoint| endpoint.expected_share)
        .collect();
    shares.sort_unstable_by(f64::total_cmp);
    assert_eq!(shares, [0.1, 0.1, 0.2, 0.2, 0.2, 0.2]);
    for endpoint in cluster.report().endpoints.iter().filter(|endpoint| endpoint.in_subset) {
        let got = counts[endpoint.id.as_str()] as f64 / 10_000.0;
        assert!((got - endpoint.expected_share).abs() < 0.02, "{} {got}", endpoint.id);
        assert_eq!(endpoint.weight, Weight::ONE, "the endpoint's own weight is what it was");
    }
}

#[test]
fn nothing_changes_where_nothing_changed() {
    let cluster = cluster(random(5), None);
    cluster.apply(fleet(50)).unwrap();
    let before = (cluster.generation(), inside(&cluster));
    assert!(cluster.apply(fleet(50)).unwrap().is_noop());
    cluster.set_policy(PolicyConfig::round_robin()).unwrap();
    let outside = cluster.endpoints().into_iter().find(|e| !before.1.contains(e.id().as_str())).expect("45");
    cluster.set_weight(&outside.id(), Weight::new(9)).unwrap();
    cluster.remove(&outside.id()).unwrap();
    cluster.upsert(endpoint(outside.id().as_str())).unwrap();
    assert_eq!((cluster.generation(), inside(&cluster)), (before.0 + 4, before.1));
    assert_eq!(cluster.len(), 50);
}

#[test]
fn the_rest_of_a_tier_comes_before_the_next_tier() {
    let cluster = cluster(random(1), None);
    let tier = |name: &str, level| endpoint(name).with_priority(Priority::new(level).unwrap());
    cluster.apply([tier("a", 0), tier("b", 0), tier("c", 1), tier("d", 1)]).unwrap();
    let mut order = Vec::new();
    while let Ok(pick) = cluster.pick(&Request::new()) {
        let name = pick.endpoint().id();
        cluster.drain(&name).unwrap();
        order.push(name.to_string());
    }
    let inside = inside(&cluster);
    assert_eq!(
        order.iter().map(|name| inside.contains(name)).collect::<Vec<_>>(),
        [true, false, true, false]
    );
    assert!(["a", "b"].contains(&order[1].as_str()), "{order:?}");
}

/// Twice as many tiers as without a subset: every flip finds its bit in the last of them too.
#[test]
fn every_priority_may_be_cut_in_two() {
    let cluster = cluster(random(1), None);
    let fleet = (0..=128_u8).flat_map(|level| {
        ["a", "b"].map(|name| {
            endpoint(&format!("{name}{level:03}")).with_priority(Priority::new(level).expect("up to 128"))
        })
    });
    cluster.apply(fleet).unwrap();
    let all = cluster.endpoints();
    assert_eq!((all.len(), cluster.subset().len()), (258, 129));
    for endpoint in &all[..257] {
        cluster.drain(&endpoint.id()).unwrap();
    }
    assert_eq!(cluster.pick(&Request::new()).unwrap().endpoint().id(), all[257].id());
    cluster.undrain(&all[256].id()).unwrap();
    assert_eq!(cluster.pick(&Request::new()).unwrap().endpoint().id(), all[256].id());
}

#[test]
fn a_subset_is_no_news_about_endpoints() {
    let cluster = cluster(random(5), None);
    cluster.set_subset(random(3), None).unwrap();
    assert_eq!(cluster.pick(&Request::new()).unwrap_err(), PickError::NotKnown(Freshness::Applied));
    cluster.apply(fleet(9)).unwrap();
    assert_eq!(cluster.subset().len(), 3);
    cluster.clear();
    assert_eq!(cluster.pick(&Request::new()).unwrap_err(), PickError::Empty(Freshness::Applied));
    cluster.apply(fleet(9)).unwrap();
    assert_eq!(cluster.subset().len(), 3);
}

#[test]
fn bad_settings_are_refused_and_the_old_subset_stays() {
    let build = |subset: Option<SubsetConfig>, outside| {
        let mut builder = Cluster::<()>::builder("test");
        if let Some(subset) = subset {
            builder = builder.subset(subset);
        }
        if let Some(outside) = outside {
            builder = builder.outside_subset(outside);
        }
        builder.build().map(|_| ())
    };
    assert!(matches!(build(Some(random(0)), None), Err(BuildError::Subset(_))));
    assert_eq!(build(None, Some(OutsideSubset::Never)), Err(BuildError::OutsideOfNothing));

    let cluster = cluster(random(4), None);
    cluster.apply(fleet(9)).unwrap();
    let bad = SubsetConfig::Aperture(ApertureConfig::new(4, 4));
    let error = cluster.set_subset(bad, None).unwrap_err();
    assert!(matches!(error, ApplyError::Subset(_)), "{error}");
    assert_eq!(cluster.subset().len(), 4);
}

#[cfg(feature = "config")]
#[test]
fn a_subset_is_read_from_a_file() {
    let config = evenkeel::ClusterConfig::from_toml(
        r#"
        name = "users"
        subset = { type = "aperture", peer = 0, peers = 2, size = 1 }
        outside_subset = "never"
        endpoints = [{ id = "a", address = "10.0.0.1:80" }, { id = "b", address = "10.0.0.2:80" }]
        "#,
    )
    .expect("it is valid");
    let cluster: Cluster<()> = Cluster::from_config(config).expect("valid settings");
    assert_eq!((cluster.len(), cluster.subset().len()), (2, 1));
    let report = serde_json::to_value(cluster.report()).expect("it can be written");
    assert_eq!(report["subset"], "aperture");
}

/// Endpoints flip while the subset changes under them: in the end every mask says what the own words say.
#[test]
fn no_flip_is_lost_when_the_subset_changes() {
    let cluster = cluster(random(3), None);
    cluster.apply(fleet(12)).unwrap();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let cluster = cluster.clone();
            scope.spawn(move || {
                for turn in 0..600_usize {
                    let name = id(&format!("e{}", half * 6 + turn * 5 % 6));
                    let change =
                        if turn / 6 % 2 == 0 { cluster.drain(&name) } else { cluster.undrain(&name) };
                    change.expect("it is known");
                }
                for number in 0..3 {
                    cluster.drain(&id(&format!("e{}", half * 6 + number))).expect("it is known");
                }
            });
        }
        for size in (1..=12).cycle().take(300) {
            let outside = if size % 3 == 0 { OutsideSubset::Never } else { OutsideSubset::LastResort };
            cluster.set_subset(random(size), Some(outside)).expect("valid settings");
            let _ = cluster.pick(&Request::new());
        }
    });
    for size in 1..=12 {
        cluster.set_subset(random(size), None).unwrap();
        for tier in cluster.explain(&Request::new()).tiers {
            let usable = tier.candidates.iter().filter(|candidate| candidate.status.usable()).count();
            assert_eq!(tier.usable, usable);
        }
    }
    assert_eq!(cluster.usable(), 6);
}

/// What a client that was built afresh would choose: the same endpoints, in the order in which they were first named.
fn expected(config: &SubsetConfig, endpoints: &BTreeMap<String, Endpoint>) -> BTreeSet<String> {
    let mut inside = BTreeSet::new();
    for level in 0..3 {
        let priority = Priority::new(level).expect("a low one");
        let tier: Vec<_> = endpoints.values().filter(|e| e.priority() == priority).cloned().collect();
        let subset = config.select(&MemberList::new(tier.clone())).expect("valid settings");
        inside.extend(subset.iter().map(|(position, _)| tier[position].id().to_string()));
    }
    inside
}

#[derive(Clone, Debug)]
enum Step {
    Upsert { number: u8, level: u8, weight: u32, version: u8 },
    Remove(u8),
    Weigh(u8, u32),
    Drain(u8),
    Undrain(u8),
    Reapply,
    Subset(usize),
    Policy(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0_u8..14;
    prop_oneof![
        4 => (number(), 0_u8..3, 0_u32..5, 7_u8..10)
            .prop_map(|(number, level, weight, version)| Step::Upsert { number, level, weight, version }),
        2 => number().prop_map(Step::Remove),
        1 => (number(), prop_oneof![0_u32..5, any::<u32>()]).prop_map(|(number, weight)| Step::Weigh(number, weight)),
        2 => number().prop_map(Step::Drain),
        1 => number().prop_map(Step::Undrain),
        1 => Just(Step::Reapply),
        1 => (0..configs().len()).prop_map(Step::Subset),
        1 => (0..3_usize).prop_map(Step::Policy),
    ]
}

fn configs() -> Vec<(SubsetConfig, OutsideSubset)> {
    let deterministic = DeterministicSubsetConfig { size: 2, ..DeterministicSubsetConfig::new(5) };
    let aperture = ApertureConfig { size: 2, ..ApertureConfig::new(1, 3) };
    vec![
        (random(2), OutsideSubset::LastResort),
        (random(3), OutsideSubset::Never),
        (SubsetConfig::Deterministic(deterministic), OutsideSubset::LastResort),
        (SubsetConfig::Aperture(aperture), OutsideSubset::LastResort),
        (SubsetConfig::Aperture(aperture), OutsideSubset::Never),
        (version("7"), OutsideSubset::LastResort),
        (version("7"), OutsideSubset::Never),
    ]
}

proptest! {
    /// Whatever happens to a cluster, its subset is the one that its endpoints alone decide, and picks keep to it.
    #[test]
    fn the_subset_follows_every_change(steps in prop::collection::vec(step(), 1..60)) {
        let mut rule = configs().swap_remove(0);
        let cluster = cluster(rule.0.clone(), Some(rule.1));
        let mut endpoints = BTreeMap::new();
        let mut drained = BTreeSet::new();
        for step in steps {
            let name = |number: u8| format!("e{number}");
            match step {
                Step::Upsert { number, level, weight, version } => {
                    let endpoint = labelled(&name(number), &version.to_string())
                        .with_priority(Priority::new(level).unwrap())
                        .with_weight(Weight::new(weight));
                    cluster.upsert(endpoint.clone()).unwrap();
                    endpoints.insert(name(number), endpoint);
                }
                Step::Remove(number) => {
                    prop_assert_eq!(cluster.remove(&id(&name(number))).is_ok(), endpoints.remove(&name(number)).is_some());
                    drained.remove(&name(number));
                }
                Step::Weigh(number, weight) => {
                    if let Some(endpoint) = endpoints.get_mut(&name(number)) {
                        cluster.set_weight(&id(&name(number)), Weight::new(weight)).unwrap();
                        *endpoint = endpoint.clone().with_weight(Weight::new(weight));
                    }
                }
                Step::Drain(number) if endpoints.contains_key(&name(number)) => {
                    cluster.drain(&id(&name(number))).unwrap();
                    drained.insert(name(number));
                }
                Step::Undrain(number) if endpoints.contains_key(&name(number)) => {
                    cluster.undrain(&id(&name(number))).unwrap();
                    drained.remove(&name(number));
                }
                Step::Reapply if !endpoints.is_empty() => {
                    cluster.apply(endpoints.values().cloned()).unwrap();
                    prop_assert!(cluster.apply(endpoints.values().cloned()).unwrap().is_noop());
                }
                Step::Subset(number) => {
                    rule = configs().swap_remove(number);
                    cluster.set_subset(rule.0.clone(), Some(rule.1)).unwrap();
                }
                Step::Policy(number) => {
                    let policy = [PolicyConfig::least_request(), PolicyConfig::round_robin(), PolicyConfig::random()];
                    cluster.set_policy(policy[number].clone()).unwrap();
                }
                Step::Drain(_) | Step::Undrain(_) | Step::Reapply => {}
            }
            let chosen = inside(&cluster);
            prop_assert_eq!(&chosen, &expected(&rule.0, &endpoints));
            prop_assert_eq!(cluster.len(), endpoints.len());
            let usable = |name: &String| !drained.contains(name) && !endpoints[name].weight().is_drain();
            let may_be_used = |name: &&String| rule.1 == OutsideSubset::LastResort || chosen.contains(*name);
            // The first of (tier, inside or not) that has somebody usable.
            let rank = |name: &String| (endpoints[name].priority(), !chosen.contains(name));
            let best = endpoints.keys().filter(|name| usable(name)).filter(may_be_used).map(rank).min();
            let pick = cluster.pick(&Request::new()).ok().map(|pick| pick.endpoint().id().to_string());
            prop_assert_eq!(pick.as_ref().map(rank), best);
            prop_assert!(pick.iter().all(usable));
        }
    }
}
