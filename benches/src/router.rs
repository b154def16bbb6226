//! Routers: as many routes as rules in [`routes`], each with a keyed split, retries and a time limit.

use evenkeel::router::{Action, KeySource, RouteConfig, Router, RouterConfig};
use evenkeel::{Cluster, PolicyConfig};
use evenkeel_route::retry::RetryConfig;
use evenkeel_route::split::{Arm, SplitConfig, Stickiness};

use crate::routes;
use crate::world::{Weights, endpoints};

/// The split of every route.
#[must_use]
pub fn split() -> SplitConfig {
    let arm = |cluster: &str, weight| Arm { cluster: cluster.into(), weight };
    SplitConfig {
        arms: vec![arm("v1", 95), arm("v2", 5)],
        stickiness: Stickiness::Keyed,
        ..SplitConfig::default()
    }
}

/// A configuration of so many routes; `generation` is in the action of each, so that a reload has all of them to build.
#[must_use]
pub fn config(count: usize, generation: u64) -> RouterConfig {
    let rules = routes::by_host(count).rules.into_iter().enumerate();
    let route = |(i, rule)| {
        let split = SplitConfig { salt: generation, ..split() };
        let mut route = RouteConfig::new(format!("route-{i}"), Action::Split(split));
        route.rule = rule;
        route.key = vec![KeySource::Header("x-request-id".into())];
        route.retry = Some(RetryConfig::default());
        route
    };
    RouterConfig { routes: rules.map(route).collect(), ..RouterConfig::default() }
}

/// A cluster of 100 endpoints.
#[must_use]
pub fn cluster(name: &str) -> Cluster<()> {
    let cluster = Cluster::builder(name).policy(PolicyConfig::least_request()).seed(1).build();
    let cluster = cluster.expect("valid settings");
    cluster.apply(endpoints(100, Weights::Equal)).expect("a valid set");
    cluster
}

/// The router.
#[must_use]
pub fn router(count: usize) -> Router<()> {
    let router = Router::<()>::builder().seed(1);
    router.build(config(count, 0), [cluster("v1"), cluster("v2")]).expect("valid settings")
}
