//! pingora: the selections of its `LoadBalancer`, and the ring of `pingora-ketama`.

mod balancer;
mod continuum;
mod weighted;

pub use balancer::{LoadBalancer, Selection};
pub use continuum::Continuum;

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
