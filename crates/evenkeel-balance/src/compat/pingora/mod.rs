//! pingora: the selections of its `LoadBalancer`, and the ring of `pingora-ketama`.
//!
//! [`LoadBalancer`] and [`Continuum`] are those by themselves. [`Pingora`] is the policy `pingora` of a cluster, set up by
//! [`PingoraConfig`].
//!
//! **Idea.** Backends are sorted by address. `round_robin` and `fnv_hash` look into a list in which each stands as often as
//! its weight, in one block, at a counter or at the FNV-1a of the key; if that backend is refused they go on without
//! weights, at the next counts or at the FNV-1a of the index before. `consistent` is nginx's ring, on which IPv6 addresses
//! stand without brackets; it goes on to the next points. **Cost.** O(log n), or O(log p) for p points on the ring, and no
//! lock; each refused step costs one more. **When.** A fleet moves over from pingora, or shares keys with pingora servers
//! that stay. **When not.** Anywhere else: round robin sends bursts to the heaviest, refused shares are spread without
//! regard to weight, and `fnv_hash` moves nearly all keys when an endpoint is added. **Source.** The crates
//! `pingora-load-balancing` and `pingora-ketama` 0.9; proven by recorded answers.
//!
//! # Where the policy differs
//!
//! - After `max_iterations` steps without an open endpoint pingora has none. The policy takes the next open one in the order
//!   of addresses.
//! - A name stands after all IP addresses, and on the ring by its text; pingora knows neither names nor, on the ring, paths.
//! - Without a key the keyed selections draw. If a request has only the hash of its key, the hash is the key: eight bytes,
//!   little end first.
//! - The counter goes on when members change; pingora's begins again.

mod balancer;
mod continuum;
mod policy;
mod weighted;

pub use balancer::{LoadBalancer, Selection};
pub use continuum::Continuum;
pub use policy::{Pingora, PingoraConfig};

use evenkeel_types::Address;
use thiserror::Error;

use crate::compat::TooManyPoints;

/// A server and its weight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Where it listens. pingora knows socket addresses and paths; a name is ordered after the former and hashed by its
    /// text.
    pub address: Address,
    /// Its weight.
    pub weight: u32,
}

/// Why pingora would panic on such backends, or could not serve them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidBackends {
    /// A server of weight zero on a ring.
    #[error("backend {backend}: weight 0 is not allowed on a ring, at least 1 is")]
    ZeroWeight {
        /// The index of the backend.
        backend: usize,
    },
    /// Backends, all of weight zero.
    #[error("all weights are 0, at least one must be above")]
    AllZero,
    /// More backends than pingora numbers.
    #[error("{backends} backends, more than 65535")]
    TooMany {
        /// So many different ones.
        backends: usize,
    },
    /// No points for a unit of weight.
    #[error("point_multiple: 0 is not allowed, at least 1 is")]
    NoPoints,
    /// Weights beyond any memory.
    #[error(transparent)]
    TooManyPoints(#[from] TooManyPoints),
}
