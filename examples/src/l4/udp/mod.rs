//! Datagrams: a session for each client and listener, which stays at its endpoint.

mod session;
mod table;

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::UdpSocket;

use super::listener::Listener;
use super::worker::Place;
use table::Table;

/// Takes datagrams of clients until the listener has had its time, or takes no new sessions and has none.
pub(crate) async fn run(listener: Arc<Listener>, socket: UdpSocket, place: Place) {
    let table = Rc::new(Table::new(listener, socket, place));
    loop {
        tokio::select! {
            biased;
            () = table.listener.lasting.closed() => return,
            () = table.is_over() => return,
            ready = table.socket.readable() => if ready.is_err() { return },
        }
        take_some(&table);
        // Sessions of this thread have their turn.
        tokio::task::yield_now().await;
    }
}

fn take_some(table: &Rc<Table>) {
    let mut buffer = table.place.tools.buffer.borrow_mut();
    for _ in 0..BATCH {
        match table.socket.try_recv_from(&mut buffer) {
            Ok((count, client)) => table.take(client, &buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // What went wrong with a reply that was sent before.
            Err(_) => {}
        }
    }
}

/// Datagrams in a row, before somebody else has a turn.
const BATCH: usize = 64;
