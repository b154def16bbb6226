//! Where operators ask, at an address of their own: the status page and its API, `/healthz` and `/metrics`.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use evenkeel_metrics::Exporter;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::Metrics;
use super::worker::Shared;

/// Answers operators, on a thread of its own, until the proxy ends.
pub struct Admin {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The numbers.
    pub metrics: Metrics,
    /// The page and the API.
    pub page: crate::admin::Admin,
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if self.shared.handed_over.load(Ordering::Acquire) {
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "another process serves here by now: connect anew\n",
            );
        }
        match (request.method().as_str(), request.uri().path()) {
            ("GET" | "HEAD", "/healthz") if self.shared.is_draining() => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            ("GET" | "HEAD", "/healthz") => plain(StatusCode::OK, "ok\n"),
            ("GET" | "HEAD", "/metrics") => {
                let text = self.metrics.to_openmetrics();
                of_kind(StatusCode::OK, Exporter::CONTENT_TYPE, text)
            }
            _ => self.page.answer_hyper(request).await,
        }
    }

    /// Serves until another process has the socket, or the runtime ends. The very same socket is then the other's: whoever went on
    /// accepting from it would take orders for a process that is about to end.
    ///
    /// # Errors
    ///
    /// If the socket cannot be used.
    pub async fn serve(self: Arc<Self>, socket: StdListener) -> std::io::Result<()> {
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(socket)?;
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut handed_over = pin!(self.handed_over());
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut handed_over => return Ok(()),
                accepted = accept(&socket, &room) => accepted,
            };
            let Some((stream, permit)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            drop(tokio::spawn(Arc::clone(&self).serve_one(stream, permit)));
        }
    }

    /// Returns when another process has the socket.
    async fn handed_over(&self) {
        let mut stop = self.shared.stop.subscribe();
        let is_over = stop.wait_for(|stop| *stop).await.is_ok();
        if !is_over || !self.shared.handed_over.load(Ordering::Acquire) {
            // A proxy that only drains answers to the end.
            std::future::pending::<()>().await;
        }
    }

    /// Serves a connection, which is closed when the socket is another's, so that its client connects anew.
    async fn serve_one(self: Arc<Self>, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let service = service_fn(|request: Request<Incoming>| {
            let admin = Arc::clone(&self);
            async move { Ok::<_, Infallible>(admin.answer(request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let is_open = tokio::select! {
            biased;
            _ = connection.as_mut() => false,
            () = self.handed_over() => true,
        };
        if is_open {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
        drop(permit);
    }
}

/// A connection for which there is room; none if the system has none.
async fn accept(socket: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    let (stream, _) = socket.accept().await.ok()?;
    Some((stream, permit))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    of_kind(status, PLAIN, text)
}

fn of_kind(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Opens the socket.
///
/// # Errors
///
/// If it is taken.
pub fn open(address: SocketAddr) -> std::io::Result<StdListener> {
    super::listener::open(address, 1)?.pop().ok_or_else(|| std::io::Error::other("no socket"))
}

const PLAIN: &str = "text/plain; charset=utf-8";
const MOST_CONNECTIONS: usize = 64;
