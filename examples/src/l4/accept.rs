use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::connection;
use super::listener::Listener;
use super::worker::Place;

/// Takes connections until the listener takes no more. While it is full, they wait in the queue of the kernel.
pub(crate) async fn run(listener: Arc<Listener>, socket: TcpListener, place: Place) {
    loop {
        let permit = tokio::select! {
            biased;
            () = listener.accepting.closed() => break,
            permit = Arc::clone(&listener.room).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            biased;
            () = listener.accepting.closed() => break,
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
    take_the_rest(&listener, &socket, &place).await;
}

/// Whoever has connected already is served: the kernel would reset those who wait in the queue of a socket that is closed.
/// Those who come meanwhile are not waited for, or it would never close under load.
async fn take_the_rest(listener: &Arc<Listener>, socket: &TcpListener, place: &Place) {
    // One look of the runtime at its sockets.
    tokio::task::yield_now().await;
    let end = Instant::now() + BREATH;
    while Instant::now() < end
        && let Ok(permit) = Arc::clone(&listener.room).try_acquire_owned()
    {
        let waiting = poll_fn(|cx| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
            Poll::Pending => Poll::Ready(None),
        });
        let Some((client, peer)) = waiting.await else { return };
        place.shared.counters.accepted.one();
        spawn_local(connection::serve(Arc::clone(listener), client, peer, permit, place.clone()));
    }
}

/// So long a thread waits that has no descriptors left, and so long at most a queue is emptied.
const BREATH: Duration = Duration::from_millis(20);
