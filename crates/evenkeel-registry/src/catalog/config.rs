use std::time::Duration;

use thiserror::Error;

use super::{Catalog, RegisterError};
use crate::{EvictionLimit, InvalidEvictionLimit};

/// The bounds of a [`Catalog`]: whatever comes from outside ends somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CatalogConfig {
    /// The most services, those with no endpoint left included. The default is 10 000, an order of magnitude above
    /// large real fleets; a registrant that makes up names is stopped there.
    pub max_services: usize,
    /// The most endpoints of one service. The default is 10 000, for the same reason.
    pub max_endpoints: usize,
    /// The shortest time to live. The default is 1 s: below that, scheduling and one lost packet look like a crash.
    /// (etcd grants no less than 2 s by default.)
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub min_ttl: Duration,
    /// The longest time to live. The default is 24 h: who wants to stay longer says so with `None`.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_ttl: Duration,
    /// How many may expire at once.
    pub eviction: EvictionLimit,
    /// Epochs and incarnations start above this; at most [`Catalog::MAX_INCARNATION`]. The default is 0, right for a
    /// catalog whose leases do not outlive it. If they do, in the hands of other processes, give the time of the start
    /// in nanoseconds since 1970, so that a lease of an earlier life is never taken for one of this.
    pub epoch_floor: u64,
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self {
            max_services: 10_000,
            max_endpoints: 10_000,
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(24 * 60 * 60),
            eviction: EvictionLimit::default(),
            epoch_floor: 0,
        }
    }
}

impl CatalogConfig {
    pub(super) fn validate(&self) -> Result<(), InvalidCatalogConfig> {
        if self.max_services == 0 {
            return Err(InvalidCatalogConfig::NoServices);
        }
        if self.max_endpoints == 0 {
            return Err(InvalidCatalogConfig::NoEndpoints);
        }
        if self.min_ttl.is_zero() || self.min_ttl > self.max_ttl {
            return Err(InvalidCatalogConfig::Ttl { min: self.min_ttl, max: self.max_ttl });
        }
        if self.eviction.window.is_zero() {
            return Err(InvalidCatalogConfig::Eviction(InvalidEvictionLimit));
        }
        if self.epoch_floor > Catalog::MAX_INCARNATION {
            return Err(InvalidCatalogConfig::Epoch { given: self.epoch_floor });
        }
        Ok(())
    }

    pub(super) fn check_ttl(&self, ttl: Option<Duration>) -> Result<(), RegisterError> {
        match ttl {
            Some(given) if given < self.min_ttl => {
                Err(RegisterError::TtlTooShort { given, min: self.min_ttl })
            }
            Some(given) if given > self.max_ttl => {
                Err(RegisterError::TtlTooLong { given, max: self.max_ttl })
            }
            _ => Ok(()),
        }
    }
}

/// A bound lets nothing in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidCatalogConfig {
    /// `max_services` is zero.
    #[error("max_services is zero: nothing could register")]
    NoServices,
    /// `max_endpoints` is zero.
    #[error("max_endpoints is zero: nothing could register")]
    NoEndpoints,
    /// `min_ttl` is zero, or above `max_ttl`.
    #[error("min_ttl of {min:?} must be above zero and at most max_ttl, which is {max:?}")]
    Ttl {
        /// The shortest time to live.
        min: Duration,
        /// The longest time to live.
        max: Duration,
    },
    /// The eviction limit is not valid.
    #[error(transparent)]
    Eviction(InvalidEvictionLimit),
    /// `epoch_floor` is above [`Catalog::MAX_INCARNATION`], so that too few are left.
    #[error("epoch_floor of {given} is above 2^63 - 1: give the start time in nanoseconds since 1970")]
    Epoch {
        /// What was given.
        given: u64,
    },
}
