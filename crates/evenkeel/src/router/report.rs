use evenkeel_route::affinity::StickyCounts;
use evenkeel_route::split::{Colour, RampState};
use evenkeel_types::Ratio;

use super::counters::Count;
use super::table::{Route, Table};
use super::target::Target;

/// What a router counted, and where its ramps and switches stand.
///
/// Counts are since the first request, as long as a reload leaves the route's action as it is.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RouterReport {
    /// How often the configuration was replaced.
    pub generation: u64,
    /// Requests that no route took.
    pub unmatched: u64,
    /// The routes in their order.
    pub routes: Vec<RouteReport>,
}

/// What one route counted.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RouteReport {
    /// Its name.
    pub name: String,
    /// Requests that it took.
    pub matched: u64,
    /// Of these, those that a rate limit did not let in.
    pub limited: u64,
    /// Picks that found no endpoint, first ones and others.
    pub unsent: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Attempts beside another one.
    pub hedged: u64,
    /// Requests that were copied.
    pub mirrored: u64,
    /// Attempts that a fallback served.
    pub fell_back: u64,
    /// Users who stayed at their endpoint, or went where a list sent them.
    pub stayed: u64,
    /// Users who were given another endpoint.
    pub moved: u64,
    /// The clusters, and how many requests were theirs.
    pub arms: Vec<ArmReport>,
    /// Where its ramp is, and the share of the new version.
    pub ramp: Option<(RampState, Ratio)>,
    /// Which colour is live.
    pub live: Option<Colour>,
    /// Cookies that were as good as none.
    pub cookies: Option<StickyCounts>,
}

/// What one arm counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ArmReport {
    /// The cluster.
    pub cluster: String,
    /// Requests that were sent there, whoever served them in the end.
    pub requests: u64,
}

impl RouterReport {
    pub(crate) fn of<T>(table: &Table<T>, unmatched: u64) -> Self {
        let routes = table.routes.iter().map(|route| RouteReport::of(table, route)).collect();
        Self { generation: table.generation, unmatched, routes }
    }
}

impl RouteReport {
    fn of<T>(table: &Table<T>, route: &Route) -> Self {
        let read = |what| route.counters.read(what);
        let arms = route.target.arms().iter().enumerate().map(|(arm, &cluster)| ArmReport {
            cluster: table.clusters.get(cluster).name().to_owned(),
            requests: route.counters.read_arm(arm),
        });
        let (ramp, live) = match &route.target {
            Target::Ramp { ramp, .. } => (Some(ramp.state()), None),
            Target::BlueGreen { switch, .. } => (None, Some(switch.live())),
            _ => (None, None),
        };
        Self {
            name: route.name.to_string(),
            matched: route.counters.matched(),
            limited: read(Count::Limited),
            unsent: read(Count::Unsent),
            retried: read(Count::Retried),
            hedged: read(Count::Hedged),
            mirrored: read(Count::Mirrored),
            fell_back: read(Count::FellBack),
            stayed: read(Count::Stayed),
            moved: read(Count::Moved),
            arms: arms.collect(),
            ramp,
            live,
            cookies: route.sticky.as_ref().and_then(|sticky| sticky.counts()),
        }
    }
}
