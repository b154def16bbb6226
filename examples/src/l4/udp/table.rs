use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use evenkeel::route::matching::Connection;
use evenkeel::router::StreamRouted;
use evenkeel::{Cluster, Pick, Tried};
use evenkeel_types::Address;
use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::session::{Sent, Session};
use crate::l4::backend::{Backend, is_leaving};
use crate::l4::fault::verdict;
use crate::l4::listener::Listener;
use crate::l4::worker::Place;

/// The sessions of one listener on one thread, by client. The kernel brings all datagrams of a client to the same thread.
pub(super) struct Table {
    pub(super) listener: Arc<Listener>,
    pub(super) socket: UdpSocket,
    pub(super) place: Place,
    sessions: RefCell<BTreeMap<SocketAddr, Rc<Session>>>,
    emptied: Notify,
}

/// Where a session goes.
pub(super) struct Way {
    pub(super) cluster: Cluster<Arc<Backend>>,
    pub(super) pick: Pick<Arc<Backend>>,
    pub(super) socket: UdpSocket,
}

impl Table {
    pub(super) fn new(listener: Arc<Listener>, socket: UdpSocket, place: Place) -> Self {
        Self { listener, socket, place, sessions: RefCell::default(), emptied: Notify::new() }
    }

    /// Ends when the listener takes no new sessions and there are none.
    pub(super) async fn is_over(&self) {
        self.listener.accepting.closed().await;
        while !self.sessions.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }

    /// Brings a datagram on its way.
    pub(super) fn take(self: &Rc<Self>, client: SocketAddr, datagram: &[u8]) {
        let counters = &self.place.shared.counters;
        let known = self.sessions.borrow().get(&client).cloned();
        let session = match known {
            Some(session) if session.should_move() => {
                counters.moved_sessions.one();
                let room = self.remove(&session);
                self.begin(client, room, Tried::default())
            }
            Some(session) => Some(session),
            None => self.begin(client, None, Tried::default()),
        };
        let Some(session) = session else {
            counters.dropped.one();
            return;
        };
        let sent = match session.send(datagram) {
            // An earlier one was: this one can still go elsewhere.
            Sent::Refused => self.elsewhere(&session).map_or(Sent::Lost, |session| session.send(datagram)),
            sent => sent,
        };
        if sent == Sent::Gone {
            counters.datagrams.one();
            counters.to_endpoints.add(datagram.len() as u64);
        } else {
            counters.dropped.one();
        }
    }

    /// Nobody listens at the endpoint of this session: it goes on at another one.
    pub(super) fn elsewhere(self: &Rc<Self>, session: &Rc<Session>) -> Option<Rc<Session>> {
        session.refused();
        let room = self.remove(session)?;
        self.place.shared.counters.moved_sessions.one();
        self.begin(session.client, Some(room), session.tried())
    }

    /// Takes a session out, unless another one has its place. Its room is for the next one.
    pub(super) fn remove(&self, session: &Rc<Session>) -> Option<OwnedSemaphorePermit> {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.get(&session.client).is_some_and(|known| Rc::ptr_eq(known, session)) {
            sessions.remove(&session.client);
            self.place.shared.counters.sessions_ended.one();
        }
        if sessions.is_empty() {
            self.emptied.notify_waiters();
        }
        drop(sessions);
        session.end()
    }

    fn begin(
        self: &Rc<Self>,
        client: SocketAddr,
        room: Option<OwnedSemaphorePermit>,
        mut tried: Tried,
    ) -> Option<Rc<Session>> {
        let counters = &self.place.shared.counters;
        let room = match room {
            Some(room) => room,
            None if self.listener.accepting.is_closed() => return None,
            None => Arc::clone(&self.listener.room).try_acquire_owned().ok()?,
        };
        let Some(routed) = self.route(client) else {
            counters.no_route.one();
            return None;
        };
        let Some(way) = self.way(&routed, &mut tried) else {
            counters.no_endpoint.one();
            return None;
        };
        let session = Rc::new(Session::new(client, way, room, tried));
        counters.sessions.one();
        self.sessions.borrow_mut().insert(client, Rc::clone(&session));
        tokio::task::spawn_local(Rc::clone(&session).reply(Rc::clone(self)));
        Some(session)
    }

    fn route(&self, client: SocketAddr) -> Option<StreamRouted<Arc<Backend>>> {
        let connection = Connection {
            listener: &self.listener.config.name,
            source: client,
            destination: self.listener.address,
            sni: b"",
            alpn: &[],
        };
        let mut scratch = self.place.tools.scratch.borrow_mut();
        self.place.shared.running.stream_router().route(&connection, &mut scratch).ok()
    }

    fn way(&self, routed: &StreamRouted<Arc<Backend>>, tried: &mut Tried) -> Option<Way> {
        for _ in 0..self.place.shared.settings().attempts {
            let pick = if tried.is_empty() { routed.pick() } else { routed.pick_elsewhere(tried) };
            let mut pick = pick.ok()?;
            tried.add(&pick);
            match connect(&pick.endpoint().address()) {
                Ok(socket) => return Some(Way { cluster: routed.cluster().clone(), pick, socket }),
                Err(error) => {
                    self.place.shared.counters.connect_failures.one();
                    pick.record(verdict(&error));
                }
            }
        }
        None
    }
}

/// A socket that hears one endpoint only, and of its refusals.
fn connect(address: &Address) -> io::Result<UdpSocket> {
    // Names would have to be waited for, with the datagrams in hand.
    let Some(address) = address.socket_addr() else { return Err(io::ErrorKind::Unsupported.into()) };
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), None)?;
    socket.connect(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Whether a session should leave this endpoint: it is on its way out, or was usable and is not any more.
pub(super) fn should_leave(pick: &Pick<Arc<Backend>>, was_usable: bool) -> bool {
    let status = pick.endpoint().status();
    is_leaving(status) || (was_usable && !status.usable())
}
