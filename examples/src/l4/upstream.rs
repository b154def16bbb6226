use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::router::StreamRouted;
use evenkeel::{Outcome, Pick, Tried};
use evenkeel_types::{Address, Origin};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::backend::Backend;
use super::counters::Counters;
use super::fault::verdict;
use super::settings::Settings;

/// A connection to an endpoint, and the pick that counts it there.
pub(crate) struct Upstream {
    pub(crate) pick: Pick<Arc<Backend>>,
    pub(crate) socket: TcpStream,
    /// How long it took to make.
    pub(crate) connected: Duration,
}

/// Connects to the endpoint that is picked, or to another one: nothing has been sent yet, so nothing is sent twice.
pub(crate) async fn connect(
    routed: &StreamRouted<Arc<Backend>>,
    settings: &Settings,
    counters: &Counters,
) -> Option<Upstream> {
    let mut tried = Tried::default();
    for attempt in 0..settings.attempts {
        let pick = if attempt == 0 { routed.pick() } else { routed.pick_elsewhere(&tried) };
        let mut pick = pick.ok()?;
        let begun = Instant::now();
        let address = pick.endpoint().address();
        let outcome = match timeout(settings.connect_timeout, reach(&address)).await {
            Ok(Ok(socket)) => return Some(Upstream { pick, socket, connected: begun.elapsed() }),
            Ok(Err(error)) => verdict(&error),
            Err(_) => Outcome::failure().with_origin(Origin::Local),
        };
        counters.connect_failures.one();
        tried.add(&pick);
        pick.record(outcome);
    }
    None
}

async fn reach(address: &Address) -> io::Result<TcpStream> {
    let socket = match address {
        Address::Socket(address) => connect_to(*address).await?,
        Address::Host(name, port) => {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            let mut reached = None;
            for address in lookup_host((name.as_str(), *port)).await? {
                match connect_to(address).await {
                    Ok(socket) => {
                        reached = Some(socket);
                        break;
                    }
                    Err(error) => last = error,
                }
            }
            reached.ok_or(last)?
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.connect(address).await
}
