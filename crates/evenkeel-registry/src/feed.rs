use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use evenkeel_types::Timestamp;

use crate::event::{Event, FeedError};
use crate::mirror::Fed;
use crate::registry::Shared;
use crate::saved::{LoadError, Saved};
use crate::{ServiceName, SourceName};

/// Where a discovery adapter says what it has learnt: one source of one service of a [`Registry`](crate::Registry).
///
/// Cloning shares it. [`send`](Self::send) waits for no reader and no store: it takes the registry's lock for as long
/// as the comparison with the present set takes, and readers look at levels, so a slow one holds up nobody. Bursts are
/// gathered by [`Settle`](crate::Settle).
///
/// # Time
///
/// The feed is given a clock when it is opened, by whoever wires the program: all feeds of a registry, and whoever
/// ticks it, must use the same one. Adapters need none of their own: [`now`](Self::now) reads it.
///
/// # Who ticks
///
/// Gathered changes, holds and ages wait for time. A driver that calls [`Registry::tick`](crate::Registry::tick) sees
/// to all of them; an adapter whose thread wakes up anyway may do so for its own source with [`tick`](Self::tick), by
/// [`next_deadline`](Self::next_deadline).
///
/// # The end
///
/// When the last clone is dropped, because the adapter stopped or its thread panicked, the set stays and its source is
/// [`Stale`](crate::SourceState::Stale) with [`AdapterGone`](crate::TroubleKind::AdapterGone). A new feed under the same
/// name takes it over. To take the endpoints away too, [`detach`](crate::Registry::detach) the source.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

/// A clock: monotonic, its origin its own.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

struct Inner {
    shared: Arc<Shared>,
    service: ServiceName,
    source: SourceName,
    opening: u64,
    clock: Clock,
}

impl Feed {
    pub(crate) fn open(
        shared: Arc<Shared>,
        service: ServiceName,
        source: SourceName,
        opening: u64,
        clock: Clock,
    ) -> Self {
        Self { inner: Arc::new(Inner { shared, service, source, opening, clock }) }
    }

    /// Says what the source has just said, and gives what readers see of it now.
    ///
    /// # Errors
    ///
    /// [`FeedError`]: nothing was taken, and it says what to do.
    pub fn send(&self, event: Event) -> Result<Fed, FeedError> {
        self.send_at(self.now(), event)
    }

    /// The same at a time of the caller's, on the axis of the feed's clock.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_at(&self, now: Timestamp, event: Event) -> Result<Fed, FeedError> {
        let Inner { shared, service, source, opening, .. } = &*self.inner;
        shared.change(|state| {
            if !state.catalog.is_open(service, source, *opening) {
                return Err(FeedError::Detached);
            }
            let fed = state.catalog.feed(now, service, source, event)?;
            let wakers = state.publish(&fed.changes);
            Ok((fed, wakers))
        })
    }

    /// The present set of this source, for a disk; `None` if it is not known yet, or empty. `wall` is the time of the
    /// wall.
    #[must_use]
    pub fn save(&self, wall: SystemTime) -> Option<Saved> {
        let now = self.now();
        let state = self.inner.shared.lock();
        let saved = state.catalog.mirror(&self.inner.service, &self.inner.source)?.save(now, wall);
        (!saved.endpoints().is_empty()).then_some(saved)
    }

    /// Starts from a set of a disk, before the store has answered; `wall` is the time of the wall. A source that is
    /// known already keeps what it knows.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; nothing is loaded then.
    pub fn load(&self, saved: &Saved, wall: SystemTime) -> Result<Fed, LoadError> {
        let now = self.now();
        let Inner { shared, service, source, opening, .. } = &*self.inner;
        saved.check(service)?;
        shared.change(|state| {
            if !state.catalog.is_open(service, source, *opening) {
                return Err(LoadError::Detached);
            }
            let fed = state.catalog.load(now, service, source, saved, wall)?;
            let wakers = state.publish(&fed.changes);
            Ok((fed, wakers))
        })
    }

    /// Does what waits for time in the whole registry; as [`Registry::tick`](crate::Registry::tick).
    pub fn tick(&self) {
        let now = self.now();
        let _ = self.inner.shared.tick(now);
    }

    /// When this source wants [`tick`](Self::tick) to be called, if it waits for anything.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.inner.shared.lock().catalog.wake_of(&self.inner.service, &self.inner.source)
    }

    /// The present, by the feed's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.inner.service
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.inner.source
    }

    /// Whether the source is still part of the service; if not, the adapter should stop.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        let Inner { shared, service, source, opening, .. } = &*self.inner;
        shared.lock().catalog.is_open(service, source, *opening)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("service", &self.inner.service)
            .field("source", &self.inner.source)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let now = (self.clock)();
        let Self { shared, service, source, opening, .. } = self;
        let closed: Result<(), std::convert::Infallible> = shared.change(|state| {
            let fed = if state.catalog.is_open(service, source, *opening) {
                state.catalog.close(now, service, source).unwrap_or_default()
            } else {
                Fed::default()
            };
            Ok(((), state.publish(&fed.changes)))
        });
        let Ok(()) = closed;
    }
}
