//! Breakers inside a cluster: an endpoint that fails is out at the next pick, comes back by probes, and nobody is
//! stranded without a driver.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::{
    BreakerConfig, BreakerState, Clock, Cluster, Endpoint, EndpointId, HalfOpen, ManualClock, Notice,
    Outcome, PickError, PolicyConfig, Request, Rule, Timestamp, Tried,
};

struct World {
    clock: Arc<ManualClock>,
    cluster: Cluster<()>,
    notices: Arc<Mutex<Vec<String>>>,
}

fn id(name: &str) -> EndpointId {
    name.parse().expect("a valid id")
}

/// Three failures in a row open a breaker for 5 s; one probe at a time, two successes close it; a probe may take 10 s.
fn world(names: &[&str]) -> World {
    let clock = Arc::new(ManualClock::default());
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notices);
    let breaker = BreakerConfig {
        rules: vec![Rule::Consecutive { failures: 3 }],
        open_for: Duration::from_secs(5),
        half_open: HalfOpen {
            max_concurrent: 1,
            successes_needed: 2,
            lease: Duration::from_secs(10),
            ..HalfOpen::default()
        },
        ..BreakerConfig::default()
    };
    let cluster = Cluster::builder("test")
        .policy(PolicyConfig::round_robin())
        .breaker(breaker)
        .seed(3)
        .clock(Arc::clone(&clock))
        .observer(move |notice: &Notice| {
            if let Notice::Breaker { id, transition } = notice {
                heard.lock().expect("no panic").push(format!("{id}: {:?}", transition.to));
            }
        })
        .build()
        .expect("valid settings");
    let endpoint = |name: &&str| Endpoint::new(id(name), "10.0.0.1:80".parse().expect("an address"));
    cluster.apply(names.iter().map(endpoint)).expect("a valid set");
    World { clock, cluster, notices }
}

impl World {
    /// Picks `count` times; `a` fails, all others succeed. Returns how often `a` was picked.
    fn run(&self, count: usize, a_works: bool) -> usize {
        let mut hits = 0;
        for _ in 0..count {
            let pick = self.cluster.pick(&Request::new()).expect("some are usable");
            let is_a = pick.endpoint().id() == id("a");
            hits += usize::from(is_a);
            pick.finish(if is_a && !a_works { Outcome::failure() } else { Outcome::success() });
        }
        hits
    }

    fn state(&self, name: &str) -> BreakerState {
        let report = self.cluster.report();
        let endpoint = report.endpoints.iter().find(|endpoint| endpoint.id == id(name)).expect("it exists");
        endpoint.breaker.expect("every endpoint has a breaker")
    }

    fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

#[test]
fn an_endpoint_that_fails_is_out_at_the_next_pick() {
    let world = world(&["a", "b", "c"]);
    assert_eq!(world.run(300, false), 3, "three failures, then no more requests");
    assert_eq!(world.state("a"), BreakerState::Open { until: Timestamp::from_secs(5) });
    assert_eq!(world.cluster.usable(), 2);
}

#[test]
fn it_comes_back_by_probes_without_any_driver() {
    let world = world(&["a", "b", "c"]);
    world.run(30, false);
    world.advance(4);
    assert_eq!(world.run(30, true), 0, "not yet");
    world.advance(1);
    assert!(world.run(30, true) > 2, "picks alone let the deadline pass, inclusive");
    assert_eq!(world.state("a"), BreakerState::Closed);
    let notices = world.notices.lock().unwrap().clone();
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert!(notices[1].contains("HalfOpen") && notices[2].contains("Closed"), "{notices:?}");
}

#[test]
fn a_probe_that_fails_opens_it_again() {
    let world = world(&["a", "b"]);
    world.run(30, false);
    world.advance(5);
    assert_eq!(world.run(30, false), 1, "one probe");
    assert_eq!(world.state("a"), BreakerState::Open { until: Timestamp::from_secs(10) });
}

#[test]
fn while_one_probe_is_under_way_the_others_go_elsewhere() {
    let world = world(&["a", "b"]);
    world.run(30, false);
    world.advance(5);
    let probe =
        (0..4).map(|_| world.cluster.pick(&Request::new()).unwrap()).find(|p| p.endpoint().id() == id("a"));
    let probe = probe.expect("half open: one of four picks is the probe");
    assert_eq!(world.run(20, true), 0, "the one probe is taken");
    drop(probe);
    assert!(world.run(20, true) > 0, "dropped without a verdict, its permit is free again");
}

#[test]
fn a_websocket_gives_its_verdict_early_and_goes_on_counting() {
    let world = world(&["a", "b"]);
    world.run(30, false);
    world.advance(5);
    let mut sockets: Vec<_> = (0..4).map(|_| world.cluster.pick(&Request::new()).unwrap()).collect();
    sockets.retain(|pick| pick.endpoint().id() == id("a"));
    assert_eq!(sockets.len(), 1, "one probe at a time");
    sockets[0].record(Outcome::success());
    assert_eq!(world.state("a"), BreakerState::HalfOpen, "one success of two");
    assert!(world.run(10, true) > 0, "the permit is free, though the socket is open");
    assert_eq!(world.state("a"), BreakerState::Closed);
    sockets[0].record(Outcome::failure());
    assert_eq!(world.cluster.in_flight(&id("a")), Some(1), "still counted; only the first verdict is taken");
    drop(sockets);
    assert_eq!(world.cluster.in_flight(&id("a")), Some(0));
    assert_eq!(world.state("a"), BreakerState::Closed);
}

#[test]
fn a_lost_probe_frees_itself_after_its_lease() {
    let world = world(&["a", "b"]);
    world.run(30, false);
    world.advance(5);
    let lost: Vec<_> = (0..4).map(|_| world.cluster.pick(&Request::new()).unwrap()).collect();
    assert_eq!(world.run(20, true), 0);
    world.advance(10);
    assert!(world.run(20, true) >= 2);
    assert_eq!(world.state("a"), BreakerState::Closed);
    lost.into_iter().for_each(|pick| pick.finish(Outcome::failure()));
    assert_eq!(world.state("a"), BreakerState::Closed, "a late verdict of an ended epoch decides nothing");
}

#[test]
fn when_all_are_open_the_error_says_so_and_when() {
    let world = world(&["a"]);
    for _ in 0..3 {
        world.cluster.pick(&Request::new()).unwrap().finish(Outcome::failure());
    }
    let error = world.cluster.pick(&Request::new()).unwrap_err();
    assert_eq!(error.retry_at(), Some(Timestamp::from_secs(5)));
    assert_eq!(error.to_string(), "none of 1 endpoints is usable: 1 with an open breaker");
    world.advance(5);
    let probe = world.cluster.pick(&Request::new()).unwrap();
    let error = world.cluster.pick(&Request::new()).unwrap_err();
    assert_eq!(error.to_string(), "none of 1 endpoints is usable: 1 being probed");
    probe.finish(Outcome::success());
}

#[test]
fn tick_says_when_to_come_back() {
    let world = world(&["a", "b"]);
    assert_eq!(world.cluster.tick(), None);
    world.run(30, false);
    assert_eq!(world.cluster.tick(), Some(Timestamp::from_secs(5)));
    world.advance(5);
    assert_eq!(world.cluster.tick(), None);
    assert_eq!(world.state("a"), BreakerState::HalfOpen);
}

#[test]
fn an_open_breaker_survives_updates_and_a_late_deadline_finds_its_endpoint() {
    let world = world(&["a", "b", "c"]);
    world.run(30, false);
    let cluster = &world.cluster;
    cluster.remove(&id("b")).unwrap();
    cluster.set_policy(PolicyConfig::least_request()).unwrap();
    let a = Endpoint::new(id("a"), "10.0.0.9:80".parse().unwrap());
    cluster.upsert(a.clone()).unwrap();
    assert_eq!(world.run(30, true), 0);
    world.advance(5);
    assert!(world.run(60, true) > 0);
    assert_eq!(world.state("a"), BreakerState::Closed);
    cluster.upsert(a.with_incarnation(1)).unwrap();
    world.advance(60);
    assert_eq!(cluster.tick(), None);
}

#[test]
fn time_that_goes_back_changes_nothing() {
    let world = world(&["a", "b"]);
    world.advance(100);
    world.run(30, false);
    world.clock.set(Timestamp::from_secs(1));
    assert_eq!(world.run(30, true), 0);
    assert_eq!(world.cluster.tick(), Some(Timestamp::from_secs(105)));
    world.clock.set(Timestamp::from_secs(105));
    assert!(world.run(30, true) > 0);
    assert_eq!(world.clock.now(), Timestamp::from_secs(105));
}

#[test]
fn retries_and_breakers_agree() {
    let world = world(&["a", "b"]);
    world.run(30, false);
    let mut tried = Tried::default();
    let first = world.cluster.pick(&Request::new().excluding(&tried)).unwrap();
    assert_eq!(first.endpoint().id(), id("b"));
    tried.add(&first);
    assert_eq!(
        world.cluster.pick(&Request::new().excluding(&tried)).unwrap_err(),
        PickError::AllTried { tried: 1 }
    );
}

#[test]
fn choosing_alone_lets_deadlines_pass_too() {
    let world = world(&["a"]);
    for _ in 0..3 {
        world.cluster.pick(&Request::new()).unwrap().finish(Outcome::failure());
    }
    let mut picker = world.cluster.picker();
    assert!(picker.choose(&Request::new()).is_err());
    world.advance(5);
    assert!(picker.choose(&Request::new()).is_ok());
}

#[test]
fn an_explanation_asks_the_breaker_and_spends_no_probe() {
    let world = world(&["a"]);
    for _ in 0..3 {
        world.cluster.pick(&Request::new()).unwrap().finish(Outcome::failure());
    }
    assert_eq!(world.cluster.explain(&Request::new()).picked, None);
    world.advance(5);
    world.cluster.tick();
    for _ in 0..3 {
        assert_eq!(world.cluster.explain(&Request::new()).picked, Some(id("a")));
    }
    let probe = world.cluster.pick(&Request::new()).unwrap();
    let explained = world.cluster.explain(&Request::new());
    assert_eq!(explained.failure.as_deref(), Some("none of 1 endpoints is usable: 1 being probed"));
    drop(probe);
}

#[test]
fn a_deadline_of_those_who_left_costs_one_look() {
    let world = world(&["a", "b"]);
    let breaker_trips = |names: &[String]| {
        let endpoint = |name: &String| Endpoint::new(id(name), "10.0.0.1:80".parse().expect("an address"));
        world.cluster.apply(names.iter().map(endpoint)).expect("a valid set");
        let held: Vec<_> =
            (0..3 * names.len()).map(|_| world.cluster.pick(&Request::new()).expect("usable")).collect();
        held.into_iter().for_each(|pick| pick.finish(Outcome::failure()));
    };
    breaker_trips(&(0..500).map(|n| format!("old-{n}")).collect::<Vec<_>>());
    assert_eq!(world.cluster.usable(), 0);
    breaker_trips(&(0..500).map(|n| format!("new-{n}")).collect::<Vec<_>>());
    world.advance(5);
    // A pick lets 64 deadlines pass at most; the others follow.
    assert_eq!(world.cluster.tick(), None);
    assert_eq!(world.cluster.usable(), 500);
}

#[test]
fn an_explanation_lets_deadlines_pass() {
    let world = world(&["a"]);
    for _ in 0..3 {
        world.cluster.pick(&Request::new()).unwrap().finish(Outcome::failure());
    }
    world.advance(5);
    assert_eq!(world.cluster.explain(&Request::new()).picked, Some(id("a")));
}
