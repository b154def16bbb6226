//! What a reload leaves as it is, and what it does to requests that are under way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel::route::matching::Request;
use evenkeel::router::{Action, Incoming, RouteConfig, RouteError, RouterConfig, Scratch};

use crate::world::{build_of, cluster, world};

const LIMITED: &str = "[[routes]]\nname = \"all\"\naction = { cluster = \"v1\" }\n\
    rate_limits = [{ requests = 2, per = \"1m\", by = [\"source\"] }]\n\
    [routes.affinity]\nlearned = { by = [\"source\"] }\n";

#[test]
fn what_is_learnt_stays_where_settings_did_not_change() {
    let mut world = world(LIMITED, vec![cluster("v1", 5), cluster("v2", 1)]);
    let home = world.send("/", &[]).unwrap().pick().unwrap().endpoint().id();
    let mut config = RouterConfig::from_toml(LIMITED).unwrap();
    config.routes.insert(0, RouteConfig::new("other", Action::Cluster("v2".into())));
    config.routes[0].rule.paths = vec![evenkeel::route::matching::PathMatch::Exact("/other".into())];
    config.routes[1].timeout = Some(Duration::from_secs(1));
    world.router.apply(config.clone(), []).unwrap();
    assert_eq!((world.router.generation(), world.send("/other", &[]).unwrap().route()), (1, "other"));
    let mut exchange = world.send("/", &[]).unwrap();
    assert_eq!(exchange.pick().unwrap().endpoint().id(), home, "the learnt key is known");
    assert!(exchange.deadline().is_some(), "and the new setting holds");
    let limited = world.send("/", &[]).err();
    assert!(
        matches!(limited, Some(RouteError::Limited { .. })),
        "two requests in a minute, over both tables"
    );
    assert_eq!(world.router.report().routes[1].matched, 3, "counters go on");
    config.routes[1].rate_limits[0].requests = 3;
    world.router.apply(config, []).unwrap();
    assert!(world.send("/", &[]).is_ok(), "another limit begins afresh");
}

#[test]
fn a_refused_reload_changes_nothing() {
    let mut world = world(LIMITED, vec![cluster("v1", 1)]);
    let mut config = RouterConfig::from_toml(LIMITED).unwrap();
    let before = config.clone();
    config.routes[0].action = Action::Cluster("v9".into());
    let error = world.router.apply(config, []).unwrap_err();
    assert_eq!(error.to_string(), "routes[0].action.cluster = \"v9\": no such cluster; did you mean \"v1\"?");
    assert_eq!((world.router.config(), world.router.generation()), (before, 0));
    assert!(world.send("/", &[]).unwrap().pick().is_ok());
}

#[test]
fn clusters_are_replaced_by_name_and_requests_keep_theirs() {
    let mut world = world(LIMITED, vec![cluster("v1", 1)]);
    let mut exchange = world.send("/", &[]).unwrap();
    let other = cluster("v1", 0);
    other.apply([evenkeel::Endpoint::at("10.9.9.9:80".parse().unwrap()).unwrap()]).unwrap();
    world.router.apply(world.router.config(), [other]).unwrap();
    assert_eq!(exchange.pick().unwrap().endpoint().id().as_str(), "v1-1");
    let mut after = world.send("/", &[]).unwrap();
    assert_eq!(after.pick().unwrap().endpoint().id().as_str(), "10.9.9.9:80");
}

#[test]
fn routers_of_one_generation_may_share_a_scratch() {
    let (mut one, two) = (world(LIMITED, vec![cluster("v1", 1)]), world(LIMITED, vec![cluster("v1", 1)]));
    let counts = |world: &crate::world::World| world.router.report().routes[0].matched;
    let _ = one.send("/", &[]);
    let request = Incoming::new(Request::new("GET", "example.com", "/"));
    assert!(two.router.route(&request, &mut one.scratch).is_ok());
    let _ = one.send("/", &[]);
    assert_eq!((counts(&one), counts(&two)), (2, 1), "each saw its own requests");
}

#[test]
fn ramps_and_copies_go_on_where_they_were() {
    let text = "[[routes]]\nname = \"all\"\nmirror = { cluster = \"v1\", share = 0.5 }\n\
        action = { ramp = { old = \"v1\", new = \"v2\", plan = { steps = [{ share = 1.0, hold = \"10s\" }] } } }";
    let mut world = world(text, vec![cluster("v1", 1), cluster("v2", 1)]);
    let mut copied = Vec::new();
    for _ in 0..4 {
        copied.push(world.send("/", &[]).unwrap().mirror().is_some());
        world.router.apply(world.router.config(), []).unwrap();
        world.clock.advance(Duration::from_secs(3));
    }
    assert_eq!(copied, [true, false, true, false]);
    let report = &world.router.report().routes[0];
    assert_eq!(report.ramp.unwrap().0, evenkeel::route::split::RampState::Step(0), "no tick has passed");
    let _ = world.router.tick();
    assert_eq!(world.router.report().routes[0].ramp.unwrap().0, evenkeel::route::split::RampState::Done);
}

/// Many threads pick while the configuration is replaced again and again: nobody fails, and everybody sees one of the two
/// worlds whole.
#[test]
fn reloads_under_picking_threads() {
    let of = |name: &str| {
        let mut all = RouteConfig::new("all", Action::Cluster(name.into()));
        all.timeout = Some(Duration::from_secs(if name == "v1" { 1 } else { 2 }));
        RouterConfig { routes: vec![all], ..RouterConfig::default() }
    };
    let world = build_of(of("v1"), vec![cluster("v1", 3), cluster("v2", 3)]).unwrap();
    let (router, stop, picks) = (&world.router, AtomicBool::new(false), AtomicU64::new(0));
    let now = evenkeel::Timestamp::from_secs(100);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut scratch = Scratch::default();
                while !stop.load(Ordering::Relaxed) {
                    let incoming = Incoming::new(Request::new("GET", "h", "/"));
                    let routed = router.route(&incoming, &mut scratch).expect("there is always a route");
                    let mut exchange = routed.into_exchange().expect("it sends requests on");
                    let seconds = if exchange.cluster().name() == "v1" { 1 } else { 2 };
                    let until = now.saturating_add(Duration::from_secs(seconds));
                    assert_eq!(exchange.deadline(), Some(until), "cluster and time limit of one table");
                    let pick = exchange.pick().expect("there is always an endpoint");
                    assert!(pick.endpoint().id().as_str().starts_with(exchange.cluster().name()));
                    picks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for i in 0..300 {
            router.apply(of(if i % 2 == 0 { "v2" } else { "v1" }), []).expect("a valid configuration");
        }
        while picks.load(Ordering::Relaxed) < 1000 {
            std::hint::spin_loop();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(router.generation(), 300);
}

/// What is not among the clusters of a replacement is forgotten, and freed with its payloads once nobody needs it.
#[test]
fn replaced_clusters_are_dropped() {
    let payload = std::sync::Arc::new(());
    let held = || std::sync::Arc::strong_count(&payload) - 1;
    let make = |name: &str| {
        let cluster = evenkeel::Cluster::builder(name).seed(1).build().unwrap();
        let endpoint = evenkeel::Endpoint::at("10.0.0.1:80".parse().unwrap()).unwrap();
        cluster.apply([endpoint.with_payload(std::sync::Arc::clone(&payload))]).unwrap();
        cluster
    };
    let to = |name: &str| {
        let routes = vec![RouteConfig::new("all", Action::Cluster(name.into()))];
        RouterConfig { routes, ..RouterConfig::default() }
    };
    let router = evenkeel::router::Router::new(to("v2"), [make("v1"), make("v2")]).unwrap();
    let mut scratch = Scratch::default();
    let incoming = Incoming::new(Request::new("GET", "h", "/"));
    let exchange = router.route(&incoming, &mut scratch).unwrap().into_exchange();
    let v1 = router.cluster("v1").unwrap();
    router.apply(to("v1"), [v1.clone()]).unwrap();
    assert!(router.cluster("v2").is_some(), "an update forgets nothing");
    let error = router.replace(to("v2"), [v1.clone()]).unwrap_err();
    assert_eq!(error.to_string(), "routes[0].action.cluster = \"v2\": no such cluster; did you mean \"v1\"?");
    router.replace(to("v1"), [v1]).unwrap();
    assert!(router.cluster("v2").is_none());
    assert!(router.apply(to("v2"), []).is_err());
    assert_eq!(held(), 2, "the request holds what it began with");
    drop(exchange);
    drop(router.route(&incoming, &mut scratch).unwrap());
    let _ = router.tick();
    assert_eq!(held(), 1);
}

/// A table that nobody holds any more is freed by the next update, and by no request.
#[test]
fn old_tables_are_freed() {
    let payload = std::sync::Arc::new(());
    let held = || std::sync::Arc::strong_count(&payload) - 1;
    let make = || {
        let cluster = evenkeel::Cluster::builder("v1").seed(1).build().unwrap();
        let endpoint = evenkeel::Endpoint::at("10.0.0.1:80".parse().unwrap()).unwrap();
        cluster.apply([endpoint.with_payload(std::sync::Arc::clone(&payload))]).unwrap();
        cluster
    };
    let config = || {
        let routes = vec![RouteConfig::new("all", Action::Cluster("v1".into()))];
        RouterConfig { routes, ..RouterConfig::default() }
    };
    let router = evenkeel::router::Router::new(config(), [make()]).unwrap();
    let mut scratch = Scratch::default();
    let incoming = Incoming::new(Request::new("GET", "h", "/"));
    let exchange = router.route(&incoming, &mut scratch).unwrap().into_exchange();
    router.apply(config(), [make()]).unwrap();
    assert_eq!(held(), 2, "the request holds what it began with");
    drop(exchange);
    drop(router.route(&incoming, &mut scratch).unwrap());
    assert_eq!(held(), 2, "no request frees anything");
    let _ = router.tick();
    assert_eq!(held(), 1);
    // Who shares a configuration chooses the thread that frees the one before.
    router.replace_shared(std::sync::Arc::new(config()), [make()]).unwrap();
    drop(router.route(&incoming, &mut scratch).unwrap());
    assert_eq!(held(), 2, "the update does not take the time");
    router.free_replaced();
    assert_eq!(held(), 1);
}
