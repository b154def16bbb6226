//! The part of an endpoint that is the proxy's own: its connections.

use crossbeam_utils::CachePadded;
use evenkeel::{Address, Endpoint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::h1::H1;
use super::h2_pool::H2Pool;
use super::settings::PoolSettings;
use crate::admin::Meter;

/// The payload `T` of the proxy's clusters: made once for each incarnation of an endpoint, and gone with it.
///
/// Each worker has a shelf of its own, so that no connection changes its thread and no lock is ever waited for.
pub struct Upstream {
    /// Where it listens.
    pub address: Address,
    /// What was sent there, if there is a status page to show it.
    pub meter: Option<Box<Meter>>,
    shelves: Box<[CachePadded<Mutex<Shelf>>]>,
    /// Those of HTTP/2, for each worker too.
    shared: Box<[CachePadded<H2Pool>]>,
}

#[derive(Default)]
#[expect(clippy::vec_box, reason = "a connection moves from hand to hand, and is large")]
struct Shelf {
    /// The last one used is the last one here, and the first to be used again: those that are not needed grow old.
    idle: Vec<Box<H1>>,
}

impl Upstream {
    /// For an endpoint, with a shelf for each worker, and a meter if somebody may ask.
    pub fn new(endpoint: &Endpoint, workers: usize, is_metered: bool) -> Self {
        let shelves = (0..workers.max(1)).map(|_| CachePadded::default()).collect();
        let shared = (0..workers.max(1)).map(|_| CachePadded::default()).collect();
        let meter = is_metered.then(Box::default);
        Self { address: endpoint.address().clone(), meter, shelves, shared }
    }

    fn shelf(&self, worker: usize) -> Option<&Mutex<Shelf>> {
        self.shelves.get(worker).map(|shelf| &**shelf)
    }

    /// A connection that waits and still lives.
    pub fn take(&self, worker: usize, number: u64) -> Option<Box<H1>> {
        loop {
            // Outside the lock: what is dropped closes a socket.
            let connection = self.shelf(worker)?.lock().idle.pop()?;
            if connection.number == number && connection.is_open() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose answer has come through completely. The oldest makes room.
    pub fn give_back(&self, worker: usize, mut connection: Box<H1>, settings: &PoolSettings) {
        if settings.idle == 0 || !(connection.is_open() || connection.is_reusable()) {
            return;
        }
        connection.since = None;
        let Some(shelf) = self.shelf(worker) else { return };
        let mut shelf = shelf.lock();
        let too_many = (shelf.idle.len() >= settings.idle).then(|| shelf.idle.remove(0));
        shelf.idle.push(connection);
        drop(shelf);
        drop(too_many);
    }

    /// The connections of a worker on which HTTP/2 is spoken.
    pub fn h2(&self, worker: usize) -> Option<&H2Pool> {
        self.shared.get(worker).map(|pool| &**pool)
    }

    /// Closes what the other side has closed, what has waited too long, and what was made under settings other than `number`.
    pub fn sweep(&self, worker: usize, settings: &PoolSettings, number: u64, now: Instant) {
        let Some(shelf) = self.shelf(worker) else { return };
        let mut shelf = shelf.lock();
        let old: Vec<_> = shelf
            .idle
            .extract_if(.., |one| {
                one.number != number || one.idle_at(now) >= settings.idle_time || !one.is_reusable()
            })
            .collect();
        drop(shelf);
        drop(old);
        if let Some(pool) = self.h2(worker) {
            pool.sweep(settings.idle_time, number, now);
        }
    }

    /// How many connections wait.
    pub fn idle(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.lock().idle.len()).sum()
    }
}
