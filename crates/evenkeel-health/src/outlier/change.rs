//! What the detector is told and what it says.

use std::time::Duration;

use evenkeel_types::Timestamp;

/// What [`OutlierCounters::record`](super::OutlierCounters::record) noticed: the caller hands it to
/// [`OutlierDetector::suspect`](super::OutlierDetector::suspect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suspicion {
    /// So many failures in a row, of any origin (but local ones, if those are split off).
    ConsecutiveFailures,
    /// So many gateway failures in a row.
    ConsecutiveGatewayFailures,
    /// So many failures of local origin in a row.
    ConsecutiveLocalFailures,
    /// A failure while on probation: it goes out again.
    ProbationFailed,
    /// As many successes as the probation asked for: it comes back.
    ProbationPassed,
}

impl Suspicion {
    /// The rule, if it is one about runs.
    pub(super) const fn reason(self) -> Option<EjectionReason> {
        match self {
            Self::ConsecutiveFailures => Some(EjectionReason::ConsecutiveFailures),
            Self::ConsecutiveGatewayFailures => Some(EjectionReason::ConsecutiveGatewayFailures),
            Self::ConsecutiveLocalFailures => Some(EjectionReason::ConsecutiveLocalFailures),
            Self::ProbationFailed | Self::ProbationPassed => None,
        }
    }
}

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum EjectionReason {
    /// So many failures in a row.
    ConsecutiveFailures,
    /// So many gateway failures in a row.
    ConsecutiveGatewayFailures,
    /// So many failures of local origin in a row.
    ConsecutiveLocalFailures,
    /// It fails more often than its peers do, and not by chance.
    SuccessRate,
    /// The same with failures of local origin alone.
    LocalSuccessRate,
    /// Its share of failures reached the limit.
    FailureShare,
    /// It is slower than the median of its peers.
    Latency,
    /// It failed on probation.
    Probation,
}

impl EjectionReason {
    /// Its name in reports and scenarios, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::ConsecutiveGatewayFailures => "consecutive_gateway_failures",
            Self::ConsecutiveLocalFailures => "consecutive_local_failures",
            Self::SuccessRate => "success_rate",
            Self::LocalSuccessRate => "local_success_rate",
            Self::FailureShare => "failure_share",
            Self::Latency => "latency",
            Self::Probation => "probation",
        }
    }
}

/// An endpoint is out: why, since when, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Ejection {
    /// Which rule it met.
    pub reason: EjectionReason,
    /// When it was ejected.
    pub since: Timestamp,
    /// When it comes back, if nothing brings it back before.
    pub until: Timestamp,
    /// The how manyth ejection of this endpoint, from 1.
    pub count: u32,
}

impl Ejection {
    /// How long it lasts.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.until.saturating_since(self.since)
    }
}

/// Why an endpoint that met a rule stays in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Refusal {
    /// `caps.max_ejected` are out.
    MaxEjected,
    /// `caps.max_ejected_ratio` of the endpoints are out.
    MaxEjectedRatio,
    /// Not more than `caps.min_remaining` are left.
    MinRemaining,
    /// So many endpoints met a rule at about the same time that the cause is none of them.
    Brake,
}

impl Refusal {
    /// Its name in reports and scenarios, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxEjected => "max_ejected",
            Self::MaxEjectedRatio => "max_ejected_ratio",
            Self::MinRemaining => "min_remaining",
            Self::Brake => "brake",
        }
    }
}

/// A change that the caller acts upon: masks, factors, reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum OutlierChange<K> {
    /// It gets no requests from now on.
    Ejected {
        /// Which endpoint.
        token: K,
        /// Why and until when.
        ejection: Ejection,
    },
    /// It gets a trickle of requests again; [`factor`](super::OutlierDetector::factor) tells how many.
    Probation {
        /// Which endpoint.
        token: K,
        /// When it comes back, if it has not failed until then.
        until: Timestamp,
    },
    /// It is back.
    Returned {
        /// Which endpoint.
        token: K,
        /// While its share grows until then, ask for its [`factor`](super::OutlierDetector::factor). `None`: it has
        /// its full share at once.
        ramp_until: Option<Timestamp>,
    },
    /// Its share is full again.
    Ramped {
        /// Which endpoint.
        token: K,
    },
    /// It met a rule and stays in.
    Refused {
        /// Which endpoint.
        token: K,
        /// Which rule.
        reason: EjectionReason,
        /// What speaks against its ejection.
        by: Refusal,
    },
    /// So many endpoints met a rule at about the same time that nothing more is ejected for a while: look at the
    /// network, or at what they all depend on.
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
