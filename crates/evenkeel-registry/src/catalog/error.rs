use std::time::Duration;

use thiserror::Error;

use crate::{InvalidMirrorConfig, LeaseLost};

/// The endpoint was not registered; everything is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The time to live is below the floor: a hiccup would look like a crash.
    #[error("time to live of {given:?} is too short: at least {min:?} is needed")]
    TtlTooShort {
        /// What was asked for.
        given: Duration,
        /// [`CatalogConfig::min_ttl`](crate::CatalogConfig::min_ttl).
        min: Duration,
    },
    /// The time to live is above the ceiling: register without one, or renew now and then.
    #[error("time to live of {given:?} is too long: at most {max:?}, or none at all")]
    TtlTooLong {
        /// What was asked for.
        given: Duration,
        /// [`CatalogConfig::max_ttl`](crate::CatalogConfig::max_ttl).
        max: Duration,
    },
    /// There is no room for another service: forget those with no endpoint, or raise the bound.
    #[error("registry is full with {max_services} services: forget absent ones or raise max_services")]
    TooManyServices {
        /// [`CatalogConfig::max_services`](crate::CatalogConfig::max_services).
        max_services: usize,
    },
    /// There is no room for another endpoint of the service.
    #[error(
        "service is full with {max_endpoints} endpoints: look for registrants that change their id, or raise max_endpoints"
    )]
    TooManyEndpoints {
        /// [`CatalogConfig::max_endpoints`](crate::CatalogConfig::max_endpoints).
        max_endpoints: usize,
    },
    /// A later process is registered under the id; an older one must not push it out.
    #[error("incarnation {given} is older than {present}, which is registered")]
    OlderIncarnation {
        /// What the caller set.
        given: u64,
        /// That of the registered endpoint.
        present: u64,
    },
    /// The incarnation is above [`Catalog::MAX_INCARNATION`](crate::Catalog::MAX_INCARNATION): count starts, or use the start time.
    #[error("incarnation {given} is above 2^63 - 1")]
    IncarnationTooHigh {
        /// What the caller set.
        given: u64,
    },
}

/// The endpoint was not updated; everything is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The lease no longer holds: register again.
    #[error(transparent)]
    Lost(#[from] LeaseLost),
    /// The endpoint has another id than the lease: that is a registration.
    #[error("endpoint has another id than the lease: register it instead")]
    OtherId,
    /// The endpoint has another incarnation: another process registers for itself.
    #[error("incarnation {given} is not that of the registered endpoint, {present}: register it instead")]
    OtherIncarnation {
        /// What the caller set.
        given: u64,
        /// That of the registered endpoint.
        present: u64,
    },
}

/// The service was not forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// It has endpoints: deregister them first.
    #[error("service has {endpoints} endpoints: deregister them first")]
    InUse {
        /// How many.
        endpoints: usize,
    },
    /// Discovery feeds it: detach its sources first.
    #[error("service has {sources} sources: detach them first")]
    Fed {
        /// How many.
        sources: usize,
    },
    /// Somebody watches it, and would see its generations fall.
    #[error("service is watched: drop its watches first")]
    Watched,
    /// There is no such service.
    #[error("service is not known")]
    Unknown,
}

/// The source was not attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The settings cannot stand.
    #[error(transparent)]
    Config(#[from] InvalidMirrorConfig),
    /// The name is that of the registry's own leases.
    #[error("source name `local` stands for the leases of the registry: choose another")]
    Reserved,
    /// A feed of this name is open for the service: stop the other adapter, or choose another name.
    #[error("source is fed already: stop the other adapter, or choose another name")]
    InUse,
    /// There is no room for another source of the service.
    #[error("service has {max} sources already")]
    TooManySources {
        /// How many it may have.
        max: usize,
    },
    /// There is no room for another service.
    #[error("registry is full with {max_services} services: forget absent ones or raise max_services")]
    TooManyServices {
        /// [`CatalogConfig::max_services`](crate::CatalogConfig::max_services).
        max_services: usize,
    },
}

/// There is no such source of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("service has no such source")]
pub struct UnknownSource;
