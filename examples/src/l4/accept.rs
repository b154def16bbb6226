use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SocketFlags, accept_with};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::connection;
use super::listener::Listener;
use super::worker::Place;

/// Takes connections until the listener takes no more. While it is full, they wait in the queue of the kernel.
pub(crate) async fn run(mut listener: Arc<Listener>, socket: TcpListener, place: Place) {
    loop {
        if let Some(successor) = listener.successor.get().map(Arc::clone) {
            listener = successor;
            continue;
        }
        let permit = tokio::select! {
            biased;
            () = listener.accepting.closed() => if listener.successor.get().is_some() { continue } else { break },
            permit = Arc::clone(&listener.room).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            biased;
            () = listener.accepting.closed() => if listener.successor.get().is_some() { continue } else { break },
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((client, peer)) => {
                place.shared.counters.accepted.one();
                spawn_local(connection::serve(Arc::clone(&listener), client, peer, permit, place.clone()));
            }
            Err(_) => {
                // Gone again, or no descriptors left: those that end make room.
                place.shared.counters.accept_errors.one();
                sleep(BREATH).await;
            }
        }
    }
    take_the_rest(&listener, &socket, &place);
}

/// Whoever has connected already is served: the kernel would reset those who wait in the queue of a socket that is closed.
/// Those who come meanwhile are not waited for, or it would never close under load.
fn take_the_rest(listener: &Arc<Listener>, socket: &TcpListener, place: &Place) {
    let end = Instant::now() + BREATH;
    while Instant::now() < end
        && let Ok(permit) = Arc::clone(&listener.room).try_acquire_owned()
        // Not by way of the runtime, which would only try after it has heard of them.
        && let Ok(client) = accept_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
    {
        place.shared.counters.accepted.one();
        let client = std::net::TcpStream::from(client);
        let peer = client.peer_addr();
        match peer.and_then(|peer| Ok((TcpStream::from_std(client)?, peer))) {
            Ok((client, peer)) => {
                let serving = connection::serve(Arc::clone(listener), client, peer, permit, place.clone());
                spawn_local(serving);
            }
            // Gone already.
            Err(_) => place.shared.counters.ended.one(),
        }
    }
}

/// So long a thread waits that has no descriptors left, and so long at most a queue is emptied.
const BREATH: Duration = Duration::from_millis(20);
