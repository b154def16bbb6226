//! Routing a request and picking for it allocate nothing in the usual case.

use allocation_counter::measure;
use evenkeel::route::matching::{HeaderMatch, PathMatch, Request, ValueMatch};
use evenkeel::route::retry::{Ending, RetryConfig};
use evenkeel::route::split::{Arm, MirrorConfig, SplitConfig, Stickiness};
use evenkeel::router::{
    Action, AffinityConfig, HedgeAfter, Incoming, KeySource, LearnedAffinity, Next, RateLimitConfig,
    RouteConfig, RouteHedgeConfig, Router, RouterConfig, Scratch,
};
use evenkeel::{BreakerConfig, Cluster, Endpoint, LedgerConfig, ManualClock, Outcome};

fn cluster(name: &str) -> Cluster<()> {
    let mut budget = LedgerConfig::default();
    // More than all retries of a test.
    budget.total.min_per_second = 100_000;
    let builder = Cluster::builder(name).seed(7).clock(ManualClock::default());
    let cluster = builder.breaker(BreakerConfig::default()).budget(budget).build().expect("valid settings");
    let endpoint = |number: u8| Endpoint::at(format!("10.0.0.{number}:80").parse().expect("an address"));
    cluster.apply((0..100).map(|number| endpoint(number).expect("a short name"))).expect("a valid set");
    cluster
}

fn routes() -> Vec<RouteConfig> {
    let route = |name: &str, action| {
        let mut route = RouteConfig::new(name, action);
        route.rule.paths = vec![PathMatch::Template(format!("/{name}/{{id}}/**"))];
        route.rule.hosts = vec!["*.example.com".parse().expect("a name")];
        route.rule.headers = vec![HeaderMatch {
            name: "x-version".into(),
            test: ValueMatch::Exact("2".into()),
            invert: false,
        }];
        route.timeout = Some(std::time::Duration::from_secs(2));
        route
    };
    let arm = |cluster: &str, weight| Arm { cluster: cluster.into(), weight };
    let split = |stickiness| SplitConfig {
        arms: vec![arm("v1", 95), arm("v2", 5)],
        stickiness,
        ..SplitConfig::default()
    };
    let by_user = vec![KeySource::Header("x-user".into())];
    let plain = route("plain", Action::Cluster("v1".into()));
    let mut full = route("full", Action::Split(split(Stickiness::Keyed)));
    full.key = by_user.clone();
    full.retry = Some(RetryConfig::default());
    full.mirror = Some(MirrorConfig { cluster: "v2".into(), ..MirrorConfig::default() });
    full.rate_limits = vec![
        RateLimitConfig { by: by_user.clone(), ..RateLimitConfig::per_second(1_000_000) },
        RateLimitConfig::per_second(1_000_000),
    ];
    full.affinity = Some(AffinityConfig {
        learned: Some(LearnedAffinity { by: by_user, table: Default::default() }),
        list_header: Some("x-endpoint".into()),
        ..AffinityConfig::default()
    });
    let mut hedged = route("hedged", Action::Split(split(Stickiness::Drawn)));
    let after = HedgeAfter::Fixed(std::time::Duration::from_nanos(1));
    hedged.hedge = Some(RouteHedgeConfig { after, ..RouteHedgeConfig::default() });
    vec![plain, full, hedged]
}

#[test]
fn routing_and_picking_allocate_nothing() {
    let clock = std::sync::Arc::new(ManualClock::default());
    let router = Router::<()>::builder().seed(1).clock(std::sync::Arc::clone(&clock));
    let config = RouterConfig { routes: routes(), ..RouterConfig::default() };
    let router = router.build(config, [cluster("v1"), cluster("v2")]).expect("valid settings");
    let mut scratch = Scratch::default();
    let headers = [
        ("x-version", "2"),
        ("x-user", "3fa85f64-5717-4562-b3fc-2c963f66afa6"),
        ("x-endpoint", "10.0.0.9:80,10.0.0.8:80"),
    ];
    for name in ["plain", "full", "hedged"] {
        let target = format!("/{name}/42/posts/7?page=2");
        let mut act = || {
            let request = Request::new("GET", "shop.example.com:443", &target).with_headers(&headers);
            let incoming = Incoming::new(request).from_address("192.0.2.7".parse().expect("an address"));
            let routed = router.route(&incoming, &mut scratch).expect("it is let in");
            assert_eq!(routed.matched.capture("id"), Some(&b"42"[..]));
            let mut exchange = routed.into_exchange().expect("it is sent on");
            let mut first = exchange.pick().expect("some are usable");
            if let Some(copy) = exchange.pick_mirror() {
                drop(copy.expect("some are usable"));
            }
            clock.advance(std::time::Duration::from_micros(10));
            let second = exchange.hedge().expect("some are usable");
            assert_eq!(second.is_some(), name == "hedged");
            // Neutral, so that no breaker opens.
            let next = exchange.after_with(&mut first, &Ending::Reset, Outcome::neutral());
            if let Next::RetryAfter(_) = next {
                let mut second = exchange.pick().expect("others are usable");
                let good = Ending::Http { status: 200, retry_after: None };
                assert_eq!(exchange.after(&mut second, &good), Next::Done);
            }
        };
        // Counters of the route, the learnt key, arc-swap's record of this thread.
        act();
        let counted = measure(|| (0..1000).for_each(|_| act()));
        assert_eq!(counted.count_total, 0, "{name} allocates");
    }
}
