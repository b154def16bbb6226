use std::sync::Arc;

use evenkeel_types::{Endpoint, EndpointId, Timestamp};

use super::{Catalog, CatalogConfig};
use crate::service::Service;
use crate::{Held, Lease, Selector, ServiceName, ServiceNames, Snapshot, SourceStatus};

impl Catalog {
    /// When to call [`tick`](Self::tick) next, if there is anything to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let source = self.wakes.first().map(|(at, ..)| *at);
        self.deadlines.first().into_iter().chain(source).min()
    }

    /// The endpoints of a service as they are now; O(1) if nothing changed since the last look, else O(n).
    ///
    /// Asking for an unknown service stores nothing.
    #[must_use]
    pub fn snapshot(&self, service: &ServiceName) -> Arc<Snapshot> {
        match self.services.get(service) {
            Some(entry) => entry.snapshot(),
            None => Arc::new(Snapshot::pending(service.clone())),
        }
    }

    /// The generation of a service, without building its list.
    #[must_use]
    pub fn generation(&self, service: &ServiceName) -> u64 {
        self.services.get(service).map_or(0, Service::generation)
    }

    /// The names of all known services.
    #[must_use]
    pub fn services(&self) -> Arc<ServiceNames> {
        let build =
            || Arc::new(ServiceNames::new(self.names_generation, self.services.keys().cloned().collect()));
        self.names.get_or_init(build).clone()
    }

    /// All endpoints that fit, of whatever service, by service and id; O(all endpoints).
    #[must_use]
    pub fn find(&self, selector: &Selector) -> Vec<(ServiceName, Arc<Endpoint>)> {
        let all = self.services.iter().flat_map(|(name, s)| s.endpoints().map(move |e| (name, e)));
        let fits = all.filter(|(_, endpoint)| selector.matches(endpoint));
        fits.map(|(name, endpoint)| (name.clone(), endpoint.clone())).collect()
    }

    /// The lease that now holds an id, for an operator who ends or drains what is not theirs.
    #[must_use]
    pub fn lease(&self, service: &ServiceName, id: &EndpointId) -> Option<Lease> {
        let record = self.services.get(service)?.records.get(id)?;
        Some(Lease::new(service.clone(), id.clone(), record.epoch))
    }

    /// The deadline of a lease, if it is still listed; [`Timestamp::MAX`] means never.
    #[must_use]
    pub fn deadline(&self, lease: &Lease) -> Option<Timestamp> {
        let record = self.services.get(lease.service())?.records.get(lease.id())?;
        (record.epoch == lease.epoch()).then(|| record.term.map_or(Timestamp::MAX, |term| term.deadline))
    }

    /// The endpoints of a service that have expired and are kept by the [`EvictionLimit`](crate::EvictionLimit).
    #[must_use]
    pub fn held(&self, service: &ServiceName) -> Option<Held> {
        self.services.get(service)?.held()
    }

    /// The bounds that were given.
    #[must_use]
    pub fn config(&self) -> &CatalogConfig {
        &self.config
    }

    /// What each source of a service knows and how fresh that is, as of the latest time given; in order of preference,
    /// the leases of the catalog itself first. Empty for an unknown service.
    #[must_use]
    pub fn sources(&self, service: &ServiceName) -> Vec<SourceStatus> {
        self.services.get(service).map(|entry| entry.statuses(self.now)).unwrap_or_default()
    }
}
