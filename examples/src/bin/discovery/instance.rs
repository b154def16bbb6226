use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{io, panic};

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A server on loopback that answers with its name. Dropping it is a crash: every connection is cut.
#[derive(Debug)]
pub(crate) struct Instance {
    address: SocketAddr,
    in_progress: Arc<AtomicU32>,
    listening: JoinHandle<()>,
}

impl Instance {
    pub(crate) async fn start(name: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let in_progress = Arc::new(AtomicU32::new(0));
        let listening = tokio::spawn(listen(listener, name, Arc::clone(&in_progress)));
        Ok(Self { address, in_progress, listening })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when no request is in progress.
    pub(crate) async fn until_idle(&self) {
        while self.in_progress.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Cuts every connection; gone when this returns.
    pub(crate) async fn crash(mut self) {
        self.listening.abort();
        match (&mut self.listening).await {
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            _ => {}
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Connections live in this task, so that they die with it.
async fn listen(listener: TcpListener, name: &'static str, in_progress: Arc<AtomicU32>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(converse(stream, name, Arc::clone(&in_progress)));
    }
}

async fn converse(stream: TcpStream, name: &'static str, in_progress: Arc<AtomicU32>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|_| async {
        let _busy = Busy::start(&in_progress);
        tokio::time::sleep(WORK).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(name)))
    });
    // Callers may close a connection at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Counts a request in progress, also if it is cut.
struct Busy<'a>(&'a AtomicU32);

impl<'a> Busy<'a> {
    fn start(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a request takes at an instance.
const WORK: Duration = Duration::from_millis(5);
