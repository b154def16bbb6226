//! The compatible modes of Envoy and gRPC pass every law.

use evenkeel_balance::compat::envoy::{
    self, EnvoyConfig, EnvoyPolicy, LeastRequestSettings, LocalityWeight, MaglevSettings, RingFunction,
};
use evenkeel_balance::compat::grpc::{self, GrpcConfig, GrpcPolicy};
use evenkeel_balance::laws::{Shares, check};
use evenkeel_balance::{
    BuiltIn, InvalidPolicy, Mask, MemberList, Members, Policy, PolicyConfig, Script, Table,
};
use evenkeel_types::{Endpoint, Locality, Weight};
use proptest::prelude::*;

fn run(config: &PolicyConfig, shares: Shares) {
    check(&format!("{config:?}"), shares, &|members| Box::new(build(config, members)));
}

/// Neither program takes weights that add up to more than 32 bits hold. The law on absurd weights runs on what is left of
/// them then.
fn build(config: &PolicyConfig, members: &dyn Members) -> BuiltIn {
    BuiltIn::new(config, members).unwrap_or_else(|error| {
        assert!(matches!(error, InvalidPolicy::Members { .. }), "{error}");
        let lighter = (0..members.weights().len()).map(|position| {
            let endpoint = (*members.endpoint(position)).clone();
            let weight = endpoint.weight().get();
            endpoint.with_weight(Weight::new(weight / 16_384 + u32::from(weight > 0)))
        });
        BuiltIn::new(config, &MemberList::new(lighter)).expect("lighter ones fit")
    })
}

fn envoy_of(policy: EnvoyPolicy) -> PolicyConfig {
    PolicyConfig::Envoy(EnvoyConfig { policy, ..Default::default() })
}

fn ring(minimum: u64, maximum: u64, hash_function: RingFunction) -> EnvoyPolicy {
    EnvoyPolicy::RingHash(envoy::RingHashSettings {
        minimum_ring_size: minimum,
        maximum_ring_size: maximum,
        hash_function,
    })
}

fn maglev(table_size: u64) -> EnvoyPolicy {
    EnvoyPolicy::Maglev(MaglevSettings { table_size })
}

#[test]
fn envoy() {
    run(&PolicyConfig::envoy(), Shares::Weighted);
}

#[test]
fn envoy_with_hash_tables() {
    run(&envoy_of(maglev(65_537)), Shares::Weighted);
    run(&envoy_of(maglev(5003)), Shares::Other);
    run(&envoy_of(maglev(2)), Shares::Other);
    run(&envoy_of(ring(1024, 50_000, RingFunction::XxHash)), Shares::Other);
    run(&envoy_of(ring(1, 7, RingFunction::MurmurHash2)), Shares::Other);
    let nowhere = LocalityWeight { region: "nowhere".to_owned(), weight: 1, ..Default::default() };
    let config = EnvoyConfig { policy: maglev(251), locality_weights: vec![nowhere], ..Default::default() };
    run(&PolicyConfig::Envoy(config), Shares::Other);
}

#[test]
fn envoy_with_turns() {
    let start = Some(429_496_728);
    run(&envoy_of(EnvoyPolicy::RoundRobin(envoy::RoundRobinSettings { start })), Shares::Weighted);
    run(&envoy_of(EnvoyPolicy::LeastRequest(LeastRequestSettings::default())), Shares::Weighted);
    let settings = LeastRequestSettings { choice_count: 5, active_request_bias: 0.5 };
    run(&envoy_of(EnvoyPolicy::LeastRequest(settings)), Shares::Weighted);
}

#[test]
fn grpc() {
    run(&PolicyConfig::grpc(), Shares::Uniform);
}

#[test]
fn grpc_with_a_ring_and_at_a_stride() {
    let grpc_of = |policy| PolicyConfig::Grpc(GrpcConfig { policy });
    run(&grpc_of(GrpcPolicy::WeightedRoundRobin(grpc::RoundRobinSettings::default())), Shares::Weighted);
    run(&grpc_of(GrpcPolicy::RingHash(grpc::RingHashSettings::default())), Shares::Other);
    let small = grpc::RingHashSettings { min_ring_size: 1, max_ring_size: 3 };
    run(&grpc_of(GrpcPolicy::RingHash(small)), Shares::Other);
}

#[test]
fn bad_settings_name_policy_and_setting() {
    let grpc_ring = |min_ring_size, max_ring_size| {
        let settings = grpc::RingHashSettings { min_ring_size, max_ring_size };
        PolicyConfig::Grpc(GrpcConfig { policy: GrpcPolicy::RingHash(settings) })
    };
    for (config, words) in [
        (
            envoy_of(ring(0, 10, RingFunction::XxHash)),
            &["envoy", "ring_hash", "0 is out of range", "1 to 8388608"][..],
        ),
        (envoy_of(ring(11, 10, RingFunction::XxHash)), &["envoy", "ring_hash", "11", "10"]),
        (envoy_of(maglev(65_536)), &["envoy", "maglev.table_size", "65536", "prime", "5000011"]),
        (
            envoy_of(EnvoyPolicy::LeastRequest(LeastRequestSettings {
                choice_count: 1,
                ..Default::default()
            })),
            &["envoy", "choice_count", "2 to 1024"],
        ),
        (grpc_ring(0, 10), &["grpc", "ring_hash", "0 is out of range"]),
        (grpc_ring(65_536, 4096), &["grpc", "ring_hash", "65536", "4096"]),
    ] {
        let error = BuiltIn::new(&config, &MemberList::default()).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn weights_that_pass_32_bits_are_refused_by_tables() {
    let members = evenkeel_balance::laws::members(&[u32::MAX, 1]);
    for config in [
        envoy_of(maglev(251)),
        envoy_of(ring(1, 10, RingFunction::XxHash)),
        PolicyConfig::Grpc(GrpcConfig { policy: GrpcPolicy::RingHash(grpc::RingHashSettings::default()) }),
    ] {
        let error = BuiltIn::new(&config, &members).unwrap_err();
        assert!(error.to_string().contains("weights add up to 4294967296"), "{error}");
    }
    assert!(BuiltIn::new(&PolicyConfig::envoy(), &members).is_ok(), "turns have no such limit");
}

fn members(localities: &[&str]) -> MemberList {
    let endpoints = localities.iter().enumerate().map(|(position, zone)| {
        let address = format!("10.0.0.{}:8080", position + 1).parse().expect("an address");
        Endpoint::at(address).expect("a short address").with_locality(Locality::new("r", zone, ""))
    });
    MemberList::new(endpoints)
}

fn owners(policy: &BuiltIn, mask: &Mask) -> Vec<Option<usize>> {
    let view = Table::new(mask, &[], &[]);
    let pick =
        |key: u32| policy.pick(&view, &mut Script::seeded(1).with_key_bytes(format!("key-{key}").as_bytes()));
    (0..500).map(pick).collect()
}

/// Envoy builds its table from the hosts that are up: as if the others were not there.
#[test]
fn a_table_is_that_of_the_usable_endpoints() {
    for policy in [maglev(1021), ring(1024, 5000, RingFunction::XxHash)] {
        let config = envoy_of(policy);
        let five = BuiltIn::new(&config, &members(&["a"; 5])).unwrap();
        let mask = Mask::all_usable(5);
        let whole = owners(&five, &mask);
        mask.set(4, false);
        let four = BuiltIn::new(&config, &members(&["a"; 4])).unwrap();
        assert_eq!(owners(&five, &mask), owners(&four, &Mask::all_usable(4)));
        mask.set(4, true);
        assert_eq!(owners(&five, &mask), whole, "and back");
    }
}

/// gRPC's ring stays, and the next point of another endpoint is taken.
#[test]
fn a_ring_of_grpc_stays_when_health_changes() {
    let config =
        PolicyConfig::Grpc(GrpcConfig { policy: GrpcPolicy::RingHash(grpc::RingHashSettings::default()) });
    let policy = BuiltIn::new(&config, &members(&["a"; 5])).unwrap();
    let mask = Mask::all_usable(5);
    let whole = owners(&policy, &mask);
    mask.set(2, false);
    let without = owners(&policy, &mask);
    assert!(whole.iter().zip(&without).all(|(before, after)| before == after || *before == Some(2)));
    assert!(without.iter().all(|owner| *owner != Some(2)));
}

#[test]
fn locality_weights_divide_the_table() {
    let weight = |zone: &str, weight| LocalityWeight {
        region: "r".to_owned(),
        zone: zone.to_owned(),
        weight,
        ..Default::default()
    };
    let config = EnvoyConfig {
        policy: maglev(5003),
        locality_weights: vec![weight("b", 1), weight("a", 3), weight("elsewhere", 7)],
        ..Default::default()
    };
    let policy = BuiltIn::new(&PolicyConfig::Envoy(config), &members(&["a", "b", "b", "c"])).unwrap();
    let owners = owners(&policy, &Mask::all_usable(4));
    let count = |position| owners.iter().filter(|&&owner| owner == Some(position)).count();
    assert!(count(0).abs_diff(375) < 50, "{}", count(0));
    assert!(count(1).abs_diff(62) < 30, "{}", count(1));
    assert_eq!(count(3), 0, "its locality has no weight");
}

/// Envoy's rotation goes on where it was when hosts go and come.
#[test]
fn a_rotation_goes_on_over_changes() {
    let settings = envoy::RoundRobinSettings { start: Some(1) };
    let policy = BuiltIn::new(&envoy_of(EnvoyPolicy::RoundRobin(settings)), &members(&["a"; 3])).unwrap();
    let mask = Mask::all_usable(3);
    let pick = || policy.pick(&Table::new(&mask, &[], &[]), &mut Script::seeded(1)).unwrap();
    assert_eq!([pick(), pick()], [1, 2]);
    mask.set(0, false);
    assert_eq!([pick(), pick(), pick()], [2, 1, 2], "places 3, 4 and 5 of two");
    mask.set(0, true);
    assert_eq!([pick(), pick()], [0, 1], "places 6 and 7 of three");
}

fn any_policy() -> impl Strategy<Value = PolicyConfig> {
    let turns = || any::<Option<u32>>().prop_map(|start| grpc::RoundRobinSettings { start });
    let sizes = || (1_u64..3000, 0_u64..3000);
    prop_oneof![
        (sizes(), any::<bool>()).prop_map(|((minimum, more), murmur)| {
            let function = if murmur { RingFunction::MurmurHash2 } else { RingFunction::XxHash };
            envoy_of(ring(minimum, minimum + more, function))
        }),
        prop::sample::select(vec![2_u64, 3, 251, 5003]).prop_map(|size| envoy_of(maglev(size))),
        any::<Option<u64>>()
            .prop_map(|start| envoy_of(EnvoyPolicy::RoundRobin(envoy::RoundRobinSettings { start }))),
        (2_u32..9, 0.0_f64..9.0).prop_map(|(choice_count, active_request_bias)| {
            envoy_of(EnvoyPolicy::LeastRequest(LeastRequestSettings { choice_count, active_request_bias }))
        }),
        turns().prop_map(|turns| PolicyConfig::Grpc(GrpcConfig { policy: GrpcPolicy::RoundRobin(turns) })),
        turns().prop_map(|turns| PolicyConfig::Grpc(GrpcConfig {
            policy: GrpcPolicy::WeightedRoundRobin(turns)
        })),
        sizes().prop_map(|(min_ring_size, more)| {
            let settings = grpc::RingHashSettings { min_ring_size, max_ring_size: min_ring_size + more };
            PolicyConfig::Grpc(GrpcConfig { policy: GrpcPolicy::RingHash(settings) })
        }),
    ]
}

proptest! {
    /// Whatever weights, masks, exclusions and keys come: an open position, iff there is one.
    #[test]
    fn no_input_breaks_them(
        config in any_policy(),
        weights in prop::collection::vec(prop_oneof![0_u32..5, Just(u32::MAX / 9), Just(u32::MAX)], 0..8),
        steps in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u64>(), any::<Vec<u8>>()), 1..12),
    ) {
        let Ok(policy) = BuiltIn::new(&config, &evenkeel_balance::laws::members(&weights)) else { return Ok(()) };
        let loads = [0, u32::MAX, 3, 1, 0, 7, 9, 2];
        for (down, tried, key, bytes) in steps {
            let mask = Mask::new(weights.len(), |position| weights[position] > 0 && down >> position & 1 == 0);
            let excluded: Vec<usize> = (0..weights.len()).filter(|position| tried >> position & 1 == 1).collect();
            let view = Table::new(&mask, &weights, &loads).excluding(&excluded);
            let open: Vec<usize> = mask.iter().filter(|position| !excluded.contains(position)).collect();
            for mut caller in [Script::seeded(key), Script::seeded(key).with_key_bytes(bytes.clone())] {
                let picked = policy.pick(&view, &mut caller);
                prop_assert_eq!(picked.is_some(), !open.is_empty());
                prop_assert!(picked.is_none_or(|position| open.contains(&position)));
            }
        }
    }
}
