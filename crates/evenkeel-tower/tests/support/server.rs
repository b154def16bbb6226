//! Real HTTP servers on loopback that misbehave when told.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel::{Cluster, Endpoint};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// How a server answers.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) chunks: Vec<&'static [u8]>,
    /// Between the chunks.
    pub(crate) pause: Duration,
    /// Before the head.
    pub(crate) delay: Duration,
    pub(crate) end: End,
}

#[derive(Clone, Debug)]
pub(crate) enum End {
    Whole,
    Trailers(Vec<(&'static str, &'static str)>),
    /// The connection is cut.
    Cut,
    /// Nothing more comes.
    Never,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            status: 200,
            headers: vec![],
            chunks: vec![b"hello"],
            pause: Duration::ZERO,
            delay: Duration::ZERO,
            end: End::Whole,
        }
    }
}

/// A server; dropped, it is gone and all its connections with it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    served: AtomicU32,
    last: Mutex<Option<(http::Method, http::Uri, Bytes)>>,
}

impl Server {
    /// HTTP/1 and HTTP/2 with prior knowledge.
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            served: AtomicU32::new(0),
            last: Mutex::new(None),
        });
        let serving = Arc::clone(&shared);
        let listening = tokio::spawn(async move {
            // The connections end with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, shared, listening }
    }

    pub(crate) fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.script.lock());
    }

    /// Requests that have arrived.
    pub(crate) fn served(&self) -> u32 {
        self.shared.served.load(Ordering::SeqCst)
    }

    /// The last request.
    pub(crate) fn last(&self) -> (http::Method, http::Uri, Bytes) {
        self.shared.last.lock().clone().expect("a request has arrived")
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::at(self.address.to_string().parse().expect("an address")).expect("a short id")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Scripted>, Infallible> {
    shared.served.fetch_add(1, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    *shared.last.lock() = Some((head.method, head.uri, body));
    let script = shared.script.lock().clone();
    if script.delay > Duration::ZERO {
        tokio::time::sleep(script.delay).await;
    }
    let mut response = Response::new(());
    *response.status_mut() = script.status.try_into().expect("a status");
    for (name, value) in &script.headers {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    Ok(response.map(|()| Scripted {
        next: 0,
        sleep: Box::pin(tokio::time::sleep(script.pause)),
        script,
        ended: false,
    }))
}

/// A body that goes by the script.
pub(crate) struct Scripted {
    script: Script,
    next: usize,
    sleep: Pin<Box<tokio::time::Sleep>>,
    ended: bool,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        if this.next > 0 && this.script.pause > Duration::ZERO && this.next < this.script.chunks.len() {
            std::task::ready!(this.sleep.as_mut().poll(cx));
            this.sleep.as_mut().reset(tokio::time::Instant::now() + this.script.pause);
        }
        if let Some(chunk) = this.script.chunks.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(chunk)))));
        }
        if std::mem::replace(&mut this.ended, true) {
            return Poll::Ready(None);
        }
        match &this.script.end {
            End::Whole => Poll::Ready(None),
            End::Trailers(trailers) => {
                let trailers: HeaderMap = trailers
                    .iter()
                    .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)))
                    .collect();
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            End::Cut => {
                // What was written goes out first, so that the head is seen.
                if this.next == this.script.chunks.len() {
                    this.next += 1;
                    this.ended = false;
                    this.sleep.as_mut().reset(tokio::time::Instant::now() + Duration::from_millis(20));
                }
                if this.sleep.as_mut().poll(cx).is_pending() {
                    this.ended = false;
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(std::io::ErrorKind::BrokenPipe.into())))
            }
            End::Never => {
                this.ended = false;
                Poll::Pending
            }
        }
    }
}

/// A cluster of these servers without payloads.
pub(crate) fn cluster_of(servers: &[Server]) -> Cluster<()> {
    let policy = evenkeel::PolicyConfig::round_robin();
    let cluster = Cluster::<()>::builder("test").policy(policy).seed(1).build().expect("valid settings");
    cluster.apply(servers.iter().map(Server::endpoint)).expect("valid endpoints");
    cluster
}

/// Waits until this is so: for what a connection's own task does in its time.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come about");
}
