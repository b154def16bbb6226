//! A connection to an upstream on which HTTP/2 is spoken: many requests at a time, driven by a task of its own.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::cause::Cause;
use super::deadline::Deadline;
use super::request_body::RequestBody;
use super::stream::Stream;

/// A handle to a connection. The connection ends when the last one is gone.
#[derive(Clone)]
pub struct H2 {
    sender: SendRequest<RequestBody>,
    /// The settings that it was made under.
    pub(super) number: u64,
}

/// Why a request brought no answer.
#[derive(Debug)]
pub enum H2Failure {
    /// Nothing of it was sent: here it is again.
    Unsent(Box<Request<RequestBody>>),
    /// The upstream refused it before it looked at it.
    Refused,
    /// Anything else.
    Cause(Cause),
}

impl H2 {
    /// Speaks HTTP/2 on `stream`.
    ///
    /// # Errors
    ///
    /// If hyper cannot begin.
    pub async fn new(stream: Stream, number: u64) -> Result<Self, Cause> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| Cause::Reset)?;
        // It ends when the connection does, or when nobody has a handle or a stream.
        drop(tokio::spawn(driver));
        Ok(Self { sender, number })
    }

    /// Whether another request can be sent on it.
    pub fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request, and waits for the head of its answer, until `deadline`.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
        deadline: Deadline<'_>,
    ) -> Result<Response<Incoming>, H2Failure> {
        match deadline.limit(self.sender.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(H2Failure::Unsent(Box::new(request))),
            Err(_) => return Err(H2Failure::Cause(Cause::Timeout)),
        }
        match deadline.limit(self.sender.try_send_request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(mut error)) => Err(match error.take_message() {
                Some(unsent) => H2Failure::Unsent(Box::new(unsent)),
                None => failure(&error.into_error()),
            }),
            Err(_) => Err(H2Failure::Cause(Cause::Timeout)),
        }
    }
}

fn failure(error: &hyper::Error) -> H2Failure {
    let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    // The type behind it belongs to a crate that hyper does not export; its text names the code of RFC 9113.
    if reason.contains("refused stream") || reason.contains("REFUSED_STREAM") {
        H2Failure::Refused
    } else {
        H2Failure::Cause(Cause::Reset)
    }
}

/// What one answer may have sent that nobody has read: 256 KiB fill 100 Mbit/s at 20 ms.
const STREAM_WINDOW: u32 = 256 << 10;

/// The same for all answers of a connection. Clients that read slowly must not use up what the others need: 256 of them do.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// A connection that is dead without a word is found out after PING and PONG together.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
