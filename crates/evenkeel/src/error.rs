use std::fmt;
use std::time::Duration;

use evenkeel_balance::InvalidPolicy;
use evenkeel_balance::subset::InvalidSubset;
use evenkeel_health::Cause;
use evenkeel_limit::{LedgerRefusal, Refusal};
use evenkeel_types::{EndpointId, Priority, Timestamp};
use thiserror::Error;

use crate::freshness::Freshness;
use crate::settings_together::WouldBeIgnored;

/// Why there is nothing to pick. Small and `Copy`; the text is made only when it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PickError {
    /// No set was ever applied: discovery has not answered yet. Wait for the first `apply`.
    #[error("no endpoints known yet: nothing was applied to this cluster{0}")]
    NotKnown(Freshness),
    /// The applied set is empty. Look at what the source says.
    #[error("the cluster has no endpoints: its source says that there are none{0}")]
    Empty(Freshness),
    /// Every usable endpoint was tried by this request before.
    #[error("all {tried} usable endpoints were tried by this request")]
    AllTried {
        /// How many usable endpoints are excluded.
        tried: u32,
    },
    /// The cluster's own limit is reached: as many requests are in flight as it allows. Shed this one, or wait.
    #[error("the cluster is {0}")]
    Saturated(Refusal),
    /// A retry or a hedge that the budget does not allow: sending it would add load where there is too much of it.
    #[error("not sent again: {0}")]
    BudgetSpent(LedgerRefusal),
    /// The tier of this request is in panic, and this is not to be served by an endpoint: see
    /// [`OnPanic`](crate::OnPanic).
    #[error("{0}")]
    Panic(Panic),
    /// There are endpoints and none can take this request.
    #[error("{0}")]
    NoneUsable(Shortage),
}

impl PickError {
    /// After how long it may be worth to ask again, where all that is wrong is too many requests in flight.
    #[must_use]
    pub const fn free_in(&self) -> Option<Duration> {
        match self {
            Self::NoneUsable(shortage) => shortage.free_in,
            Self::Saturated(refusal) => refusal.retry_hint,
            _ => None,
        }
    }

    /// When it may be worth to ask again, if that is known: the first open breaker's deadline, the end of the first
    /// ejection.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::NoneUsable(shortage) => shortage.retry_at,
            Self::NotKnown(_)
            | Self::Empty(_)
            | Self::AllTried { .. }
            | Self::Saturated(_)
            | Self::Panic(_)
            | Self::BudgetSpent(_) => None,
        }
    }
}

/// A tier in panic that does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Panic {
    /// The tier.
    pub priority: Priority,
    /// How many of its endpoints are usable, degraded or not.
    pub usable: u32,
    /// How many there are, without those that were withdrawn.
    pub total: u32,
    /// What to do.
    pub answer: PanicAnswer,
}

/// What to do with a request that is not served, since its tier is in panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PanicAnswer {
    /// Refuse it.
    Refuse,
    /// Answer [`Cluster::panic_response`](crate::Cluster::panic_response).
    StaticResponse,
    /// Answer from a cache, however old; nobody is left who could be asked.
    ServeStale,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { priority, usable, total, answer } = self;
        let answer = match answer {
            PanicAnswer::Refuse => "its requests are refused",
            PanicAnswer::StaticResponse => "its requests get a fixed answer",
            PanicAnswer::ServeStale => "only a stale answer is left",
        };
        write!(f, "tier {} is in panic with {usable} of {total} endpoints usable: {answer}", priority.get())
    }
}

/// Why none of the endpoints is usable, in numbers; each endpoint is counted under its first cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Shortage {
    /// All endpoints of the cluster.
    pub total: u32,
    /// Taken out of service or drained by the operator.
    pub withdrawn: u32,
    /// Of weight zero.
    pub zero_weight: u32,
    /// Announced by discovery as draining, down or starting.
    pub announced_out: u32,
    /// Failing their active checks.
    pub check_down: u32,
    /// Ejected as outliers.
    pub ejected: u32,
    /// With an open breaker.
    pub breaker_open: u32,
    /// Half open, with all probes under way.
    pub probing: u32,
    /// Usable, with as many requests in flight as their limits allow: busy, not broken.
    pub saturated: u32,
    /// Not in the subset of this client, which must not be left; healthy or not.
    pub outside_subset: u32,
    /// Usable, but tried by this request before.
    pub tried: u32,
    /// How fresh the set of endpoints is.
    pub freshness: Freshness,
    /// After how long a limit may let the next request in, where one is known to be busy and its latency is known.
    pub free_in: Option<Duration>,
    /// When the first open breaker lets a probe through, or the first ejection ends.
    pub retry_at: Option<Timestamp>,
}

impl Shortage {
    pub(crate) fn count(&mut self, cause: Option<Cause>) {
        let counter = match cause {
            Some(Cause::Maintenance | Cause::AdminDrain | Cause::Draining) => &mut self.withdrawn,
            Some(Cause::ZeroWeight) => &mut self.zero_weight,
            Some(
                Cause::AnnouncedDraining
                | Cause::AnnouncedDown
                | Cause::AnnouncedStarting
                | Cause::NotInDiscovery,
            ) => &mut self.announced_out,
            Some(Cause::CheckDown | Cause::CheckStarting | Cause::Suspected) => &mut self.check_down,
            Some(Cause::Ejected | Cause::FlapDamped) => &mut self.ejected,
            Some(Cause::BreakerOpen) => &mut self.breaker_open,
            _ => &mut self.probing,
        };
        *counter += 1;
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of {} endpoints is usable", self.total)?;
        let mut separator = ": ";
        for (count, what) in [
            (self.withdrawn, "drained or in maintenance"),
            (self.zero_weight, "of weight zero"),
            (self.announced_out, "announced as out"),
            (self.check_down, "failing checks"),
            (self.ejected, "ejected"),
            (self.breaker_open, "with an open breaker"),
            (self.probing, "being probed"),
            (self.saturated, "at their limit"),
            (self.outside_subset, "not in this client's subset"),
            (self.tried, "tried before"),
        ] {
            if count > 0 {
                write!(f, "{separator}{count} {what}")?;
                separator = ", ";
            }
        }
        if let Freshness::Stale { .. } = self.freshness {
            write!(f, "{}", self.freshness)?;
        }
        Ok(())
    }
}

/// An update was refused; the cluster keeps what it had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Two endpoints have the same id.
    #[error("endpoints[{second}].id: {id:?} is already the id of endpoints[{first}]; ids must be unique")]
    DuplicateId {
        /// The id.
        id: EndpointId,
        /// Where it stands first.
        first: usize,
        /// Where it stands again.
        second: usize,
    },
    /// The set is empty without proof. If there really are none, say so with `clear`.
    #[error("endpoints: the set is empty; if there really are none, call clear()")]
    EmptyWithoutProof,
    /// More endpoints than the cluster allows.
    #[error("endpoints: {count} are more than max_endpoints = {max}; raise it if that is meant")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// No endpoint has this id.
    #[error("id: no endpoint of this cluster is called {0:?}")]
    UnknownId(EndpointId),
    /// A payload could not be made: the caller's `make` panicked while following.
    #[error("payload: making it panicked; the panic was printed by its thread")]
    Panicked,
    /// The policy cannot serve the set.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// The subset cannot be chosen.
    #[error(transparent)]
    Subset(#[from] InvalidSubset),
    /// Too many different zones: are these names of hosts?
    #[error("endpoints: they stand in more than {max} zones; let locality.by name something coarser")]
    TooManyZones {
        /// How many are allowed.
        max: usize,
    },
    /// A setting would have no effect beside the others.
    #[error(transparent)]
    WouldBeIgnored(#[from] WouldBeIgnored),
}
