//! Connections that wait in the queue of a socket that is about to be closed: the system would reset them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use tokio::net::{TcpListener, TcpStream};

/// Takes those that wait now. Not by way of the runtime, which would only try after it has heard of them. Those who come meanwhile are
/// not waited for, or a socket would never be closed under load.
pub fn take(socket: &TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let end = Instant::now() + LONGEST;
    std::iter::from_fn(move || {
        while Instant::now() < end {
            match accept_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(stream) => {
                    let stream = std::net::TcpStream::from(stream);
                    let peer = stream.peer_addr();
                    if let Ok(client) = peer.and_then(|peer| Ok((TcpStream::from_std(stream)?, peer))) {
                        return Some(client);
                    }
                }
                // Gone again while it waited.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        None
    })
}

/// So long at most a queue is emptied.
const LONGEST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::runtime::Builder;

    use super::*;

    /// They come after the runtime has looked for the last time.
    #[test]
    fn those_are_found_of_whom_the_runtime_has_not_heard() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            poll_fn(|context| {
                assert!(socket.poll_accept(context).is_pending());
                Poll::Ready(())
            })
            .await;
            let address = socket.local_addr().unwrap();
            let clients: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
            let found: Vec<SocketAddr> = take(&socket).map(|(_, peer)| peer).collect();
            let expected: Vec<SocketAddr> =
                clients.iter().map(|client| client.local_addr().unwrap()).collect();
            assert_eq!(found, expected);
            assert!(take(&socket).next().is_none());
        });
    }
}
