use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use super::accept;
use super::gate::Gate;
use super::listener::Listener;
use super::shared::Shared;
use super::tools::Tools;
use super::udp;

/// A thread with a runtime, sockets and connections of its own: what happens on one core needs no other.
#[derive(Debug)]
pub(crate) struct Worker {
    orders: UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

/// What a thread is told.
#[derive(Debug)]
pub(crate) enum Order {
    Tcp(Arc<Listener>, std::net::TcpListener),
    Udp(Arc<Listener>, std::net::UdpSocket),
}

/// What everything on one thread has at hand.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tools: Rc<Tools>,
}

impl Worker {
    /// Starts a thread, which ends after `stop` is closed.
    pub(crate) fn start(number: usize, shared: Arc<Shared>, stop: Arc<Gate>) -> io::Result<Self> {
        let (orders, received) = unbounded_channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(format!("l4-{number}")).spawn(move || {
            let local = LocalSet::new();
            let place = Place { shared, tools: Rc::default() };
            local.block_on(&runtime, obey(received, place, stop));
            // What is still under way ends here, with its sockets.
        })?;
        Ok(Self { orders, thread })
    }

    /// Opens a listener there. A thread that is ending does nothing more.
    pub(crate) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    pub(crate) fn join(self) {
        let _ = self.thread.join();
    }
}

async fn obey(mut orders: UnboundedReceiver<Order>, place: Place, stop: Arc<Gate>) {
    loop {
        let order = tokio::select! {
            () = stop.closed() => return,
            order = orders.recv() => order,
        };
        // The sockets do not block already; what cannot be watched now (no descriptors) is left out and counted.
        match order {
            Some(Order::Tcp(listener, socket)) => match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => drop(tokio::task::spawn_local(accept::run(listener, socket, place.clone()))),
                Err(_) => place.shared.counters.accept_errors.one(),
            },
            Some(Order::Udp(listener, socket)) => match tokio::net::UdpSocket::from_std(socket) {
                Ok(socket) => drop(tokio::task::spawn_local(udp::run(listener, socket, place.clone()))),
                Err(_) => place.shared.counters.accept_errors.one(),
            },
            None => return,
        }
    }
}
