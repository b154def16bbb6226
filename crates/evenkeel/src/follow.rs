use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use evenkeel_registry::{Registry, ServiceName, Snapshot, SourceState, SourceStatus, Watch};
use evenkeel_types::{Announced, Endpoint};
use parking_lot::Mutex;

use crate::apply;
use crate::cluster::Cluster;
use crate::control::Sources;
use crate::error::ApplyError;
use crate::freshness::Freshness;
use crate::observer::Notice;
use crate::renewal::Besides;
use crate::shared::Shared;

impl<T: Send + Sync + 'static> Cluster<T> {
    /// Keeps the set of endpoints equal to that of `service` in `registry`, from now until the result is dropped.
    ///
    /// `make` makes the payload of each new incarnation, once, outside all locks. Changes are taken over on the thread
    /// that makes them in the registry, before its call returns (unless another thread is at it already), so neither a
    /// driver nor traffic is needed. While nothing is known about the service the cluster keeps what it has; when the last
    /// endpoint leaves, the registry answers for it (by proof, or because a stated hold has ended), and the cluster
    /// becomes empty. Suspects of the snapshot are used after all others. A set that is
    /// refused is not taken, the old one stays, [`Following::last_error`] and the observer tell why, and the next change or [`Following::retry`] tries again.
    pub fn follow(
        &self,
        registry: &Registry,
        service: &ServiceName,
        make: impl Fn(&Endpoint) -> T + Send + Sync + 'static,
    ) -> Following<T> {
        let follower = Arc::new(Follower {
            shared: Arc::downgrade(&self.shared),
            watch: registry.watch(service),
            make: Box::new(make),
            pokes: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            refused: Mutex::new(None),
        });
        let weak = Arc::downgrade(&follower);
        follower.watch.on_change(move || {
            if let Some(follower) = weak.upgrade() {
                follower.sync();
            }
        });
        let sources: Box<dyn Sources> = Box::new(Followed(Arc::downgrade(&follower)));
        self.shared.control.followed.store(Some(Arc::new(sources)));
        follower.sync();
        Following { follower }
    }
}

/// A cluster that follows a service: dropping this ends it; the cluster keeps the set it has. What the registry tells from then
/// on does not reach the cluster, even if another thread is just bringing it.
#[must_use = "the cluster stops following when this is dropped"]
pub struct Following<T> {
    follower: Arc<Follower<T>>,
}

impl<T> Following<T> {
    /// Why the newest set of the source was not taken; `None` if it was.
    #[must_use]
    pub fn last_error(&self) -> Option<ApplyError> {
        self.follower.refused.lock().as_ref().map(|(_, error)| error.clone())
    }

    /// Tries again to take the newest set, if it was refused; returns why it still is.
    ///
    /// # Errors
    ///
    /// What kept the set from being taken.
    pub fn retry(&self) -> Result<(), ApplyError> {
        self.follower.sync();
        self.last_error().map_or(Ok(()), Err)
    }
}

impl<T> Drop for Following<T> {
    fn drop(&mut self) {
        self.follower.ended.store(true, Ordering::Release);
    }
}

impl<T> fmt::Debug for Following<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("service", self.follower.watch.service()).finish_non_exhaustive()
    }
}

/// Ends with the following.
struct Followed<T>(Weak<Follower<T>>);

impl<T: Send + Sync> Sources for Followed<T> {
    fn freshness(&self) -> Freshness {
        self.0.upgrade().map_or(Freshness::Applied, |follower| {
            Freshness::of(&follower.watch.sources(), follower.watch.latest().state())
        })
    }

    fn statuses(&self) -> Vec<SourceStatus> {
        self.0.upgrade().map_or_else(Vec::new, |follower| follower.watch.sources())
    }
}

struct Follower<T> {
    shared: Weak<Shared<T>>,
    watch: Watch,
    make: Box<dyn Fn(&Endpoint) -> T + Send + Sync>,
    /// Calls of `sync` that are not served yet. Whoever brings it from zero to one serves all, so that two threads never
    /// apply two generations in the wrong order, and a call from within `make` does not deadlock.
    pokes: AtomicUsize,
    /// Asked under the lock of updates, so that what the cluster is told after the end is never overwritten.
    ended: AtomicBool,
    /// The newest set, if it was not taken, and why.
    refused: Mutex<Option<(Arc<Snapshot>, ApplyError)>>,
}

impl<T> Follower<T> {
    fn sync(&self) {
        if self.pokes.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        loop {
            let seen = self.pokes.load(Ordering::Acquire);
            let refused = self.refused.lock().take().map(|(snapshot, _)| snapshot);
            if let Some(newest) = self.watch.take().map(|(snapshot, _)| snapshot).or(refused) {
                self.take_over(newest);
            }
            if self.pokes.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
    }

    fn take_over(&self, snapshot: Arc<Snapshot>) {
        let Some(shared) = self.shared.upgrade() else { return };
        if snapshot.state() == SourceState::Pending {
            return;
        }
        let Err(reason) = self.apply(&shared, &snapshot) else { return };
        *self.refused.lock() = Some((snapshot, reason.clone()));
        if let Some(observer) = &shared.control.observer {
            observer.notice(&Notice::Rejected { reason });
        }
    }

    /// A panic in `make` is caught: it comes on the thread of whoever registers, and must neither reach the registry nor
    /// end the following.
    fn apply(&self, shared: &Shared<T>, snapshot: &Snapshot) -> Result<(), ApplyError> {
        let endpoints: Vec<Endpoint> =
            snapshot.endpoints().iter().map(|endpoint| as_applied(snapshot, endpoint)).collect();
        if endpoints.is_empty() {
            apply::clear(shared, Some(&self.ended));
            return Ok(());
        }
        let whole_set = || {
            let unless = Besides::unless(&self.ended);
            apply::whole_set_with(shared, &endpoints, unless, |endpoint| (self.make)(endpoint))
        };
        match catch_unwind(AssertUnwindSafe(whole_set)) {
            Ok(result) => result.map(drop),
            Err(_) => Err(ApplyError::Panicked),
        }
    }
}

/// The endpoint as the cluster takes it: one that its source dropped without proof is used after all others, as a degraded
/// one is, unless it is out of use anyway.
fn as_applied(snapshot: &Snapshot, endpoint: &Endpoint) -> Endpoint {
    let endpoint = endpoint.clone();
    if snapshot.is_suspect(endpoint.id()) && endpoint.announced().is_usable() {
        endpoint.with_announced(Announced::Degraded)
    } else {
        endpoint
    }
}
