//! What goes wrong with control planes.

use std::thread::sleep;
use std::time::{Duration, Instant};

use evenkeel_registry::conformance::Eyes;
use evenkeel_registry::{MirrorConfig, SourceState, TroubleKind};
use evenkeel_xds::{Follow, Variant, Xds};

use crate::hub::{Hub, KEEPALIVE, config, trusting};
use crate::server::{ControlPlane, free_port};
use crate::support::{Resources, assignment, cluster, encoded, group, lb_endpoint, simple};

const BOTH: [Variant; 2] = [Variant::StateOfTheWorld, Variant::Delta];
const SOON: Duration = Duration::from_secs(10);

fn sets(names: &[&str], numbers: &[u8]) -> Resources {
    names.iter().map(|name| ((*name).to_owned(), encoded(&simple(name, numbers)))).collect()
}

fn eds(name: &str) -> Follow {
    Follow::Endpoints(name.to_owned())
}

#[test]
fn stops_at_once_while_the_control_plane_hangs() {
    let mut plane = ControlPlane::start();
    plane.set_endpoints("1", sets(&["users"], &[1]));
    let hub = Hub::new();
    let mut patient = config(&plane, Variant::StateOfTheWorld);
    patient.connection.keepalive = Duration::from_secs(60);
    let xds = Xds::start(patient.clone()).unwrap();
    xds.follow(eds("users"), hub.feed("users", trusting())).unwrap();
    hub.until(SOON, "live", |hub| hub.len("users") == 1);
    plane.signal("STOP");
    let start = Instant::now();
    xds.stop();
    println!("xds: stopped in the middle of a stream within {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1) && !xds.is_running());
    assert_eq!(hub.trouble("users"), Some(TroubleKind::AdapterGone));
    let again = Xds::start(patient).unwrap();
    again.follow(eds("users"), hub.feed("users", trusting())).unwrap();
    sleep(Duration::from_millis(300));
    let start = Instant::now();
    drop(again);
    assert!(start.elapsed() < Duration::from_secs(1));
    plane.signal("CONT");
}

#[test]
fn a_silent_server_is_seen_within_the_keepalive() {
    for variant in BOTH {
        let mut plane = ControlPlane::start();
        plane.set_endpoints("1", sets(&["users"], &[1]));
        let hub = Hub::new();
        let xds = Xds::start(config(&plane, variant)).unwrap();
        xds.follow(eds("users"), hub.feed("users", trusting())).unwrap();
        hub.until(SOON, "live", |hub| hub.len("users") == 1);
        plane.signal("STOP");
        let took = hub.until(SOON, "silence", |hub| hub.trouble("users") == Some(TroubleKind::Timeout));
        println!(
            "xds: {variant:?}: SIGSTOP seen after {took:?}, with a keepalive of {KEEPALIVE:?} and as much to answer"
        );
        assert!(took < KEEPALIVE * 2 + Duration::from_millis(700), "{took:?}");
        plane.signal("CONT");
        let state = |hub: &Hub| hub.registry.snapshot(&"users".parse().unwrap()).state();
        let took = hub.until(SOON, "live again", |hub| state(hub) == SourceState::Live);
        println!("xds: {variant:?}: live {took:?} after SIGCONT");
        assert_eq!(hub.len("users"), 1);
    }
}

/// As go-control-plane, which says nothing to a client that has its version.
#[test]
fn a_terse_server_after_a_restart_is_believed_to_be_there() {
    for variant in BOTH {
        let mut plane = ControlPlane::start();
        plane.set_manners("terse");
        plane.set_endpoints("1", sets(&["users"], &[1, 2]));
        let hub = Hub::new();
        let mut eyes = Eyes::new(hub.watch("users"));
        let xds = Xds::start(config(&plane, variant)).unwrap();
        xds.follow(eds("users"), hub.feed("users", trusting())).unwrap();
        hub.until(SOON, "live", |hub| hub.len("users") == 2);
        plane.kill();
        hub.until(SOON, "trouble", |hub| hub.trouble("users").is_some());
        plane.revive();
        let state = |hub: &Hub| hub.registry.snapshot(&"users".parse().unwrap()).state();
        let took = hub.until(SOON, "live again", |hub| state(hub) == SourceState::Live);
        println!(
            "xds: {variant:?}: a server that is silent about what is known: live {took:?} after its start"
        );
        plane.set_endpoints("2", sets(&["users"], &[1, 2, 3]));
        hub.until(SOON, "a change", |hub| hub.len("users") == 3);
        eyes.look().unwrap();
    }
}

#[test]
fn streams_that_the_server_ends_are_no_trouble() {
    for variant in BOTH {
        let mut plane = ControlPlane::start();
        plane.set_endpoints("1", sets(&["users"], &[1]));
        let hub = Hub::new();
        let mut config = config(&plane, variant);
        config.backoff.max = Duration::from_millis(200);
        let xds = Xds::start(config).unwrap();
        xds.follow(eds("users"), hub.feed("users", trusting())).unwrap();
        hub.until(SOON, "live", |hub| hub.len("users") == 1);
        for _ in 0..3 {
            sleep(Duration::from_millis(300));
            let before = xds.status().counts.streams;
            plane.close_streams();
            hub.until(SOON, "another stream", |hub| {
                assert_eq!(hub.trouble("users"), None);
                xds.status().counts.streams > before
            });
        }
        plane.set_endpoints("2", sets(&["users"], &[1, 2]));
        hub.until(SOON, "a change", |hub| hub.len("users") == 2);
    }
}

#[test]
fn a_stubborn_server_does_not_make_us_spin() {
    for variant in BOTH {
        let mut plane = ControlPlane::start();
        plane.set_manners("stubborn");
        let mut bad = simple("users", &[1]);
        bad.endpoints[0].priority = 200;
        let mut resources = sets(&["others"], &[1]);
        resources.insert("users".to_owned(), encoded(&bad));
        plane.set_endpoints("1", resources);
        let hub = Hub::new();
        let xds = Xds::start(config(&plane, variant)).unwrap();
        for name in ["users", "others"] {
            xds.follow(eds(name), hub.feed(name, trusting())).unwrap();
        }
        hub.until(SOON, "the good one is used", |hub| hub.len("others") == 1);
        sleep(Duration::from_secs(3));
        let nacks = xds.status().counts.nacks;
        println!(
            "xds: {variant:?}: a server that sends the same again at once is refused {nacks} times in 3 s"
        );
        // 50, 100, 200, 400, 800, 1000, 1000 ms, each at least half of that.
        assert!((2..=11).contains(&nacks), "{nacks}");
        assert_eq!(hub.trouble("users"), Some(TroubleKind::Malformed));
        plane.set_manners("");
        plane.set_endpoints("2", sets(&["users", "others"], &[1, 2]));
        hub.until(SOON, "both are well", |hub| hub.len("users") == 2 && hub.trouble("users").is_none());
    }
}

#[test]
fn many_clusters_over_one_stream() {
    for variant in BOTH {
        let mut plane = ControlPlane::start();
        let names: Vec<_> = (0..200).map(|n| format!("c{n}")).collect();
        let clusters =
            names.iter().map(|name| (name.clone(), encoded(&cluster(name, &format!("s-{name}"))))).collect();
        let services: Vec<_> = names.iter().map(|name| format!("s-{name}")).collect();
        let services: Vec<&str> = services.iter().map(String::as_str).collect();
        plane.set_endpoints("1", sets(&services, &[1, 2]));
        plane.set_clusters("1", clusters);
        let hub = Hub::new();
        let (registry, clock) = (hub.registry.clone(), hub.origin);
        let xds = Xds::start_all(config(&plane, variant), move |name| {
            let clock = move || evenkeel_types::Timestamp::ORIGIN.saturating_add(clock.elapsed());
            let wanted = name != "c7";
            wanted.then(|| {
                registry.feed(&name.parse().unwrap(), &"xds".parse().unwrap(), trusting(), clock).unwrap()
            })
        })
        .unwrap();
        let took = hub.until(SOON, "all", |hub| names.iter().all(|name| name == "c7" || hub.len(name) == 2));
        println!(
            "xds: {variant:?}: 199 of 200 clusters over one stream, each with two endpoints, after {took:?}"
        );
        let status = xds.status();
        assert_eq!((status.clusters.len(), status.assignments.len(), status.counts.streams), (200, 199, 1));
        assert_eq!(status.clusters["c3"].as_deref(), Some("s-c3"));
        // The source of one is detached: its resource is asked for no more.
        hub.registry.detach(hub.clock()(), &"c9".parse().unwrap(), &"xds".parse().unwrap()).unwrap();
        hub.until(SOON, "one less", |_| xds.status().assignments.len() == 198);
        // One cluster is deleted, one is new.
        let mut clusters: Resources = plane.clusters.1.clone();
        clusters.remove("c1");
        clusters.insert("new".to_owned(), encoded(&cluster("new", "s-c0")));
        plane.set_clusters("2", clusters);
        hub.until(SOON, "one less, one more", |hub| hub.len("c1") == 0 && hub.len("new") == 2);
        assert_eq!(hub.registry.snapshot(&"c1".parse().unwrap()).state(), SourceState::Absent);
    }
}

#[test]
fn ten_thousand_and_a_slow_reader() {
    for variant in BOTH {
        let mut plane = ControlPlane::start();
        let hub = Hub::new();
        let mut slow = Eyes::new(hub.watch("users"));
        let xds = Xds::start(config(&plane, variant)).unwrap();
        xds.follow(eds("users"), hub.feed("users", MirrorConfig::default())).unwrap();
        let many = |weight: u32| {
            let entry = |n: u32| {
                let mut entry = lb_endpoint(&format!("10.4.{}.{}", n / 250, n % 250), 80);
                entry.load_balancing_weight = Some(weight);
                entry
            };
            let message = assignment("users", vec![group((0..10_000).map(entry).collect())]);
            Resources::from([("users".to_owned(), encoded(&message))])
        };
        let start = Instant::now();
        plane.set_endpoints("1", many(1));
        hub.until(SOON * 3, "all", |hub| hub.len("users") == 10_000);
        println!(
            "xds: {variant:?}: 10 000 endpoints after {:?}, the control plane's own work included",
            start.elapsed()
        );
        slow.look().unwrap();
        for weight in 2..12 {
            plane.set_endpoints(&weight.to_string(), many(weight));
        }
        hub.until(SOON * 3, "the last", |hub| hub.set("users").iter().all(|seen| seen.1 == 11));
        // The reader has slept through ten sets, and sees one change for each endpoint.
        slow.look().unwrap();
        assert_eq!(xds.status().assignments[0].endpoints, 10_000);
    }
}

#[test]
fn settings_that_lead_nowhere_are_told() {
    let hub = Hub::new();
    let mut plane = ControlPlane::start();
    plane.set_endpoints("1", sets(&["users"], &[1]));
    // Nobody listens at the first: the second is asked.
    let mut two = config(&plane, Variant::Delta);
    two.connection.servers.insert(0, format!("http://127.0.0.1:{}", free_port()));
    let xds = Xds::start(two).unwrap();
    xds.follow(eds("users"), hub.feed("users", trusting())).unwrap();
    hub.until(SOON, "the other server", |hub| hub.len("users") == 1);
    xds.stop();
    // An answer above the bound.
    let mut small = config(&plane, Variant::Delta);
    small.connection.max_answer_bytes = 10;
    let xds = Xds::start(small).unwrap();
    xds.follow(eds("users"), hub.feed("users", trusting())).unwrap();
    hub.until(SOON, "too large", |hub| hub.trouble("users") == Some(TroubleKind::TooLarge));
    assert_eq!(hub.len("users"), 1);
    xds.stop();
    assert!(xds.follow(eds("users"), hub.feed("users", trusting())).is_err(), "it was stopped");
    // A name that nobody knows.
    let mut short = config(&plane, Variant::StateOfTheWorld);
    short.resource_timeout = Some(Duration::from_millis(300));
    let xds = Xds::start(short).unwrap();
    xds.follow(eds("nobody"), hub.feed("nobody", trusting())).unwrap();
    hub.until(SOON, "not told of", |hub| hub.trouble("nobody") == Some(TroubleKind::Timeout));
    assert_eq!(hub.registry.snapshot(&"nobody".parse().unwrap()).state(), SourceState::Pending);
}
