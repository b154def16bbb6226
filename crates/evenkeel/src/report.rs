use std::time::Duration;

use evenkeel_breaker::{Breaker, State};
use evenkeel_health::outlier::{OutlierStatus, OutlierTotals};
use evenkeel_health::{Cause, Evidence, Ramp, Status, Warmth};
use evenkeel_limit::{Extra, Ledger, Limiter};
use evenkeel_registry::SourceStatus;
use evenkeel_types::{Address, EndpointId, Priority, Timestamp, Weight};

use crate::outliers::Outliers;
use crate::shared::Shared;
use crate::snapshot::{Part, Tier};
use crate::subset::Rule;
use crate::tier_report::{self, TierReport};

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
    /// What outlier detection has done so far, if outliers are looked for.
    pub outliers: Option<OutlierTotals>,
    /// What each source of a followed service knows, and how fresh that is; empty if nobody is followed.
    pub sources: Vec<SourceStatus>,
    /// The cluster's limit of requests in flight, if it has one.
    pub limit: Option<u32>,
    /// Where the budget of extra requests stands, if the cluster has one.
    pub budget: Option<BudgetReport>,
    /// What tiers and zones get, if the cluster has a failover or knows zones; else empty.
    pub tiers: Vec<TierReport>,
    /// How many endpoints are usable.
    pub usable: usize,
    /// Every endpoint, tier by tier.
    pub endpoints: Vec<EndpointReport>,
}

/// The budget of extra requests over its window ([`LedgerConfig`](crate::LedgerConfig)): those that went out, and those that it allows in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BudgetReport {
    /// What all kinds together may come to.
    pub allowed: u64,
    /// Retries.
    pub retries: u64,
    /// Hedges.
    pub hedges: u64,
    /// Requests that a full place handed on.
    pub spilled: u64,
    /// Probes.
    pub probes: u64,
}

impl BudgetReport {
    fn of(ledger: &Ledger, now: Timestamp) -> Self {
        let spent = |kind| ledger.spent_on(kind, now);
        Self {
            allowed: ledger.stock(now),
            retries: spent(Extra::Retry),
            hedges: spent(Extra::Hedge),
            spilled: spent(Extra::Spill),
            probes: spent(Extra::Probe),
        }
    }
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
    /// tier and zone in the subset, or those that are not. From 0 to 1.
    pub expected_share: f64,
    /// What it takes of its weight for the moment, above 0 to 1: slow start, gradual return, reported load.
    pub factor: f64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Its limit of requests in flight, if it has one.
    pub limit: Option<u32>,
    /// Where it is on its way, if it starts slowly.
    pub warmth: Warmth,
    /// Whether new requests may go there.
    pub usable: bool,
    /// The first cause in order of precedence, if it is not plainly healthy.
    pub cause: Option<Cause>,
    /// Everything that holds about it, in order of precedence: since when, until when, by whom and why.
    pub causes: Vec<CauseReport>,
    /// What every source of health says.
    pub status: Status,
    /// How it stands with outlier detection, if outliers are looked for.
    pub outlier: Option<OutlierStatus>,
    /// The state of its breaker, if it has one.
    pub breaker: Option<State>,
    /// Its estimated latency, if latencies are estimated and any was seen.
    pub latency: Option<Duration>,
}

/// One thing that holds about an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CauseReport {
    /// What it is.
    pub cause: Cause,
    /// Since when, by the cluster's clock.
    pub since: Timestamp,
    /// Until when, if anybody knows.
    pub until: Option<Timestamp>,
    /// Who said so, if that was said.
    pub by: Option<Box<str>>,
    /// Why, if that was said.
    pub reason: Option<Box<str>>,
}

impl CauseReport {
    fn of(evidence: &Evidence<'_>) -> Self {
        let record = evidence.record;
        Self {
            cause: evidence.cause,
            since: record.since,
            until: evidence.until(),
            by: record.by.clone(),
            reason: record.reason.clone(),
        }
    }
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
            sources: shared
                .control
                .followed
                .load()
                .as_ref()
                .map_or_else(Vec::new, |followed| followed.statuses()),
            limit: shared.control.limit.as_ref().map(Limiter::limit),
            outliers: shared.control.outliers.as_ref().map(Outliers::totals),
            budget: shared
                .control
                .ledger
                .as_ref()
                .map(|ledger| BudgetReport::of(ledger, shared.control.now())),
            tiers: tier_report::of(shared, &snapshot),
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
                limit: live.limiter().map(Limiter::limit),
                warmth: live.warmth(),
                usable: status.usable() && tier.part != Part::Parked,
                cause: status.cause(),
                causes: live.words.evidence(now, |evidence| CauseReport::of(&evidence)),
                status,
                outlier: shared.control.outliers.as_ref().and_then(|outliers| outliers.status(live.key())),
                breaker: live.breaker().map(Breaker::state),
                latency: live.latency().and_then(|estimate| estimate.get(now)),
            }
        })
        .collect();
    share_out(&mut reports, tier);
    reports
}

/// Degraded endpoints get nothing while a plainly healthy one is left.
fn share_out<T>(reports: &mut [EndpointReport], tier: &Tier<T>) {
    let weights = &*tier.weights;
    let lift = tier.masks.lift.share();
    let some_healthy = reports.iter().any(|report| report.usable && !report.status.is_degraded());
    let takes_part =
        |report: &EndpointReport| report.usable && !(some_healthy && report.status.is_degraded());
    let takes = |report: &EndpointReport, weight: u32| f64::from(weight) * Ramp::lifted(report.factor, lift);
    let takers = reports.iter().zip(weights).filter(|(report, _)| takes_part(report));
    let total: f64 = takers.map(|(report, &weight)| takes(report, weight)).sum();
    for (report, &weight) in reports.iter_mut().zip(weights) {
        if takes_part(report) && total > 0.0 {
            report.expected_share = takes(report, weight) / total;
        }
    }
}
