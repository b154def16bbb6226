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

/// The first protocol that a client asks for and that is passed on. Others are ignored, as RFC 9110 allows: behind `h2c` or one
/// that we do not know, requests could go past the rules.
pub fn asked<B>(request: &Request<B>, allowed: &[String]) -> Option<HeaderValue> {
    if request.version() != Version::HTTP_11 || !has_token(request.headers(), header::CONNECTION, b"upgrade")
    {
        return None;
    }
    let values = request.headers().get_all(header::UPGRADE).iter();
    let mut tokens =
        values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let is_allowed = |token: &&[u8]| allowed.iter().any(|name| token.eq_ignore_ascii_case(name.as_bytes()));
    HeaderValue::from_bytes(tokens.find(is_allowed)?).ok()
}

/// Whether what an endpoint changes to is what it was asked for.
pub fn is_agreed(asked: &HeaderValue, headers: &HeaderMap) -> bool {
    let mut agreed = headers.get_all(header::UPGRADE).iter();
    let is_it = agreed.next().is_some_and(|agreed| agreed.as_bytes().eq_ignore_ascii_case(asked.as_bytes()));
    is_it && agreed.next().is_none()
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
        Ok(Ok(response)) => Ok(Some(Answer::new(response, Via::H2(LazyTimer::new(), None))?)),
        Ok(Err(error)) if error.is_parse() => Err(Cause::Garbage.into()),
        Ok(Err(_)) => Err(Cause::Reset.into()),
        Err(_) => Err(Cause::Timeout.into()),
    }
}

/// Lets both sides talk, until both have ended, or neither has said anything for `idle` (at most a quarter longer). The pick
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
        let (mut seen, mut silent) = (0, 0);
        // A look costs less than a timer that every part moves.
        while silent < LOOKS {
            sleep(idle / LOOKS).await;
            let now = moved.load(Ordering::Relaxed);
            silent = if now == seen { silent + 1 } else { 0 };
            seen = now;
        }
    };
    tokio::select! {
        _ = both => {}
        () = silence => {}
    }
}

/// How often a tunnel is looked at in the time after which it is cut.
const LOOKS: u32 = 4;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(values: &[&str]) -> Option<HeaderValue> {
        let mut request = Request::builder().header("connection", "keep-alive, Upgrade");
        for value in values {
            request = request.header("upgrade", *value);
        }
        asked(&request.body(()).unwrap(), &["websocket".to_owned()])
    }

    #[test]
    fn whole_tokens_of_the_list_are_passed_on() {
        for values in [&["websocket"][..], &["h2c, websocket"], &["h2c", "foo/2 , websocket,tls/1.0"]] {
            assert_eq!(said(values).unwrap(), "websocket", "{values:?}");
        }
        assert_eq!(said(&["WebSocket"]).unwrap(), "WebSocket");
        for values in [&[][..], &["h2c"], &["websocket2"], &["web socket"], &["x, h2c"], &[""]] {
            assert_eq!(said(values), None, "{values:?}");
        }
    }

    #[test]
    fn what_is_agreed_is_what_was_asked() {
        let asked = HeaderValue::from_static("WebSocket");
        for (values, expected) in
            [(&["websocket"][..], true), (&[], false), (&["h2c"], false), (&["websocket", "h2c"], false)]
        {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::UPGRADE, HeaderValue::from_static(value));
            }
            assert_eq!(is_agreed(&asked, &headers), expected, "{values:?}");
        }
    }
}
