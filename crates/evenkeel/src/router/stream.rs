use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use evenkeel_route::matching::{
    Connection, Request as Parts, Shadow, StreamRule, StreamRules, StreamRulesConfig,
};
use evenkeel_types::Timestamp;
use parking_lot::Mutex;
use thiserror::Error;

use super::clusters::Clusters;
use super::error::{RouterError, RouterProblem};
use super::explain::{ExplainedArm, chain};
use super::key::key_hash;
use super::stream_config::{StreamAction, StreamRouteConfig, StreamRouterConfig};
use super::stream_explain::StreamExplanation;
use super::target::{Arm, ArmReason, Target};
use crate::builder::seed_of_the_process;
use crate::cluster::Cluster;
use crate::error::PickError;
use crate::lanes::Lanes;
use crate::pick::Pick;
use crate::request::{Request, Tried};
use crate::sync::Swap;

/// Which cluster serves a connection: by its listener, its addresses, its server name and protocols.
///
/// ```
/// use evenkeel::route::matching::{self, Connection};
/// use evenkeel::router::{StreamAction, StreamRouteConfig, StreamRouter, StreamRouterConfig};
/// use evenkeel::{Cluster, Endpoint};
///
/// let mail = Cluster::<()>::builder("mail").build()?;
/// mail.apply([Endpoint::at("10.0.0.1:25".parse()?)?])?;
/// let all = StreamRouteConfig {
///     name: "all".into(),
///     rule: matching::StreamRule::default(),
///     action: StreamAction::Cluster("mail".into()),
/// };
/// let router = StreamRouter::new(&StreamRouterConfig { routes: vec![all], ..Default::default() }, [mail])?;
///
/// let connection = Connection {
///     listener: "smtp",
///     source: "192.0.2.7:50000".parse()?,
///     destination: "192.0.2.1:25".parse()?,
///     sni: b"",
///     alpn: &[],
/// };
/// let routed = router.route(&connection, &mut matching::Scratch::default())?;
/// assert_eq!((routed.route(), routed.cluster().name()), ("all", "mail"));
/// let pick = routed.pick()?;
/// # drop(pick);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamRouter<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    current: Swap<Table<T>>,
    lanes: Lanes,
    updates: Mutex<()>,
}

struct Table<T> {
    hash_seed: u64,
    rules: StreamRules,
    routes: Box<[Route]>,
    clusters: Clusters<T>,
}

struct Route {
    name: Arc<str>,
    target: Target,
}

/// Where a connection goes. It keeps the routes with which it began.
pub struct StreamRouted<T> {
    table: Arc<Table<T>>,
    route: u32,
    cluster: u32,
    why: ArmReason,
    source: Source,
}

/// No route takes the connection: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no route takes this connection")]
pub struct NoStreamRoute;

impl<T> StreamRouter<T> {
    /// A router with a seed of its own.
    ///
    /// # Errors
    ///
    /// [`RouterError`] names the setting.
    pub fn new(
        config: &StreamRouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
    ) -> Result<Self, RouterError> {
        Self::with_seed(config, clusters, seed_of_the_process())
    }

    /// A router whose draws repeat.
    ///
    /// # Errors
    ///
    /// [`RouterError`] names the setting.
    pub fn with_seed(
        config: &StreamRouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
        seed: u64,
    ) -> Result<Self, RouterError> {
        let table = build(config, clusters, &[])?;
        let shared = Shared { current: Swap::new(table), lanes: Lanes::new(seed), updates: Mutex::new(()) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes `config` the configuration, by one swap. `clusters` come in beside those that are known, and instead of those of
    /// the same names; where clusters go as well as come, use [`replace`](Self::replace).
    ///
    /// # Errors
    ///
    /// [`RouterError`], and the router keeps what it had.
    pub fn apply(
        &self,
        config: &StreamRouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
    ) -> Result<(), RouterError> {
        self.update(config, clusters, |before| before.clusters.all())
    }

    /// As [`apply`](Self::apply), but `clusters` are all that there are from now on: those that are not among them are forgotten, and
    /// dropped once no connection needs them any more. A route to one of those is refused.
    ///
    /// # Errors
    ///
    /// [`RouterError`], and the router keeps what it had.
    pub fn replace(
        &self,
        config: &StreamRouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
    ) -> Result<(), RouterError> {
        self.update(config, clusters, |_| &[])
    }

    fn update(
        &self,
        config: &StreamRouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
        known: impl FnOnce(&Table<T>) -> &[Cluster<T>],
    ) -> Result<(), RouterError> {
        let updates = self.shared.updates.lock();
        let before = self.shared.current.load_full();
        let table = build(config, clusters, known(&before))?;
        let old = self.shared.current.swap(Arc::new(table));
        drop(updates);
        drop((old, before));
        Ok(())
    }

    /// Routes that never take a connection, by their numbers; see [`StreamRules::shadowed`].
    #[must_use]
    pub fn shadowed(&self) -> Vec<Shadow> {
        self.shared.current.load().rules.shadowed().to_vec()
    }

    /// Where a connection goes. Takes no lock and allocates nothing.
    ///
    /// # Errors
    ///
    /// [`NoStreamRoute`] if no route takes it.
    pub fn route(
        &self,
        connection: &Connection<'_>,
        scratch: &mut evenkeel_route::matching::Scratch,
    ) -> Result<StreamRouted<T>, NoStreamRoute> {
        let table = self.shared.current.load_full();
        let number = table.rules.find(connection, scratch).ok_or(NoStreamRoute)?;
        let source = Source::of(connection);
        let arm = table.arm(number, &source, self.shared.lanes.mine().draw()).ok_or(NoStreamRoute)?;
        Ok(StreamRouted { route: number as u32, cluster: arm.cluster, why: arm.why, source, table })
    }

    /// Why a connection would go where it would go. Sends nothing and moves no draw. O(rules + endpoints): for people.
    #[must_use]
    pub fn explain(&self, connection: &Connection<'_>) -> StreamExplanation {
        let table = self.shared.current.load_full();
        let rules = table.rules.explain(connection);
        let number = rules.rule;
        let mut explanation = StreamExplanation { rules, route: None, arm: None, clusters: Vec::new() };
        let Some(number) = number else { return explanation };
        explanation.route = Some(table.routes[number].name.to_string());
        let source = Source::of(connection);
        // The same draw as the next connection of this thread, which is not touched.
        let draw = self.shared.lanes.mine().fork().draw();
        let Some(arm) = table.arm(number, &source, draw) else { return explanation };
        let cluster = table.clusters.get(arm.cluster).name().to_owned();
        explanation.arm = Some(ExplainedArm { arm: arm.arm as usize, cluster, why: arm.why });
        explanation.clusters = chain(&table.clusters, arm.cluster, &source.request());
        explanation
    }
}

impl<T> Table<T> {
    fn arm(&self, route: usize, source: &Source, draw: u64) -> Option<Arm> {
        let hash = key_hash(self.hash_seed, source.octets());
        let no_request = Parts::new("", "", "");
        self.routes[route].target.choose(&no_request, Some(hash), draw, || Timestamp::ORIGIN)
    }
}

impl<T> StreamRouted<T> {
    /// The name of the route.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.table.routes[self.route as usize].name
    }

    /// The cluster of the arm.
    #[must_use]
    pub fn cluster(&self) -> &Cluster<T> {
        self.table.clusters.get(self.cluster)
    }

    /// Why this arm.
    #[must_use]
    pub const fn arm_reason(&self) -> ArmReason {
        self.why
    }

    /// Picks an endpoint, from the fallbacks of the cluster if it has none to give. Policies that go by keys get the client's
    /// address.
    ///
    /// # Errors
    ///
    /// [`PickError`], that of the cluster itself.
    pub fn pick(&self) -> Result<Pick<T>, PickError> {
        self.pick_by(|request| request)
    }

    /// Picks another endpoint than those `tried`, when no connection could be made to them. The cluster's budget of extra load
    /// is asked, as for every retry; if that is spent, no fallback is.
    ///
    /// # Errors
    ///
    /// [`PickError`], that of the cluster itself: it may have no other, or no budget.
    pub fn pick_elsewhere(&self, tried: &Tried) -> Result<Pick<T>, PickError> {
        self.pick_by(|request| request.excluding(tried))
    }

    fn pick_by<'a>(&'a self, of: impl FnOnce(Request<'a>) -> Request<'a>) -> Result<Pick<T>, PickError> {
        let request = of(self.source.request());
        let mut at = Some(self.cluster);
        let mut first = None;
        while let Some(cluster) = at {
            match self.table.clusters.get(cluster).pick(&request) {
                Ok(pick) => return Ok(pick),
                // No reason to send more, elsewhere or here.
                Err(error @ PickError::BudgetSpent(_)) => return Err(first.unwrap_or(error)),
                Err(error) => first = first.or(Some(error)),
            }
            at = self.table.clusters.fallback(cluster);
        }
        first.map_or_else(|| self.cluster().pick(&request), Err)
    }
}

/// The address of a client, whose octets are its key.
#[derive(Clone, Copy)]
enum Source {
    V4(Ipv4Addr, [u8; 4]),
    V6(Ipv6Addr, [u8; 16]),
}

impl Source {
    const fn new(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(ip, ip.octets()),
            IpAddr::V6(ip) => Self::V6(ip, ip.octets()),
        }
    }

    /// That of the client, an IPv4 one in whichever form.
    fn of(connection: &Connection<'_>) -> Self {
        Self::new(connection.source.ip().to_canonical())
    }

    /// What policies are told.
    fn request(&self) -> Request<'_> {
        Request::with_key(self.octets()).from_address(self.ip())
    }

    const fn ip(&self) -> IpAddr {
        match self {
            Self::V4(ip, _) => IpAddr::V4(*ip),
            Self::V6(ip, _) => IpAddr::V6(*ip),
        }
    }

    const fn octets(&self) -> &[u8] {
        match self {
            Self::V4(_, octets) => octets,
            Self::V6(_, octets) => octets,
        }
    }
}

fn build<T>(
    config: &StreamRouterConfig,
    given: impl IntoIterator<Item = Cluster<T>>,
    known: &[Cluster<T>],
) -> Result<Table<T>, RouterError> {
    let clusters = Clusters::new(given, known, &config.fallbacks)?;
    for (i, route) in config.routes.iter().enumerate() {
        let error = |problem| RouterError::new(format!("routes[{i}].name"), problem);
        if route.name.is_empty() {
            return Err(error(RouterProblem::NoName));
        }
        if !route.rule.name.is_empty() {
            let problem = RouterProblem::InnerName(route.rule.name.clone());
            return Err(RouterError::new(format!("routes[{i}].match.name"), problem));
        }
    }
    let named = |route: &StreamRouteConfig| StreamRule { name: route.name.clone(), ..route.rule.clone() };
    let rules = StreamRules::new(&StreamRulesConfig {
        rules: config.routes.iter().map(named).collect(),
        precedence: config.precedence,
        max_rules: config.max_rules,
    });
    let rules = rules.map_err(|error| RouterError::of_rules(&error.field, error.problem))?;
    let routes = config.routes.iter().enumerate().map(|(i, route)| {
        Ok(Route { name: route.name.as_str().into(), target: target(&route.action, &clusters, i)? })
    });
    Ok(Table {
        hash_seed: config.hash_seed,
        rules,
        routes: routes.collect::<Result<_, RouterError>>()?,
        clusters,
    })
}

fn target<T>(action: &StreamAction, clusters: &Clusters<T>, route: usize) -> Result<Target, RouterError> {
    match action {
        StreamAction::Cluster(name) => {
            Ok(Target::Cluster(clusters.find(name, || format!("routes[{route}].action.cluster"))?))
        }
        StreamAction::Split(split) => {
            let field = format!("routes[{route}].action.split");
            if !split.canaries.is_empty() {
                let problem = RouterProblem::Ignored("a connection has no header that could make it one");
                return Err(RouterError::new(format!("{field}.canaries"), problem));
            }
            Target::split(split, clusters, &field)
        }
    }
}

impl<T> Clone for StreamRouter<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for StreamRouter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRouter").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for StreamRouted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRouted").field("route", &self.route()).finish_non_exhaustive()
    }
}
