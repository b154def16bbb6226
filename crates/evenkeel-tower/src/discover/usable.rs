use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use evenkeel::{Cluster, EndpointId, Handle, Notice, Observer, PickError};
use futures_core::Stream;
use tower::discover::Change;

use super::{Told, Waiting};

/// An observer that wakes whoever reads [`usable`]. Give it to the builder of the cluster; it hands all notices on to an
/// observer of yours, if there is one.
#[derive(Default)]
pub struct WakeOnChange {
    waiting: Waiting,
    next: Option<Box<dyn Observer>>,
}

impl WakeOnChange {
    /// Wakes, and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes, and hands on.
    #[must_use]
    pub fn before(observer: impl Observer + 'static) -> Self {
        Self { waiting: Waiting::default(), next: Some(Box::new(observer)) }
    }

    /// What [`usable`] needs.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        Waiter(self.waiting.clone())
    }
}

/// What a [`WakeOnChange`] wakes.
#[derive(Clone, Debug)]
pub struct Waiter(Waiting);

impl Observer for WakeOnChange {
    fn notice(&self, notice: &Notice) {
        if matches!(notice, Notice::Applied(_) | Notice::Standing { .. }) {
            self.waiting.wake();
        }
        if let Some(next) = &self.next {
            next.notice(notice);
        }
    }

    fn refused(&self, error: &PickError) {
        if let Some(next) = &self.next {
            next.refused(error);
        }
    }
}

/// The usable endpoints of a cluster as a [`Discover`](tower::discover::Discover), for balancers of tower: who is drained,
/// fails its checks, is ejected or has an open breaker leaves, and comes back.
///
/// What goes by time alone is seen when the cluster ticks: see [`Cluster::drive`]. `make` makes a service from an endpoint, a
/// clone of its payload as a rule. One reader for each waiter.
pub fn usable<T, S, F>(cluster: &Cluster<T>, waiter: Waiter, make: F) -> UsableEndpoints<T, S, F>
where
    F: FnMut(&Handle<T>) -> S,
{
    UsableEndpoints { cluster: cluster.clone(), waiting: waiter.0, make, told: Told::new() }
}

/// What [`usable`] makes.
pub struct UsableEndpoints<T, S, F> {
    cluster: Cluster<T>,
    waiting: Waiting,
    make: F,
    told: Told<S>,
}

impl<T, S, F> Unpin for UsableEndpoints<T, S, F> {}

impl<T, S, F> Stream for UsableEndpoints<T, S, F>
where
    F: FnMut(&Handle<T>) -> S,
{
    type Item = Result<Change<EndpointId, S>, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(change) = this.told.pending.pop_front() {
            return Poll::Ready(Some(Ok(change)));
        }
        // Before the look, so that a change after it wakes.
        this.waiting.register(cx.waker());
        let endpoints = this.cluster.endpoints();
        let usable: BTreeMap<EndpointId, &Handle<T>> = endpoints
            .iter()
            .filter(|endpoint| endpoint.status().usable())
            .map(|endpoint| (endpoint.id(), endpoint))
            .collect();
        let now = usable.iter().map(|(id, endpoint)| (id.clone(), endpoint.description().incarnation()));
        let make = &mut this.make;
        this.told.update(now.collect(), |id| usable.get(id).map(|endpoint| make(endpoint)));
        match this.told.pending.pop_front() {
            Some(change) => Poll::Ready(Some(Ok(change))),
            None => Poll::Pending,
        }
    }
}

impl<T, S, F> fmt::Debug for UsableEndpoints<T, S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsableEndpoints").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl fmt::Debug for WakeOnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeOnChange").finish_non_exhaustive()
    }
}
