use std::time::Duration;

use evenkeel_types::{Endpoint, EndpointId, Timestamp};
use thiserror::Error;

use crate::{Cause, Revision};

/// What a discovery adapter says about one service, in order, by value.
///
/// The words differ on purpose: an error is not an absence, an absence is not an empty answer, and "unchanged" is not
/// silence. gRPC draws the same lines with `ResourceChanged` and `AmbientError` (gRFC A88,
/// <https://github.com/grpc/proposal/blob/master/A88-xds-data-error-handling.md>).
///
/// | the store says | event |
/// |---|---|
/// | the whole set (list, poll, state of the world) | [`Full`](Self::Full), or [`Begin`](Self::Begin), [`Stage`](Self::Stage) …, [`Commit`](Self::Commit) if it comes in pages |
/// | what changed since a position | [`Delta`](Self::Delta) |
/// | nothing changed (bookmark, progress notification, unchanged poll, keepalive answer) | [`Fresh`](Self::Fresh) |
/// | there is certainly nobody | [`Absent`](Self::Absent) |
/// | it cannot be reached, refuses, or talks nonsense | [`Trouble`](Self::Trouble) |
/// | one entry is bad | [`Reject`](Self::Reject), and the rest in `Full` or `Delta` |
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Event {
    /// The whole set. The same set again costs one comparison and counts as [`Fresh`](Self::Fresh), so pollers need
    /// no hash of their own.
    Full {
        /// The position of this answer; `None` if the source has none (DNS, files), so no delta can follow.
        revision: Option<Revision>,
        /// In any order. Entries out of bounds and duplicates are rejected one by one.
        endpoints: Vec<Endpoint>,
        /// Whether this is all.
        coverage: Coverage,
    },
    /// What changed between two positions. It is taken only if `from` is the position held, and `to` of the same
    /// incarnation; else the answer is [`FeedError::NeedFull`] and nothing is taken.
    Delta {
        /// Where it starts.
        from: Revision,
        /// Where it leads.
        to: Revision,
        /// New endpoints and changed ones, each with its whole description.
        upserts: Vec<Endpoint>,
        /// Endpoints that are gone.
        removals: Vec<Removal>,
    },
    /// Nothing has changed and the source is there.
    Fresh {
        /// The position to hold from now on, of the same incarnation; `None` to stay.
        revision: Option<Revision>,
        /// How old the answer already was when it came (Consul's `X-Consul-LastContact`); zero if the source does not
        /// say.
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        #[cfg_attr(feature = "serde", serde(default, with = "evenkeel_types::human_duration"))]
        behind: Duration,
    },
    /// There is nobody, for certain.
    Absent {
        /// How that is known.
        proof: Proof,
    },
    /// Transport or server error: the set stays, its age grows.
    Trouble {
        /// Of what kind.
        kind: TroubleKind,
        /// For people; cut to 256 bytes.
        text: String,
        /// When the adapter will try again, if it knows.
        retry_at: Option<Timestamp>,
    },
    /// One bad entry, left out by the adapter; the rest is used. Counted, and the last few are kept.
    Reject {
        /// The name of the entry, as far as it has one; cut to 256 bytes.
        id: Option<String>,
        /// What is wrong with it; cut to 256 bytes.
        reason: String,
    },
    /// A list in pages starts. Readers see nothing of it until [`Commit`](Self::Commit). One that is under way is
    /// dropped.
    Begin,
    /// One page.
    Stage {
        /// In any order.
        endpoints: Vec<Endpoint>,
    },
    /// The list is whole: as [`Full`](Self::Full) with all that was staged since [`Begin`](Self::Begin).
    Commit {
        /// The position of the list.
        revision: Option<Revision>,
        /// Whether this is all.
        coverage: Coverage,
    },
}

impl Event {
    /// The whole set at a position.
    #[must_use]
    pub const fn full(revision: Revision, endpoints: Vec<Endpoint>) -> Self {
        Self::Full { revision: Some(revision), endpoints, coverage: Coverage::Complete }
    }

    /// The whole set of a source without positions.
    #[must_use]
    pub const fn set(endpoints: Vec<Endpoint>) -> Self {
        Self::Full { revision: None, endpoints, coverage: Coverage::Complete }
    }

    /// Nothing changed, at the position held.
    #[must_use]
    pub const fn fresh() -> Self {
        Self::Fresh { revision: None, behind: Duration::ZERO }
    }

    /// Nothing changed up to a new position.
    #[must_use]
    pub const fn fresh_at(revision: Revision) -> Self {
        Self::Fresh { revision: Some(revision), behind: Duration::ZERO }
    }

    /// Trouble without a plan.
    #[must_use]
    pub fn trouble(kind: TroubleKind, text: impl Into<String>) -> Self {
        Self::Trouble { kind, text: text.into(), retry_at: None }
    }

    /// One bad entry.
    #[must_use]
    pub fn reject(id: Option<&str>, reason: impl Into<String>) -> Self {
        Self::Reject { id: id.map(str::to_owned), reason: reason.into() }
    }
}

/// Whether an answer is the whole set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Coverage {
    /// It is: who is not in it has left.
    Complete,
    /// It may be a rotating part, as of DNS with many records: it adds to what is known, and an endpoint leaves when no
    /// answer of the last two `ttl` had it.
    Partial {
        /// The time to live of the answer, or the interval at which the adapter asks, whichever is longer.
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
        ttl: Duration,
    },
}

/// One endpoint that is gone, according to a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Removal {
    /// Which.
    pub id: EndpointId,
    /// Why, as far as the source can show. [`Cause::Deregistered`], [`Cause::Replaced`] and [`Cause::Absent`] are
    /// proof and pass all guards. A deletion that might be an expired lease (etcd, ZooKeeper) is
    /// [`Cause::Unknown`].
    pub cause: Cause,
}

/// How it is known that there is nobody.
///
/// Not proof, and therefore not listed: a missing node on a path that is created late, a 404 from a proxy in between,
/// an empty answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Proof {
    /// DNS: the name or the type does not exist (NXDOMAIN or NODATA with an SOA). Believed when a second such answer
    /// comes after the negative time to live, because zones are rewritten in steps (apple/servicetalk#2776).
    NameError {
        /// How long the answer may be cached (RFC 2308).
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
        negative_ttl: Duration,
    },
    /// DNS: one SRV record with the target `.` (RFC 2782).
    NoTarget,
    /// The store knows that the service does not exist (xDS: does not exist; Consul: no such service on a consistent
    /// read).
    NotFound,
    /// The store told of the deletion of the service (xDS: removed resource; Kubernetes: the Service was deleted).
    Deleted,
    /// The source declares emptiness in its own words (Dubbo's `empty://`, `endpoints: []` in a file that says so).
    Declared,
    /// An operator said so.
    Operator,
}

impl Proof {
    /// How much later the same must be said again to be believed.
    #[must_use]
    pub const fn confirm_after(self) -> Option<Duration> {
        match self {
            Self::NameError { negative_ttl } => Some(negative_ttl),
            _ => None,
        }
    }
}

/// What went wrong between adapter and store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum TroubleKind {
    /// No connection: refused, no route, the store's name does not resolve.
    Unreachable,
    /// No answer in time, keepalives included.
    Timeout,
    /// The stream or connection ended.
    Closed,
    /// The store refuses us: credentials, permissions, certificates.
    Denied,
    /// The store itself fails: 5xx, SERVFAIL, no leader.
    Server,
    /// The store asks for fewer requests.
    Overloaded,
    /// The whole answer cannot be read. (A single bad entry is [`Event::Reject`].)
    Malformed,
    /// The answer is larger than the adapter's bound.
    TooLarge,
    /// The position is lost (compacted, 410, index fell) and a full set has not come yet.
    Gap,
    /// Nothing was heard for longer than [`MirrorConfig::silent_after`](crate::MirrorConfig::silent_after); said by the
    /// mirror itself.
    Silent,
    /// The adapter is gone: its last [`Feed`](crate::Feed) was dropped; said by the registry itself.
    AdapterGone,
}

/// An event was not taken. What readers see is as before.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FeedError {
    /// A full set is needed: list again and send [`Event::Full`], or stage a list. Until then every delta is refused.
    #[error("full set needed: {0}")]
    NeedFull(Gap),
    /// [`Event::Stage`] or [`Event::Commit`] without [`Event::Begin`].
    #[error("no list is under way: send Begin first")]
    NotStaging,
    /// More events than [`MirrorConfig::max_events_per_second`](crate::MirrorConfig::max_events_per_second). Send the
    /// same event again at `retry_at`, or a newer full set.
    #[error("more events than the source may send: wait")]
    TooFast {
        /// When there is room for it.
        retry_at: Timestamp,
    },
    /// The source was detached from the registry: stop.
    #[error("source is detached from the registry: stop the adapter")]
    Detached,
}

/// Why an event cannot be applied to what the mirror holds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Gap {
    /// Nothing is held yet, or the position was given up after an earlier gap.
    #[error("no position is held")]
    NoPosition,
    /// The delta starts elsewhere.
    #[error("delta starts at {from}, and {held} is held")]
    Elsewhere {
        /// Where the delta starts.
        from: Revision,
        /// What is held.
        held: Revision,
    },
    /// The source started a new life.
    #[error("incarnation changed from {held} to {to}")]
    NewIncarnation {
        /// Where the event leads.
        to: Revision,
        /// What is held.
        held: Revision,
    },
}
