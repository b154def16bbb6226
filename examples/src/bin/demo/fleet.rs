use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel::{Clock, Endpoint, EndpointId, MonotonicClock, Registry, ServiceName, Weight};
use evenkeel_registry::Lease;

use crate::backend::{Backend, Conduct};

/// The backends of the story, and their registrations.
///
/// Each backend holds a lease and renews it, as a real process would: one that crashes says nothing, and is gone when its
/// lease runs out.
#[derive(Debug)]
pub(crate) struct Fleet {
    registry: Registry,
    service: ServiceName,
    clock: MonotonicClock,
    time_to_live: Duration,
    members: Mutex<BTreeMap<EndpointId, Member>>,
}

#[derive(Debug)]
struct Member {
    conduct: Arc<Conduct>,
    weight: Weight,
    /// `None` while it is crashed.
    running: Option<(Backend, Lease)>,
}

impl Fleet {
    pub(crate) fn new(
        registry: Registry,
        service: ServiceName,
        clock: MonotonicClock,
        time_to_live: Duration,
    ) -> Self {
        Self { registry, service, clock, time_to_live, members: Mutex::default() }
    }

    /// Starts a backend that has not been there before.
    pub(crate) async fn add(
        &self,
        id: &EndpointId,
        pace: Duration,
        weight: Weight,
    ) -> Result<(), FleetError> {
        let conduct = Arc::new(Conduct::new(id.as_str(), pace));
        self.start(id, conduct, weight).await
    }

    /// A crash: no goodbye, no more renewals.
    pub(crate) fn kill(&self, id: &EndpointId) {
        if let Some(member) = self.lock().get_mut(id) {
            member.running = None;
        }
    }

    /// The same backend as a new process: on another port, and to the cluster a new incarnation.
    pub(crate) async fn restart(&self, id: &EndpointId) -> Result<(), FleetError> {
        let known = self.lock().get(id).map(|member| (Arc::clone(&member.conduct), member.weight));
        let Some((conduct, weight)) = known else { return Ok(()) };
        self.start(id, conduct, weight).await
    }

    /// Announces another weight.
    pub(crate) fn set_weight(&self, id: &EndpointId, weight: Weight) -> Result<(), FleetError> {
        let mut members = self.lock();
        let Some(member) = members.get_mut(id) else { return Ok(()) };
        member.weight = weight;
        if let Some((backend, lease)) = &member.running {
            let endpoint = describe(id, backend, weight);
            self.registry.update(self.clock.now(), lease, endpoint)?;
        }
        Ok(())
    }

    pub(crate) fn conduct(&self, id: &EndpointId) -> Option<Arc<Conduct>> {
        self.lock().get(id).map(|member| Arc::clone(&member.conduct))
    }

    /// Renews the leases of all that run, and lets those of the crashed run out; to be called several times within a
    /// time to live. A lease that is lost all the same is taken anew.
    pub(crate) fn beat(&self) {
        for (id, member) in self.lock().iter_mut() {
            let Some((backend, lease)) = &mut member.running else { continue };
            if self.registry.renew(self.clock.now(), lease).is_ok() {
                continue;
            }
            let endpoint = describe(id, backend, member.weight);
            let ttl = Some(self.time_to_live);
            if let Ok((fresh, _)) = self.registry.register(self.clock.now(), &self.service, endpoint, ttl) {
                *lease = fresh;
            }
        }
        self.registry.tick(self.clock.now());
    }

    /// Beats until it is dropped.
    pub(crate) async fn keep_alive(&self) {
        loop {
            self.beat();
            tokio::time::sleep(self.time_to_live / 8).await;
        }
    }

    async fn start(&self, id: &EndpointId, conduct: Arc<Conduct>, weight: Weight) -> Result<(), FleetError> {
        let backend = Backend::start(&conduct).await?;
        let endpoint = describe(id, &backend, weight);
        let ttl = Some(self.time_to_live);
        let (lease, _) = self.registry.register(self.clock.now(), &self.service, endpoint, ttl)?;
        let running = Some((backend, lease));
        self.lock().insert(id.clone(), Member { conduct, weight, running });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<EndpointId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(id: &EndpointId, backend: &Backend, weight: Weight) -> Endpoint {
    Endpoint::new(id.clone(), backend.address().into()).with_weight(weight)
}

/// A backend could not be started or announced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    #[error("no port for a backend: {0}")]
    Io(#[from] io::Error),
    #[error("registration refused: {0}")]
    Register(#[from] evenkeel_registry::RegisterError),
    #[error("update refused: {0}")]
    Update(#[from] evenkeel_registry::UpdateError),
}
