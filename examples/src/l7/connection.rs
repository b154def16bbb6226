//! A connection of a client: what is spoken on it, and how it ends.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::access_log::Record;
use super::client_stream::ClientStream;
use super::forwarded;
use super::listener::Listener;
use super::reply_body::ReplyBody;
use super::service::{Client, serve};
use super::stalled::Streams;
use super::timer::LazyTimer;
use super::watch::Watch;
use super::worker::{Place, Worker};

/// Serves a connection until it ends. `stop` turns true when the proxy drains.
pub async fn serve_tcp(
    worker: Arc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let watch = Arc::new(Watch::new());
    let ip = Some(peer.ip().to_canonical());
    let timeouts = listener.config.timeouts.clone();
    let is_tls = listener.tls.is_some();
    let place = Arc::new(place);
    let ip_value = ip.and_then(forwarded::value_of);
    let client = Arc::new(Client { ip, ip_value, is_tls, worker, watch, listener, place });
    match &client.listener.tls {
        None => {
            let Ok(Ok(is_h2)) = timeout(timeouts.header, begins_h2(&stream)).await else { return };
            serve_stream(client, stream, is_h2, stop).await;
        }
        Some(tls) => {
            let Ok(Ok(stream)) = timeout(timeouts.handshake, tls.accept(stream)).await else { return };
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            serve_stream(client, stream, is_h2, stop).await;
        }
    }
}

/// Whether a client begins with the preface of HTTP/2 (RFC 9113, section 3.4), without taking anything from the stream.
async fn begins_h2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let mut wait = Duration::from_millis(5);
    loop {
        let read = stream.peek(&mut first).await?;
        let part = first.get(..read).unwrap_or_default();
        if part.is_empty() || !PREFACE.starts_with(part) {
            return Ok(false);
        }
        if read == PREFACE.len() {
            return Ok(true);
        }
        // What is there stays there, and counts as readable.
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn serve_stream<S>(client: Arc<Client>, stream: S, is_h2: bool, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(ClientStream::new(stream, Arc::clone(&client.watch)));
    let (limits, for_requests) = (client.listener.config.limits.clone(), Arc::clone(&client));
    let service = service_fn(move |request| {
        let client = Arc::clone(&for_requests);
        // Boxed, so that a connection that waits is small.
        Box::pin(async move { Ok::<_, Infallible>(serve(client, request).await) })
    });
    if is_h2 {
        client.watch.speaks_frames();
        let streams = Streams::new(Arc::clone(&client.worker), client.listener.config.timeouts.idle);
        let mut builder = http2::Builder::new(streams);
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(limits.header_bytes)
            .max_concurrent_streams(STREAMS);
        run(pin!(builder.serve_connection(io, service)), &client, stop, true).await;
    } else {
        let mut builder = http1::Builder::new();
        builder.header_read_timeout(None).max_header_size(limits.header_bytes as usize);
        if limits.header_fields > 100 {
            builder.max_headers(limits.header_fields as usize);
        }
        run(pin!(builder.serve_connection(io, service).with_upgrades()), &client, stop, false).await;
    }
}

/// A connection that can be asked to end.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn end(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::UpgradeableConnection<I, S>
where
    S: HttpService<Incoming, ResBody = ReplyBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, Streams>
where
    S: HttpService<Incoming, ResBody = ReplyBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection until it ends, does nothing for too long, or the proxy drains.
///
/// A client that keeps a connection may be sending a request at the very moment at which we would close it. So one that waits is
/// given a while to send one more, whose answer says that it was the last; HTTP/2 has words for that.
async fn run<C: Graceful>(
    mut connection: Pin<&mut C>,
    client: &Client,
    mut stop: watch::Receiver<bool>,
    is_h2: bool,
) {
    let timeouts = &client.listener.config.timeouts;
    let mut timer = LazyTimer::new();
    let mut stopped = pin!(async move {
        let _ = stop.wait_for(|stop| *stop).await;
    });
    // Until when a connection that waits may go on waiting.
    let mut linger: Option<Instant> = None;
    let mut is_told = false;
    let mut is_waiting = false;
    // Until when a client that was told to go may take to do so.
    let mut leaving: Option<Instant> = None;
    std::future::poll_fn(|context| {
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            if ended.is_err_and(|error| error.is_parse()) {
                tell_garbage(client);
            }
            return Poll::Ready(());
        }
        // Asked once, to be woken; then only looked at, since to ask takes a lock that all workers share.
        let is_to_ask = !std::mem::replace(&mut is_waiting, true) || client.worker.shared.is_draining();
        if linger.is_none() && is_to_ask && stopped.as_mut().poll(context).is_ready() {
            linger = Some(Instant::now() + LINGER.min(timeouts.drain / 2));
        }
        let mut until = client.watch.deadline(timeouts);
        if let Some(end) = linger.filter(|_| !is_told) {
            if is_h2 || client.watch.is_busy() || Instant::now() >= end {
                is_told = true;
                connection.as_mut().end();
                if connection.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
            } else {
                until = Some(until.map_or(end, |until| until.min(end)));
            }
        }
        if let Some(end) = leaving.filter(|_| !client.watch.is_busy()) {
            until = Some(end);
        }
        loop {
            // A request that is under way has time limits of its own; this one only looks in from time to time.
            let Some(at) = until else { return Poll::Pending };
            if timer.poll_until(at, context).is_pending() {
                return Poll::Pending;
            }
            if let Some(end) = linger.filter(|end| !is_told && Instant::now() >= *end) {
                let _ = end;
                is_told = true;
                connection.as_mut().end();
                if connection.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
            }
            match client.watch.deadline(timeouts) {
                Some(now) if Instant::now() >= now => {
                    // A request may be on its way: HTTP/2 can say which is the last (RFC 9113, section 6.8).
                    if is_h2 && !is_told {
                        is_told = true;
                        connection.as_mut().end();
                        if connection.as_mut().poll(context).is_ready() {
                            client.worker.counts.too_slow.add(1);
                            return Poll::Ready(());
                        }
                        let end = Instant::now() + LINGER;
                        leaving = Some(end);
                        until = Some(end);
                        continue;
                    }
                    if leaving.is_some_and(|end| Instant::now() < end) {
                        until = leaving;
                        continue;
                    }
                    client.worker.counts.too_slow.add(1);
                    return Poll::Ready(());
                }
                next => until = next,
            }
        }
    })
    .await;
}

/// What hyper refuses by itself has a line and a number too: attempts to smuggle are among it.
fn tell_garbage(client: &Client) {
    client.worker.counts.garbage.add(1);
    let Some(log) = &client.worker.log else { return };
    let mut record = Record::new();
    record.text("listener", client.listener.config.name.as_bytes());
    if let Some(ip) = &client.ip_value {
        record.text("client", ip.as_bytes());
    }
    record.text("cause", b"no_request");
    log.add(&record.end(0, Duration::ZERO, false));
}

/// How often a client is looked at that has begun what may be HTTP/2 and does not go on: many of them shall not cost much.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests at a time on one connection of HTTP/2. What nginx and Envoy recommend at the edge is 100 to 128.
const STREAMS: u32 = 128;

/// How long a connection that waits may still send a request when the proxy drains.
const LINGER: Duration = Duration::from_secs(2);
