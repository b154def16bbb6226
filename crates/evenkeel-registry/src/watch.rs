use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use evenkeel_types::EndpointId;

use crate::registry::Shared;
use crate::{
    Catalog, Cause, Change, ChangeKind, NameChange, ServiceName, ServiceNames, Snapshot, SourceStatus,
};

/// Follows one service of a [`Registry`](crate::Registry).
///
/// A watch is a *level*, not a queue: it knows which snapshot its reader holds, and [`take`](Self::take) gives the
/// newest one with the difference from it. A slow reader skips what came and went in between, never misses the final
/// state, and costs one list of endpoints, however far it falls behind. (A queue of changes needs both a bound and a
/// way to start over: etcd's watches end with `compacted`, Kubernetes' with `410 Gone`.)
///
/// Poll it, or let [`on_change`](Self::on_change) wake you. Dropping the watch ends it. A watch keeps its registry
/// alive.
pub struct Watch {
    shared: Arc<Shared>,
    service: ServiceName,
    key: u64,
}

/// Follows the names of all services of a [`Registry`](crate::Registry); a level, as [`Watch`] is.
pub struct ServicesWatch {
    shared: Arc<Shared>,
    key: u64,
}

pub(crate) type Waker = Arc<dyn Fn() + Send + Sync>;

/// What the registry keeps for its watches, under its lock.
#[derive(Default)]
pub(crate) struct Watches {
    last_key: u64,
    // Ordered by key, so that wakers are called in the order in which the watches were opened.
    services: BTreeMap<ServiceName, BTreeMap<u64, Seat>>,
    names: BTreeMap<u64, NamesSeat>,
    /// The generation of the names that was published last.
    names_generation: u64,
}

/// One watch of a service.
struct Seat {
    held: Arc<Snapshot>,
    /// Why endpoints of `held` are gone; never more than it has.
    causes: BTreeMap<EndpointId, Cause>,
    waker: Option<Waker>,
}

/// One watch of all names.
struct NamesSeat {
    held: Arc<ServiceNames>,
    waker: Option<Waker>,
}

impl Watch {
    pub(crate) fn open(shared: Arc<Shared>, service: ServiceName) -> Self {
        let held = Arc::new(Snapshot::pending(service.clone()));
        let seat = Seat { held, causes: BTreeMap::new(), waker: None };
        let key = {
            let watches = &mut shared.lock().watches;
            let key = watches.next_key();
            watches.services.entry(service.clone()).or_default().insert(key, seat);
            key
        };
        Self { shared, service, key }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The generation of the snapshot taken last; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.seat(|seat, _| seat.held.generation())
    }

    /// Whether [`take`](Self::take) would give something.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.seat(|seat, catalog| seat.is_behind(catalog))
    }

    /// The newest snapshot, without taking it.
    #[must_use]
    pub fn latest(&self) -> Arc<Snapshot> {
        self.shared.lock().catalog.snapshot(&self.service)
    }

    /// What each source of the service knows now and how fresh that is; as [`Catalog::sources`].
    #[must_use]
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.shared.lock().catalog.sources(&self.service)
    }

    /// The newest snapshot and what has happened since the one taken before, if it is another.
    ///
    /// The changes lead from the one to the other, sorted by id. What came and went in between is not told; so they may
    /// even be empty, although the generation has moved. A cause is that of the last departure. O(n), outside the lock
    /// except for building the list.
    #[must_use = "what is taken is not given again"]
    pub fn take(&self) -> Option<(Arc<Snapshot>, Vec<Change>)> {
        let (latest, held, causes) = self.seat(|seat, catalog| {
            seat.is_behind(catalog).then(|| {
                let latest = catalog.snapshot(&self.service);
                let held = std::mem::replace(&mut seat.held, latest.clone());
                (latest, held, std::mem::take(&mut seat.causes))
            })
        })?;
        let changes = latest.changes_with_causes(&held, |id| causes.get(id).copied());
        Some((latest, changes))
    }

    /// Calls `waker` whenever the service has a new generation, in place of an earlier waker.
    ///
    /// It runs on the thread that made the change, after the registry's lock is released, so it may call the registry
    /// and this watch; keep it short all the same, for instance by unparking a thread or by sending to a channel. Two
    /// threads that change a service may call it at the same time. If there is something to take already, it is called
    /// once before this returns: between taking and waiting nothing gets lost. A call that is under way when the watch
    /// is dropped may end after that.
    ///
    /// A waker that owns its own watch would keep both, and the registry, for ever: give it a [`std::sync::Weak`].
    pub fn on_change(&self, waker: impl Fn() + Send + Sync + 'static) {
        let waker: Waker = Arc::new(waker);
        // The earlier waker is user code too, and so is its drop: it comes out of the lock first.
        let (behind, _earlier) =
            self.seat(|seat, catalog| (seat.is_behind(catalog), seat.waker.replace(waker.clone())));
        if behind {
            self.shared.wake(&[waker]);
        }
    }

    /// Does something with the place of this watch, which exists as long as the watch does.
    fn seat<R>(&self, act: impl FnOnce(&mut Seat, &Catalog) -> R) -> R {
        let state = &mut *self.shared.lock();
        let seats = state.watches.services.get_mut(&self.service);
        let seat = seats.and_then(|seats| seats.get_mut(&self.key)).expect("only drop removes the seat");
        act(seat, &state.catalog)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _seat = self.shared.lock().watches.close(&self.service, self.key);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("service", &self.service)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl ServicesWatch {
    pub(crate) fn open(shared: Arc<Shared>) -> Self {
        let key = {
            let watches = &mut shared.lock().watches;
            let key = watches.next_key();
            watches.names.insert(key, NamesSeat { held: Arc::default(), waker: None });
            key
        };
        Self { shared, key }
    }

    /// The generation of the list taken last; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.seat(|seat, _| seat.held.generation())
    }

    /// Whether [`take`](Self::take) would give something.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.seat(|seat, catalog| seat.is_behind(catalog))
    }

    /// The newest list, without taking it.
    #[must_use]
    pub fn latest(&self) -> Arc<ServiceNames> {
        self.shared.lock().catalog.services()
    }

    /// The newest list and what has happened since the one taken before, if it is another; as [`Watch::take`].
    #[must_use = "what is taken is not given again"]
    pub fn take(&self) -> Option<(Arc<ServiceNames>, Vec<NameChange>)> {
        let (latest, held) = self.seat(|seat, catalog| {
            seat.is_behind(catalog).then(|| {
                let latest = catalog.services();
                (latest.clone(), std::mem::replace(&mut seat.held, latest))
            })
        })?;
        let changes = latest.changes_since(&held);
        Some((latest, changes))
    }

    /// Calls `waker` whenever a service appears or is forgotten; as [`Watch::on_change`].
    pub fn on_change(&self, waker: impl Fn() + Send + Sync + 'static) {
        let waker: Waker = Arc::new(waker);
        let (behind, _earlier) =
            self.seat(|seat, catalog| (seat.is_behind(catalog), seat.waker.replace(waker.clone())));
        if behind {
            self.shared.wake(&[waker]);
        }
    }

    fn seat<R>(&self, act: impl FnOnce(&mut NamesSeat, &Catalog) -> R) -> R {
        let state = &mut *self.shared.lock();
        let seat = state.watches.names.get_mut(&self.key).expect("only drop removes the seat");
        act(seat, &state.catalog)
    }
}

impl Drop for ServicesWatch {
    fn drop(&mut self) {
        let _seat = self.shared.lock().watches.names.remove(&self.key);
    }
}

impl fmt::Debug for ServicesWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServicesWatch").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl Watches {
    pub(crate) fn new(catalog: &Catalog) -> Self {
        Self { names_generation: catalog.names_generation(), ..Self::default() }
    }

    /// Whether anybody watches the service.
    pub(crate) fn has(&self, service: &ServiceName) -> bool {
        self.services.contains_key(service)
    }

    /// Notes what has just changed, and gives the wakers to call without the lock.
    ///
    /// `moved` names services of which no endpoint changed, but what is known about them.
    pub(crate) fn publish(
        &mut self,
        catalog: &Catalog,
        changes: &[Change],
        moved: &BTreeSet<ServiceName>,
    ) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for service in moved {
            let seats = self.services.get(service).into_iter().flat_map(BTreeMap::values);
            wakers.extend(seats.filter_map(|seat| seat.waker.clone()));
        }
        for of_service in changes.chunk_by(|a, b| a.service == b.service) {
            let Some(seats) = self.services.get_mut(&of_service[0].service) else { continue };
            for seat in seats.values_mut() {
                of_service.iter().for_each(|change| seat.note(change));
                wakers.extend(seat.waker.clone());
            }
        }
        if self.names_generation != catalog.names_generation() {
            self.names_generation = catalog.names_generation();
            wakers.extend(self.names.values().filter_map(|seat| seat.waker.clone()));
        }
        wakers
    }

    fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    fn close(&mut self, service: &ServiceName, key: u64) -> Option<Seat> {
        let seats = self.services.get_mut(service)?;
        let seat = seats.remove(&key);
        if seats.is_empty() {
            self.services.remove(service);
        }
        seat
    }
}

impl Seat {
    fn is_behind(&self, catalog: &Catalog) -> bool {
        catalog.generation(self.held.service()) != self.held.generation()
    }

    fn note(&mut self, change: &Change) {
        let ChangeKind::Removed { cause } = change.kind else { return };
        let held = self.held.endpoint(change.id());
        if held.is_some_and(|held| held.incarnation() == change.endpoint.incarnation()) {
            self.causes.insert(change.id().clone(), cause);
        }
    }
}

impl NamesSeat {
    fn is_behind(&self, catalog: &Catalog) -> bool {
        catalog.names_generation() != self.held.generation()
    }
}
