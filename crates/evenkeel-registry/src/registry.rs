use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_types::{Endpoint, EndpointId, Timestamp};
use parking_lot::{Mutex, MutexGuard};

use crate::watch::{Waker, Watches};
use crate::{
    AttachError, Catalog, CatalogConfig, Change, EventLog, Feed, ForgetError, Held, InvalidCatalogConfig,
    Lease, LeaseLost, Merge, MirrorConfig, RegisterError, Rejected, Selector, ServiceName, ServiceNames,
    ServicesWatch, Snapshot, SourceName, SourceStatus, UnknownSource, UpdateError, Watch,
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
    /// Who is to hear that the next deadline has come nearer.
    driver: Option<Waker>,
}

impl State {
    /// Notes what has just changed, and gives the wakers to call without the lock.
    pub(crate) fn publish(&mut self, changes: &[Change]) -> Vec<Waker> {
        let moved = self.catalog.take_moved();
        self.watches.publish(&self.catalog, changes, &moved)
    }
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
            let wakers = state.publish(&changes);
            Ok(((lease, changes), wakers))
        })
    }

    /// As [`Catalog::replace_all`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn replace_all(
        &self,
        now: Timestamp,
        service: &ServiceName,
        endpoints: Vec<Endpoint>,
        ttl: Option<Duration>,
    ) -> Result<(Vec<Lease>, Vec<Change>), RegisterError> {
        self.shared.change(|state| {
            let (leases, changes) = state.catalog.replace_all(now, service, endpoints, ttl)?;
            let wakers = state.publish(&changes);
            Ok(((leases, changes), wakers))
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
            let wakers = state.publish(&changes);
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
            let wakers = state.publish(&changes);
            Ok((changes, wakers))
        })
    }

    /// As [`Catalog::tick`].
    pub fn tick(&self, now: Timestamp) -> Vec<Change> {
        self.shared.tick(now)
    }

    /// As [`Catalog::next_deadline`].
    ///
    /// A registration or an event of a feed can bring it forward: let [`on_deadline`](Self::on_deadline) tell.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.shared.lock().catalog.next_deadline()
    }

    /// Calls `waker` whenever the [next deadline](Self::next_deadline) has come nearer, in place of an earlier waker, so
    /// that a driver can sleep until a deadline and is not late for a nearer one. It is called as the wakers of watches
    /// are, by the thread that made the change, without the lock; keep it short.
    pub fn on_deadline(&self, waker: impl Fn() + Send + Sync + 'static) {
        // The earlier waker is user code, and so is its drop: it comes out of the lock first.
        let _earlier = self.shared.lock().driver.replace(Arc::new(waker));
    }

    /// Opens a feed: a discovery adapter says through it what it learns about `service`, and everybody who watches the
    /// service sees it together with the leases of this registry and with other feeds, by the [`Merge`] of the service.
    ///
    /// `clock` gives the time of its events. Use the same for all feeds, and for [`tick`](Self::tick).
    ///
    /// ```
    /// use evenkeel_registry::{Event, MirrorConfig, Registry, ServiceName, SourceState};
    /// use evenkeel_types::{Endpoint, Timestamp};
    ///
    /// let registry = Registry::default();
    /// let users: ServiceName = "users".parse()?;
    /// let watch = registry.watch(&users);
    /// let feed = registry.feed(&users, &"file".parse()?, MirrorConfig::default(), || Timestamp::from_secs(1))?;
    ///
    /// feed.send(Event::set(vec![Endpoint::at("10.0.0.1:80".parse()?)?]))?;
    /// let (snapshot, _) = watch.take().expect("the feed told");
    /// assert_eq!((snapshot.state(), snapshot.endpoints().len()), (SourceState::Live, 1));
    ///
    /// drop(feed); // the adapter is gone: nobody loses endpoints by that, and everybody can see it
    /// assert!(matches!(watch.latest().state(), SourceState::Stale { .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Catalog::attach`].
    pub fn feed(
        &self,
        service: &ServiceName,
        source: &SourceName,
        config: MirrorConfig,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Feed, AttachError> {
        let now = clock();
        let opening = self.shared.change(|state| {
            let opening = state.catalog.attach(now, service, source, config)?;
            let wakers = state.publish(&[]);
            Ok::<_, AttachError>((opening, wakers))
        })?;
        Ok(Feed::open(self.shared.clone(), service.clone(), source.clone(), opening, Arc::new(clock)))
    }

    /// As [`Catalog::detach`]. Feeds of the source are told [`Detached`](crate::FeedError::Detached).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn detach(
        &self,
        now: Timestamp,
        service: &ServiceName,
        source: &SourceName,
    ) -> Result<Vec<Change>, UnknownSource> {
        self.shared.change(|state| {
            let changes = state.catalog.detach(now, service, source)?;
            let wakers = state.publish(&changes);
            Ok((changes, wakers))
        })
    }

    /// As [`Catalog::set_merge`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_merge(
        &self,
        now: Timestamp,
        service: &ServiceName,
        merge: Merge,
    ) -> Result<Vec<Change>, AttachError> {
        self.shared.change(|state| {
            let changes = state.catalog.set_merge(now, service, merge)?;
            let wakers = state.publish(&changes);
            Ok((changes, wakers))
        })
    }

    /// As [`Catalog::sources`].
    #[must_use]
    pub fn sources(&self, service: &ServiceName) -> Vec<SourceStatus> {
        self.shared.lock().catalog.sources(service)
    }

    /// The entries of a source that were rejected last, oldest first; at most 32.
    #[must_use]
    pub fn rejects(&self, service: &ServiceName, source: &SourceName) -> Vec<Rejected> {
        let state = self.shared.lock();
        state.catalog.mirror(service, source).map(|m| m.rejects().cloned().collect()).unwrap_or_default()
    }

    /// As [`Catalog::take_log`].
    pub fn take_log(&self, service: &ServiceName, source: &SourceName) -> EventLog {
        self.shared.lock().catalog.take_log(service, source)
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
            Ok(((), state.publish(&[])))
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
        let state = Mutex::new(State { catalog, watches, driver: None });
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
    pub(crate) fn change<T, E>(
        &self,
        act: impl FnOnce(&mut State) -> Result<(T, Vec<Waker>), E>,
    ) -> Result<T, E> {
        let acted = {
            let state = &mut *self.lock();
            let before = state.catalog.next_deadline();
            let acted = act(state);
            let nearer =
                state.catalog.next_deadline().filter(|next| before.is_none_or(|before| *next < before));
            let driver = nearer.and(state.driver.clone());
            acted.map(|(value, mut wakers)| {
                wakers.extend(driver);
                (value, wakers)
            })
        };
        let (value, wakers) = acted?;
        self.wake(&wakers);
        Ok(value)
    }

    pub(crate) fn tick(&self, now: Timestamp) -> Vec<Change> {
        let ticked: Result<_, std::convert::Infallible> = self.change(|state| {
            let changes = state.catalog.tick(now);
            let wakers = state.publish(&changes);
            Ok((changes, wakers))
        });
        let Ok(changes) = ticked;
        changes
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
