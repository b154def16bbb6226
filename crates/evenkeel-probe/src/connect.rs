//! Addresses to connections, within limits.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::Duration;

use evenkeel_types::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::excerpt::Excerpt;
use crate::probe::Context;
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

/// What a check is doing, for the case that its time runs out.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicU8);

/// Something of ours that a check waits for before it asks anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// A place to ask the resolver.
    Resolver,
    /// The start of a program.
    #[cfg_attr(not(all(feature = "command", unix)), expect(dead_code, reason = "only commands are started"))]
    Starter,
}

impl Progress {
    pub(crate) fn lacks(&self, lack: Lack) {
        self.0.store(LACKS + lack as u8, Ordering::Relaxed);
    }

    /// Why a check whose time is up has not passed: what it waited for there, or here.
    pub(crate) fn timed_out(&self) -> Reason {
        let at = self.0.load(Ordering::Relaxed);
        if at == LACKS + Lack::Resolver as u8 {
            Reason::Local(Excerpt::of("the resolver is busy with other names"))
        } else if at >= LACKS {
            Reason::Local(Excerpt::of("the program has not started in time"))
        } else {
            Reason::TimedOut(PHASES.get(usize::from(at)).copied().unwrap_or(Phase::Connect))
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        let at = PHASES.iter().position(|&known| known == phase).unwrap_or(0);
        self.0.store(at as u8, Ordering::Relaxed);
    }
}

const PHASES: [Phase; 5] = [Phase::Connect, Phase::Resolve, Phase::Tls, Phase::Answer, Phase::Command];

/// Above the phases.
const LACKS: u8 = PHASES.len() as u8;

/// Connects to the address of the check within `limit`, which covers the resolver too.
///
/// The addresses of a name are tried in the resolver's order. The next one has its turn as soon as one fails, or keeps us waiting
/// for its share of the time: then beside it, and the first that answers is taken. So an address that swallows packets does
/// not hide the next (RFC 8305, whose delay of 250 ms is the most here too).
pub(crate) async fn connect(
    context: &Context<'_>,
    limit: Option<Duration>,
    closing: Closing,
) -> Result<Stream, Reason> {
    let progress = context.progress;
    let ends = limit.map_or(context.ends, |limit| {
        Instant::now().checked_add(limit).map_or(context.ends, |ends| ends.min(context.ends))
    });
    let connecting = async {
        match context.address {
            Address::Socket(address) => {
                progress.enter(Phase::Connect);
                tcp(*address, closing).await
            }
            Address::Host(name, port) => {
                let found = context.resolver.resolve(name.as_str(), *port, context.lookup, progress).await?;
                progress.enter(Phase::Connect);
                first_of(found, closing, ends).await
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
    timeout_at(ends, connecting).await.unwrap_or_else(|_| Err(progress.timed_out()))
}

/// A connection that is being made.
type Attempt = Pin<Box<dyn Future<Output = Result<Stream, Reason>> + Send>>;

async fn first_of(addresses: Vec<SocketAddr>, closing: Closing, ends: Instant) -> Result<Stream, Reason> {
    let mut others = addresses.into_iter();
    let mut open: Vec<Attempt> = Vec::new();
    let mut refused = Reason::Internal;
    loop {
        match others.next() {
            Some(address) => {
                if open.len() >= MOST_OPEN {
                    drop(open.remove(0));
                }
                open.push(Box::pin(tcp(address, closing)));
            }
            None if open.is_empty() => return Err(refused),
            None => {}
        }
        let ended = match u32::try_from(others.len()) {
            // Whoever called has a limit.
            Ok(0) => Ok(any(&mut open).await),
            shares => {
                let left = ends.saturating_duration_since(Instant::now());
                let share = left / shares.unwrap_or(u32::MAX).saturating_add(1);
                timeout(share.min(LONGEST_TURN), any(&mut open)).await
            }
        };
        match ended {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(reason)) => refused = reason,
            Err(_) => {}
        }
    }
}

/// The end of whichever ends first, which is taken out.
async fn any(open: &mut Vec<Attempt>) -> Result<Stream, Reason> {
    poll_fn(|context| {
        for at in 0..open.len() {
            if let Poll::Ready(ended) = open[at].as_mut().poll(context) {
                drop(open.swap_remove(at));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

/// How many addresses of a name are tried at a time, so that a check takes few sockets. The one that was tried longest gives way.
const MOST_OPEN: usize = 4;
/// How long the next address of a name waits for the one before.
const LONGEST_TURN: Duration = Duration::from_millis(250);

async fn tcp(address: SocketAddr, closing: Closing) -> Result<Stream, Reason> {
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

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::answer::Answer;
    use crate::lookup::Resolver;
    use crate::probe::Prepared;

    /// One check.
    pub(crate) async fn check(prepared: &Prepared, resolver: &Resolver) -> Answer {
        let progress = Progress::default();
        prepared
            .run(
                resolver,
                &progress,
                #[cfg(all(feature = "command", unix))]
                &crate::command::Starting::default(),
            )
            .await
    }

    /// Accepts nobody: its queue is full, so that the kernel lets further attempts wait.
    fn black_hole() -> (TcpListener, Vec<std::net::TcpStream>) {
        let listener = short_queue();
        let address = listener.local_addr().unwrap();
        let full = std::iter::from_fn(|| {
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()
        });
        let held: Vec<_> = full.take(64).collect();
        assert!(held.len() < 64, "the queue is full");
        (listener, held)
    }

    /// As short a queue as there is.
    fn short_queue() -> TcpListener {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let _guard = runtime.enter();
        socket.listen(1).unwrap().into_std().unwrap()
    }

    #[test]
    fn an_address_that_swallows_packets_does_not_hide_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (hole, _held) = black_hole();
            let hole = hole.local_addr().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let good = listener.local_addr().unwrap();
            let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let ends = || Instant::now() + Duration::from_secs(30);
            let taken = |addresses| first_of(addresses, Closing::AtOnce, ends());
            for addresses in [
                vec![hole, good],
                vec![hole, refused, good],
                vec![refused, hole, hole, hole, hole, hole, good],
            ] {
                assert!(taken(addresses).await.is_ok());
            }
            let soon = Instant::now() + Duration::from_millis(50);
            let only = timeout_at(soon, first_of(vec![hole, hole], Closing::AtOnce, soon)).await;
            assert!(only.is_err(), "nobody answers");
            assert_eq!(taken(vec![refused, refused]).await.err(), Some(Reason::Refused));
            assert_eq!(taken(vec![]).await.err(), Some(Reason::Internal));
        });
    }
}
