use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel::route::matching::Connection;
use evenkeel::router::StreamRouted;
use evenkeel_config::Protocol;
use smallvec::SmallVec;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::backend::Backend;
use super::listener::Listener;
use super::prelude::{self, Prelude, Refused, Wanted};
use super::proxy_header;
use super::relay::{Cut, End, Relay, break_off};
use super::settings::Settings;
use super::upstream::{self, Upstream};
use super::way::Way;
use super::worker::Place;

/// The life of one connection: what it says first, where it goes, and then both ways until its end.
pub(crate) async fn serve(
    listener: Arc<Listener>,
    client: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    place: Place,
) {
    let counters = &place.shared.counters;
    tokio::select! {
        biased;
        () = listener.lasting.closed() => {
            counters.closed_by_drain.one();
            break_off(&client);
        }
        () = carry(&listener, &client, peer, &place) => {}
    }
    counters.ended.one();
    drop((client, permit));
}

async fn carry(listener: &Listener, client: &TcpStream, peer: SocketAddr, place: &Place) {
    let counters = &place.shared.counters;
    let _ = client.set_nodelay(true);
    let Some(mut prelude) = admit(listener, client, peer, place).await else {
        break_off(client);
        return;
    };
    let (source, destination) = match prelude.addresses {
        Some(addresses) => addresses,
        None => (peer, destination(listener, client)),
    };
    // Again, if a reload came between: the cluster might be one that these settings do not know.
    let (routed, settings) = loop {
        let settings = place.shared.settings();
        let routed = route(listener, source, destination, &prelude, place);
        if place.shared.is_in_force(&settings) {
            break (routed, settings);
        }
    };
    let Some(routed) = routed else {
        counters.no_route.one();
        break_off(client);
        return;
    };
    let Some(mut upstream) = upstream::connect(&routed, &settings, counters).await else {
        counters.no_endpoint.one();
        break_off(client);
        return;
    };
    let first = first_bytes(&settings, &routed, source, destination, &mut prelude);
    drop((routed, prelude));
    between(listener, client, &mut upstream, first, settings.splice, place).await;
}

/// Whether it may go on, and what it said first.
async fn admit(listener: &Listener, client: &TcpStream, peer: SocketAddr, place: &Place) -> Option<Prelude> {
    let counters = &place.shared.counters;
    let header = match &listener.part.accept_proxy {
        Some(accept) if !accept.from.iter().any(|range| range.contains(peer.ip())) => {
            counters.untrusted.one();
            return None;
        }
        accept => accept.is_some(),
    };
    let hello = listener.config.protocol == Protocol::TlsPassthrough;
    if !header && !hello {
        return Some(Prelude::default());
    }
    let limit = listener.config.limits.header_bytes as usize;
    let wanted = Wanted { header, hello, limit, within: listener.config.timeouts.handshake };
    // In a box of its own: it is gone before the connection rests.
    match Box::pin(prelude::read(client, wanted, &place.tools)).await {
        Ok(prelude) => Some(prelude),
        Err(Refused::Header) => {
            counters.bad_header.one();
            None
        }
        Err(Refused::Hello) => {
            counters.bad_hello.one();
            None
        }
    }
}

/// Where the client was going. Only a listener for all addresses has to ask.
fn destination(listener: &Listener, client: &TcpStream) -> SocketAddr {
    if listener.address.ip().is_unspecified() {
        client.local_addr().unwrap_or(listener.address)
    } else {
        listener.address
    }
}

fn route(
    listener: &Listener,
    source: SocketAddr,
    destination: SocketAddr,
    prelude: &Prelude,
    place: &Place,
) -> Option<StreamRouted<Arc<Backend>>> {
    let alpn: SmallVec<[&[u8]; 4]> = prelude.hello.alpn.iter().map(Vec::as_slice).collect();
    let connection = Connection {
        listener: &listener.config.name,
        source,
        destination,
        sni: prelude.hello.sni.as_bytes(),
        alpn: &alpn,
    };
    place.shared.running.stream_router().route(&connection, &mut place.tools.scratch.borrow_mut()).ok()
}

/// What the endpoint gets before anything else.
fn first_bytes(
    settings: &Settings,
    routed: &StreamRouted<Arc<Backend>>,
    source: SocketAddr,
    destination: SocketAddr,
    prelude: &mut Prelude,
) -> Vec<u8> {
    let mut first = match settings.clusters.get(routed.cluster().name()).and_then(|part| part.send_proxy) {
        Some(version) => proxy_header::write(version, source, destination, &prelude.hello.sni),
        None => Vec::new(),
    };
    first.append(&mut prelude.bytes);
    first
}

/// Both ways, until the end or until the endpoint has to be left.
async fn between(
    listener: &Listener,
    client: &TcpStream,
    upstream: &mut Upstream,
    first: Vec<u8>,
    splices: bool,
    place: &Place,
) {
    let counters = &place.shared.counters;
    let Upstream { pick, socket: server, connected } = upstream;
    let mut cut = Cut { sockets: [client, server], is_whole: false };
    let gate = pick.payload().gate();
    let relay = Relay {
        client,
        server,
        up: Way::new(first, splices),
        down: Way::new(Vec::new(), splices),
        pick,
        connected: *connected,
        idle: listener.config.timeouts.idle,
        tools: &place.tools,
        counters,
    };
    let end = tokio::select! {
        biased;
        () = gate.closed() => None,
        end = relay.run() => Some(end),
    };
    match end {
        Some(End::Whole) => cut.is_whole = true,
        Some(End::Broken) => {}
        Some(End::Idle) => counters.idle.one(),
        None => counters.closed_by_drain.one(),
    }
}
