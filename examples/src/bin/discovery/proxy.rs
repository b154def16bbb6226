//! The proxy of server-side discovery: it alone knows the registry, its clients know its address.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::ledger::Ledger;
use crate::resolver::Resolver;

/// Serves until it is dropped, and its connections with it.
pub(crate) async fn serve(listener: TcpListener, resolver: Arc<Resolver>, ledger: Arc<Ledger>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(converse(stream, Arc::clone(&resolver), Arc::clone(&ledger)));
    }
}

async fn converse(stream: TcpStream, resolver: Arc<Resolver>, ledger: Arc<Ledger>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|_| async {
        ledger.note_relay();
        Ok::<_, Infallible>(answer(&resolver).await)
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(resolver: &Resolver) -> Response<Full<Bytes>> {
    match resolver.get().await {
        Ok(body) => Response::new(Full::new(body)),
        Err(error) => {
            let mut answer = Response::new(Full::from(error.to_string()));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    }
}
