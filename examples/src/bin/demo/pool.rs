use std::sync::{Arc, Mutex, PoisonError};

use evenkeel::Address;
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use evenkeel_examples::admin;

use crate::meter::Meter;

/// What goes to a backend: the client's body as it comes in, or none.
pub(crate) type RequestBody = Either<Incoming, Empty<Bytes>>;

/// A keep-alive connection that waits for a request.
pub(crate) type Connection = SendRequest<RequestBody>;

/// The payload `T` of this demo's `Cluster<T>`: made once for each incarnation of a backend, and with it go its
/// connections.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) pool: Pool,
    pub(crate) meter: Arc<Meter>,
    /// What the status page tells of the last minute.
    pub(crate) watched: admin::Meter,
}

/// Idle connections to one backend, the latest used first.
#[derive(Debug)]
pub(crate) struct Pool {
    address: Address,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(crate) const fn new(address: Address) -> Self {
        Self { address, idle: Mutex::new(Vec::new()) }
    }

    /// An idle connection that still lives, or a new one.
    pub(crate) async fn checkout(&self) -> Result<Connection, ConnectError> {
        while let Some(mut connection) = self.take_idle() {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    /// A new connection, whatever is idle.
    pub(crate) async fn connect(&self) -> Result<Connection, ConnectError> {
        connect(&self.address).await
    }

    /// Keeps a connection whose last answer has come through completely.
    pub(crate) fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_closed() && idle.len() < MOST_IDLE {
            idle.push(connection);
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// A new connection; its task ends when the connection is dropped.
pub(crate) async fn connect(address: &Address) -> Result<Connection, ConnectError> {
    let stream = match address {
        Address::Socket(address) => TcpStream::connect(address).await?,
        Address::Host(name, port) => TcpStream::connect((name.as_str(), *port)).await?,
        _ => return Err(ConnectError::NotTcp),
    };
    stream.set_nodelay(true)?;
    let (connection, task) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(task);
    Ok(connection)
}

/// There is no connection to a backend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
    #[error("only TCP addresses can be connected to")]
    NotTcp,
}

/// More than the demo ever has in flight at one backend, unless that one is in trouble.
const MOST_IDLE: usize = 64;
