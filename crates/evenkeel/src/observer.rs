use evenkeel_breaker::Transition;
use evenkeel_health::Status;
use evenkeel_types::EndpointId;

use crate::applied::Applied;
use crate::error::PickError;

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
