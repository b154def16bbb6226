//! Other protocols over a connection that began with HTTP, such as WebSocket: RFC 9110, section 7.8.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel::Pick;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

use super::attempt::{Answer, Failure, Via, in_time};
use super::cause::Cause;
use super::connect::connect_h1;
use super::deadline::Deadline;
use super::h1;
use super::hop_by_hop::has_token;
use super::live::Speaking;
use super::message::Message;
use super::request_body::RequestBody;
use super::settings::UpstreamProtocol;
use super::timer::LazyTimer;
use super::upstream::Upstream;
use super::worker::{Place, Worker};

/// The protocol that a client asks for, if it is one that we pass on. `h2c` is not: it is about this connection only.
pub fn asked<B>(request: &Request<B>) -> Option<HeaderValue> {
    if request.version() != Version::HTTP_11 || !has_token(request.headers(), header::CONNECTION, b"upgrade")
    {
        return None;
    }
    let protocol = request.headers().get(header::UPGRADE)?;
    (!protocol.as_bytes().to_ascii_lowercase().starts_with(b"h2c")).then(|| protocol.clone())
}

/// Writes that another protocol is asked for, or agreed to.
pub fn ask(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Sends the request over a connection of its own; none if the endpoint does not speak HTTP/1.1, so that nobody there knows
/// another protocol to change to. Then the wish may be ignored.
///
/// # Errors
///
/// Why there is no answer.
pub async fn attempt(
    upstream: &Upstream,
    speaking: &Speaking,
    message: &Message,
    deadline: Deadline<'_>,
) -> Result<Option<Answer>, Failure> {
    // Over HTTP/2 it would need RFC 8441, which few servers speak.
    if speaking.protocol == UpstreamProtocol::Http2 {
        return Ok(None);
    }
    let connected = in_time(deadline, connect_h1(&upstream.address, speaking)).await??;
    let Some(stream) = connected else { return Ok(None) };
    let (mut sender, driver) = h1::handshake(stream).await?;
    drop(tokio::spawn(driver.with_upgrades()));
    let request = message.request(RequestBody::Empty, false, false);
    match deadline.limit(sender.send_request(request)).await {
        Ok(Ok(response)) => Ok(Some(Answer { response, via: Via::H2(LazyTimer::new()) })),
        Ok(Err(error)) if error.is_parse() => Err(Cause::Garbage.into()),
        Ok(Err(_)) => Err(Cause::Reset.into()),
        Err(_) => Err(Cause::Timeout.into()),
    }
}

/// Lets both sides talk, until both have ended, or neither has said anything for a while. The pick
/// and the place of the client are held as long.
pub fn tunnel(
    worker: &Arc<Worker>,
    client: OnUpgrade,
    upstream: OnUpgrade,
    held: (Pick<Upstream>, Arc<Place>),
    idle: Duration,
) {
    let open = Open::new(worker);
    drop(tokio::spawn(async move {
        let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else { return };
        talk(TokioIo::new(client), TokioIo::new(upstream), idle).await;
        drop((held, open));
    }));
}

async fn talk<A, B>(one: A, other: B, idle: Duration)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (one, other) = (tokio::io::split(one), tokio::io::split(other));
    let moved = AtomicU64::new(0);
    let both = async { tokio::join!(pump(one.0, other.1, &moved), pump(other.0, one.1, &moved)) };
    let silence = async {
        let mut seen = u64::MAX;
        loop {
            let now = moved.load(Ordering::Relaxed);
            if now == seen {
                return;
            }
            seen = now;
            sleep(idle).await;
        }
    };
    tokio::select! {
        _ = both => {}
        () = silence => {}
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, moved: &AtomicU64) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                moved.fetch_add(1, Ordering::Relaxed);
                if to.write_all(&buffer[..read]).await.is_err() || to.flush().await.is_err() {
                    break;
                }
            }
        }
    }
    let _ = to.shutdown().await;
}

struct Open(Arc<Worker>);

impl Open {
    fn new(worker: &Arc<Worker>) -> Self {
        worker.counts.tunnels.add(1);
        Self(Arc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counts.tunnels.less();
    }
}
