//! Explanations and reports say what picks do.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::{
    CheckState, Cluster, Endpoint, EndpointId, LatencyConfig, ManualClock, Outcome, PolicyConfig, Priority,
    Request, Tried, Weight,
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

fn cluster(policy: PolicyConfig) -> Cluster<()> {
    let builder = Cluster::builder("test").policy(policy).seed(3).clock(ManualClock::default());
    let cluster = builder.build().expect("valid settings");
    let backup = Priority::new(1).expect("in range");
    let endpoints = [
        endpoint("a").with_weight(Weight::new(3)),
        endpoint("b"),
        endpoint("c"),
        endpoint("d").with_priority(backup),
    ];
    cluster.apply(endpoints).expect("a valid set");
    cluster
}

#[test]
fn the_next_pick_is_the_one_explained() {
    for policy in PolicyConfig::all() {
        let cluster = cluster(policy);
        for _ in 0..50 {
            let explained = cluster.explain(&Request::new());
            assert_eq!(cluster.explain(&Request::new()), explained, "explaining moves nothing");
            let pick = cluster.pick(&Request::new()).unwrap();
            let told = (!explained.unasked).then(|| pick.endpoint().id());
            assert_eq!(explained.picked, told, "{explained}");
            assert_eq!(explained.to_string().contains("not asked"), explained.unasked, "{explained}");
        }
    }
}

#[test]
fn it_tells_tier_masks_weights_and_candidates() {
    let cluster = cluster(PolicyConfig::least_request());
    cluster.endpoint(&id("b")).unwrap().set_check(CheckState::Down);
    let mut tried = Tried::default();
    let pick = loop {
        let pick = cluster.pick(&Request::new()).unwrap();
        if pick.endpoint().id() == id("a") {
            break pick;
        }
    };
    tried.add(&pick);
    let explained = cluster.explain(&Request::new().excluding(&tried));
    assert_eq!(explained.picked, Some(id("c")));
    assert_eq!((explained.tiers.len(), explained.tiers[0].usable), (2, 2));
    let text = explained.to_string();
    for line in [
        "tier 0: 2 of 3 usable, 0 degraded",
        "  a: weight 3, 1 in flight, usable, tried before",
        "  b: weight 1, 0 in flight, unusable: check down",
        "* c: weight 1, 0 in flight, usable",
        "tier 1: 1 of 1 usable, 0 degraded",
        "picked c",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
}

#[test]
fn it_tells_why_there_is_nothing_to_pick() {
    let cluster = cluster(PolicyConfig::random());
    for name in ["a", "b", "c", "d"] {
        cluster.drain(&id(name)).unwrap();
    }
    let explained = cluster.explain(&Request::new());
    assert_eq!(explained.picked, None);
    assert!(explained.to_string().ends_with("4 drained or in maintenance"), "{explained}");
}

#[test]
fn a_report_serialises_every_endpoint() {
    let cluster = cluster(PolicyConfig::round_robin());
    let _held = cluster.pick(&Request::new()).unwrap();
    cluster.drain(&id("b")).unwrap();
    let json = serde_json::to_value(cluster.report()).unwrap();
    assert_eq!(json["name"], "test");
    assert_eq!(json["policy"], "round_robin");
    assert_eq!(json["usable"], 3);
    let endpoints = json["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 4);
    assert_eq!(endpoints[0]["id"], "a");
    assert_eq!(endpoints[0]["expected_share"], 0.75);
    assert_eq!(endpoints[1]["cause"], "admin_drain");
    assert_eq!(endpoints[1]["expected_share"], 0.0);
    assert_eq!(endpoints.iter().map(|e| e["in_flight"].as_u64().unwrap()).sum::<u64>(), 1);
}

#[test]
fn latencies_follow_outcomes_and_failing_fast_is_not_fast() {
    let clock = Arc::new(ManualClock::default());
    let cluster = Cluster::<()>::builder("test")
        .latency(LatencyConfig::default())
        .seed(1)
        .clock(Arc::clone(&clock))
        .build()
        .unwrap();
    cluster.apply([endpoint("a")]).unwrap();
    let millis = || cluster.report().endpoints[0].latency.map(|latency| latency.as_millis());
    let run = |took: u64, outcome: Option<Outcome>| {
        let pick = cluster.pick(&Request::new()).unwrap();
        clock.advance(Duration::from_millis(took));
        match outcome {
            Some(outcome) => pick.finish(outcome),
            None => drop(pick),
        }
    };
    assert_eq!(millis(), None);
    run(100, Some(Outcome::success()));
    assert_eq!(millis(), Some(100));
    run(1, Some(Outcome::failure()));
    assert!(millis() >= Some(99), "a quick failure lowers nothing: {:?}", millis());
    run(500, None);
    assert_eq!(millis(), Some(500), "an abandoned request took at least its age");
    run(900, Some(Outcome::neutral()));
    assert!(millis() <= Some(500), "a neutral outcome says nothing: {:?}", millis());
    run(7, Some(Outcome::success().with_latency(Duration::from_millis(800))));
    assert_eq!(millis(), Some(800), "the caller's own measure counts");
}
