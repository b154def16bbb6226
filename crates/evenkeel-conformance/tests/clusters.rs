//! What the machines reproduce, the policies of clusters reproduce too: recorded keys, picked through a mask.

use std::path::Path;

use evenkeel_balance::compat::envoy::{
    EnvoyConfig, EnvoyPolicy, LocalityWeight, MaglevSettings, RingFunction, RingHashSettings,
};
use evenkeel_balance::compat::grpc::{self, GrpcConfig, GrpcPolicy};
use evenkeel_balance::{BuiltIn, Mask, MemberList, Policy, PolicyConfig, Script, Table};
use evenkeel_conformance::{Case, Vector};
use evenkeel_types::{Endpoint, Labels, Locality, Weight};
use serde_json::Value;

/// Every pick of a file, by a policy that `config` makes of each case.
fn check(file: &str, config: fn(&Case) -> PolicyConfig) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let vector = Vector::read(&path).expect("a committed file");
    for case in &vector.cases {
        let servers = case.servers();
        let members = MemberList::new(servers.iter().map(endpoint));
        let policy = BuiltIn::new(&config(case), &members).expect("settings that the program took");
        let is_up = |position: usize| {
            servers[position]["health"].is_null() && servers[position]["refuses_connections"].is_null()
        };
        let mask = Mask::new(servers.len(), is_up);
        let weights: Vec<u32> = servers.iter().map(Case::weight).collect();
        let picks = case.0["picks"].as_array().expect("picks");
        let keys = vector.keys_of(case).expect("a list").expect("keys");
        for (key, theirs) in keys.iter().zip(picks) {
            let mut caller = Script::seeded(1).with_key_bytes(key.clone());
            let ours = policy.pick(&Table::new(&mask, &weights, &[]), &mut caller);
            assert_eq!(ours.map(|position| position as u64), theirs.as_u64(), "{} key {key:?}", case.id());
        }
    }
}

fn endpoint(server: &Value) -> Endpoint {
    let address = server["addr"].as_str().expect("an address").parse().expect("an address");
    let zone = server["locality"].as_u64().map_or_else(String::new, |zone| format!("z{zone}"));
    let mut endpoint = Endpoint::at(address)
        .expect("a short address")
        .with_weight(Weight::new(Case::weight(server)))
        .with_locality(Locality::new("r1", &zone, ""));
    if let Some(key) = server["hash_key"].as_str() {
        endpoint = endpoint.with_labels(Labels::new([("envoy.lb.hash_key", key)]).expect("one label"));
    }
    if let Some((name, _)) = server["dns"].as_str().and_then(|name| name.rsplit_once(':')) {
        endpoint = endpoint.with_hostname(name);
    }
    endpoint
}

fn envoy(case: &Case) -> PolicyConfig {
    let cluster = &case.0["config"];
    let common = &cluster["common_lb_config"];
    let policy = if cluster["lb_policy"] == "MAGLEV" {
        let size = cluster["maglev_lb_config"]["table_size"].as_u64();
        EnvoyPolicy::Maglev(
            size.map_or_else(MaglevSettings::default, |table_size| MaglevSettings { table_size }),
        )
    } else {
        let config = &cluster["ring_hash_lb_config"];
        let defaults = RingHashSettings::default();
        EnvoyPolicy::RingHash(RingHashSettings {
            minimum_ring_size: config["minimum_ring_size"].as_u64().unwrap_or(defaults.minimum_ring_size),
            maximum_ring_size: config["maximum_ring_size"].as_u64().unwrap_or(defaults.maximum_ring_size),
            hash_function: match config["hash_function"].as_str() {
                Some("MURMUR_HASH_2") => RingFunction::MurmurHash2,
                _ => RingFunction::XxHash,
            },
        })
    };
    let groups = cluster["load_assignment"]["endpoints"].as_array().expect("endpoints");
    let weight = |group: &Value| LocalityWeight {
        region: "r1".to_owned(),
        zone: group["locality"]["zone"].as_str().unwrap_or_default().to_owned(),
        weight: group["load_balancing_weight"].as_u64().unwrap_or(0) as u32,
        ..Default::default()
    };
    let is_weighted = common["locality_weighted_lb_config"].is_object();
    PolicyConfig::Envoy(EnvoyConfig {
        policy,
        use_hostname: common["consistent_hashing_lb_config"]["use_hostname_for_hashing"] == true,
        locality_weights: groups.iter().filter(|_| is_weighted).map(weight).collect(),
    })
}

fn grpc(case: &Case) -> PolicyConfig {
    let config = &case.0["config"]["ring_hash_experimental"];
    let defaults = grpc::RingHashSettings::default();
    let settings = grpc::RingHashSettings {
        min_ring_size: config["minRingSize"].as_u64().unwrap_or(defaults.min_ring_size),
        max_ring_size: config["maxRingSize"].as_u64().unwrap_or(defaults.max_ring_size),
    };
    PolicyConfig::Grpc(GrpcConfig { policy: GrpcPolicy::RingHash(settings) })
}

#[test]
fn ring_hash_and_maglev_of_envoy() {
    check("envoy/ring_hash.jsonl", envoy);
    check("envoy/maglev.jsonl", envoy);
}

#[test]
fn ring_hash_of_grpc() {
    check("grpc/ring_hash.jsonl", grpc);
}
