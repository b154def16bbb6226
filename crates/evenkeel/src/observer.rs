use evenkeel_breaker::Transition;
use evenkeel_health::Status;
use evenkeel_health::outlier::{Ejection, EjectionReason, OutlierChange, Refusal};
use evenkeel_limit::LimitChange;
use evenkeel_route::failover::TierHappened;
use evenkeel_types::{EndpointId, Priority, Timestamp};

use crate::applied::Applied;
use crate::error::PickError;
use crate::outliers::Verdict;

/// Hears what changes in a cluster. Called after the fact, on the thread that caused it, outside all locks: be quick, and
/// hand slow work on.
pub trait Observer: Send + Sync {
    /// Something changed.
    fn notice(&self, notice: &Notice);

    /// A pick was refused. Called for each, so count and do not print.
    fn refused(&self, error: &PickError) {
        let _ = error;
    }
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// What the sources of health say about an endpoint.
    Standing {
        /// Which endpoint.
        id: EndpointId,
        /// What they said before.
        before: Status,
        /// What they say now.
        after: Status,
    },
    /// The breaker of an endpoint changed its state.
    Breaker {
        /// Which endpoint.
        id: EndpointId,
        /// From what to what, and why.
        transition: Transition,
    },
    /// Outlier detection ejected an endpoint, took it back, or would have.
    Outlier(OutlierNotice),
    /// A limit has moved by itself.
    Limit {
        /// Which endpoint's; `None` for that of the cluster.
        id: Option<EndpointId>,
        /// From what to what.
        change: LimitChange,
    },
    /// A failover tier is left, returns, or panics.
    Tier(TierNotice),
    /// A new set of endpoints is in use.
    Applied(Applied),
    /// A followed source offered a set that was not taken; the old one stays in use.
    Rejected {
        /// Why.
        reason: crate::ApplyError,
    },
}

impl<F: Fn(&Notice) + Send + Sync> Observer for F {
    fn notice(&self, notice: &Notice) {
        self(notice);
    }
}

/// Something happened to a failover tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierNotice {
    /// Which one.
    pub priority: Priority,
    /// Whether to its part inside the subset of this client; always so without a subset.
    pub in_subset: bool,
    /// What happened.
    pub happened: TierHappened,
}

/// What outlier detection did or left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutlierNotice {
    /// An endpoint gets no requests from now on.
    Ejected {
        /// Which one.
        id: EndpointId,
        /// Why and until when.
        ejection: Ejection,
    },
    /// It gets a trickle of requests, and is back when it has passed with them.
    Probation {
        /// Which one.
        id: EndpointId,
        /// When it is back, if it has not failed until then.
        until: Timestamp,
    },
    /// It is back.
    Returned {
        /// Which one.
        id: EndpointId,
        /// Its share grows until then; `None` if it is full.
        ramp_until: Option<Timestamp>,
    },
    /// Its share is full again.
    Ramped {
        /// Which one.
        id: EndpointId,
    },
    /// It met a rule and stays in.
    Refused {
        /// Which one.
        id: EndpointId,
        /// Which rule.
        reason: EjectionReason,
        /// What speaks against its ejection.
        by: Refusal,
    },
    /// So many endpoints met a rule at about the same time that nothing more is ejected for a while: look at the network,
    /// or at what they all depend on.
    Braked {
        /// How many met one.
        tripped: usize,
        /// Of how many.
        endpoints: usize,
        /// Until when nothing more is ejected.
        until: Timestamp,
    },
    /// Endpoints are ejected again.
    BrakeReleased,
}

impl OutlierNotice {
    /// A change that concerns one endpoint comes with its `id`; without it there is nothing to tell.
    pub(crate) fn of(id: Option<EndpointId>, change: &Verdict) -> Option<Self> {
        Some(match *change {
            OutlierChange::Ejected { ejection, .. } => Self::Ejected { id: id?, ejection },
            OutlierChange::Probation { until, .. } => Self::Probation { id: id?, until },
            OutlierChange::Returned { ramp_until, .. } => Self::Returned { id: id?, ramp_until },
            OutlierChange::Ramped { .. } => Self::Ramped { id: id? },
            OutlierChange::Refused { reason, by, .. } => Self::Refused { id: id?, reason, by },
            OutlierChange::Braked { tripped, endpoints, until } => Self::Braked { tripped, endpoints, until },
            OutlierChange::BrakeReleased => Self::BrakeReleased,
        })
    }
}
