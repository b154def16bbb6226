use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_types::SplitMix64;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A small HTTP server on loopback that can be told to misbehave. Dropping it is a crash: it stops listening and cuts
/// every connection.
#[derive(Debug)]
pub(crate) struct Backend {
    address: SocketAddr,
    listening: JoinHandle<()>,
}

/// How a backend behaves, and what it has seen; outlives crashes.
#[derive(Debug)]
pub(crate) struct Conduct {
    name: String,
    /// The mean time for an answer.
    pace: Duration,
    slowdown: AtomicU32,
    failing: AtomicBool,
    served: AtomicU64,
}

impl Conduct {
    pub(crate) fn new(name: &str, pace: Duration) -> Self {
        Self {
            name: name.to_owned(),
            pace,
            slowdown: AtomicU32::new(1),
            failing: AtomicBool::new(false),
            served: AtomicU64::new(0),
        }
    }

    /// From now on answers take so many times as long.
    pub(crate) fn slow_down(&self, times: u32) {
        self.slowdown.store(times, Ordering::Relaxed);
    }

    /// Whether requests are answered with status 500. Its checks pass all the same, as in many a real outage.
    pub(crate) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// The requests that have arrived, checks aside.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path() == CHECK_PATH {
            return Ok(Response::new(Full::from("fit\n")));
        }
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        if self.failing.load(Ordering::Relaxed) {
            let mut answer = Response::new(Full::from("the database is gone\n"));
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(answer);
        }
        tokio::time::sleep(self.time_for(number)).await;
        Ok(Response::new(Full::from(format!("{} {:>width$}\n", self.name, number, width = BODY_LENGTH))))
    }

    /// Half to one and a half times the pace, so that quantiles differ.
    fn time_for(&self, number: u64) -> Duration {
        let spread = SplitMix64::mix(number) % 1_000;
        let pace = self.pace * self.slowdown.load(Ordering::Relaxed);
        pace / 2 + pace * spread as u32 / 1_000
    }
}

impl Backend {
    /// Listens on a port that the operating system chooses.
    pub(crate) async fn start(conduct: &Arc<Conduct>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, listening: tokio::spawn(listen(listener, Arc::clone(conduct))) })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Connections live in this task, so that they die with it.
async fn listen(listener: TcpListener, conduct: Arc<Conduct>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(converse(stream, Arc::clone(&conduct)));
    }
}

async fn converse(stream: TcpStream, conduct: Arc<Conduct>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let conduct = Arc::clone(&conduct);
        async move { conduct.answer(request).await }
    });
    // The proxy may close a connection at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Where the active check asks.
pub(crate) const CHECK_PATH: &str = "/health";

/// A body of about a kilobyte.
const BODY_LENGTH: usize = 1_000;
