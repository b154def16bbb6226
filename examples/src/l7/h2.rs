//! A connection to an upstream on which HTTP/2 is spoken: many requests at a time, driven by a task of its own.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;

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
    state: Arc<State>,
}

type Driver = Connection<TokioIo<Stream>, RequestBody, TokioExecutor>;

/// What all handles of a connection share.
struct State {
    /// Requests that are under way.
    places: AtomicUsize,
    /// Requests, ever.
    requests: AtomicU64,
    /// Knows how many requests at a time the upstream takes. None when the connection takes no more.
    driver: Mutex<Option<Driver>>,
}

/// A place for one request on a connection, until this is dropped.
pub struct InUse(Arc<State>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a request brought no answer.
#[derive(Debug)]
pub enum H2Failure {
    /// Nothing of it was sent: here it is again.
    Unsent(Box<Request<RequestBody>>),
    /// The upstream ends the connection, and neither has looked at it nor will (RFC 9113, section 6.8).
    Unseen,
    /// The connection ended while it waited to be sent, or just after.
    Gone,
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
            .initial_max_send_streams(AT_FIRST)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| Cause::Reset)?;
        let (places, requests) = (AtomicUsize::new(0), AtomicU64::new(0));
        let state = Arc::new(State { places, requests, driver: Mutex::new(Some(driver)) });
        let driven = Arc::clone(&state);
        // It ends when the connection does, or when nobody has a handle or a stream.
        drop(tokio::spawn(poll_fn(move |context| {
            let mut place = driven.driver.lock();
            let Some(driver) = &mut *place else { return Poll::Ready(()) };
            if Pin::new(driver).poll(context).is_pending() {
                return Poll::Pending;
            }
            let ended = place.take();
            drop(place);
            drop(ended);
            Poll::Ready(())
        })));
        Ok(Self { sender, number, state })
    }

    /// Whether another request can be sent on it, if there is a place.
    pub fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whether it is this very connection.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Whether there is a place for another request. hyper would let it wait for one, on this connection and for as long as that
    /// takes, and nobody could tell that the upstream never saw it.
    pub fn has_place(&self) -> bool {
        self.is_usable() && self.state.places.load(Ordering::Relaxed) < self.most()
    }

    /// How many requests at a time the upstream takes, as far as it has said so.
    fn most(&self) -> usize {
        let told = self.state.driver.lock().as_ref().map_or(0, Driver::current_max_send_streams);
        told.min(MOST_STREAMS)
    }

    /// A place for a request, if there is one. Only one thread takes places.
    pub fn enter(&self) -> Option<InUse> {
        self.has_place().then(|| self.enter_first())
    }

    /// The place of the request for which the connection was made.
    pub fn enter_first(&self) -> InUse {
        self.state.places.fetch_add(1, Ordering::Relaxed);
        self.state.requests.fetch_add(1, Ordering::Relaxed);
        InUse(Arc::clone(&self.state))
    }

    /// How many requests it has had; none if some are under way.
    pub fn requests_ended(&self) -> Option<u64> {
        let is_empty = self.state.places.load(Ordering::Relaxed) == 0;
        is_empty.then(|| self.state.requests.load(Ordering::Relaxed))
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
    } else if reason.starts_with(GOING_AWAY) {
        H2Failure::Unseen
    } else if error.is_user() && reason.contains("dispatch task") {
        // hyper holds one request back while there are too many, and drops it if GOAWAY comes then.
        H2Failure::Gone
    } else {
        H2Failure::Cause(Cause::Reset)
    }
}

/// GOAWAY with `NO_ERROR`. Only requests beyond the last one that the upstream looks at end so; the others are answered.
const GOING_AWAY: &str = "connection error received: not a result of an error";

/// Requests at a time before the upstream has said how many it takes: more might be refused, or wait for ever.
const AT_FIRST: usize = 1;

/// What one answer may have sent that nobody has read: 256 KiB fill 100 Mbit/s at 20 ms.
const STREAM_WINDOW: u32 = 256 << 10;

/// The same for all answers of a connection. Clients that read slowly must not use up what the others need.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Requests at a time on one connection, however many the upstream would take: so many answers that nobody reads fill the window
/// of the connection, and no fewer.
const MOST_STREAMS: usize = (CONNECTION_WINDOW / STREAM_WINDOW) as usize;

/// A connection that is dead without a word is found out after PING and PONG together.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
