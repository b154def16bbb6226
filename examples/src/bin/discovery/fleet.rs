use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel::{Announced, Clock, Endpoint, MonotonicClock, Registry, ServiceName, Timestamp};
use evenkeel_registry::Lease;

use crate::instance::Instance;

/// Instances that announce themselves in the registry, each under a lease that it renews.
#[derive(Debug)]
pub(crate) struct Fleet {
    registry: Registry,
    service: ServiceName,
    clock: MonotonicClock,
    members: Mutex<BTreeMap<&'static str, (Instance, Lease)>>,
}

impl Fleet {
    pub(crate) fn new(registry: Registry, service: ServiceName, clock: MonotonicClock) -> Self {
        Self { registry, service, clock, members: Mutex::default() }
    }

    /// Listens first, then announces; returns when it was announced.
    pub(crate) async fn join(&self, name: &'static str) -> Result<Timestamp, Box<dyn Error>> {
        let instance = Instance::start(name).await?;
        let endpoint = describe(name, &instance)?;
        let at = self.clock.now();
        let (lease, _) = self.registry.register(at, &self.service, endpoint, Some(TIME_TO_LIVE))?;
        self.lock().insert(name, (instance, lease));
        Ok(at)
    }

    /// Announces the drain, waits until readers know and nothing is in progress, leaves the registry, and only then
    /// stops listening. Returns when the drain was announced.
    pub(crate) async fn leave(&self, name: &'static str) -> Result<Timestamp, Box<dyn Error>> {
        let at = self.clock.now();
        {
            let members = self.lock();
            let (instance, lease) = members.get(name).ok_or("nobody of that name")?;
            let draining = describe(name, instance)?.with_announced(Announced::Draining);
            self.registry.update(at, lease, draining)?;
        }
        tokio::time::sleep(PROPAGATION).await;
        // It renews no more from here on; the deregistration follows at once.
        let (instance, lease) = self.lock().remove(name).ok_or("nobody of that name")?;
        instance.until_idle().await;
        self.registry.deregister(self.clock.now(), &lease)?;
        instance.crash().await;
        Ok(at)
    }

    /// No goodbye, no more renewals. Returns when it happened.
    pub(crate) async fn crash(&self, name: &'static str) -> Timestamp {
        let member = self.lock().remove(name);
        let at = self.clock.now();
        if let Some((instance, _)) = member {
            instance.crash().await;
        }
        at
    }

    /// Renews the leases of all that run, and lets those of the crashed run out, until it is dropped.
    pub(crate) async fn keep_alive(self: Arc<Self>) {
        loop {
            for (_, lease) in self.lock().values() {
                // A lease that is lost is one of the story's failures: the table shows it.
                let _ = self.registry.renew(self.clock.now(), lease);
            }
            self.registry.tick(self.clock.now());
            tokio::time::sleep(TIME_TO_LIVE / 10).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, (Instance, Lease)>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(name: &'static str, instance: &Instance) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(name.parse()?, instance.address().into()))
}

/// How long a crashed instance stays in the registry.
pub(crate) const TIME_TO_LIVE: Duration = Duration::from_secs(1);

/// How long readers are given to hear of a drain.
pub(crate) const PROPAGATION: Duration = Duration::from_millis(300);
