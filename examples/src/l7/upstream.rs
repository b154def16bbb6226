//! The part of an endpoint that is the proxy's own: its connections.

use crossbeam_utils::CachePadded;
use evenkeel::{Address, Endpoint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::h1::H1;
use super::h2::H2;
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
    /// Held while a connection is made that many are to share.
    dialing: Box<[tokio::sync::Mutex<()>]>,
}

#[derive(Default)]
#[expect(clippy::vec_box, reason = "a connection moves from hand to hand, and is large")]
struct Shelf {
    /// The last one used is the last one here, and the first to be used again: those that are not needed grow old.
    idle: Vec<Box<H1>>,
    shared: Option<H2>,
}

impl Upstream {
    /// For an endpoint, with a shelf for each worker, and a meter if somebody may ask.
    pub fn new(endpoint: &Endpoint, workers: usize, is_metered: bool) -> Self {
        let shelves = (0..workers.max(1)).map(|_| CachePadded::default()).collect();
        let dialing = (0..workers.max(1)).map(|_| tokio::sync::Mutex::default()).collect();
        let meter = is_metered.then(Box::default);
        Self { address: endpoint.address().clone(), meter, shelves, dialing }
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

    /// The shared connection, if there is one.
    pub fn shared(&self, worker: usize, number: u64) -> Option<H2> {
        let shelf = self.shelf(worker)?.lock();
        shelf.shared.clone().filter(|shared| shared.number == number && shared.is_usable())
    }

    /// The right to make the shared connection. Who has waited for it looks first whether there is one by now.
    pub async fn dial(&self, worker: usize) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        Some(self.dialing.get(worker)?.lock().await)
    }

    /// Makes this the shared connection.
    pub fn share(&self, worker: usize, connection: &H2) {
        if let Some(shelf) = self.shelf(worker) {
            let before = shelf.lock().shared.replace(connection.clone());
            drop(before);
        }
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
        let dead = shelf.shared.take_if(|shared| shared.number != number || !shared.is_usable());
        drop(shelf);
        drop((old, dead));
    }

    /// How many connections wait.
    pub fn idle(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.lock().idle.len()).sum()
    }
}
