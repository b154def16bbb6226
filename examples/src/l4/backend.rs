use std::sync::{Arc, Weak};
use std::time::Duration;

use evenkeel::{Cluster, Status};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::gate::Gate;

/// What this proxy keeps for an endpoint: by it, connections there hear that they have to end.
#[derive(Debug, Default)]
pub(crate) struct Backend {
    gate: Mutex<Arc<Gate>>,
}

impl Backend {
    /// Closed when the connections of now have had their time. Those after it, if the endpoint comes back, have another.
    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate.lock())
    }

    fn end_connections(&self) {
        let gate = std::mem::take(&mut *self.gate.lock());
        gate.close();
    }
}

/// The endpoints that there are or were, and since when the latter are on their way out.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    backend: Weak<Backend>,
    leaving: Option<Instant>,
}

impl Backends {
    /// A payload for a new incarnation of an endpoint.
    pub(crate) fn make(&self) -> Arc<Backend> {
        let backend = Arc::new(Backend::default());
        self.known.lock().push(Known { backend: Arc::downgrade(&backend), leaving: None });
        backend
    }

    /// Closes the connections of endpoints that were withdrawn, or are in no cluster any more, for `limit` now. O(endpoints).
    pub(crate) fn sweep(&self, clusters: &[Cluster<Arc<Backend>>], limit: Duration, now: Instant) {
        let mut staying: Vec<*const Backend> = Vec::new();
        for endpoint in clusters.iter().flat_map(Cluster::endpoints) {
            if !is_leaving(endpoint.status()) {
                staying.push(Arc::as_ptr(endpoint.payload()));
            }
        }
        staying.sort_unstable();
        self.known.lock().retain_mut(|known| {
            let Some(backend) = known.backend.upgrade() else { return false };
            if staying.binary_search(&Arc::as_ptr(&backend)).is_ok() {
                known.leaving = None;
            } else if now.saturating_duration_since(*known.leaving.get_or_insert(now)) >= limit {
                backend.end_connections();
            }
            true
        });
    }
}

/// Whether somebody wants it out, for good or for a while. Nothing is wrong with it, so connections have time.
pub(crate) fn is_leaving(status: Status) -> bool {
    status.is_withdrawn() || status.draining()
}
