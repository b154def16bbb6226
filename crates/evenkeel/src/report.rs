use std::time::Duration;

use evenkeel_breaker::State;
use evenkeel_health::{Cause, Status};
use evenkeel_types::{Address, EndpointId, Priority, Weight};

use crate::shared::Shared;
use crate::snapshot::{Part, Tier};
use crate::subset::Rule;

/// A cluster at one moment, for tables, metrics and status pages. Pulled, so that it costs nothing until it is asked for.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ClusterReport {
    /// The name of the cluster.
    pub name: String,
    /// The policy, as it is written in a configuration.
    pub policy: &'static str,
    /// The kind of the subset, as it is written in a configuration, if there is one.
    pub subset: Option<&'static str>,
    /// The generation of the snapshot.
    pub generation: u64,
    /// Whether a set was ever applied; a cluster that was never told differs from one that is empty.
    pub known: bool,
    /// How many endpoints are usable.
    pub usable: usize,
    /// Every endpoint, tier by tier.
    pub endpoints: Vec<EndpointReport>,
}

/// One endpoint at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EndpointReport {
    /// Its id.
    pub id: EndpointId,
    /// Which process under that id it is.
    pub incarnation: u64,
    /// Its preferred address.
    pub address: Address,
    /// Its failover tier.
    pub priority: Priority,
    /// Its weight.
    pub weight: Weight,
    /// Whether it belongs to the part of the endpoints that this client uses; always so without a subset. One that does
    /// not gets requests when nothing of that part in its tier is usable, or none at all.
    pub in_subset: bool,
    /// The share of new requests that its weight, its factor, the subset and health give it among its kind: the endpoints of its
    /// tier in the subset, or those that are not. From 0 to 1.
    pub expected_share: f64,
    /// What it takes of its weight for the moment, above 0 to 1: slow start, gradual return, reported load.
    pub factor: f64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Whether new requests may go there.
    pub usable: bool,
    /// The first cause in order of precedence, if it is not plainly healthy.
    pub cause: Option<Cause>,
    /// What every source of health says.
    pub status: Status,
    /// The state of its breaker, if it has one.
    pub breaker: Option<State>,
    /// Its estimated latency, if latencies are estimated and any was seen.
    pub latency: Option<Duration>,
}

impl ClusterReport {
    pub(crate) fn of<T>(shared: &Shared<T>) -> Self {
        let (policy, subset) = {
            let state = shared.state.lock();
            (state.policy.name(), state.subset.as_ref().map(Rule::name))
        };
        let snapshot = shared.current.load_full();
        let endpoints: Vec<_> = snapshot.tiers().flat_map(|tier| endpoints(shared, tier)).collect();
        Self {
            name: shared.control.name.to_string(),
            policy,
            subset,
            generation: snapshot.generation,
            known: snapshot.known,
            usable: endpoints.iter().filter(|endpoint| endpoint.usable).count(),
            endpoints,
        }
    }
}

fn endpoints<T>(shared: &Shared<T>, tier: &Tier<T>) -> Vec<EndpointReport> {
    let now = shared.control.now();
    let mut reports: Vec<_> = tier
        .nodes
        .iter()
        .map(|node| {
            let (live, description) = (&node.live, node.live.description());
            let status = live.status();
            EndpointReport {
                id: description.id().clone(),
                incarnation: description.incarnation(),
                address: description.address().clone(),
                priority: tier.priority,
                weight: description.weight(),
                in_subset: tier.part == Part::Inside,
                expected_share: 0.0,
                factor: live.factor(),
                in_flight: node.in_flight(),
                usable: status.usable() && tier.part != Part::Parked,
                cause: status.cause(),
                status,
                breaker: live.breaker.as_ref().map(|breaker| breaker.state()),
                latency: live.latency.as_ref().and_then(|estimate| estimate.get(now)),
            }
        })
        .collect();
    share_out(&mut reports, &tier.weights);
    reports
}

/// Degraded endpoints get nothing while a plainly healthy one is left.
fn share_out(reports: &mut [EndpointReport], weights: &[u32]) {
    let some_healthy = reports.iter().any(|report| report.usable && !report.status.is_degraded());
    let takes_part =
        |report: &EndpointReport| report.usable && !(some_healthy && report.status.is_degraded());
    let takes = |report: &EndpointReport, weight: u32| f64::from(weight) * report.factor;
    let takers = reports.iter().zip(weights).filter(|(report, _)| takes_part(report));
    let total: f64 = takers.map(|(report, &weight)| takes(report, weight)).sum();
    for (report, &weight) in reports.iter_mut().zip(weights) {
        if takes_part(report) && total > 0.0 {
            report.expected_share = takes(report, weight) / total;
        }
    }
}
