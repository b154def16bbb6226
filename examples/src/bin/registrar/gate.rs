use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::announcement::Announcement;
use crate::service::HEALTH_PATH;

/// Asks the service over a socket whether it can serve, and announces it only while it says so, until it is dropped.
pub(crate) async fn keep(address: SocketAddr, announcement: &Announcement) {
    let mut told = None;
    loop {
        let ready = matches!(get(address, HEALTH_PATH).await, Ok(status) if status.is_success());
        if told != Some(ready) {
            announcement.ready(ready);
            told = Some(ready);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The status of one answer, on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<StatusCode, String> {
    let asked = tokio::time::timeout(PATIENCE, ask(address, path)).await;
    asked.map_err(|_| format!("no answer within {PATIENCE:?}"))?.map_err(|error| error.to_string())
}

async fn ask(
    address: SocketAddr,
    path: &str,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut connection, task) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(task);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = path.parse()?;
    request.headers_mut().insert(HOST, HeaderValue::from_static("users"));
    Ok(connection.send_request(request).await?.status())
}

const EVERY: Duration = Duration::from_millis(100);

const PATIENCE: Duration = Duration::from_secs(1);
