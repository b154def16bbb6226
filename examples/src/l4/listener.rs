use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, OnceLock};

use evenkeel_config::{ListenerConfig, Protocol};
use evenkeel_types::Address;
use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::gate::Gate;
use super::settings::ListenerPart;

/// A listener as all threads see it.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) config: ListenerConfig,
    pub(crate) part: ListenerPart,
    /// Where it listens; the port is known.
    pub(crate) address: SocketAddr,
    /// Room for connections, or sessions.
    pub(crate) room: Arc<Semaphore>,
    /// Closed when it takes no more connections.
    pub(crate) accepting: Gate,
    /// Closed when its connections have had their time, and those that it had under other settings.
    pub(crate) lasting: Arc<Gate>,
    /// Who goes on at the same sockets, under other settings.
    pub(crate) successor: OnceLock<Arc<Self>>,
}

/// The sockets of a listener, one for each thread: the kernel spreads connections over them.
#[derive(Debug)]
pub(crate) enum Sockets {
    Tcp(Vec<TcpListener>),
    Udp(Vec<UdpSocket>),
}

/// A socket cannot be opened.
#[derive(Debug, Error)]
#[error("listener {name:?} cannot be opened at {address}: {error}")]
pub struct ListenError {
    /// The listener.
    pub name: String,
    /// Its address.
    pub address: Address,
    /// What the system says.
    #[source]
    pub error: io::Error,
}

impl Listener {
    /// Opens the sockets of a listener.
    pub(crate) fn open(
        config: &ListenerConfig,
        part: ListenerPart,
        threads: usize,
    ) -> Result<(Arc<Self>, Sockets), ListenError> {
        let opened = config.address.socket_addr().ok_or_else(|| io::ErrorKind::Unsupported.into());
        let opened = opened.and_then(|address| sockets(address, config.protocol, threads));
        let (address, sockets) = opened.map_err(|error| ListenError {
            name: config.name.clone(),
            address: config.address.clone(),
            error,
        })?;
        Ok((Arc::new(Self::new(config, part, address, Arc::default())), sockets))
    }

    /// Whether another one could go on at the sockets of this one. Sessions of datagrams keep their settings, and begin anew.
    pub(crate) fn can_become(&self, config: &ListenerConfig) -> bool {
        let same = self.config.address == config.address && self.config.protocol == config.protocol;
        same && config.protocol != Protocol::Udp
    }

    /// The one that goes on at the same sockets, once it is made the successor.
    pub(crate) fn become_other(&self, config: &ListenerConfig, part: ListenerPart) -> Arc<Self> {
        Arc::new(Self::new(config, part, self.address, Arc::clone(&self.lasting)))
    }

    fn new(config: &ListenerConfig, part: ListenerPart, address: SocketAddr, lasting: Arc<Gate>) -> Self {
        let room = usize::try_from(config.limits.max_connections).unwrap_or(usize::MAX);
        Self {
            config: config.clone(),
            part,
            address,
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            accepting: Gate::default(),
            lasting,
            successor: OnceLock::new(),
        }
    }
}

fn sockets(address: SocketAddr, protocol: Protocol, threads: usize) -> io::Result<(SocketAddr, Sockets)> {
    let kind = if protocol == Protocol::Udp { Type::DGRAM } else { Type::STREAM };
    let address = if address.port() == 0 { free(address, kind)? } else { address };
    let all: Vec<Socket> = (0..threads).map(|_| bound(address, kind)).collect::<io::Result<_>>()?;
    if protocol == Protocol::Udp {
        return Ok((address, Sockets::Udp(all.into_iter().map(UdpSocket::from).collect())));
    }
    for socket in &all {
        socket.listen(BACKLOG)?;
    }
    Ok((address, Sockets::Tcp(all.into_iter().map(TcpListener::from).collect())))
}

/// The same address with a port of its own: asked with `SO_REUSEPORT`, the system may choose one that another program of this
/// user shares out.
fn free(address: SocketAddr, kind: Type) -> io::Result<SocketAddr> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.bind(&address.into())?;
    Ok(socket.local_addr()?.as_socket().unwrap_or(address))
}

fn bound(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), None)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The system bounds it once more (`net.core.somaxconn`, 4096).
const BACKLOG: i32 = 4_096;
