//! What is exported of a cluster as a whole.

use std::borrow::Cow;
use std::collections::BTreeMap;

use evenkeel::ClusterReport;

use crate::family::{Families, count, flag};
use crate::metric::Metric;

pub(crate) fn add(report: &ClusterReport, into: &mut Families) {
    let name = || Cow::Owned(report.name.clone());
    let info = [name(), report.policy.into(), report.subset.unwrap_or("").into()];
    into.add(Metric::ClusterInfo, info, 1.0);
    into.add(Metric::Known, [name()], flag(report.known));
    into.add(Metric::Version, [name()], report.generation as f64);
    let mut set = |metric, value| into.add(metric, [name()], value);

    let endpoints = &report.endpoints;
    let so_many =
        |is_meant: fn(&&evenkeel::EndpointReport) -> bool| count(endpoints.iter().filter(is_meant).count());
    set(Metric::Membership, count(endpoints.len()));
    set(Metric::MembershipHealthy, so_many(|endpoint| endpoint.usable && !endpoint.status.is_degraded()));
    set(Metric::MembershipDegraded, so_many(|endpoint| endpoint.usable && endpoint.status.is_degraded()));
    set(Metric::MembershipOutsideSubset, so_many(|endpoint| !endpoint.in_subset));
    set(Metric::MembershipSubsetUsable, so_many(|endpoint| endpoint.in_subset && endpoint.usable));
    set(Metric::RequestsActive, endpoints.iter().map(|endpoint| count(endpoint.in_flight)).sum());
    set(Metric::BreakersOpen, so_many(|endpoint| is_refusing(endpoint)));
    if let Some(limit) = report.limit {
        set(Metric::RequestLimit, limit.into());
    }
    if let Some(imbalance) = imbalance(report) {
        set(Metric::Imbalance, imbalance);
    }
    if let Some(totals) = &report.outliers {
        set(
            Metric::EjectionsActive,
            so_many(|endpoint| endpoint.status.causes().any(|cause| cause == evenkeel::Cause::Ejected)),
        );
        set(Metric::Ejections, totals.ejections as f64);
        set(Metric::EjectionsOverflow, totals.refused_by_caps as f64);
        set(Metric::EjectionBrakes, totals.braked as f64);
    }

    let mut out: BTreeMap<_, usize> = BTreeMap::new();
    for cause in endpoints.iter().filter(|endpoint| !endpoint.usable).filter_map(|endpoint| endpoint.cause) {
        *out.entry(cause).or_default() += 1;
    }
    for (cause, so_many) in out {
        into.add(Metric::MembershipOut, [name(), label(cause)], count(so_many));
    }
}

/// As a label: `check_down`.
pub(crate) fn label(cause: evenkeel::Cause) -> Cow<'static, str> {
    cause.to_string().replace(' ', "_").into()
}

pub(crate) fn is_refusing(endpoint: &evenkeel::EndpointReport) -> bool {
    endpoint.breaker.as_ref().is_some_and(evenkeel::BreakerState::is_refusing)
}

/// The largest ratio of actual to expected share, among those of one tier that expect any. Only where so many requests are in
/// flight that shares mean something: ten for each endpoint.
fn imbalance(report: &ClusterReport) -> Option<f64> {
    let mut worst = None;
    let tiers: BTreeMap<_, Vec<_>> = report.endpoints.iter().fold(BTreeMap::new(), |mut tiers, endpoint| {
        tiers.entry((endpoint.priority, endpoint.in_subset)).or_default().push(endpoint);
        tiers
    });
    for tier in tiers.values() {
        let total = count(tier.iter().map(|endpoint| endpoint.in_flight).sum());
        if total < 10.0 * count(tier.len()) {
            continue;
        }
        let ratios = tier
            .iter()
            .filter(|endpoint| endpoint.expected_share > 0.0)
            .map(|endpoint| count(endpoint.in_flight) / total / endpoint.expected_share);
        worst = ratios
            .fold(worst, |worst: Option<f64>, ratio| Some(worst.map_or(ratio, |worst| worst.max(ratio))));
    }
    worst
}
