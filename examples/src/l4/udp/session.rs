use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use evenkeel::route::affinity::AffinityRules;
use evenkeel::{Cluster, Outcome, Pick, Request, Tried};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::table::{Table, Way, should_leave};
use crate::l4::backend::Backend;
use crate::l4::gate::Gate;

/// A client and the endpoint that its datagrams go to.
pub(super) struct Session {
    pub(super) client: SocketAddr,
    socket: UdpSocket,
    pick: RefCell<Pick<Arc<Backend>>>,
    cluster: Cluster<Arc<Backend>>,
    was_usable: bool,
    /// Whether a reply has come, and the verdict with it.
    was_heard: Cell<bool>,
    tried: Tried,
    room: Cell<Option<OwnedSemaphorePermit>>,
    /// When something came last, from either side.
    last: Cell<Instant>,
    over: Gate,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Gone,
    /// An earlier one was refused: nobody listens there.
    Refused,
    /// The system does not send it: too long, no room, not allowed. Lost, as datagrams are, and nothing is said of the endpoint.
    Lost,
}

/// Why a session takes no more replies.
enum Stop {
    Idle,
    Refused,
    Over,
}

impl Session {
    pub(super) fn new(client: SocketAddr, way: Way, room: OwnedSemaphorePermit, tried: Tried) -> Self {
        let was_usable = way.pick.endpoint().status().usable();
        Self {
            client,
            socket: way.socket,
            pick: RefCell::new(way.pick),
            cluster: way.cluster,
            was_usable,
            was_heard: Cell::new(false),
            tried,
            room: Cell::new(Some(room)),
            last: Cell::new(Instant::now()),
            over: Gate::default(),
        }
    }

    /// Sends a datagram of the client.
    pub(super) fn send(&self, datagram: &[u8]) -> Sent {
        self.last.set(Instant::now());
        // Not by way of the runtime, which does not know yet that a new socket can be written, and would not try.
        match SockRef::from(&self.socket).send(datagram) {
            Ok(_) => Sent::Gone,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Sent::Refused,
            Err(_) => Sent::Lost,
        }
    }

    pub(super) fn should_move(&self) -> bool {
        should_leave(&self.pick.borrow(), self.was_usable)
    }

    /// Where it was refused, and where it is.
    pub(super) fn tried(&self) -> Tried {
        self.tried.clone()
    }

    /// Nobody listens at its endpoint. A session that had its verdict already asks there once more, as it were.
    pub(super) fn refused(&self) {
        let mut pick = self.pick.borrow_mut();
        pick.record(Outcome::failure());
        if self.was_heard.get() {
            let again =
                self.cluster.pick_at(&pick.endpoint().id(), &Request::new(), &AffinityRules::default());
            if let Ok(again) = again {
                again.finish(Outcome::failure());
            }
        }
    }

    pub(super) fn end(&self) -> Option<OwnedSemaphorePermit> {
        self.over.close();
        self.room.take()
    }

    /// Brings the replies of the endpoint to the client, from the address that the client knows, until the session ends.
    pub(super) async fn reply(self: Rc<Self>, table: Rc<Table>) {
        match self.carry(&table).await {
            Stop::Idle => drop(table.remove(&self)),
            Stop::Refused => drop(table.elsewhere(&self)),
            Stop::Over => {}
        }
        // Later than its task, which may be the only one left to hold it.
        drop(table.remove(&self));
    }

    async fn carry(&self, table: &Table) -> Stop {
        let idle = table.listener.config.timeouts.idle;
        let gate = self.pick.borrow().payload().gate();
        loop {
            let timer = sleep_until(self.last.get() + idle);
            tokio::select! {
                biased;
                () = self.over.closed() => return Stop::Over,
                () = table.listener.lasting.closed() => return Stop::Over,
                () = gate.closed() => return Stop::Over,
                ready = self.socket.readable() => if ready.is_err() { return Stop::Over },
                () = timer => {
                    if self.last.get().elapsed() >= idle {
                        return Stop::Idle;
                    }
                    continue;
                }
            }
            if !self.take_some(table) {
                return Stop::Refused;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes what is there. `false` if the endpoint has refused a datagram.
    fn take_some(&self, table: &Table) -> bool {
        let counters = &table.place.shared.counters;
        let mut buffer = table.place.tools.buffer.borrow_mut();
        for _ in 0..BATCH {
            match self.socket.try_recv(&mut buffer) {
                Ok(count) => {
                    self.last.set(Instant::now());
                    if !self.was_heard.replace(true) {
                        self.pick.borrow_mut().record(Outcome::success());
                    }
                    match table.socket.try_send_to(&buffer[..count], self.client) {
                        Ok(_) => {
                            counters.replies.one();
                            counters.to_clients.add(count as u64);
                        }
                        Err(_) => counters.dropped.one(),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return false,
                // An earlier datagram was lost on its way, such as one that was too long for it.
                Err(_) => counters.dropped.one(),
            }
        }
        true
    }
}

/// Replies in a row, before somebody else has a turn.
const BATCH: usize = 64;
