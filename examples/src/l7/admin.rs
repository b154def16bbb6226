//! Where operators ask, at an address of their own: the status page and its API, `/healthz` and `/metrics`.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
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
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

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
        let (status, kind, body) = match (request.method().as_str(), request.uri().path()) {
            ("GET" | "HEAD", "/healthz") if self.shared.is_draining() => {
                (StatusCode::SERVICE_UNAVAILABLE, PLAIN, "draining\n".to_owned())
            }
            ("GET" | "HEAD", "/healthz") => (StatusCode::OK, PLAIN, "ok\n".to_owned()),
            ("GET" | "HEAD", "/metrics") => {
                (StatusCode::OK, Exporter::CONTENT_TYPE, self.metrics.to_openmetrics(&self.shared.running))
            }
            _ => return self.page.answer_hyper(request).await,
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    /// Serves. It ends with its runtime.
    ///
    /// # Errors
    ///
    /// If the socket cannot be used.
    pub async fn serve(self: Arc<Self>, socket: StdListener) -> std::io::Result<()> {
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(socket)?;
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
            let Ok((stream, _)) = socket.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let admin = Arc::clone(&self);
            let service = service_fn(move |request: Request<Incoming>| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(admin.answer(request).await) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            drop(tokio::spawn(async move {
                let _ = connection.await;
                drop(permit);
            }));
        }
    }
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
