use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::wait::LIMIT;

/// A server on loopback that does with each connection what it was told to, on a thread of its own.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl Backend {
    pub(crate) fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop, serve) = (Arc::clone(&accepted), Arc::clone(&stopped), Arc::new(serve));
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                count.fetch_add(1, Ordering::AcqRel);
                socket.set_read_timeout(Some(LIMIT)).unwrap();
                socket.set_write_timeout(Some(LIMIT)).unwrap();
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(socket));
            }
        });
        Self { address, accepted, stopped }
    }

    /// Says its name, then sends back what comes.
    pub(crate) fn echo(name: &'static str) -> Self {
        Self::start(move |mut socket| {
            let mut buffer = vec![0; 64 << 10];
            if socket.write_all(name.as_bytes()).is_err() {
                return;
            }
            while let Ok(count) = socket.read(&mut buffer) {
                if count == 0 || socket.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        })
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Acquire)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Its thread waits for one more connection, and closes the socket then.
        let _ = TcpStream::connect(self.address);
    }
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Has the other side see a reset.
pub(crate) fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(socket);
}
