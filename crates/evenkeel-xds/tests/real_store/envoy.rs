//! Envoy as the reference: the same control plane, the same history, the same decisions and sets.

use std::thread::sleep;
use std::time::{Duration, Instant};

use evenkeel_xds::{Follow, Variant, Xds};

use crate::hub::{Hub, config, trusting};
use crate::server::{ControlPlane, Envoy};
use crate::support::proto::{
    Cluster, ClusterLoadAssignment, DropOverload, HostEndpoint, LbEndpoint, Locality, Policy, Span,
};
use crate::support::{Resources, assignment, cluster, encoded, group, lb_endpoint, simple};

fn with(change: impl FnOnce(&mut LbEndpoint)) -> ClusterLoadAssignment {
    let mut entry = lb_endpoint("10.9.9.9", 80);
    change(&mut entry);
    assignment("users", vec![group(vec![lb_endpoint("10.9.0.1", 80), entry])])
}

fn with_policy(policy: Policy) -> ClusterLoadAssignment {
    ClusterLoadAssignment { policy: Some(policy), ..simple("users", &[7]) }
}

fn socket(entry: &mut LbEndpoint) -> &mut crate::support::proto::SocketAddress {
    entry.endpoint.as_mut().unwrap().address.as_mut().unwrap().socket_address.as_mut().unwrap()
}

fn history() -> Vec<(&'static str, ClusterLoadAssignment)> {
    let health = |ip: &str, status: i32| LbEndpoint { health_status: status, ..lb_endpoint(ip, 8080) };
    let mut rich = assignment(
        "users",
        vec![
            group((1..=6).map(|status| health(&format!("10.1.0.{status}"), status - 1)).collect()),
            group(vec![LbEndpoint { load_balancing_weight: Some(7), ..lb_endpoint("fd00::1", 443) }]),
        ],
    );
    rich.endpoints[0].locality =
        Some(Locality { region: "eu".into(), zone: "a".into(), sub_zone: "1".into() });
    rich.endpoints[0].load_balancing_weight = Some(3);
    rich.endpoints[1].priority = 1;
    let mut group_weight = simple("users", &[8]);
    group_weight.endpoints[0].load_balancing_weight = Some(0);
    let priority = |level: u32| {
        let mut message = simple("users", &[5]);
        message.endpoints[0].priority = level;
        message
    };
    let thousands =
        (0..10_000_u32).map(|n| lb_endpoint(&format!("10.2.{}.{}", n / 250, n % 250), 80)).collect();
    vec![
        ("one", simple("users", &[1])),
        ("priorities, health, weights, IPv6", rich),
        ("weight 0", with(|entry| entry.load_balancing_weight = Some(0))),
        ("three", simple("users", &[1, 2, 3])),
        ("weight 0 of a locality", group_weight),
        ("priority 200", priority(200)),
        ("priority 129", priority(129)),
        ("priority 5 alone", priority(5)),
        ("a name for an address", with(|entry| socket(entry).address = "users.example".to_owned())),
        ("no address text", with(|entry| socket(entry).address.clear())),
        ("port 70000", with(|entry| socket(entry).port_value = 70_000)),
        ("two and three", simple("users", &[2, 3])),
        ("no address", with(|entry| entry.endpoint = Some(HostEndpoint::default()))),
        ("no endpoint", with(|entry| entry.endpoint = None)),
        ("a health status from the future", with(|entry| entry.health_status = 99)),
        (
            "an address twice",
            assignment("users", vec![group(vec![lb_endpoint("10.3.0.1", 1), lb_endpoint("10.3.0.1", 1)])]),
        ),
        ("overprovisioning 0", with_policy(Policy { overprovisioning_factor: Some(0), ..Policy::default() })),
        (
            "stale after 0",
            with_policy(Policy {
                endpoint_stale_after: Some(Span { seconds: 0, nanos: 0 }),
                ..Policy::default()
            }),
        ),
        (
            "stale after -1 s",
            with_policy(Policy {
                endpoint_stale_after: Some(Span { seconds: -1, nanos: 0 }),
                ..Policy::default()
            }),
        ),
        (
            "a drop without a name",
            with_policy(Policy { drop_overloads: vec![DropOverload::default()], ..Policy::default() }),
        ),
        (
            "overprovisioning 200",
            with_policy(Policy { overprovisioning_factor: Some(200), ..Policy::default() }),
        ),
        (
            "a named port",
            with(|entry| {
                socket(entry).port_value = 0;
                socket(entry).named_port = "http".to_owned();
            }),
        ),
        ("10 000", assignment("users", vec![group(thousands)])),
        ("nobody", simple("users", &[])),
        ("one again", simple("users", &[4])),
    ]
}

/// The answers to a version, from both: what, at which version.
fn replies(plane: &ControlPlane, kind: &str) -> [(String, String, String); 2] {
    let start = Instant::now();
    loop {
        let said = plane.said();
        let of = |node: &str| {
            let mut replies =
                said.iter().filter(|said| said.node == node && said.kind == kind && said.what != "sub");
            replies.next_back().map(|said| (said.what.clone(), said.version.clone(), said.error.clone()))
        };
        if let (Some(ours), Some(theirs)) = (of("ours"), of("envoy")) {
            return [ours, theirs];
        }
        assert!(start.elapsed() < Duration::from_secs(20), "no reply: {said:?}");
        sleep(Duration::from_millis(2));
    }
}

fn compare(variant: Variant) {
    let mut plane = ControlPlane::start();
    let hub = Hub::new();
    let xds = Xds::start(config(&plane, variant)).unwrap();
    let envoy = Envoy::start(&plane, variant == Variant::Delta);
    xds.follow(Follow::Cluster("shop".to_owned()), hub.feed("users", trusting())).unwrap();
    plane.set_endpoints("e0", [("users".to_owned(), encoded(&simple("users", &[1])))].into());
    plane.set_clusters("c0", [("shop".to_owned(), encoded(&cluster("shop", "users")))].into());
    same_sets(&hub, &envoy, "start");
    for (number, (title, message)) in history().into_iter().enumerate() {
        plane.forget();
        let version = format!("e{}", number + 1);
        plane.set_endpoints(&version, [("users".to_owned(), encoded(&message))].into());
        if number == 0 && plane.said().is_empty() {
            // The first says what the start has said already; a delta says nothing then.
            sleep(Duration::from_millis(300));
            if plane.said().is_empty() {
                continue;
            }
        }
        let [ours, theirs] = replies(&plane, "eds");
        println!("xds: {variant:?}: {title}: {} | {} ({})", ours.0, ours.2, theirs.2);
        assert_eq!((&ours.0, &ours.1), (&theirs.0, &theirs.1), "{title}: {ours:?} and Envoy {theirs:?}");
        same_sets(&hub, &envoy, title);
    }
    let clusters = |resources: Vec<Cluster>| -> Resources {
        resources.iter().map(|message| (message.name.clone(), encoded(message))).collect()
    };
    let mut no_source = cluster("shop", "users");
    no_source.eds_cluster_config = None;
    let mut unknown = cluster("shop", "users");
    unknown.kind = 77;
    plane.set_endpoints(
        "o",
        [("users", 4), ("others", 9)].map(|(n, e)| (n.to_owned(), encoded(&simple(n, &[e])))).into(),
    );
    let steps = [
        ("an EDS cluster without eds_cluster_config", vec![no_source], 4),
        ("a cluster of an unknown type", vec![unknown], 4),
        ("the cluster names another service", vec![cluster("shop", "others")], 9),
    ];
    for (number, (title, resources, last)) in steps.into_iter().enumerate() {
        plane.forget();
        plane.set_clusters(&format!("c{}", number + 1), clusters(resources));
        let [ours, theirs] = replies(&plane, "cds");
        println!("xds: {variant:?}: {title}: {} | {} ({})", ours.0, ours.2, theirs.2);
        assert_eq!((&ours.0, &ours.1), (&theirs.0, &theirs.1), "{title}: {ours:?} and Envoy {theirs:?}");
        hub.until(Duration::from_secs(10), title, |hub| {
            hub.set("users").iter().map(|seen| seen.0.clone()).eq([format!("10.0.0.{last}:80")])
        });
        same_sets(&hub, &envoy, title);
    }
    plane.set_clusters("c9", Resources::new());
    let start = Instant::now();
    while envoy.set("shop").is_some() || hub.len("users") > 0 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "a deleted cluster is there: {:?}",
            hub.set("users")
        );
        sleep(Duration::from_millis(5));
    }
}

fn same_sets(hub: &Hub, envoy: &Envoy, title: &str) {
    let start = Instant::now();
    loop {
        hub.tick();
        let (ours, theirs) = (hub.set("users"), envoy.set("shop"));
        if theirs.as_ref() == Some(&ours) {
            return;
        }
        let first = |set: &[_]| format!("{} such as {:?}", set.len(), &set[..set.len().min(8)]);
        let told = || format!("{} and Envoy {:?}", first(&ours), theirs.as_deref().map(first));
        assert!(start.elapsed() < Duration::from_secs(20), "{title}: {}", told());
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn state_of_the_world_as_envoy() {
    compare(Variant::StateOfTheWorld);
}

#[test]
fn delta_as_envoy() {
    compare(Variant::Delta);
}
