use std::fmt;
use std::time::Duration;

use evenkeel_types::{Endpoint, Timestamp};
use smol_str::SmolStr;

use crate::TroubleKind;

/// What to do at the store next, and the number under which to answer.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "an order that is not carried out times out"]
pub struct Order {
    /// Give it back with the answer: an answer to an earlier order does not count.
    pub ticket: Ticket,
    /// What to do.
    pub action: Action,
    /// When it counts as failed without an answer.
    pub deadline: Timestamp,
}

/// The number of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub(super) u64);

/// What to do at the store.
///
/// | | etcd | Consul | ZooKeeper |
/// |---|---|---|---|
/// | `Grant` | lease grant | nothing: answer at once | open a session |
/// | `Write` | put with the lease | register the service with a TTL check | create the ephemeral node, or set its data |
/// | `Renew` | lease keepalive | pass the check | nothing: answer by the state of the session |
/// | `DeleteForeign` | – | – | delete the node of the older session |
/// | `Remove` | delete the key, revoke the lease | deregister | delete the node |
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Get a lease or a session.
    Grant {
        /// The time to live to ask for.
        ttl: Duration,
    },
    /// Write the entry under the lease, whether or not it is there.
    Write {
        /// The lease.
        lease: LeaseToken,
        /// What to write.
        endpoint: Box<Endpoint>,
    },
    /// Renew the lease.
    Renew {
        /// The lease.
        lease: LeaseToken,
        /// The last renewal failed: use a new stream or connection, since the old one may hang for ever.
        new_stream: bool,
    },
    /// Delete the entry that an older session of this process left.
    DeleteForeign {
        /// The lease of the present session.
        lease: LeaseToken,
    },
    /// Remove the entry and give the lease back; it is no error if either is gone.
    Remove {
        /// The lease, if one is held.
        lease: Option<LeaseToken>,
    },
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Action::Grant`].
    Granted {
        /// The lease.
        lease: LeaseToken,
        /// The time to live that the store granted.
        ttl: Duration,
    },
    /// To [`Action::Write`].
    Written,
    /// To [`Action::Renew`].
    Renewed {
        /// The time to live from now on; zero says that the lease is gone (etcd's answer).
        ttl: Duration,
    },
    /// To [`Action::Remove`] and [`Action::DeleteForeign`]; also if there was nothing to remove.
    Removed,
    /// It did not work.
    Failed {
        /// Why.
        kind: TroubleKind,
    },
    /// The store says that the lease or session does not exist or has expired.
    LeaseLost,
    /// To [`Action::Write`]: there is an entry of this id that the lease does not own.
    Exists {
        /// Whose it is.
        owner: Owner,
    },
}

/// Whose entry it is that stands where ours should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// This lease's: an earlier write arrived after all.
    Mine,
    /// An older lease or session of this registrant: it will vanish at some moment, so it has to go first.
    OlderSession,
    /// Somebody else's: two processes with one id. It is left alone.
    Other,
}

/// A lease or session as the store calls it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LeaseToken(SmolStr);

impl LeaseToken {
    /// The store's own name for it.
    #[must_use]
    pub fn new(token: impl fmt::Display) -> Self {
        Self(smol_str::format_smolstr!("{token}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
