use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// A service that listens at once and can serve after a while. Dropping it cuts every connection.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    ready_at: Instant,
    in_progress: AtomicU32,
}

impl Service {
    pub(crate) async fn start(listen: SocketAddr, warm_up: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { ready_at: Instant::now() + warm_up, in_progress: AtomicU32::new(0) });
        let listening = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, listening })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when no request is in progress.
    pub(crate) async fn until_idle(&self) {
        while self.state.in_progress.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Connections live in this task, so that they end with it.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(converse(stream, Arc::clone(&state)));
    }
}

async fn converse(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request| answer(request, &state));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, state: &State) -> Result<Response<Full<Bytes>>, Infallible> {
    let ready = Instant::now() >= state.ready_at;
    if !ready || request.uri().path() == HEALTH_PATH {
        let (status, words) = if ready {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "warming up\n")
        };
        let mut answer = Response::new(Full::from(words));
        *answer.status_mut() = status;
        return Ok(answer);
    }
    state.in_progress.fetch_add(1, Ordering::AcqRel);
    let _done = Done(&state.in_progress);
    tokio::time::sleep(WORK).await;
    Ok(Response::new(Full::from("here you are\n")))
}

/// The end of a request, also of one that is cut.
struct Done<'a>(&'a AtomicU32);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where the service says whether it can serve.
pub(crate) const HEALTH_PATH: &str = "/health";

/// What a request takes.
const WORK: Duration = Duration::from_millis(20);
