use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_types::{Endpoint, EndpointId, Timestamp};
use parking_lot::{Mutex, MutexGuard};

use crate::watch::{Waker, Watches};
use crate::{
    Catalog, CatalogConfig, Change, ForgetError, Held, InvalidCatalogConfig, Lease, LeaseLost, RegisterError,
    Selector, ServiceName, ServiceNames, ServicesWatch, Snapshot, UpdateError, Watch,
};

/// A [`Catalog`] behind a lock, shared by cloning, with watches.
///
/// Every operation is the catalog's own; see there for what it means and costs. No user code runs under the lock:
/// changes are returned, and the wakers of watches are called by the thread that made the change, after it released
/// the lock and before the operation returns. A waker may therefore call the registry.
///
/// ```
/// use evenkeel_registry::{Registry, ServiceName};
/// use evenkeel_types::{Endpoint, Timestamp};
///
/// let registry = Registry::default();
/// let users: ServiceName = "users".parse()?;
/// let watch = registry.watch(&users);
///
/// let endpoint = Endpoint::new("users-1".parse()?, "10.0.0.1:8080".parse()?);
/// let (lease, _) = registry.register(Timestamp::ORIGIN, &users, endpoint, None)?;
///
/// let (snapshot, changes) = watch.take().expect("somebody registered");
/// assert_eq!((snapshot.endpoints().len(), changes.len()), (1, 1));
/// assert!(watch.take().is_none(), "nothing has happened since");
/// registry.deregister(Timestamp::from_secs(1), &lease)?;
/// assert!(watch.has_changed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    waker_panics: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) catalog: Catalog,
    pub(crate) watches: Watches,
}

impl Registry {
    /// An empty registry.
    ///
    /// # Errors
    ///
    /// As [`Catalog::new`].
    pub fn new(config: CatalogConfig) -> Result<Self, InvalidCatalogConfig> {
        Ok(Catalog::new(config)?.into())
    }

    /// As [`Catalog::register`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn register(
        &self,
        now: Timestamp,
        service: &ServiceName,
        endpoint: Endpoint,
        ttl: Option<Duration>,
    ) -> Result<(Lease, Vec<Change>), RegisterError> {
        self.shared.change(|state| {
            let (lease, changes) = state.catalog.register(now, service, endpoint, ttl)?;
            let wakers = state.watches.publish(&state.catalog, &changes);
            Ok(((lease, changes), wakers))
        })
    }

    /// As [`Catalog::renew`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn renew(&self, now: Timestamp, lease: &Lease) -> Result<Timestamp, LeaseLost> {
        self.shared.lock().catalog.renew(now, lease)
    }

    /// As [`Catalog::update`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn update(
        &self,
        now: Timestamp,
        lease: &Lease,
        endpoint: Endpoint,
    ) -> Result<Vec<Change>, UpdateError> {
        self.shared.change(|state| {
            let changes = state.catalog.update(now, lease, endpoint)?;
            let wakers = state.watches.publish(&state.catalog, &changes);
            Ok((changes, wakers))
        })
    }

    /// As [`Catalog::deregister`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn deregister(&self, now: Timestamp, lease: &Lease) -> Result<Vec<Change>, LeaseLost> {
        self.shared.change(|state| {
            let changes = state.catalog.deregister(now, lease)?;
            let wakers = state.watches.publish(&state.catalog, &changes);
            Ok((changes, wakers))
        })
    }

    /// As [`Catalog::tick`].
    pub fn tick(&self, now: Timestamp) -> Vec<Change> {
        let ticked: Result<_, std::convert::Infallible> = self.shared.change(|state| {
            let changes = state.catalog.tick(now);
            let wakers = state.watches.publish(&state.catalog, &changes);
            Ok((changes, wakers))
        });
        let Ok(changes) = ticked;
        changes
    }

    /// As [`Catalog::next_deadline`].
    ///
    /// A registration can bring it forward, so a driver that sleeps until then asks again when it has registered
    /// something, or wakes at least every half of the shortest time to live.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.shared.lock().catalog.next_deadline()
    }

    /// As [`Catalog::forget`].
    ///
    /// # Errors
    ///
    /// As there, and [`ForgetError::Watched`] if there is a watch on the service.
    pub fn forget(&self, service: &ServiceName) -> Result<(), ForgetError> {
        self.shared.change(|state| {
            if state.watches.has(service) {
                return Err(ForgetError::Watched);
            }
            state.catalog.forget(service)?;
            Ok(((), state.watches.publish(&state.catalog, &[])))
        })
    }

    /// As [`Catalog::snapshot`].
    #[must_use]
    pub fn snapshot(&self, service: &ServiceName) -> Arc<Snapshot> {
        self.shared.lock().catalog.snapshot(service)
    }

    /// As [`Catalog::generation`].
    #[must_use]
    pub fn generation(&self, service: &ServiceName) -> u64 {
        self.shared.lock().catalog.generation(service)
    }

    /// As [`Catalog::services`].
    #[must_use]
    pub fn services(&self) -> Arc<ServiceNames> {
        self.shared.lock().catalog.services()
    }

    /// As [`Catalog::find`]; the lock is held as long.
    #[must_use]
    pub fn find(&self, selector: &Selector) -> Vec<(ServiceName, Arc<Endpoint>)> {
        self.shared.lock().catalog.find(selector)
    }

    /// As [`Catalog::lease`].
    #[must_use]
    pub fn lease(&self, service: &ServiceName, id: &EndpointId) -> Option<Lease> {
        self.shared.lock().catalog.lease(service, id)
    }

    /// As [`Catalog::deadline`].
    #[must_use]
    pub fn deadline(&self, lease: &Lease) -> Option<Timestamp> {
        self.shared.lock().catalog.deadline(lease)
    }

    /// As [`Catalog::held`].
    #[must_use]
    pub fn held(&self, service: &ServiceName) -> Option<Held> {
        self.shared.lock().catalog.held(service)
    }

    /// Watches a service, whether or not anybody has registered for it yet.
    ///
    /// The watch starts from nothing, so its first [`take`](Watch::take) gives all endpoints as added: listing and
    /// following are one loop, without a gap between them.
    #[must_use]
    pub fn watch(&self, service: &ServiceName) -> Watch {
        Watch::open(self.shared.clone(), service.clone())
    }

    /// Watches the names of all services.
    #[must_use]
    pub fn watch_services(&self) -> ServicesWatch {
        ServicesWatch::open(self.shared.clone())
    }

    /// How often a waker has panicked. The panic ends at the registry: the operation that called the waker succeeds,
    /// the other wakers are called, and the waker stays, since its next call may go well.
    #[must_use]
    pub fn waker_panics(&self) -> u64 {
        self.shared.waker_panics.load(Ordering::Relaxed)
    }
}

impl From<Catalog> for Registry {
    fn from(catalog: Catalog) -> Self {
        let watches = Watches::new(&catalog);
        let state = Mutex::new(State { catalog, watches });
        Self { shared: Arc::new(Shared { state, waker_panics: AtomicU64::new(0) }) }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.services();
        f.debug_struct("Registry").field("services", &services.names()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Acts under the lock, and calls the wakers when it is released.
    fn change<T, E>(&self, act: impl FnOnce(&mut State) -> Result<(T, Vec<Waker>), E>) -> Result<T, E> {
        let acted = act(&mut self.lock());
        let (value, wakers) = acted?;
        self.wake(&wakers);
        Ok(value)
    }

    /// Must not be called under the lock.
    pub(crate) fn wake(&self, wakers: &[Waker]) {
        for waker in wakers {
            if catch_unwind(AssertUnwindSafe(|| waker())).is_err() {
                self.waker_panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
