//! What is exported, by a cluster in every state.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::route::matching::{PathMatch, Request as HttpRequest};
use evenkeel::route::retry::{Ending, RetryConfig};
use evenkeel::router::{Action, Incoming, Next, RouteConfig, Router, RouterConfig, Scratch};
use evenkeel::{
    AdminState, BreakerConfig, CheckState, Cluster, Endpoint, FailoverConfig, FailoverMode, JointZonesConfig,
    LatencyConfig, LedgerConfig, LimitConfig, Locality, LocalityConfig, ManualClock, Outcome, OutsideSubset,
    Priority, RandomSubsetConfig, Request, Rule, SubsetConfig, Tried, ZoneAwareConfig,
};
use evenkeel_metrics::{Counters, Exporter, Families, Kind, Metric};

fn endpoint(id: &str, port: u16) -> Endpoint {
    Endpoint::new(id.parse().unwrap(), format!("10.0.0.1:{port}").parse().unwrap())
}

fn value(families: &Families, metric: Metric, labels: &[&str]) -> Option<f64> {
    families.of(metric).iter().find(|sample| sample.labels == labels).map(|sample| sample.value)
}

fn two() -> (Cluster<()>, Exporter, Counters) {
    let counters = Counters::new();
    let breaker =
        BreakerConfig { rules: vec![Rule::Consecutive { failures: 1 }], ..BreakerConfig::default() };
    let cluster = Cluster::builder("users")
        .breaker(breaker)
        .latency(LatencyConfig::default())
        .limit(LimitConfig::fixed(100))
        .clock(ManualClock::default())
        .seed(1)
        .observer(counters.observer())
        .build()
        .unwrap();
    cluster.apply([endpoint("a", 1), endpoint("b", 2)]).unwrap();
    let exporter = Exporter::default();
    exporter.add(&cluster, &counters);
    (cluster, exporter, counters)
}

#[test]
fn a_healthy_cluster() {
    let (cluster, exporter, _) = two();
    let _picks = [cluster.pick(&Request::new()).unwrap(), cluster.pick(&Request::new()).unwrap()];
    let families = exporter.families();
    let of = |metric| value(&families, metric, &["users"]);
    assert_eq!(of(Metric::Membership), Some(2.0));
    assert_eq!(of(Metric::MembershipHealthy), Some(2.0));
    assert_eq!(of(Metric::RequestsActive), Some(2.0));
    assert_eq!(of(Metric::RequestLimit), Some(100.0));
    assert_eq!(of(Metric::MembersAdded), Some(2.0));
    assert_eq!(of(Metric::Known), Some(1.0));
    assert_eq!(of(Metric::EjectionsActive), None, "nobody looks for outliers");
    assert_eq!(value(&families, Metric::EndpointUp, &["users", "a"]), Some(1.0));
    assert_eq!(value(&families, Metric::EndpointInfo, &["users", "b", "10.0.0.1:2", "0", "0"]), Some(1.0));
    assert!(families.of(Metric::EndpointCause).is_empty());
}

#[test]
fn trouble_is_told_by_cause_and_counted() {
    let (cluster, exporter, _) = two();
    cluster.endpoint(&"a".parse().unwrap()).unwrap().set_check(CheckState::Down);
    let pick = cluster.pick(&Request::new()).unwrap();
    let mut tried = Tried::default();
    tried.add(&pick);
    assert!(cluster.pick(&Request::new().excluding(&tried)).is_err());
    pick.finish(Outcome::failure().with_latency(Duration::from_millis(20)));
    assert!(cluster.pick(&Request::new()).is_err());
    let families = exporter.families();
    let one = |metric, label| value(&families, metric, &["users", label]);
    assert_eq!(one(Metric::MembershipOut, "check_down"), Some(1.0));
    assert_eq!(one(Metric::MembershipOut, "breaker_open"), Some(1.0));
    assert_eq!(one(Metric::TurnedUnusable, "check_down"), Some(1.0));
    assert_eq!(one(Metric::BreakerTransitions, "open"), Some(1.0));
    assert_eq!(one(Metric::PicksRefused, "all_tried"), Some(1.0));
    assert_eq!(one(Metric::PicksRefused, "none_usable"), Some(1.0));
    assert_eq!(one(Metric::PicksRefused, "empty"), Some(0.0), "a counter is there before it counts");
    assert_eq!(one(Metric::EndpointBreakerOpen, "b"), Some(1.0));
    assert_eq!(one(Metric::EndpointUp, "b"), Some(0.0));
    assert_eq!(value(&families, Metric::EndpointCause, &["users", "a", "check_down"]), Some(1.0));
    assert_eq!(one(Metric::EndpointLatency, "b"), Some(0.02), "a failure can raise an estimate");
}

#[test]
fn the_number_of_series_is_bounded_and_the_troubled_come_first() {
    let counters = Counters::new();
    let cluster = Cluster::<()>::builder("many").clock(ManualClock::default()).build().unwrap();
    cluster.apply((0..1000).map(|n| endpoint(&format!("e{n:04}"), n + 1))).unwrap();
    cluster.endpoint(&"e0999".parse().unwrap()).unwrap().set_admin(AdminState::Maintenance);
    let exporter = Exporter::with_max_endpoints(10);
    exporter.add(&cluster, &counters);
    let families = exporter.families();
    let ids: Vec<_> = families.of(Metric::EndpointUp).iter().map(|sample| &*sample.labels[1]).collect();
    assert_eq!(
        ids,
        ["e0999", "e0000", "e0001", "e0002", "e0003", "e0004", "e0005", "e0006", "e0007", "e0008"]
    );
    assert_eq!(value(&families, Metric::EndpointsUnlisted, &["many"]), Some(990.0));
    assert_eq!(value(&families, Metric::Membership, &["many"]), Some(1000.0));
    assert!(families.len() < 10 * 11 + 60, "{}", families.len());
}

#[test]
fn an_even_cluster_has_no_imbalance_and_a_lopsided_one_has() {
    let (cluster, exporter, _) = two();
    let picks: Vec<_> = (0..20).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
    let of = |exporter: &Exporter| value(&exporter.families(), Metric::Imbalance, &["users"]);
    assert_eq!(of(&exporter), Some(1.0));
    let (kept, done): (Vec<_>, Vec<_>) =
        picks.into_iter().partition(|pick| pick.endpoint().id().as_str() == "a");
    done.into_iter().for_each(|pick| pick.finish(Outcome::success()));
    assert_eq!(of(&exporter), None, "ten in flight at two endpoints say little");
    drop(kept);
}

#[test]
fn a_cluster_of_the_same_name_replaces_the_other() {
    let (_cluster, exporter, _) = two();
    let other = Cluster::<u8>::builder("users").clock(ManualClock::default()).build().unwrap();
    exporter.add(&other, &Counters::new());
    let families = exporter.families();
    assert_eq!(families.of(Metric::Membership).len(), 1);
    assert_eq!(value(&families, Metric::Membership, &["users"]), Some(0.0));
    assert!(exporter.remove("users") && !exporter.remove("users"));
    assert!(exporter.families().is_empty());
}

#[test]
fn endpoints_outside_the_subset_are_in_no_trouble() {
    let subset =
        SubsetConfig::Random(RandomSubsetConfig { size: 8, seed: Some(7), ..RandomSubsetConfig::default() });
    let builder = Cluster::<()>::builder("users").subset(subset).outside_subset(OutsideSubset::Never);
    let cluster = builder.clock(ManualClock::default()).build().unwrap();
    cluster.apply((0..40).map(|n| endpoint(&format!("e{n:02}"), n + 1))).unwrap();
    let report = cluster.report();
    let parked: BTreeSet<_> = report
        .endpoints
        .iter()
        .filter(|endpoint| !endpoint.usable)
        .map(|endpoint| endpoint.id.to_string())
        .collect();
    assert!(parked.len() >= 30, "{}", parked.len());
    let inside = 40 - parked.len();
    let exporter = Exporter::with_max_endpoints(inside + 2);
    exporter.add(&cluster, &Counters::new());
    let families = exporter.families();
    let listed: Vec<_> = families.of(Metric::EndpointInfo).iter().map(|sample| &*sample.labels[1]).collect();
    let places: Vec<_> = listed.iter().map(|id| parked.contains(*id)).collect();
    assert_eq!(places.iter().filter(|is_parked| **is_parked).count(), 2);
    assert!(places.is_sorted(), "those that are used come first: {listed:?}");
    let up = families.of(Metric::EndpointUp);
    assert_eq!((up.len(), up.iter().all(|sample| sample.value == 1.0)), (inside, true), "nobody is down");
    let of = |metric| value(&families, metric, &["users"]).unwrap();
    assert_eq!(
        of(Metric::MembershipSubsetUsable),
        of(Metric::Membership) - of(Metric::MembershipOutsideSubset)
    );
}

#[test]
fn no_counter_falls_when_a_cluster_is_replaced() {
    let exporter = Exporter::default();
    let refused = |exporter: &Exporter| {
        value(&exporter.families(), Metric::PicksRefused, &["users", "not_known"]).unwrap()
    };
    let start = |refusals: usize| {
        let counters = Counters::new();
        let builder = Cluster::<()>::builder("users").clock(ManualClock::default());
        let cluster = builder.observer(counters.observer()).build().unwrap();
        (0..refusals).for_each(|_| assert!(cluster.pick(&Request::new()).is_err()));
        exporter.add(&cluster, &counters);
        (cluster, counters)
    };
    let (first, _) = start(3);
    assert_eq!(refused(&exporter), 3.0);
    // One more that no export has seen.
    assert!(first.pick(&Request::new()).is_err());
    let (second, counters) = start(0);
    assert_eq!(refused(&exporter), 4.0);
    assert!(second.pick(&Request::new()).is_err());
    assert_eq!(refused(&exporter), 5.0);
    // The same once more, and away and back: nothing is counted twice.
    exporter.add(&second, &counters);
    assert_eq!(refused(&exporter), 5.0);
    assert!(exporter.remove("users"));
    assert!(second.pick(&Request::new()).is_err());
    exporter.add(&second, &counters);
    assert_eq!(refused(&exporter), 6.0);
    assert!(exporter.remove("users"));
    let _third = start(2);
    assert_eq!(refused(&exporter), 8.0);
}

#[test]
fn names_are_unique_and_keep_to_the_conventions() {
    let of_prometheus: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.prometheus()).collect();
    let of_opentelemetry: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.opentelemetry()).collect();
    assert_eq!((of_prometheus.len(), of_opentelemetry.len()), (Metric::ALL.len(), Metric::ALL.len()));
    for metric in Metric::ALL {
        let name = metric.prometheus();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(
            !name.ends_with("_total") && !name.ends_with("_info") || metric.kind() == Kind::Gauge,
            "{name}"
        );
        assert_eq!(metric.unit() == "s", name.ends_with("_seconds"), "{name}");
        let owner = if metric.prometheus().starts_with("evenkeel_rout") { "router" } else { "cluster" };
        assert_eq!(metric.labels()[0], owner);
        assert!(metric.help().ends_with('.') && !metric.help().contains('\n'), "{name}: {:?}", metric.help());
    }
}

#[test]
fn the_text_is_what_a_scraper_reads() {
    let (cluster, exporter, _) = two();
    cluster.upsert(endpoint("odd\"name\\", 3)).unwrap();
    let text = exporter.to_openmetrics();
    assert!(
        text.contains(
            "# TYPE evenkeel_cluster_membership gauge\nevenkeel_cluster_membership{cluster=\"users\"} 3.0\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("evenkeel_cluster_picks_refused_total{cluster=\"users\",reason=\"all_tried\"} 0\n"),
        "{text}"
    );
    assert!(text.contains(r#"evenkeel_endpoint_up{cluster="users",endpoint="odd\"name\\"} 1.0"#), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

/// A configuration that is reloaded builds clusters anew, and they come and go.
#[test]
fn clusters_that_are_asked_for_are_those_of_the_moment() {
    let exporter = Exporter::default();
    let build = |name: &str, ids: &[&str]| {
        let cluster = Cluster::<()>::builder(name).observer(exporter.counters(name)).build().unwrap();
        let endpoint = |id: &&str| Endpoint::new(id.parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        cluster.apply(ids.iter().map(endpoint)).unwrap();
        cluster
    };
    let now = Arc::new(std::sync::Mutex::new(vec![build("users", &["a"]), build("orders", &["b"])]));
    let asked = Arc::clone(&now);
    exporter.add_all(move || asked.lock().unwrap().clone());
    let of = |metric, name: &str| {
        let families = exporter.families();
        let samples = families.of(metric).iter().filter(|sample| sample.labels[0] == name);
        samples.map(|sample| sample.value).collect::<Vec<_>>()
    };
    assert_eq!((of(Metric::Membership, "users"), of(Metric::Membership, "orders")), (vec![1.0], vec![1.0]));
    assert_eq!(of(Metric::Updates, "users"), [1.0]);
    // Built anew, and the other is gone.
    *now.lock().unwrap() = vec![build("users", &["a", "c"])];
    assert_eq!((of(Metric::Membership, "users"), of(Metric::Membership, "orders")), (vec![2.0], vec![]));
    assert_eq!(of(Metric::Updates, "users"), [2.0]);
    // It comes back, and one that is added by hand is not there twice.
    let orders = build("orders", &["b"]);
    now.lock().unwrap().push(orders.clone());
    assert_eq!((of(Metric::Updates, "orders"), of(Metric::Membership, "orders")), (vec![2.0], vec![1.0]));
    exporter.add(&orders, &exporter.counters("orders"));
    assert_eq!((of(Metric::Updates, "orders"), of(Metric::Membership, "orders")), (vec![2.0], vec![1.0]));
}

/// Three of four endpoints of the first tier are down: a part of the requests spills to the second.
#[test]
fn tiers_tell_what_spills_and_why() {
    let counters = Counters::new();
    let cluster = Cluster::<()>::builder("users")
        .failover(FailoverMode::Spill(FailoverConfig::default()))
        .clock(ManualClock::default())
        .observer(counters.observer())
        .build()
        .unwrap();
    let backup = |id: &str, port| endpoint(id, port).with_priority(Priority::new(1).unwrap());
    let first = ["a", "b", "c", "d"].into_iter().zip(1..).map(|(id, port)| endpoint(id, port));
    cluster.apply(first.chain(["e", "f"].into_iter().zip(5..).map(|(id, port)| backup(id, port)))).unwrap();
    let exporter = Exporter::default();
    exporter.add(&cluster, &counters);
    let tier =
        |metric, priority: &str| value(&exporter.families(), metric, &["users", priority, "true"]).unwrap();
    let spill = || value(&exporter.families(), Metric::Spill, &["users"]).unwrap();
    let changes =
        |change: &str| value(&exporter.families(), Metric::TierChanges, &["users", change]).unwrap();
    assert_eq!((tier(Metric::TierShare, "0"), tier(Metric::TierShare, "1"), spill()), (1.0, 0.0, 0.0));
    assert_eq!(value(&exporter.families(), Metric::CrossZone, &["users"]), None, "it knows no zones");
    for id in ["a", "b", "c"] {
        cluster.endpoint(&id.parse().unwrap()).unwrap().set_check(CheckState::Down);
    }
    let report = cluster.report();
    let share = report.tiers[1].share;
    assert!(share > 0.5, "{:?}", report.tiers);
    assert_eq!((tier(Metric::TierShare, "1"), spill()), (share, share));
    assert_eq!(tier(Metric::TierLeft, "0"), f64::from(u8::from(report.tiers[0].left)));
    assert_eq!(changes("left"), tier(Metric::TierLeft, "0"));
    for id in ["d", "e", "f"] {
        cluster.endpoint(&id.parse().unwrap()).unwrap().set_check(CheckState::Down);
    }
    let panics = cluster.report().tiers.iter().filter(|tier| tier.panic).count();
    assert!(panics > 0, "{:?}", cluster.report().tiers);
    assert_eq!(tier(Metric::TierPanic, "0") + tier(Metric::TierPanic, "1"), panics as f64);
    assert_eq!(changes("panic_began"), panics as f64);
}

/// The only endpoint at home goes down.
#[test]
fn what_leaves_the_zone_is_told() {
    let place = |zone: &str| Locality::new("r", zone, "");
    let cluster = Cluster::<()>::builder("users")
        .locality(LocalityConfig::ZoneAware(ZoneAwareConfig::new(place("a"))))
        .clock(ManualClock::default())
        .build()
        .unwrap();
    let zones = ["a", "b", "b", "b"].into_iter().zip(1..);
    cluster
        .apply(zones.map(|(zone, port)| endpoint(&format!("e{port}"), port).with_locality(place(zone))))
        .unwrap();
    let exporter = Exporter::default();
    exporter.add(&cluster, &Counters::new());
    let away = || value(&exporter.families(), Metric::CrossZone, &["users"]);
    assert_eq!(away(), Some(0.0));
    cluster.endpoint(&"e1".parse().unwrap()).unwrap().set_check(CheckState::Down);
    assert_eq!(away(), Some(1.0), "{:?}", cluster.report().tiers);
}

/// Where each request chooses its zone, what zones have of the weights says nothing of where requests go.
#[test]
fn what_requests_choose_by_themselves_is_not_told_by_shares() {
    let place = |zone: &str| Locality::new("r", zone, "");
    let joint = JointZonesConfig { own: place("a"), ..JointZonesConfig::default() };
    let cluster = Cluster::<()>::builder("users")
        .locality(LocalityConfig::Joint(joint))
        .latency(LatencyConfig::default())
        .clock(ManualClock::default())
        .build()
        .unwrap();
    let zones = ["a", "b", "b"].into_iter().zip(1..);
    cluster
        .apply(zones.map(|(zone, port)| endpoint(&format!("e{port}"), port).with_locality(place(zone))))
        .unwrap();
    let exporter = Exporter::default();
    exporter.add(&cluster, &Counters::new());
    assert_eq!(value(&exporter.families(), Metric::CrossZone, &["users"]), None);
    assert!(cluster.report().tiers[0].by_request);
    let spill = value(&exporter.families(), Metric::Spill, &["users"]);
    assert_eq!(spill.map(f64::to_bits), Some(0.0_f64.to_bits()), "and no -0");
}

#[test]
fn the_budget_of_extra_requests_is_told_by_kind() {
    let cluster = Cluster::<()>::builder("users")
        .budget(LedgerConfig::default())
        .clock(ManualClock::default())
        .build()
        .unwrap();
    cluster.apply([endpoint("a", 1), endpoint("b", 2), endpoint("c", 3)]).unwrap();
    let exporter = Exporter::default();
    exporter.add(&cluster, &Counters::new());
    let mut tried = Tried::default();
    let first = cluster.pick(&Request::new()).unwrap();
    tried.add(&first);
    let second = cluster.pick(&Request::new().excluding(&tried)).unwrap();
    tried.add(&second);
    let _third = cluster.pick(&Request::new().excluding(&tried).as_hedge()).unwrap();
    let families = exporter.families();
    let spent = |kind| value(&families, Metric::BudgetSpent, &["users", kind]);
    assert_eq!(["retry", "hedge", "spill", "probe"].map(spent), [Some(1.0), Some(1.0), Some(0.0), Some(0.0)]);
    assert!(value(&families, Metric::BudgetAllowed, &["users"]).unwrap() >= 2.0);
    let (plain, exporter, _) = two();
    assert_eq!(plain.report().budget, None);
    assert!(exporter.families().of(Metric::BudgetAllowed).is_empty(), "no budget, no series");
}

fn router(retry: bool) -> Router<()> {
    let cluster = Cluster::<()>::builder("users").clock(ManualClock::default()).build().unwrap();
    cluster.apply([endpoint("a", 1), endpoint("b", 2)]).unwrap();
    let mut route = RouteConfig::new("all", Action::Cluster("users".into()));
    route.retry = retry.then(RetryConfig::default);
    route.rule.paths = vec![PathMatch::Prefix("/app".to_owned())];
    let config = RouterConfig { routes: vec![route], ..RouterConfig::default() };
    Router::<()>::builder().clock(ManualClock::default()).build(config, [cluster]).unwrap()
}

#[test]
fn routes_tell_their_requests_and_retries() {
    let router = router(true);
    let exporter = Exporter::default();
    exporter.add_router("front", &router);
    let mut scratch = Scratch::default();
    let app = Incoming::new(HttpRequest::new("GET", "h", "/app"));
    let mut exchange = router.route(&app, &mut scratch).unwrap().into_exchange().unwrap();
    let mut pick = exchange.pick().unwrap();
    let next = exchange.after(&mut pick, &Ending::Http { status: 503, retry_after: None });
    assert!(matches!(next, Next::RetryAfter(_)), "{next:?}");
    let _second = exchange.pick().unwrap();
    let other = Incoming::new(HttpRequest::new("GET", "h", "/other"));
    assert!(router.route(&other, &mut scratch).is_err());
    let families = exporter.families();
    let of = |metric| value(&families, metric, &["front", "all"]);
    assert_eq!(value(&families, Metric::RouteRequests, &["front", "all", "users"]), Some(1.0));
    assert_eq!(
        (of(Metric::RouteRetries), of(Metric::RouteHedges), of(Metric::RouteUnsent)),
        (Some(1.0), Some(0.0), Some(0.0))
    );
    assert_eq!(value(&families, Metric::RouterUnmatched, &["front"]), Some(1.0));
    // Another of its name counts on from there, and one of another name from its own.
    exporter.add_router("front", &self::router(false));
    exporter.add_all_routers(|| {
        vec![("front".to_owned(), self::router(false)), ("back".to_owned(), self::router(false))]
    });
    let families = exporter.families();
    assert_eq!(value(&families, Metric::RouteRetries, &["front", "all"]), Some(1.0));
    assert_eq!(value(&families, Metric::RouteRetries, &["back", "all"]), Some(0.0));
    assert!(exporter.remove_router("front") && !exporter.remove_router("front"));
}
