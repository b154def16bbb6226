//! What every kind of subset keeps to, and how evenly each spreads the clients of a fleet.

use evenkeel_balance::subset::{
    ApertureConfig, DeterministicSubsetConfig, HashedBy, InvalidSubset, LabelFallback, LabelIndex,
    LabelIndexConfig, LabelSubsetConfig, RandomSubsetConfig, Subset, SubsetConfig, SubsetFallback,
};
use evenkeel_balance::{MemberList, Members};
use evenkeel_types::{Endpoint, Labels, Weight};
use proptest::prelude::*;

fn server(number: usize) -> Endpoint {
    let id = format!("server-{number}").parse().expect("an id");
    let address = format!("10.{}.{}.{}:80", number >> 16 & 255, number >> 8 & 255, number & 255);
    Endpoint::new(id, address.parse().expect("an address"))
}

fn servers(count: usize) -> MemberList {
    MemberList::new((0..count).map(server))
}

fn labelled(count: usize) -> MemberList {
    MemberList::new((0..count).map(|number| {
        let labels =
            [("stage", if number % 5 == 0 { "canary" } else { "stable" }), ("shard", SHARDS[number % 3])];
        server(number).with_labels(Labels::new(labels).expect("two labels"))
    }))
}

const SHARDS: [&str; 3] = ["a", "b", "c"];

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied()).expect("few labels")
}

fn deterministic(client: u32, size: u32) -> SubsetConfig {
    SubsetConfig::Deterministic(DeterministicSubsetConfig { size, ..DeterministicSubsetConfig::new(client) })
}

fn random(seed: u64, size: u32) -> SubsetConfig {
    SubsetConfig::Random(RandomSubsetConfig { size, seed: Some(seed), ..RandomSubsetConfig::default() })
}

fn aperture(peer: u32, peers: u32, size: u32) -> SubsetConfig {
    SubsetConfig::Aperture(ApertureConfig { size, ..ApertureConfig::new(peer, peers) })
}

fn label(pairs: &[(&str, &str)], fallback: LabelFallback) -> SubsetConfig {
    SubsetConfig::Label(LabelSubsetConfig { labels: labels(pairs), fallback })
}

fn select(config: &SubsetConfig, members: &MemberList) -> Subset {
    config.select(members).expect("valid settings")
}

/// The ids of a subset: what is the same whatever the order of the members.
fn ids(config: &SubsetConfig, members: &MemberList) -> Vec<String> {
    let subset = select(config, members);
    let mut ids: Vec<_> =
        subset.iter().map(|(position, _)| members.endpoint(position).id().to_string()).collect();
    ids.sort_unstable();
    ids
}

/// The least and the greatest number of clients of a server, as parts of the mean.
fn spread(servers: usize, clients: u32, config: impl Fn(u32) -> SubsetConfig) -> (f64, f64) {
    let members = self::servers(servers);
    let mut load = vec![0.0; servers];
    for client in 0..clients {
        let subset = select(&config(client), &members);
        let total: f64 = subset.weights().iter().map(|&weight| f64::from(weight)).sum();
        for (position, weight) in &subset {
            load[position] += f64::from(weight) / total;
        }
    }
    let mean = f64::from(clients) / servers as f64;
    let (least, greatest) = load
        .iter()
        .fold((f64::MAX, 0.0_f64), |(least, greatest), &load| (least.min(load), greatest.max(load)));
    (least / mean, greatest / mean)
}

fn seed_of(client: u32, fleet: u64) -> u64 {
    evenkeel_types::SplitMix64::mix(fleet << 32 | u64::from(client))
}

/// 300 clients of 300 servers. A server's clients are binomial: at size 90 one standard deviation is 0.088 of the mean,
/// and of 300 servers the extreme ones lie about three of them away.
#[test]
fn random_subsets_spread_as_a_binomial_draw() {
    for fleet in 0..5 {
        let (least, greatest) = spread(300, 300, |client| random(seed_of(client, fleet), 90));
        assert!((0.65..0.82).contains(&least) && (1.18..1.35).contains(&greatest), "{least} {greatest}");
        let (least, greatest) = spread(300, 300, |client| random(seed_of(client, fleet), 30));
        assert!((0.35..0.65).contains(&least) && (1.4..1.75).contains(&greatest), "{least} {greatest}");
    }
}

#[test]
fn deterministic_subsets_are_even_exactly_where_they_say_so() {
    for (servers, clients, size) in [(300, 300, 30), (300, 10, 30), (12, 8, 3), (100, 50, 2)] {
        let config =
            DeterministicSubsetConfig { clients: Some(clients), size, ..DeterministicSubsetConfig::new(0) };
        assert_eq!(config.is_even_over(servers), Some(true));
        let spread = spread(servers as usize, clients, |client| deterministic(client, size));
        assert!((spread.0 - 1.0).abs() < 1e-9 && (spread.1 - 1.0).abs() < 1e-9, "{spread:?}");
    }
    // 90 does not divide 300: a tenth is left over by each round, another tenth each time.
    let (least, greatest) = spread(300, 300, |client| deterministic(client, 90));
    assert!((0.80..0.95).contains(&least) && (1.05..1.15).contains(&greatest), "{least} {greatest}");
    // The last round is unfinished: who is not in it has a client less.
    let (least, greatest) = spread(300, 305, |client| deterministic(client, 30));
    assert!(least < 1.0 && greatest > 1.0, "{least} {greatest}");
}

#[test]
fn apertures_are_even_for_any_numbers() {
    for (servers, clients, size) in
        [(300, 300, 90), (300, 300, 30), (10, 4, 3), (7, 300, 12), (997, 13, 12), (1, 1, 1)]
    {
        let (least, greatest) = spread(servers, clients, |peer| aperture(peer, clients, size));
        assert!(
            (least - 1.0).abs() < 1e-9 && (greatest - 1.0).abs() < 1e-9,
            "{servers} {clients}: {least} {greatest}"
        );
    }
}

/// Load by weight, for weights that are far apart: the shares of all peers add up to the weights.
#[test]
fn apertures_give_load_by_weight() {
    let weights = [1, 7, 0, 1_000_000, 3, u32::MAX, 12, 1];
    let members = MemberList::new(
        weights.iter().enumerate().map(|(number, &weight)| server(number).with_weight(Weight::new(weight))),
    );
    let mut load = [0.0; 8];
    for peer in 0..50 {
        let subset = select(&aperture(peer, 50, 2), &members);
        let total: f64 = subset.weights().iter().map(|&weight| f64::from(weight)).sum();
        subset.iter().for_each(|(position, weight)| load[position] += f64::from(weight) / total / 50.0);
    }
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    for (load, weight) in load.into_iter().zip(weights) {
        assert!((load - f64::from(weight) / total).abs() < 1e-9, "{load} for {weight}");
    }
}

/// Whoever uses an aperture uses no more than it must: what it wants, rounded up to distances and edges.
#[test]
fn an_aperture_is_as_wide_as_it_says() {
    let members = servers(1000);
    for peer in 0..100 {
        let subset = select(&aperture(peer, 100, 12), &members);
        // ceil(12 · 100 ÷ 1000) = 2 of 100 distances: 20 servers, and no edges since 10 servers fill a distance.
        assert_eq!(subset.len(), 20);
    }
}

#[test]
fn a_random_subset_is_that_of_grpc_when_it_hashes_addresses() {
    // The lowest xxHash-64 values of "10.0.0.1:80" … under the seed.
    let members = servers(10);
    let config = RandomSubsetConfig { size: 3, seed: Some(7), by: HashedBy::Address };
    let mut ranked: Vec<(u64, u32)> = (0..10_u32)
        .map(|position| {
            let address = format!("10.0.0.{position}:80");
            (evenkeel_balance::hash::xxh64(address.as_bytes(), 7), position)
        })
        .collect();
    ranked.sort_unstable();
    let mut expected: Vec<u32> = ranked[..3].iter().map(|&(_, position)| position).collect();
    expected.sort_unstable();
    assert_eq!(select(&SubsetConfig::Random(config), &members).positions(), expected);
}

#[test]
fn labels_choose_and_fall_back() {
    let members = labelled(15);
    for (pairs, fallback, expected, used) in [
        (&[("stage", "canary")][..], LabelFallback::Any, vec![0, 5, 10], None),
        (&[("stage", "canary"), ("shard", "c")], LabelFallback::None, vec![5], None),
        (&[("stage", "lost")], LabelFallback::None, vec![], Some(SubsetFallback::None)),
        (&[("stage", "lost")], LabelFallback::Any, (0..15).collect(), Some(SubsetFallback::Any)),
        (
            &[("no", "key")],
            LabelFallback::DefaultSubset(labels(&[("stage", "canary")])),
            vec![0, 5, 10],
            Some(SubsetFallback::DefaultSubset),
        ),
        (
            &[("no", "key")],
            LabelFallback::DefaultSubset(labels(&[("stage", "lost")])),
            vec![],
            Some(SubsetFallback::DefaultSubset),
        ),
    ] {
        let subset = select(&label(pairs, fallback.clone()), &members);
        assert_eq!((subset.positions(), subset.fallback()), (&expected[..], used), "{pairs:?} {fallback:?}");
    }
}

#[test]
fn an_index_finds_what_a_scan_finds() {
    let members = labelled(100);
    let index = LabelIndex::new(&LabelIndexConfig::new(["shard", "stage"]), &members).expect("six subsets");
    assert_eq!((index.len(), index.keys()), (6, 2));
    for shard in SHARDS {
        for stage in ["canary", "stable"] {
            let scanned =
                select(&label(&[("shard", shard), ("stage", stage)], LabelFallback::None), &members);
            assert_eq!(index.get(&[shard, stage]).positions, scanned.positions());
        }
    }
    for wrong in [&["a"][..], &[], &["stable", "a"], &["as", "table"], &["a", "stable", ""]] {
        let found = index.get(wrong);
        assert!(found.positions.is_empty() && found.fallback == Some(SubsetFallback::None), "{wrong:?}");
    }
    let config = LabelIndexConfig { fallback: LabelFallback::Any, ..LabelIndexConfig::new(["lost"]) };
    let index = LabelIndex::new(&config, &members).expect("no subset");
    assert!(index.is_empty());
    assert_eq!(index.get(&["x"]).positions.len(), 100);
}

#[test]
fn an_index_is_bounded() {
    let members = labelled(100);
    let config = LabelIndexConfig { max_subsets: 5, ..LabelIndexConfig::new(["shard", "stage"]) };
    assert_eq!(LabelIndex::new(&config, &members).unwrap_err(), InvalidSubset::TooManySubsets { max: 5 });
    for keys in [&[][..], &[""], &["a", "b", "a"]] {
        let error = LabelIndexConfig::new(keys.iter().copied()).validate().unwrap_err();
        assert!(error.to_string().starts_with("subset label: keys: "), "{error}");
    }
}

#[test]
fn settings_out_of_range_are_named() {
    for (config, expected) in [
        (deterministic(0, 0), "subset deterministic: size: 0 is out of range"),
        (random(0, 0), "subset random: size: 0 is out of range"),
        (aperture(0, 1, 0), "subset aperture: size: 0 is out of range"),
        (aperture(5, 5, 1), "subset aperture: peer: 5 is out of range: of 5"),
        (aperture(0, 0, 1), "subset aperture: peer: 0 is out of range: of 0"),
        (
            SubsetConfig::Deterministic(DeterministicSubsetConfig {
                clients: Some(3),
                ..DeterministicSubsetConfig::new(3)
            }),
            "subset deterministic: client: 3 is out of range: of 3",
        ),
        (label(&[], LabelFallback::Any), "subset label: labels: none are given"),
        (
            label(&[("a", "b")], LabelFallback::DefaultSubset(Labels::default())),
            "subset label: fallback: default_subset has no labels",
        ),
    ] {
        let error = config.validate().unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(config.select(&servers(3)), Err(error), "select checks too");
    }
    let seedless = SubsetConfig::Random(RandomSubsetConfig::default());
    assert_eq!(seedless.validate(), Ok(()));
    assert_eq!(seedless.select(&servers(3)), Err(InvalidSubset::NoSeed));
    assert!(seedless.seeded(1).select(&servers(3)).is_ok());
    assert_eq!(random(7, 3).seeded(1), random(7, 3), "a seed of its own stays");
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_from_a_file() {
    let read = |text: &str| toml::from_str::<SubsetConfig>(text);
    for (text, expected) in [
        ("type = \"deterministic\"\nclient = 3\nsize = 30", deterministic(3, 30)),
        ("type = \"random\"\nsize = 30\nseed = 5", random(5, 30)),
        ("type = \"random_subsetting\"\nseed = 5", random(5, 20)),
        ("type = \"aperture\"\npeer = 1\npeers = 4", aperture(1, 4, 12)),
        (
            "type = \"label\"\nlabels = { stage = \"canary\" }",
            label(&[("stage", "canary")], LabelFallback::None),
        ),
        (
            "type = \"label\"\nlabels = { a = \"b\" }\nfallback = { default_subset = { c = \"d\" } }",
            label(&[("a", "b")], LabelFallback::DefaultSubset(labels(&[("c", "d")]))),
        ),
        (
            "type = \"label\"\nlabels = { a = \"b\" }\nfallback = \"any\"",
            label(&[("a", "b")], LabelFallback::Any),
        ),
    ] {
        let config = read(text).expect(text);
        assert_eq!(config, expected);
        assert_eq!(read(&toml::to_string(&config).expect("it can be written")), Ok(config));
    }
    for (text, told) in [
        ("type = \"deterministic\"", "client"),
        ("type = \"aperture\"\npeer = 1", "peers"),
        ("type = \"random\"\nsizes = 1", "sizes"),
        ("type = \"slices\"", "slices"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

fn any_config() -> impl Strategy<Value = SubsetConfig> {
    prop_oneof![
        (any::<u32>(), prop::option::of(any::<u32>()), any::<u32>(), any::<u64>()).prop_map(
            |(client, clients, size, seed)| SubsetConfig::Deterministic(DeterministicSubsetConfig {
                client,
                clients,
                size,
                seed
            })
        ),
        (0_u32..100, 1_u32..20).prop_map(|(client, size)| deterministic(client, size)),
        (prop::option::of(any::<u64>()), 0_u32..40, any::<bool>()).prop_map(|(seed, size, address)| {
            let by = if address { HashedBy::Address } else { HashedBy::Id };
            SubsetConfig::Random(RandomSubsetConfig { size, seed, by })
        }),
        (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(peer, peers, size, seed)| {
            SubsetConfig::Aperture(ApertureConfig { peer, peers, size, seed })
        }),
        (0_u32..10, 1_u32..10, 1_u32..20).prop_map(|(peer, peers, size)| aperture(peer, peers, size)),
        (0_usize..4, 0_usize..3).prop_map(|(shard, fallback)| {
            let fallback = [
                LabelFallback::None,
                LabelFallback::Any,
                LabelFallback::DefaultSubset(labels(&[("stage", "canary")])),
            ][fallback]
                .clone();
            label(&[("shard", ["a", "b", "c", "lost"][shard])], fallback)
        }),
    ]
}

proptest! {
    /// Any settings, any weights, any number of members: no panic, positions ascending and in range, weights as promised,
    /// and the same endpoints whatever their order.
    #[test]
    fn every_kind_keeps_to_its_word(
        config in any_config(),
        weights in prop::collection::vec(prop_oneof![0_u32..4, any::<u32>()], 0..40),
        turn in 0_usize..40,
    ) {
        let endpoints: Vec<_> = weights.iter().enumerate().map(|(number, &weight)| {
            let labels = labels(&[("shard", SHARDS[number % 3]), ("stage", if number == 3 { "canary" } else { "x" })]);
            server(number).with_weight(Weight::new(weight)).with_labels(labels)
        }).collect();
        let members = MemberList::new(endpoints.clone());
        let Ok(subset) = config.select(&members) else { return Ok(()) };
        prop_assert!(config.validate().is_ok());
        prop_assert!(subset.positions().is_sorted_by(|a, b| a < b));
        prop_assert_eq!(subset.len(), subset.weights().len());
        for (position, weight) in &subset {
            prop_assert!(position < weights.len());
            prop_assert_eq!(subset.weight(position), Some(weight));
            match config {
                SubsetConfig::Aperture(_) => prop_assert!(weight > 0 && weights[position] > 0),
                _ => prop_assert_eq!(weight, weights[position]),
            }
        }
        let some_weight = weights.iter().any(|&weight| weight > 0);
        if !matches!(config, SubsetConfig::Label(_)) {
            prop_assert_eq!(subset.is_empty(), weights.is_empty() || matches!(config, SubsetConfig::Aperture(_)) && !some_weight);
        }
        let mut turned = endpoints;
        turned.rotate_left(turn.min(weights.len()));
        prop_assert_eq!(ids(&config, &members), ids(&config, &MemberList::new(turned)));
    }

    /// One server comes or goes: at most one of a client's connections goes, and at most one comes.
    #[test]
    fn one_server_moves_one_entry_of_a_random_subset(
        seed in any::<u64>(),
        count in 1_usize..60,
        size in 1_u32..20,
        leaver in any::<prop::sample::Index>(),
    ) {
        let config = random(seed, size);
        let all = ids(&config, &servers(count));
        let leaver = leaver.index(count);
        let rest = MemberList::new((0..count).filter(|&number| number != leaver).map(server));
        let left = ids(&config, &rest);
        prop_assert!(all.iter().filter(|id| !left.contains(id)).count() <= 1);
        prop_assert!(left.iter().filter(|id| !all.contains(id)).count() <= 1);
        if !all.contains(&format!("server-{leaver}")) {
            prop_assert_eq!(all, left, "who was not used is not missed");
        }
    }

    /// While the number of slices stays, a deterministic subset moves as little as a random one.
    #[test]
    fn one_server_moves_one_entry_of_a_deterministic_subset(
        client in 0_u32..1000,
        count in 2_usize..80,
        size in 1_u32..20,
        leaver in any::<prop::sample::Index>(),
    ) {
        let size = size.min(count as u32 - 1);
        prop_assume!(count as u32 / size == (count as u32 - 1) / size);
        let config = deterministic(client, size);
        let all = ids(&config, &servers(count));
        let leaver = leaver.index(count);
        let left = ids(&config, &MemberList::new((0..count).filter(|&number| number != leaver).map(server)));
        prop_assert!(left.iter().filter(|id| !all.contains(id)).count() <= 1);
    }

    /// A wider random subset holds the narrower one: a load-driven width never moves what it has.
    #[test]
    fn a_wider_random_subset_keeps_the_narrower(seed in any::<u64>(), size in 1_u32..30) {
        let members = servers(40);
        let narrow = ids(&random(seed, size), &members);
        let wide = ids(&random(seed, size + 1), &members);
        prop_assert!(narrow.iter().all(|id| wide.contains(id)));
    }
}
