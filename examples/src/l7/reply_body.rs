//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use evenkeel::router::{Exchange, outcome_of};
use evenkeel::{Outcome, Pick};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::Instant;

use super::access_log::Record;
use super::attempt::Via;
use super::forward::tell;
use super::grpc;
use super::stalled::{self, PIECE};
use super::trailers;
use super::upstream::Upstream;
use super::watch::Busy;
use super::worker::Worker;

/// The body of an answer. While it lives, its request is under way.
pub struct ReplyBody {
    kind: Kind,
    busy: Option<Busy>,
}

#[expect(clippy::large_enum_variant, reason = "a box would allocate for every request")]
enum Kind {
    Own(Bytes),
    Passing(Passing),
}

/// What an upstream sends, as it comes in.
///
/// It holds the pick until the last byte is through, so that a long download counts as in flight for as long as it lasts. Then the
/// connection goes back to its shelf; if the client leaves early or the upstream breaks off, the connection is closed instead.
pub struct Passing {
    body: Incoming,
    /// What has come and was too long for one piece.
    rest: Bytes,
    via: Option<Via>,
    pick: Option<Pick<Upstream>>,
    /// What the head says of the endpoint; the end may say otherwise.
    verdict: Option<Outcome>,
    /// Of a call whose outcome is told by trailers, and how long its head took.
    call: Option<Box<(Exchange<Upstream>, Duration)>>,
    /// Whether it may be quiet for long: a call of gRPC, or events.
    is_stream: bool,
    worker: Arc<Worker>,
    idle: Duration,
    until: Option<Instant>,
    begun: Instant,
    waiting: Option<Instant>,
    bytes: u64,
    end: End,
    record: Option<(Record, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Whole,
    Broken,
    /// For no fault of the endpoint: a stream of events that had nothing to tell for too long, or an answer of which there was more
    /// when the time of its route was over.
    Nobodys,
}

/// What is known of an answer when its body begins.
pub struct Beginning {
    /// The body as it comes in.
    pub body: Incoming,
    /// Where it comes from.
    pub via: Via,
    /// The endpoint that sends it.
    pub pick: Pick<Upstream>,
    /// What the head says of the endpoint; none if trailers will.
    pub verdict: Option<Outcome>,
    /// Of a call of gRPC, and how long its head took.
    pub call: Option<Box<(Exchange<Upstream>, Duration)>>,
    /// Whether it may be quiet for long.
    pub is_stream: bool,
    /// Until when the request must have ended.
    pub until: Option<Instant>,
    /// How long the next bytes may take.
    pub idle: Duration,
    /// When the head came.
    pub begun: Instant,
    /// The line of the access log, and when the request began.
    pub record: Option<(Record, Instant)>,
}

impl ReplyBody {
    /// A body of our own.
    pub fn own(bytes: impl Into<Bytes>, busy: Option<Busy>) -> Self {
        Self { kind: Kind::Own(bytes.into()), busy }
    }

    /// The body of an upstream.
    pub fn passing(beginning: Beginning, worker: Arc<Worker>, busy: Option<Busy>) -> Self {
        let Beginning { body, via, pick, verdict, call, is_stream, until, idle, begun, record } = beginning;
        let passing = Passing {
            body,
            rest: Bytes::new(),
            via: Some(via),
            pick: Some(pick),
            verdict,
            call,
            is_stream,
            worker,
            idle,
            until,
            begun,
            waiting: None,
            bytes: 0,
            end: End::NotYet,
            record,
        };
        Self { kind: Kind::Passing(passing), busy }
    }
}

impl Passing {
    /// What there is, after letting the connection bring more.
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.via {
            Some(Via::H1(connection)) => connection.poll_body(&mut self.body, context),
            _ => Pin::new(&mut self.body).poll_frame(context),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, PassingError>>> {
        match self.next(context) {
            Poll::Ready(Some(Ok(mut frame))) => {
                self.waiting = None;
                if let Some(data) = frame.data_ref() {
                    self.bytes += data.len() as u64;
                    if self.is_too_long() {
                        return Poll::Ready(Some(Err(PassingError::TooLong)));
                    }
                    self.judge_long();
                } else if let Some(fields) = frame.trailers_mut() {
                    self.judge_call(fields);
                    trailers::clean(fields);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(PassingError::Broken(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let waiting = *self.waiting.get_or_insert_with(Instant::now);
                let idle = waiting + self.idle;
                let until = self.until.map_or(idle, |until| until.min(idle));
                let timer = match &mut self.via {
                    Some(Via::H1(connection)) => &mut connection.timer,
                    Some(Via::H2(timer, _)) => timer,
                    None => return Poll::Pending,
                };
                let error = if until == idle { PassingError::Quiet } else { PassingError::TimedOut };
                timer.poll_until(until, context).map(|()| Some(Err(error)))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }

    /// Whether there is still more when the time of the route is over. A body of which there is always more never waits, and no timer
    /// would look at it; to ask the clock for a short one would cost more than it is worth.
    fn is_too_long(&self) -> bool {
        self.bytes > SHORT && self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// A body that goes on for long is judged by its head: a breaker that is half open shall not wait for hours.
    fn judge_long(&mut self) {
        if self.call.is_none()
            && self.bytes > LONG
            && self.begun.elapsed() > LONG_TIME
            && let (Some(pick), Some(verdict)) = (&mut self.pick, self.verdict.take())
        {
            pick.record(verdict);
        }
    }

    fn judge_call(&mut self, trailers: &hyper::HeaderMap) {
        if let Some(pick) = &self.pick {
            tell(pick, trailers);
        }
        if let (Some(call), Some(pick), Some(ending)) =
            (self.call.take(), &mut self.pick, grpc::ending(trailers))
        {
            let (mut exchange, taken) = *call;
            // How long a stream lasts says nothing of the endpoint.
            let _ = exchange.after_with(pick, &ending, outcome_of(&ending).with_latency(taken));
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = PassingError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PassingError>>> {
        let this = self.get_mut();
        if !this.busy.as_ref().is_some_and(Busy::is_in_frames) {
            return this.kind.poll(context);
        }
        stalled::is_asked();
        let polled = this.kind.poll_piece(context);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            stalled::hands_over();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_empty(),
            Kind::Passing(passing) => passing.rest.is_empty() && passing.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Passing(passing) => passing.size_hint(),
        }
    }
}

impl Kind {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, PassingError>>> {
        let passing = match self {
            Self::Own(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Own(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Passing(passing) => passing,
        };
        let polled = passing.poll(context);
        match &polled {
            Poll::Ready(None) => passing.end = End::Whole,
            Poll::Ready(Some(Err(PassingError::Quiet))) if passing.is_stream => passing.end = End::Nobodys,
            Poll::Ready(Some(Err(PassingError::TooLong))) => passing.end = End::Nobodys,
            Poll::Ready(Some(Err(_))) => passing.end = End::Broken,
            _ => {}
        }
        polled
    }

    /// As [`poll`](Self::poll), and data come in pieces of at most [`PIECE`].
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, PassingError>>> {
        let polled = match self {
            Self::Passing(passing) if !passing.rest.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut passing.rest)))))
            }
            _ => self.poll(context),
        };
        polled.map_ok(|frame| {
            let mut data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return frame,
            };
            if data.len() > PIECE {
                let rest = data.split_off(PIECE);
                match self {
                    Self::Own(bytes) => *bytes = rest,
                    Self::Passing(passing) => passing.rest = rest,
                }
            }
            Frame::data(data)
        })
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let is_whole = self.end == End::Whole
            || (self.end == End::NotYet && self.rest.is_empty() && self.body.is_end_stream());
        let worker = &*self.worker;
        if let Some(mut pick) = self.pick.take() {
            if self.end == End::Broken {
                worker.counts.broken.add(1);
                pick.record(Outcome::failure());
            } else if self.end == End::Nobodys {
                worker.counts.broken.add(1);
                pick.record(Outcome::neutral());
            } else if let Some(verdict) = self.verdict.take() {
                // A client that left early says nothing of the endpoint.
                pick.record(verdict);
            }
            if let (true, Some(Via::H1(connection))) = (is_whole, self.via.take()) {
                pick.payload().give_back(worker.index, connection, &worker.shared.live.load().settings.pool);
            }
        }
        worker.counts.bytes.add(self.bytes);
        if let (Some((record, started)), Some(log)) = (self.record.take(), &worker.log) {
            log.add(&record.end(self.bytes, started.elapsed(), is_whole));
        }
    }
}

/// Why the body of an answer ends early.
#[derive(Debug, Error)]
pub enum PassingError {
    /// The upstream broke off.
    #[error("the upstream's body broke off: {0}")]
    Broken(hyper::Error),
    /// It did not go on in time.
    #[error("the upstream's body did not go on in time")]
    Quiet,
    /// It was still going on when its time was over.
    #[error("the upstream's body was longer than its time")]
    TooLong,
    /// It did not end in time.
    #[error("the upstream's body did not end in time")]
    TimedOut,
}

/// As much as waits in the sockets of a client that is slow, and more.
const SHORT: u64 = 256 << 10;

/// A body of more bytes that lasts for longer is judged by its head.
const LONG: u64 = 1 << 20;
const LONG_TIME: Duration = Duration::from_secs(5);
