use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use evenkeel::{Endpoint, EndpointId, Registry, ServiceName, Watch};
use futures_core::Stream;
use tower::discover::Change;

use super::{Told, Waiting};

/// A service of a registry as a [`Discover`](tower::discover::Discover), for balancers of tower. `make` makes the service of
/// each new incarnation.
///
/// Endpoints that are announced as out of use, and those of weight zero, are not there. Weights beyond that, priorities and
/// health are lost on the way: tower has none.
pub fn watched<S, F>(registry: &Registry, service: &ServiceName, make: F) -> WatchedService<S, F>
where
    F: FnMut(&Endpoint) -> S,
{
    let watch = registry.watch(service);
    let waiting = Waiting::default();
    let waker = waiting.clone();
    watch.on_change(move || waker.wake());
    WatchedService { watch, waiting, make, told: Told::new() }
}

/// What [`watched`] makes.
pub struct WatchedService<S, F> {
    watch: Watch,
    waiting: Waiting,
    make: F,
    told: Told<S>,
}

impl<S, F> Unpin for WatchedService<S, F> {}

impl<S, F> Stream for WatchedService<S, F>
where
    F: FnMut(&Endpoint) -> S,
{
    type Item = Result<Change<EndpointId, S>, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Before the look, so that a change after it wakes.
        this.waiting.register(cx.waker());
        if let Some((snapshot, _)) = this.watch.take() {
            let is_used =
                |endpoint: &Endpoint| endpoint.announced().is_usable() && endpoint.weight().get() > 0;
            let endpoints = snapshot.endpoints().iter().filter(|endpoint| is_used(endpoint));
            let now: BTreeMap<_, _> =
                endpoints.map(|endpoint| (endpoint.id().clone(), endpoint.incarnation())).collect();
            let make = &mut this.make;
            this.told.update(now, |id| snapshot.endpoint(id).map(|endpoint| make(endpoint)));
        }
        match this.told.pending.pop_front() {
            Some(change) => Poll::Ready(Some(Ok(change))),
            None => Poll::Pending,
        }
    }
}

impl<S, F> fmt::Debug for WatchedService<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedService").field("service", self.watch.service()).finish_non_exhaustive()
    }
}
