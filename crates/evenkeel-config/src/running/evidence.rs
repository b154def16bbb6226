//! What requests mean to the checks of their endpoint, and what checks mean to outlier detection.

use std::time::Duration;

use evenkeel::{Cluster, Handle, ReturnBy, Verdict};
use evenkeel_health::CheckConfig;
use evenkeel_probe::{Notify, Prober, Report};
use evenkeel_types::{EndpointId, Timestamp};

use crate::model::ClusterSettings;

/// Every result is told where ejected endpoints come back by so many passes in a row, and changes alone elsewhere.
pub(super) fn notify(settings: &ClusterSettings) -> Notify {
    match &settings.cluster.outlier {
        Some(outlier) if outlier.return_by != ReturnBy::Time => Notify::Results,
        _ => Notify::Changes,
    }
}

/// Lets outlier detection count the result that led to a report.
pub(super) fn count<T>(handle: &Handle<T>, report: &Report) {
    if let Some(result) = report.finding.as_ref().and_then(|finding| finding.result) {
        let _ = handle.heard_check(result);
    }
}

/// Has the check of a target hear how the requests of its endpoint go, if it observes them. A saturated endpoint is not a
/// sick one, so an overload is neither good nor an error. Evidence that nobody observes any more has no effect, so it is left
/// where it is: who listens elsewhere may be the program's own.
pub(super) fn observe<T>(handle: &Handle<T>, prober: &Prober, target: &EndpointId, check: &CheckConfig) {
    if let Some(evidence) = check.observe.as_ref().and_then(|_| prober.evidence(target)) {
        handle.hear_verdicts(move |verdict| match verdict {
            Verdict::Success => evidence.request(true),
            Verdict::Failure => evidence.request(false),
            Verdict::Overload { .. } | Verdict::Neutral => {}
        });
    }
}

/// When the targets of a cluster are to hear of its traffic again; from the beginning if they never did.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    told_until: Option<Timestamp>,
}

impl Traffic {
    /// Whether the targets should hear of traffic now: there was some, and it is worth the telling.
    pub(super) fn is_news<T>(&mut self, cluster: &Cluster<T>, check: &CheckConfig, now: Timestamp) -> bool {
        let is_needed =
            check.no_traffic_interval.is_some() && self.told_until.is_none_or(|until| now >= until);
        if !is_needed || !cluster.had_traffic() {
            return false;
        }
        // Once used, always used; or often enough that no check takes a busy cluster for a quiet one.
        let lasts = check.no_traffic_after.map_or(Duration::MAX, |after| after / TOLD_WITHIN);
        self.told_until = Some(now.saturating_add(lasts));
        true
    }
}

const TOLD_WITHIN: u32 = 8;
