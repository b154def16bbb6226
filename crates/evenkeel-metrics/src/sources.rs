//! What is exported of the sources of a cluster's endpoints.

use std::borrow::Cow;

use evenkeel::{ClusterReport, SourceState};

use crate::family::{Families, count, flag};
use crate::metric::Metric;

pub(crate) fn add(report: &ClusterReport, into: &mut Families) {
    for source in &report.sources {
        let labels = || [Cow::Owned(report.name.clone()), Cow::Owned(source.name.as_str().to_owned())];
        into.add(Metric::SourceEndpoints, labels(), count(source.endpoints));
        into.add(Metric::SourceHeld, labels(), count(source.held.as_ref().map_or(0, |held| held.endpoints)));
        into.add(Metric::SourceOverAge, labels(), flag(source.over_age));
        into.add(Metric::SourceRejected, labels(), source.rejected as f64);
        let [cluster, name] = labels();
        into.add(Metric::SourceState, [cluster, name, state(source.state).into()], 1.0);
    }
}

const fn state(state: SourceState) -> &'static str {
    match state {
        SourceState::Pending => "pending",
        SourceState::Live => "live",
        SourceState::Stale { .. } => "stale",
        SourceState::Absent => "absent",
        _ => "unknown",
    }
}
