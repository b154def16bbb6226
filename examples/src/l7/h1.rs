//! A connection to an upstream on which HTTP/1.1 is spoken, driven by whoever has a request on it.
//!
//! hyper gives a connection in two parts, one that sends and one that drives. Usually the second becomes a task of its own, and
//! every request costs two changes of task. Here the task that has the request drives: what the upstream sends is read, parsed
//! and passed on in one go. A connection that waits in a pool is driven by nobody; that the other side has closed it is seen
//! when it is taken out, since its socket tells.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::has_budget_remaining;
use tokio::time::Instant;

use super::cause::Cause;
use super::deadline::Deadline;
use super::last_words::LastWords;
use super::quiet::poll_quietly;
use super::request_body::RequestBody;
use super::stream::Stream;
use super::timer::LazyTimer;

/// A connection to an upstream, with at most one request on it.
pub struct H1 {
    sender: SendRequest<RequestBody>,
    driver: Option<Driver>,
    pub(super) timer: LazyTimer,
    /// Since when it waits, once somebody has looked.
    pub(super) since: Option<Instant>,
    /// The settings that it was made under.
    pub(super) number: u64,
    is_used: bool,
    /// The body of the request under way comes in from elsewhere, and wakes whoever drives.
    is_streaming: bool,
}

/// Why a request brought no answer on this connection.
#[derive(Debug)]
pub enum H1Failure {
    /// Nothing of it was sent: here it is again.
    Unsent(Box<Request<RequestBody>>),
    /// It was sent, perhaps in part, and the connection ended without a byte of an answer.
    Gone,
    /// Anything else.
    Cause(Cause),
}

impl H1 {
    /// Speaks HTTP/1.1 on `stream`.
    ///
    /// # Errors
    ///
    /// If hyper cannot begin.
    pub async fn new(stream: Stream, number: u64) -> Result<Self, Cause> {
        let (sender, driver) = handshake(LastWords::new(stream)).await?;
        let timer = LazyTimer::new();
        Ok(Self {
            sender,
            driver: Some(driver),
            timer,
            since: None,
            number,
            is_used: false,
            is_streaming: false,
        })
    }

    /// Lets the connection go on as far as it can.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.driver, self.is_streaming, context);
    }

    /// What there is of the answer's body, after letting the connection bring more.
    pub fn poll_body(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // What the connection brings, it brings while we drive it: nobody need wake us for that.
        let silent = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut *body).poll_frame(silent) {
            Poll::Pending => {
                self.drive(context);
                Pin::new(body).poll_frame(silent)
            }
            ready => ready,
        }
    }

    /// Whether another request can be sent on it, as far as was seen when it was driven last. What has come since is read before
    /// anything is sent: a request that finds the connection closed comes back unsent.
    pub fn is_open(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether another request can be sent on it, as far as one can know.
    pub fn is_reusable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.is_open()
    }

    /// Whether it has served a request before, so that the other side may just have closed it.
    pub const fn is_used(&self) -> bool {
        self.is_used
    }

    /// Sends a request, and waits for the head of its answer, until `deadline`.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
        deadline: Deadline<'_>,
    ) -> Result<Response<Incoming>, H1Failure> {
        let is_streaming = request.body().is_streaming();
        self.is_streaming = is_streaming;
        let mut sending = pin!(self.sender.try_send_request(request));
        let (driver, timer) = (&mut self.driver, &mut self.timer);
        // The answer arrives while the driver is polled, right before we ask for it: nobody need wake us for it.
        let silent = Waker::noop();
        let answer = std::future::poll_fn(|context| {
            drive(driver, is_streaming, context);
            if let Poll::Ready(answer) = sending.as_mut().poll(&mut Context::from_waker(silent)) {
                return Poll::Ready(Some(answer));
            }
            // Of this waker nobody hears that the budget of the task is spent.
            if !has_budget_remaining() {
                context.waker().wake_by_ref();
            }
            timer.poll_until(deadline.at(), context).map(|()| None)
        });
        match answer.await {
            Some(Ok(response)) => {
                self.is_used = true;
                Ok(response)
            }
            Some(Err(mut error)) => Err(match error.take_message() {
                Some(unsent) => H1Failure::Unsent(Box::new(unsent)),
                None => failure(&error.into_error()),
            }),
            None => Err(H1Failure::Cause(Cause::Timeout)),
        }
    }

    /// How long it has been seen to wait for a request.
    pub fn idle_at(&mut self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.since.get_or_insert(now))
    }
}

type Driver = Connection<TokioIo<LastWords<Stream>>, RequestBody>;

fn drive(driver: &mut Option<Driver>, is_streaming: bool, context: &mut Context<'_>) {
    let Some(running) = driver else { return };
    let mut running = Pin::new(running);
    let polled = if is_streaming {
        running.poll(context)
    } else {
        poll_quietly(context, |context| running.as_mut().poll(context))
    };
    if polled.is_ready() {
        *driver = None;
    }
}

/// Speaks HTTP/1.1 on a connection of which both parts are wanted.
///
/// # Errors
///
/// If hyper cannot begin.
pub async fn handshake<S>(
    stream: S,
) -> Result<(SendRequest<RequestBody>, Connection<TokioIo<S>, RequestBody>), Cause>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(|_| Cause::Reset)
}

fn failure(error: &hyper::Error) -> H1Failure {
    if error.is_parse() || error.is_parse_status() {
        H1Failure::Cause(Cause::Garbage)
    } else if error.is_user() {
        // The body of the client: its fate says more.
        H1Failure::Cause(Cause::Reset)
    } else {
        H1Failure::Gone
    }
}
