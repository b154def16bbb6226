use std::time::Duration;

use evenkeel_health::{CheckChange, CheckResult, CheckState};
use evenkeel_types::EndpointId;

use crate::advice::Advice;
use crate::reason::Reason;

/// Who hears what the prober found. Every `Fn(Report) + Send + Sync` is one.
///
/// It is called on the prober's thread, one report after the other, outside all locks: it may call the prober, and it
/// must not wait long, since no other check goes on meanwhile. A panic in it is caught and counted
/// ([`ProberReport::sink_panics`](crate::ProberReport::sink_panics)).
///
/// Once [`remove`](crate::Prober::remove) has returned, no new call begins for that target; one that is running may still
/// be.
pub trait Sink: Send + Sync {
    /// Takes in a report.
    fn report(&self, report: Report);
}

impl<F: Fn(Report) + Send + Sync> Sink for F {
    fn report(&self, report: Report) {
        self(report);
    }
}

/// What the prober tells of a target.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// The target.
    pub id: EndpointId,
    /// What the checks know of it now.
    pub state: CheckState,
    /// The change since the last report with one, if there is any. Its `after` is `state`.
    pub change: Option<CheckChange>,
    /// The result that led to this report. `None` if none did: a configured start, a verdict that went stale, other
    /// settings, errors of requests.
    pub finding: Option<Finding>,
    /// What the agent has wished so far.
    pub advice: Advice,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// The result; `None` if the check says nothing about the endpoint ([`Reason::Local`], an agent without a verdict).
    pub result: Option<CheckResult>,
    /// Why it did not pass.
    pub reason: Option<Reason>,
    /// From its start to its end. That of a check that failed says how long we waited, not how fast the endpoint is.
    pub latency: Duration,
}
