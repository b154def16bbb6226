//! The clusters, clocks and requests of the tests.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::route::matching::Request;
use evenkeel::router::{Exchange, Incoming, RouteError, Router, RouterConfig, RouterError, Scratch};
use evenkeel::{Cluster, Endpoint, LedgerConfig, ManualClock};

/// A cluster of so many endpoints: `v1-1`, `v1-2` and so on.
pub(crate) fn cluster(name: &str, count: usize) -> Cluster<()> {
    let cluster = Cluster::builder(name).seed(1).clock(ManualClock::default()).build().expect("valid");
    fill(&cluster, name, count);
    cluster
}

pub(crate) fn fill(cluster: &Cluster<()>, name: &str, count: usize) {
    if count > 0 {
        let endpoint = |i: usize| {
            let id = format!("{name}-{i}").parse().expect("an id");
            Endpoint::new(id, format!("10.0.0.{i}:80").parse().expect("an address"))
        };
        cluster.apply((1..=count).map(endpoint)).expect("a valid set");
    }
}

/// The same with a budget of so many retries and none besides.
pub(crate) fn with_budget(
    name: &str,
    count: usize,
    clock: &Arc<ManualClock>,
    retries_per_second: u32,
) -> Cluster<()> {
    let mut budget = LedgerConfig::default();
    (budget.total.ratio, budget.total.min_per_second) = (0.0, retries_per_second);
    (budget.total.ttl, budget.retry.leave) = (Duration::from_secs(1), evenkeel::Ratio::ZERO);
    budget.hedge = budget.retry.clone();
    let builder = Cluster::builder(name).seed(1).clock(Arc::clone(clock)).budget(budget);
    let cluster = builder.build().expect("valid");
    fill(&cluster, name, count);
    cluster
}

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) router: Router<()>,
    pub(crate) scratch: Scratch<()>,
}

/// A router of this configuration whose clock stands still, and whose day is 1,800,000,000 s after 1970.
pub(crate) fn build(text: &str, clusters: Vec<Cluster<()>>) -> Result<World, RouterError> {
    build_of(RouterConfig::from_toml(text).expect("TOML"), clusters)
}

pub(crate) fn build_of(config: RouterConfig, clusters: Vec<Cluster<()>>) -> Result<World, RouterError> {
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_secs(100));
    let of_day = Arc::clone(&clock);
    let unix = move || {
        let since = evenkeel::Clock::now(&of_day).saturating_since(evenkeel::Timestamp::from_secs(100));
        Duration::from_secs(1_800_000_000).saturating_add(since)
    };
    let router = Router::<()>::builder().seed(1).clock(Arc::clone(&clock)).unix_clock(unix);
    Ok(World { clock, router: router.build(config, clusters)?, scratch: Scratch::default() })
}

pub(crate) fn world(text: &str, clusters: Vec<Cluster<()>>) -> World {
    build(text, clusters).expect("a valid configuration")
}

impl World {
    /// A request that a route sends on.
    pub(crate) fn send(
        &mut self,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Exchange<()>, RouteError> {
        let request = Request::new("GET", "example.com", target).with_headers(headers);
        let incoming = Incoming::new(request).from_address("192.0.2.7".parse().expect("an address"));
        let routed = self.router.route(&incoming, &mut self.scratch)?;
        Ok(routed.into_exchange().expect("the route sends requests on"))
    }
}
