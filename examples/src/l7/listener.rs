//! Where connections come in.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use evenkeel_config::{ListenerConfig, Protocol};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::error::StartError;
use super::tls;

/// A listener as connections use it. A reload makes another one for connections that come later.
pub struct Listener {
    /// The settings.
    pub config: ListenerConfig,
    /// Its certificate.
    pub tls: Option<TlsAcceptor>,
    /// Room for connections, all workers together. It stays over reloads.
    pub room: Arc<Semaphore>,
}

impl Listener {
    /// Reads the certificate.
    ///
    /// # Errors
    ///
    /// What of it cannot be used.
    pub fn new(config: &ListenerConfig, room: Option<Arc<Semaphore>>) -> Result<Self, StartError> {
        if config.protocol != Protocol::Http {
            return Err(StartError::NotHttp { listener: config.name.clone() });
        }
        let tls = match &config.tls {
            None => None,
            Some(tls) => {
                let acceptor = tls::acceptor(tls);
                Some(acceptor.map_err(|error| StartError::Tls { listener: config.name.clone(), error })?)
            }
        };
        let most = usize::try_from(config.limits.max_connections).unwrap_or(usize::MAX);
        let room = room.unwrap_or_else(|| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
        Ok(Self { config: config.clone(), tls, room })
    }

    /// The address, which must be one of IP.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub fn address(config: &ListenerConfig) -> Result<SocketAddr, StartError> {
        config.address.socket_addr().ok_or_else(|| StartError::NotIp {
            listener: config.name.clone(),
            address: config.address.to_string(),
        })
    }
}

/// Opens sockets, one for each worker, among which the system divides new connections. To be called within a runtime.
///
/// # Errors
///
/// If one cannot be opened.
pub fn open(address: SocketAddr, workers: usize) -> std::io::Result<Vec<TcpListener>> {
    let mut all: Vec<TcpListener> = Vec::new();
    let mut address = address;
    for _ in 0..workers {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        // Port 0 is whichever is free: the first one says which.
        address = socket.local_addr()?;
        all.push(socket.listen(BACKLOG)?.into_std()?);
    }
    Ok(all)
}

/// Connections that wait to be accepted. The system takes less if `somaxconn` is less.
const BACKLOG: u32 = 4096;
