use std::fmt;
use std::time::Duration;

use evenkeel_types::{EndpointId, RandomSource};
use thiserror::Error;

use crate::ServiceName;

/// The right to speak for one registration: renew it, change it, end it.
///
/// A lease holds until its deadline, which is the last renewal plus the time to live, once. (Eureka adds the duration a
/// second time by mistake, so that its 90 s are 180 s: Netflix/eureka#531.) The registrant renews at a third of the
/// time to live, as etcd's client does, so that two renewals may get lost
/// (<https://etcd.io/docs/v3.5/learning/api/#lease-api>).
///
/// A later registration of the same id takes the id over. Each registration has an *epoch*, unique in its registry and
/// rising, so that the belated goodbye of an old process cannot remove the new one. (Leases that outlive their registry
/// need [`CatalogConfig::epoch_floor`](crate::CatalogConfig::epoch_floor).)
///
/// | the lease is | `renew` | `update` | `deregister` | deadline, then `tick` | same id registered |
/// |---|---|---|---|---|---|
/// | kept | kept, new deadline | kept | gone | gone, or overdue | replaced |
/// | overdue | [`Expired`](LeaseLost::Expired) | [`Expired`](LeaseLost::Expired) | gone | gone, or overdue | replaced |
/// | replaced | [`Replaced`](LeaseLost::Replaced) | [`Replaced`](LeaseLost::Replaced) | [`Replaced`](LeaseLost::Replaced) | – | replaced |
/// | gone | [`Gone`](LeaseLost::Gone) | [`Gone`](LeaseLost::Gone) | [`Gone`](LeaseLost::Gone) | – | replaced |
///
/// *Overdue* means that the deadline has passed and the endpoint is still listed: until the next
/// [`tick`](crate::Catalog::tick), or longer if the [`EvictionLimit`](crate::EvictionLimit) holds it. Expired is
/// expired: a late renewal revives nothing, and the answer to every [`LeaseLost`] is to register again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[must_use = "without its lease a registration can be neither renewed nor ended"]
pub struct Lease {
    service: ServiceName,
    id: EndpointId,
    epoch: u64,
}

impl Lease {
    pub(crate) fn new(service: ServiceName, id: EndpointId, epoch: u64) -> Self {
        Self { service, id, epoch }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The endpoint.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        &self.id
    }

    /// Which registration this is: of two for the same id, the higher one counts.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.service, self.id, self.epoch)
    }
}

/// The lease no longer holds, and never will again: register again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum LeaseLost {
    /// Its deadline has passed: renew more often, at a third of the time to live, and register again.
    #[error("lease expired before this renewal: register again")]
    Expired,
    /// Another registration has taken the id over. If both processes live, their ids are not unique.
    #[error(
        "another registration has taken over this id: if both processes live give them distinct ids, then register again"
    )]
    Replaced,
    /// The registration was removed: it expired some time ago, was deregistered, or belongs to another registry.
    #[error("registration is no longer known: register again")]
    Gone,
}

/// How long after a renewal to renew again: a third of the time to live, as etcd's client does, more or less by up to a
/// tenth of that, so that a fleet that started together does not renew together.
#[must_use]
pub fn renew_after(ttl: Duration, draws: &mut impl RandomSource) -> Duration {
    let third = ttl / 3;
    let spread = u64::try_from((third / 5).as_nanos()).unwrap_or(u64::MAX);
    let drawn = (u128::from(draws.next_u64()) * (u128::from(spread) + 1)) >> 64;
    let drawn = Duration::from_nanos(u64::try_from(drawn).unwrap_or(u64::MAX));
    third.saturating_sub(third / 10).saturating_add(drawn)
}
