//! What goes to an upstream: nothing, what was kept, or what comes in.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::Instant;

use super::cause::Cause;
use super::timer::LazyTimer;
use super::trailers;

/// The body of a request on its way to an upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// All of it. It can be sent again.
    Kept(Bytes),
    /// As it comes in. It can be sent once.
    Streaming(Box<Streaming>),
}

impl RequestBody {
    /// Whether more of it may come while it is sent.
    pub const fn is_streaming(&self) -> bool {
        matches!(self, Self::Streaming(_))
    }
}

/// A body as it comes in.
#[derive(Debug)]
pub struct Streaming {
    body: Incoming,
    /// How much more may come.
    left: Option<u64>,
    idle: Duration,
    since: Option<Instant>,
    timer: LazyTimer,
    fate: Arc<Fate>,
}

/// Whether a body failed, told to whoever sees only that the request failed.
#[derive(Debug)]
pub struct Fate {
    cause: AtomicU8,
    waits_for_client: AtomicBool,
    begun: Instant,
    /// When the last part was taken: nanoseconds after `begun`.
    moved: AtomicU64,
}

/// How far a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// The next part is the client's to send, since then.
    WaitsForClient(Instant),
    /// A part was taken then, perhaps the last one.
    Moved(Instant),
}

impl Default for Fate {
    fn default() -> Self {
        let (cause, waits_for_client) = (AtomicU8::new(0), AtomicBool::new(false));
        Self { cause, waits_for_client, begun: Instant::now(), moved: AtomicU64::new(0) }
    }
}

impl Fate {
    /// What the client did wrong.
    pub fn cause(&self) -> Option<Cause> {
        match self.cause.load(Ordering::Relaxed) {
            1 => Some(Cause::BodyTooLarge),
            2 => Some(Cause::ClientTimeout),
            3 => Some(Cause::BadRequest("the body broke off")),
            _ => None,
        }
    }

    fn set(&self, error: &BodyError) {
        let what = match error {
            BodyError::TooLarge => 1,
            BodyError::Stalled => 2,
            BodyError::Client(_) => 3,
        };
        self.cause.store(what, Ordering::Relaxed);
    }

    /// How far it is.
    pub fn upload(&self) -> Upload {
        let moved = self.begun + Duration::from_nanos(self.moved.load(Ordering::Relaxed));
        match self.waits_for_client.load(Ordering::Relaxed) {
            true => Upload::WaitsForClient(moved),
            false => Upload::Moved(moved),
        }
    }

    fn has_moved(&self) {
        let after = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moved.store(after, Ordering::Relaxed);
        self.waits_for_client.store(false, Ordering::Relaxed);
    }
}

impl Streaming {
    /// A body that may be `most` long, and must go on at least every `idle`.
    pub fn new(body: Incoming, most: Option<u64>, idle: Duration, fate: &Arc<Fate>) -> Self {
        let (timer, fate) = (LazyTimer::new(), Arc::clone(fate));
        Self { body, left: most, idle, since: None, timer, fate }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let fate = &self.fate;
                let since = *self.since.get_or_insert_with(|| {
                    // The client's time begins here, not when the last part was taken.
                    fate.has_moved();
                    Instant::now()
                });
                fate.waits_for_client.store(true, Ordering::Relaxed);
                return match self.timer.poll_until(since + self.idle, context) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Stalled))),
                    Poll::Pending => Poll::Pending,
                };
            }
        };
        self.since = None;
        self.fate.has_moved();
        Poll::Ready(frame.map(|frame| {
            let mut frame = frame.map_err(BodyError::Client)?;
            if let Some(fields) = frame.trailers_mut() {
                trailers::clean(fields);
            }
            if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
                *left = left.checked_sub(data.len() as u64).ok_or(BodyError::TooLarge)?;
            }
            Ok(frame)
        }))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Kept(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Kept(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streaming(streaming) => {
                let polled = streaming.poll(context);
                if let Poll::Ready(Some(Err(error))) = &polled {
                    streaming.fate.set(error);
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept(bytes) => bytes.is_empty(),
            Self::Streaming(streaming) => streaming.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Kept(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming(streaming) => streaming.body.size_hint(),
        }
    }
}

/// Why a body ends early.
#[derive(Debug, Error)]
pub enum BodyError {
    /// It broke off.
    #[error("the client's body: {0}")]
    Client(hyper::Error),
    /// It is longer than allowed.
    #[error("the client's body is longer than allowed")]
    TooLarge,
    /// It did not go on.
    #[error("the client's body does not go on")]
    Stalled,
}
