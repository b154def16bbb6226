//! What is exported of each endpoint.

use std::borrow::Cow;

use evenkeel::{ClusterReport, EndpointReport};

use crate::cluster::{is_refusing, label};
use crate::family::{Families, count, flag};
use crate::metric::Metric;

/// Those in trouble first, then the others, last those that this client leaves to others; up to `most`.
pub(crate) fn add(report: &ClusterReport, most: usize, into: &mut Families) {
    let (parked, meant): (Vec<_>, Vec<_>) = report.endpoints.iter().partition(|endpoint| is_parked(endpoint));
    let (plain, troubled): (Vec<_>, Vec<_>) =
        meant.into_iter().partition(|endpoint| endpoint.usable && endpoint.causes.is_empty());
    for endpoint in troubled.into_iter().chain(plain).chain(parked).take(most) {
        add_one(report, endpoint, into);
    }
    let unlisted = report.endpoints.len().saturating_sub(most);
    into.add(Metric::EndpointsUnlisted, [report.name.clone().into()], count(unlisted));
}

/// Nothing is wrong with it: it is outside this client's subset, and gets nothing from here.
fn is_parked(endpoint: &EndpointReport) -> bool {
    !endpoint.in_subset && !endpoint.usable && endpoint.cause.is_none()
}

fn add_one(report: &ClusterReport, endpoint: &EndpointReport, into: &mut Families) {
    let cluster = || Cow::Owned(report.name.clone());
    let id = || Cow::Owned(endpoint.id.to_string());
    let info = [
        cluster(),
        id(),
        endpoint.address.to_string().into(),
        endpoint.priority.get().to_string().into(),
        endpoint.incarnation.to_string().into(),
    ];
    into.add(Metric::EndpointInfo, info, 1.0);
    for cause in &endpoint.causes {
        into.add(Metric::EndpointCause, [cluster(), id(), label(cause.cause)], 1.0);
    }
    let mut set = |metric, value| into.add(metric, [cluster(), id()], value);
    // Neither up nor down: this client does not use it.
    if !is_parked(endpoint) {
        set(Metric::EndpointUp, flag(endpoint.usable));
    }
    set(Metric::EndpointRequestsActive, count(endpoint.in_flight));
    set(Metric::EndpointWeight, endpoint.weight.get().into());
    set(Metric::EndpointFactor, endpoint.factor);
    set(Metric::EndpointExpectedShare, endpoint.expected_share);
    if let Some(limit) = endpoint.limit {
        set(Metric::EndpointRequestLimit, limit.into());
    }
    if endpoint.breaker.is_some() {
        set(Metric::EndpointBreakerOpen, flag(is_refusing(endpoint)));
    }
    if let Some(latency) = endpoint.latency {
        set(Metric::EndpointLatency, latency.as_secs_f64());
    }
}
