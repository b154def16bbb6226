use std::convert::Infallible;
use std::sync::Arc;

use evenkeel_metrics::Exporter;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use super::shared::Shared;

/// Answers operators, until it is dropped.
pub(crate) async fn run(socket: TcpListener, shared: Arc<Shared>, metrics: Arc<Metrics>) {
    let room = Arc::new(Semaphore::new(OPERATORS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((client, _)) = socket.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let (shared, metrics) = (Arc::clone(&shared), Arc::clone(&metrics));
        tokio::task::spawn_local(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &shared, &metrics);
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(hyper_util::rt::TokioTimer::new());
            // Whoever talks nonsense is hung up on.
            let _ = http.serve_connection(TokioIo::new(client), service).await;
            drop(permit);
        });
    }
}

/// What operators can ask. Status pages come in here: they need a method, a path and a body, and nothing of sockets.
fn answer(method: &Method, path: &str, shared: &Shared, metrics: &Metrics) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return of(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n");
    }
    match path {
        "/healthz" => of(StatusCode::OK, "text/plain", "ok\n"),
        "/metrics" => of(StatusCode::OK, OPENMETRICS, metrics.write(shared, &Exporter::default())),
        _ => of(StatusCode::NOT_FOUND, "text/plain", "there are /healthz and /metrics\n"),
    }
}

fn of(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections of operators at a time.
const OPERATORS: usize = 64;
