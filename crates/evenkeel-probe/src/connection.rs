//! One HTTP connection, of either version, with or without TLS: what HTTP and gRPC checks share.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use evenkeel_types::Address;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use crate::connect::{Closing, connect};
use crate::error::ProbeConfigError;
use crate::excerpt::Excerpt;
use crate::probe::Context;
use crate::reason::{Phase, Reason};
use crate::tls::TlsConfig;

/// Which versions of HTTP a check speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    One,
    Two,
    Either,
}

/// How to make a connection.
pub(crate) struct Dialer {
    pub(crate) versions: Versions,
    pub(crate) connect_timeout: Option<Duration>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Session>,
}

impl Dialer {
    pub(crate) fn new(
        versions: Versions,
        connect_timeout: Option<Duration>,
        tls: Option<&TlsConfig>,
        field: &'static str,
        host: Option<&str>,
        address: &Address,
    ) -> Result<Self, ProbeConfigError> {
        #[cfg(feature = "tls")]
        let tls = tls
            .map(|tls| crate::tls::Session::new(tls, field, host, address, versions.protocols()))
            .transpose()?;
        #[cfg(not(feature = "tls"))]
        if tls.is_some() {
            let _ = (host, address);
            return Err(ProbeConfigError::FeatureOff { field, feature: "tls", unix: false });
        }
        Ok(Self {
            versions,
            connect_timeout,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    pub(crate) async fn dial(&self, context: &Context<'_>) -> Result<Connection, Reason> {
        let stream = connect(context, self.connect_timeout, Closing::Gently).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            context.progress.enter(Phase::Tls);
            let (stream, chosen) = tls.handshake(stream).await?;
            context.progress.enter(Phase::Answer);
            let second = match (self.versions, chosen.as_deref()) {
                (Versions::One, _) => false,
                (Versions::Either, chosen) => chosen == Some(b"h2"),
                (Versions::Two, Some(b"h2")) => true,
                (Versions::Two, _) => return Err(Reason::protocol("the server did not choose h2 by ALPN")),
            };
            return Connection::over(stream, second).await;
        }
        context.progress.enter(Phase::Answer);
        Connection::over(stream, self.versions == Versions::Two).await
    }
}

#[cfg(feature = "tls")]
impl Versions {
    const fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::One => &[b"http/1.1"],
            Self::Two => &[b"h2"],
            Self::Either => &[b"h2", b"http/1.1"],
        }
    }
}

/// A connection and the task that moves its bytes. Dropping it closes the socket.
pub(crate) struct Connection {
    sender: Sender,
    driver: Driver,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    async fn over(stream: crate::connect::Stream, second: bool) -> Result<Self, Reason> {
        let io = TokioIo::new(stream);
        if second {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_header_list_size(MAX_HEAD as u32);
            let (sender, connection) = builder.handshake(io).await.map_err(|error| reason_of(&error))?;
            let driver = tokio::spawn(async move { connection.await.err().map(|error| reason_of(&error)) });
            Ok(Self { sender: Sender::Two(sender), driver: Driver(Some(driver)) })
        } else {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
            let (sender, connection) = builder.handshake(io).await.map_err(|error| reason_of(&error))?;
            let driver = tokio::spawn(async move { connection.await.err().map(|error| reason_of(&error)) });
            Ok(Self { sender: Sender::One(sender), driver: Driver(Some(driver)) })
        }
    }

    /// Whether the request names its authority itself, as HTTP/2 does, and has no `Host`.
    pub(crate) const fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Two(_))
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Reason> {
        let answer = match &mut self.sender {
            Sender::One(sender) => sender.send_request(request).await,
            Sender::Two(sender) => sender.send_request(request).await,
        };
        match answer.map_err(|error| reason_of(&error)) {
            // A connection that failed before the request was on it tells the request that it is closed, and itself why.
            Err(Reason::Closed) => Err(self.driver.end().await.unwrap_or(Reason::Closed)),
            answer => answer,
        }
    }

    /// Whether another request can go over it, once the answer before was read to its end.
    pub(crate) async fn ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::One(sender) => sender.ready().await.is_ok(),
            Sender::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }
}

struct Driver(Option<JoinHandle<Option<Reason>>>);

impl Driver {
    /// Waits for the end of a connection that is closed; why it failed, if it did.
    async fn end(&mut self) -> Option<Reason> {
        self.0.take()?.await.ok().flatten()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// What an error of hyper says about the endpoint.
pub(crate) fn reason_of(error: &hyper::Error) -> Reason {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            #[cfg(feature = "tls")]
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return Reason::Tls(Excerpt::shown(tls));
            }
            return match Reason::of_io(io) {
                // hyper speaks of bad framing in these terms; the operating system numbers its errors.
                Reason::Io(text) if io.raw_os_error().is_none() => Reason::Protocol(text),
                reason => reason,
            };
        }
        cause = inner.source();
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Reason::Closed;
    }
    let text = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    Reason::Protocol(Excerpt::of(text))
}

/// The largest head of an answer: 16 KiB, what nginx (4 × 8 KiB) and HAProxy (16 KiB) allow a request, and far more than
/// a health page needs.
const MAX_HEAD: usize = 16 * 1_024;

const MAX_HEADERS: usize = 128;
