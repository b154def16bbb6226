//! The permission for one request, and its refusal.

use std::fmt;

use evenkeel_types::Timestamp;
use thiserror::Error;

use crate::Transition;
use crate::probes::Lease;
use crate::word::{Phase, Word};

/// The permission for one request: hand it back to `Breaker::record` with the outcome, or to `Breaker::release`.
///
/// Plain data, 16 bytes, so that a guard of any lifetime can own it. It remembers the epoch that issued it: once that
/// has ended, the result no longer decides anything. A permit that is lost takes nothing with it in Closed, and in
/// half-open no more than its lease.
#[must_use = "a probe's permit that is dropped holds its slot until the lease expires: record it or release it"]
pub struct Permit {
    word: Word,
    lease: Lease,
}

impl Permit {
    #[inline]
    pub(crate) const fn closed(word: Word) -> Self {
        Self { word, lease: Lease::NONE }
    }

    /// With a lease, or with the time of its start.
    pub(crate) const fn with(word: Word, lease: Lease) -> Self {
        Self { word, lease }
    }

    /// A permit is good for one result.
    #[inline]
    pub(crate) const fn spend(self) -> (Word, Lease) {
        (self.word, self.lease)
    }

    /// Whether the request is a probe of a half-open breaker.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        matches!(self.word.phase(), Phase::HalfOpen | Phase::HalfOpenClaimed)
            && self.lease != Lease::WOULD_BE_REFUSED
    }

    /// Whether only a dry run let the request through.
    #[must_use]
    pub fn would_be_refused(&self) -> bool {
        self.word.phase() != Phase::Closed && self.lease == Lease::WOULD_BE_REFUSED
    }

    /// The epoch that issued it, modulo 32,768 (2^15).
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.word.epoch()
    }

    /// Until when the result of a probe decides, exclusive; `None` if it is no probe.
    #[must_use]
    pub fn lease_until(&self) -> Option<Timestamp> {
        self.is_probe().then(|| self.lease.until())
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("epoch", &self.epoch())
            .field("lease_until", &self.lease_until())
            .finish()
    }
}

/// An admitted request, and the change of state that its admission caused.
#[derive(Debug)]
#[must_use = "it holds the permit"]
pub struct Admission {
    /// The permission.
    pub permit: Permit,
    /// The change that was due, and that this request found: from Open to half-open after the wait, as a rule.
    pub transition: Option<Transition>,
}

/// The breaker does not let the request through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[error("{reason}")]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// From when on, inclusive, asking can help.
    ///
    /// Open: the end of the wait. Probes taken: the end of the first lease; a slot is free then at the latest, and
    /// earlier if a probe ends. Forced open: the end of its limit. `None` if the last probe has just succeeded and the
    /// breaker is about to close, and if it is forced open without a limit.
    pub retry_at: Option<Timestamp>,
    /// The change that was due, and that this request found; `None` for nearly every refusal, which writes nothing.
    ///
    /// Only two settings change the state and refuse at once: [`Rule::Overdue`](crate::Rule::Overdue), and
    /// [`HalfOpen::decide_after`](crate::HalfOpen::decide_after). Who passes refusals on has to hand this to the same place
    /// as other transitions.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub transition: Option<Transition>,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RefusalReason {
    /// The breaker is open: send the request elsewhere, and look at the failures that opened it.
    #[error("circuit breaker is open")]
    Open,
    /// An operator has forced the breaker open: send the request elsewhere, and ask the owner.
    #[error("circuit breaker is forced open")]
    ForcedOpen,
    /// The breaker is half-open and enough probes are under way: send the request elsewhere.
    #[error("circuit breaker is half-open and its probes are taken")]
    ProbesTaken,
}

const _: () = assert!(size_of::<Permit>() <= 16);
