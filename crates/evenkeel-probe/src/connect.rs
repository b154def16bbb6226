//! Names to addresses to connections, within limits.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use evenkeel_types::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::excerpt::Excerpt;
use crate::reason::{Phase, Reason};

/// A connection, whatever it runs over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) type Stream = Box<dyn Io>;

/// How a TCP connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// By FIN, which leaves this side in TIME_WAIT.
    Gently,
    /// By RST, which leaves nothing.
    AtOnce,
}

/// Asks the system's resolver. That blocks a thread, so only a few may ask at a time; a question that was given up keeps
/// its thread until the system answers, and its place too, so that a dead resolver ties up those few threads and no
/// more.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    places: Arc<Semaphore>,
}

impl Resolver {
    /// Threads that the runtime may start for the resolver, and for starting commands.
    pub(crate) const THREADS: usize = 4;

    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(Self::THREADS)) }
    }

    async fn resolve(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, Reason> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Reason::Internal)?;
        let name = name.to_owned();
        let ask = move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            drop(place);
            found
        };
        let found = tokio::task::spawn_blocking(ask).await.map_err(|_| Reason::Internal)?;
        let found = found.map_err(|error| Reason::Resolve(Excerpt::shown(&error)))?;
        if found.is_empty() { Err(Reason::Resolve(Excerpt::of("no address"))) } else { Ok(found) }
    }
}

/// What a check is doing, for the case that its time runs out.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicU8);

impl Progress {
    pub(crate) fn enter(&self, phase: Phase) {
        let at = PHASES.iter().position(|&known| known == phase).unwrap_or(0);
        self.0.store(at as u8, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        PHASES.get(usize::from(self.0.load(Ordering::Relaxed))).copied().unwrap_or(Phase::Connect)
    }
}

const PHASES: [Phase; 5] = [Phase::Connect, Phase::Resolve, Phase::Tls, Phase::Answer, Phase::Command];

/// Connects to `address` within `limit`, which covers the resolver too. Of several addresses of a name, the first that
/// answers is taken, in the resolver's order.
pub(crate) async fn connect(
    address: &Address,
    limit: Option<Duration>,
    closing: Closing,
    resolver: &Resolver,
    progress: &Progress,
) -> Result<Stream, Reason> {
    let connecting = async {
        match address {
            Address::Socket(address) => tcp(*address, closing, progress).await,
            Address::Host(name, port) => {
                progress.enter(Phase::Resolve);
                first_of(resolver.resolve(name.as_str(), *port).await?, closing, progress).await
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                progress.enter(Phase::Connect);
                let stream = tokio::net::UnixStream::connect(path).await;
                stream.map(|stream| Box::new(stream) as Stream).map_err(|error| Reason::of_io(&error))
            }
            _ => Err(Reason::protocol("addresses of this kind cannot be checked on this platform")),
        }
    };
    match limit {
        Some(limit) => {
            timeout(limit, connecting).await.unwrap_or_else(|_| Err(Reason::TimedOut(progress.phase())))
        }
        None => connecting.await,
    }
}

async fn first_of(
    addresses: Vec<SocketAddr>,
    closing: Closing,
    progress: &Progress,
) -> Result<Stream, Reason> {
    let mut refused = Reason::Internal;
    for address in addresses {
        match tcp(address, closing, progress).await {
            Ok(stream) => return Ok(stream),
            Err(reason) => refused = reason,
        }
    }
    Err(refused)
}

async fn tcp(address: SocketAddr, closing: Closing, progress: &Progress) -> Result<Stream, Reason> {
    progress.enter(Phase::Connect);
    let prepared = |stream: TcpStream| -> io::Result<TcpStream> {
        stream.set_nodelay(true)?;
        if closing == Closing::AtOnce {
            stream.set_zero_linger()?;
        }
        Ok(stream)
    };
    let stream = TcpStream::connect(address).await.and_then(prepared);
    stream.map(|stream| Box::new(stream) as Stream).map_err(|error| Reason::of_io(&error))
}
