use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use super::shared::Shared;
use crate::admin::{Admin, AdminSettings, Serves};

/// Answers operators, until it is dropped.
pub(crate) async fn run(socket: TcpListener, shared: Arc<Shared>, metrics: Arc<Metrics>) {
    let is_open = shared.settings().admin_open;
    let serves = socket.local_addr().map_or(Serves::Monitoring, |address| Serves::at(address, is_open));
    let Ok(page) = Admin::new(AdminSettings { serves, ..AdminSettings::default() }) else { return };
    let page = Arc::new(page.with_running(Arc::clone(&shared.running), |_| None));
    let room = Arc::new(Semaphore::new(OPERATORS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((client, _)) = socket.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let (shared, metrics, page) = (Arc::clone(&shared), Arc::clone(&metrics), Arc::clone(&page));
        tokio::task::spawn_local(async move {
            let service = service_fn(async |request| {
                Ok::<_, Infallible>(answer(request, &shared, &metrics, &page).await)
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(hyper_util::rt::TokioTimer::new());
            // Whoever talks nonsense is hung up on.
            let _ = http.serve_connection(TokioIo::new(client), service).await;
            drop(permit);
        });
    }
}

/// What operators can ask: the numbers are the proxy's own, under any host name, since scrapers come by many; all else the
/// status page's.
async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
    metrics: &Metrics,
    page: &Admin,
) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if request.uri().path() != "/metrics" || !is_read {
        return page.answer_hyper(request).await;
    }
    let mut response = Response::new(Full::from(metrics.write(shared)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
    response
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections of operators at a time.
const OPERATORS: usize = 64;
