use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel::Address;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One server that is sent to, with its idle connections: the payload of a cluster, and what a client knows of a proxy.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: Address,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
    opened: Arc<AtomicU64>,
}

impl Upstream {
    /// Counts in `opened` how many connections it opens.
    pub(crate) fn new(address: Address, opened: Arc<AtomicU64>) -> Self {
        Self { address, idle: Mutex::default(), opened }
    }

    /// Sends one request, and gives the body of a 2xx answer.
    pub(crate) async fn get(&self) -> Result<Bytes, CallError> {
        tokio::time::timeout(PATIENCE, self.exchange()).await.map_err(|_| CallError::Timeout)?
    }

    async fn exchange(&self) -> Result<Bytes, CallError> {
        let mut connection = self.connection().await?;
        let mut request = Request::new(Empty::new());
        request.headers_mut().insert(HOST, HeaderValue::from_static("users"));
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        if status.is_success() {
            return Ok(body);
        }
        Err(CallError::Status { status, words: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn connection(&self) -> Result<SendRequest<Empty<Bytes>>, CallError> {
        while let Some(mut connection) = self.take_idle() {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let Address::Socket(address) = self.address else { return Err(CallError::NoSocket) };
        self.connect(address).await
    }

    async fn connect(&self, address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, CallError> {
        let stream = TcpStream::connect(address).await.map_err(CallError::Connect)?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        let _ = stream.set_nodelay(true);
        let (connection, task) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(task);
        Ok(connection)
    }

    fn take_idle(&self) -> Option<SendRequest<Empty<Bytes>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// A request brought no 2xx answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
    #[error("{status}: {words}")]
    Status { status: StatusCode, words: String },
    #[error("the address is no socket's")]
    NoSocket,
}

/// A hundred times what an answer takes.
const PATIENCE: Duration = Duration::from_secs(1);
