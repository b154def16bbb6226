//! [`tower::discover::Discover`], both ways.

mod feed;
mod usable;
mod watched;

pub use feed::feed;
pub use usable::{UsableEndpoints, Waiter, WakeOnChange, usable};
pub use watched::{WatchedService, watched};

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use evenkeel::EndpointId;
use parking_lot::Mutex;
use tower::discover::Change;

/// What a reader was told: from it to what is so now, in changes.
#[derive(Debug)]
struct Told<S> {
    known: BTreeMap<EndpointId, u64>,
    pending: VecDeque<Change<EndpointId, S>>,
}

impl<S> Told<S> {
    const fn new() -> Self {
        Self { known: BTreeMap::new(), pending: VecDeque::new() }
    }

    /// These are all that are there, each with its incarnation. Another incarnation is another service: the old one goes first.
    fn update(&mut self, mut now: BTreeMap<EndpointId, u64>, mut make: impl FnMut(&EndpointId) -> Option<S>) {
        let gone = self.known.iter().filter(|(id, incarnation)| now.get(*id) != Some(*incarnation));
        let gone: Vec<EndpointId> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.known.remove(&id);
            self.pending.push_back(Change::Remove(id));
        }
        while let Some((id, incarnation)) = now.pop_first() {
            if let Entry::Vacant(vacant) = self.known.entry(id.clone())
                && let Some(service) = make(&id)
            {
                vacant.insert(incarnation);
                self.pending.push_back(Change::Insert(id, service));
            }
        }
    }
}

/// Whoever waits for a change.
#[derive(Clone, Debug, Default)]
struct Waiting(Arc<Mutex<Option<Waker>>>);

impl Waiting {
    fn register(&self, waker: &Waker) {
        *self.0.lock() = Some(waker.clone());
    }

    fn wake(&self) {
        // Woken outside the lock: it may run the task at once.
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
