//! One gRPC call with messages both ways, and how it ends.

use std::error::Error;
use std::io;
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use evenkeel_adapter::BaseUrl;
use evenkeel_registry::TroubleKind;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use tokio::sync::mpsc;

use crate::connect::Outgoing;
use crate::{End, Variant, invalid};

/// Why a stream is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) kind: TroubleKind,
    pub(crate) text: String,
    /// The server wants fewer pings.
    pub(crate) calm: bool,
}

impl Ended {
    pub(crate) const fn new(end: End, kind: TroubleKind, text: String) -> Self {
        Self { end, kind, text, calm: false }
    }

    /// What an error of HTTP means.
    pub(crate) fn of(server: &BaseUrl, error: &hyper::Error) -> Self {
        let mut ended = Self::new(End::Closed, TroubleKind::Closed, format!("{server}: {}", chain(error)));
        if error.is_timeout() {
            (ended.end, ended.kind) = (End::Broken, TroubleKind::Timeout);
        }
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<io::Error>()
                && io.kind() == io::ErrorKind::TimedOut
            {
                (ended.end, ended.kind) = (End::Broken, TroubleKind::Timeout);
            }
            if let Some(h2) = inner.downcast_ref::<h2::Error>() {
                match h2.reason() {
                    Some(h2::Reason::ENHANCE_YOUR_CALM) => {
                        (ended.end, ended.kind, ended.calm) = (End::Broken, TroubleKind::Overloaded, true);
                    }
                    Some(h2::Reason::PROTOCOL_ERROR | h2::Reason::FRAME_SIZE_ERROR) if !h2.is_remote() => {
                        (ended.end, ended.kind) = (End::Broken, TroubleKind::Malformed);
                    }
                    _ => {}
                }
            }
            cause = inner.source();
        }
        ended
    }
}

/// The call, and where its messages are put.
pub(crate) fn call(
    server: &BaseUrl,
    variant: Variant,
    headers: &[(HeaderName, HeaderValue)],
    token_file: Option<&Path>,
) -> Result<(Request<Outgoing>, mpsc::Sender<Bytes>), Ended> {
    let method = match variant {
        Variant::StateOfTheWorld => "StreamAggregatedResources",
        Variant::Delta => "DeltaAggregatedResources",
    };
    let path = "envoy.service.discovery.v3.AggregatedDiscoveryService";
    let denied = |why: String| Ended::new(End::Broken, TroubleKind::Denied, why);
    let uri: Uri =
        format!("{server}/{path}/{method}").parse().map_err(|_| denied(format!("{server}: no URI")))?;
    let (messages, outgoing) = mpsc::channel(QUEUE);
    let mut request = Request::new(Outgoing(outgoing));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let map = request.headers_mut();
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    map.insert(TE, HeaderValue::from_static("trailers"));
    map.insert(USER_AGENT, HeaderValue::from_static(concat!("evenkeel-xds/", env!("CARGO_PKG_VERSION"))));
    if let Some(path) = token_file {
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let value = read.and_then(|token| {
            let text = format!("Bearer {}", token.trim());
            let value = if token.trim().is_empty() { None } else { HeaderValue::from_str(&text).ok() };
            value.ok_or_else(|| "no token in it".to_owned())
        });
        let why = |error| denied(format!("connection.token_file {}: {error}", path.display()));
        let mut value = value.map_err(why)?;
        value.set_sensitive(true);
        map.insert(AUTHORIZATION, value);
    }
    for (name, value) in headers {
        map.insert(name, value.clone());
    }
    Ok((request, messages))
}

/// The body of an answer that is gRPC and no error yet.
pub(crate) fn accepted(server: &BaseUrl, response: Response<Incoming>) -> Result<Incoming, Ended> {
    let status = response.status().as_u16();
    if status != 200 {
        let kind = match status {
            401 | 403 => TroubleKind::Denied,
            429 => TroubleKind::Overloaded,
            500..=599 => TroubleKind::Server,
            _ => TroubleKind::Malformed,
        };
        return Err(Ended::new(End::Broken, kind, format!("{server}: HTTP status {status}")));
    }
    let content = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !content.starts_with(b"application/grpc") {
        let text = format!("{server}: the answer is not application/grpc");
        return Err(Ended::new(End::Broken, TroubleKind::Malformed, text));
    }
    if response.headers().contains_key(STATUS) {
        return Err(finished(server, response.headers()));
    }
    Ok(response.into_body())
}

/// The next frame of a body.
pub(crate) async fn frame(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// What the status at the end of a call means.
pub(crate) fn finished(server: &BaseUrl, trailers: &HeaderMap) -> Ended {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let code: Option<u32> = text(STATUS).and_then(|code| code.parse().ok());
    let message = invalid::cut(text("grpc-message").unwrap_or_default(), 200).to_owned();
    // UNAVAILABLE, CANCELLED and the like are how servers say that they restart; OK is how they ask to come back.
    let (end, kind) = match code {
        Some(7 | 16) => (End::Broken, TroubleKind::Denied),
        Some(8) => (End::Broken, TroubleKind::Overloaded),
        Some(3 | 5 | 12) => (End::Broken, TroubleKind::Server),
        Some(0 | 1 | 10 | 14) => (End::Closed, TroubleKind::Closed),
        Some(4) => (End::Closed, TroubleKind::Timeout),
        _ => (End::Closed, TroubleKind::Server),
    };
    let hint = if code == Some(12) { ": it does not speak this variant of xDS, try the other" } else { "" };
    let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    Ended::new(end, kind, format!("{server}: gRPC status {code} {message}{hint}"))
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    invalid::cut(&text, 300).to_owned()
}

const STATUS: &str = "grpc-status";

/// Messages that wait for the server to read; more wait where they are made, and become one there.
const QUEUE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_the_server_only_went_away() {
        let server: BaseUrl = "http://a:1".parse().unwrap();
        let of = |code: &'static str| {
            let trailers = [(HeaderName::from_static(STATUS), HeaderValue::from_static(code))];
            let ended = finished(&server, &trailers.into_iter().collect());
            (ended.end, ended.kind)
        };
        assert_eq!(of("0"), (End::Closed, TroubleKind::Closed));
        assert_eq!(of("14"), (End::Closed, TroubleKind::Closed));
        assert_eq!(of("16"), (End::Broken, TroubleKind::Denied));
        assert_eq!(of("7"), (End::Broken, TroubleKind::Denied));
        assert_eq!(of("12"), (End::Broken, TroubleKind::Server));
        assert_eq!(of("x"), (End::Closed, TroubleKind::Server));
    }
}
