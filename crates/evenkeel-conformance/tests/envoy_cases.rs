//! Envoy's cases in other combinations than those that are committed. What they expect is worked out from its rules.

use std::path::Path;

use evenkeel_conformance::{Tally, Vector, programs};
use serde_json::{Value, json};

fn replay(case: &Value) -> Tally {
    let keys = json!({"type": "keys", "id": "A", "keys": ["a", "b", "c", "d", "e", "f"]});
    let meta = json!({"type": "meta", "program": "envoy", "algorithm": "any"});
    let mut case = case.clone();
    case["type"] = "case".into();
    let text = format!("{meta}\n{keys}\n{case}\n");
    let vector = Vector::parse(Path::new("x.jsonl"), &text).expect("lines of the format");
    programs::replay(&vector).expect("a known form")
}

/// Endpoint entries, each with a health mark.
fn endpoints(health: &[&str]) -> Value {
    let entry = |(index, health): (usize, &&str)| {
        json!({
            "endpoint": {"address": {"socket_address": {"address": format!("10.0.0.{}", index + 1), "port_value": 80}}},
            "health_status": health,
        })
    };
    health.iter().enumerate().map(entry).collect()
}

fn servers(count: usize) -> Value {
    (1..=count).map(|index| json!({"addr": format!("10.0.0.{index}:80")})).collect()
}

fn turns(health: &[&str], threshold: Option<u32>, picks: &[i64]) -> Tally {
    let mut config = json!({"lb_policy": "ROUND_ROBIN", "load_assignment": {"endpoints": [{"lb_endpoints": endpoints(health)}]}});
    if let Some(threshold) = threshold {
        config["common_lb_config"] = json!({"healthy_panic_threshold": {"value": threshold}});
    }
    replay(&json!({"id": "x", "config": config, "servers": servers(health.len()), "runs": [picks]}))
}

#[test]
fn health_decides_who_takes_turns_until_panic() {
    const UP: &str = "HEALTHY";
    const DOWN: &str = "UNHEALTHY";
    const LEAVING: &str = "DRAINING";
    for (health, threshold, picks) in [
        (&[UP, DOWN, UP][..], None, &[2, 0, 2][..]),
        (&[UP, DOWN, DOWN], None, &[1, 2, 0]),
        (&[UP, DOWN, DOWN], Some(0), &[0, 0, 0]),
        (&[UP, DOWN], None, &[0, 0, 0]),
        (&[UP, LEAVING, LEAVING], None, &[0, 0]),
        (&[UP, "TIMEOUT", DOWN, LEAVING], None, &[3, 0, 1, 2]),
        (&[DOWN, DOWN], Some(0), &[-1, -1]),
    ] {
        let tally = turns(health, threshold, picks);
        assert_eq!(tally.passed, picks.len() as u64, "{health:?} {threshold:?}: {:?}", tally.mismatches);
    }
    assert!(turns(&[UP, DOWN, UP], None, &[0, 1]).passed < 2, "a wrong one is noticed");
}

#[test]
fn sizes_that_envoy_refuses_fail_every_pick() {
    for (policy, settings) in [
        ("MAGLEV", json!({"maglev_lb_config": {"table_size": 1000}})),
        ("RING_HASH", json!({"ring_hash_lb_config": {"minimum_ring_size": 20, "maximum_ring_size": 10}})),
    ] {
        let mut config = settings;
        config["lb_policy"] = policy.into();
        let tally = replay(
            &json!({"id": "x", "config": config, "servers": servers(2), "keys": ["a", "b", "c"], "picks": [0, 1, 1]}),
        );
        assert_eq!((tally.passed, tally.total), (0, 3), "{policy}");
    }
}

/// Without a hash any usable server may be drawn, and no other.
#[test]
fn without_a_hash_only_the_usable_are_possible() {
    let health = ["HEALTHY", "HEALTHY", "UNHEALTHY", "HEALTHY"];
    let config = json!({"lb_policy": "MAGLEV", "load_assignment": {"endpoints": [{"lb_endpoints": endpoints(&health)}]}});
    let requests = json!([{"key_hex": null, "picks": [0, 1, 2, 3]}]);
    let tally = replay(&json!({"id": "x", "config": config, "servers": servers(4), "requests": requests}));
    assert_eq!((tally.passed, tally.total), (3, 4));
}

/// Two localities of one weight: the order of their names counts, not that of their entries.
#[test]
fn localities_are_taken_in_the_order_of_their_names() {
    let group = |zone: &str, host: u32| {
        json!({
            "locality": {"region": "r", "zone": zone},
            "load_balancing_weight": 1,
            "lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": format!("10.0.0.{host}"), "port_value": 80}}}}],
        })
    };
    let case = |groups: Value, servers: Value, picks: &[u64]| {
        let common = json!({"locality_weighted_lb_config": {}});
        let ring = json!({"minimum_ring_size": 3, "maximum_ring_size": 3});
        let config = json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": ring, "common_lb_config": common, "load_assignment": {"endpoints": groups}});
        replay(&json!({"id": "x", "config": config, "servers": servers, "keys": "A", "picks": picks}))
    };
    let (one, two) = (json!({"addr": "10.0.0.1:80"}), json!({"addr": "10.0.0.2:80"}));
    // Three points: the first by name gets two of them. What one order picks the other picks too, with places swapped.
    let in_order =
        |picks: &[u64]| case(json!([group("a", 1), group("b", 2)]), json!([one, two]), picks).passed;
    let swapped =
        |picks: &[u64]| case(json!([group("b", 2), group("a", 1)]), json!([two, one]), picks).passed;
    let firsts: Vec<u64> = (0..6).map(|key| 1 - in_order_of(&in_order, key)).collect();
    let mirrored: Vec<u64> = firsts.iter().map(|pick| 1 - pick).collect();
    assert_eq!((in_order(&firsts), swapped(&mirrored)), (6, 6));
}

/// Whether the key at this place goes to the first server, found by asking.
fn in_order_of(passed: &dyn Fn(&[u64]) -> u64, key: usize) -> u64 {
    let mut picks = [9; 6];
    picks[key] = 0;
    passed(&picks)
}
