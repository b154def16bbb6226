//! One attempt at one endpoint: a connection, the request, the head of the answer.

use evenkeel::Outcome;
use evenkeel::route::retry::Ending;
use evenkeel::router::outcome_of;
use hyper::Response;
use hyper::body::{Body, Incoming};
use tokio::time::timeout_at;

use super::cause::Cause;
use super::connect::connect;
use super::deadline::Deadline;
use super::h1::{H1, H1Failure};
use super::h2::{H2, H2Failure, InUse};
use super::h2_pool::H2Pool;
use super::head::{Seen, is_only_chunked};
use super::live::Speaking;
use super::message::{Message, Outgoing};
use super::settings::{PoolSettings, UpstreamProtocol};
use super::timer::LazyTimer;
use super::upstream::Upstream;
use super::worker::Worker;

/// The head of an answer, and the connection on which its body is to come.
pub struct Answer {
    /// The head, and the body as it comes in.
    pub response: Response<Incoming>,
    /// What the head says.
    pub seen: Seen,
    /// Where it comes from.
    pub via: Via,
}

/// The connection on which a body comes.
pub enum Via {
    /// Nobody else drives it.
    H1(Box<H1>),
    /// It drives itself. The place on it is held for as long.
    H2(LazyTimer, Option<InUse>),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// What happened.
    pub cause: Cause,
    /// The upstream refused it before it looked at it.
    pub is_refused: bool,
    /// Nobody did anything wrong: the endpoint is not judged by it.
    pub is_nobodys: bool,
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, is_refused: false, is_nobodys: false }
    }
}

impl Failure {
    /// What it is to the plan for retries.
    pub const fn ending(&self) -> Ending {
        match self.cause {
            _ if self.is_refused => Ending::Refused,
            Cause::ConnectFailed | Cause::ConnectTimeout | Cause::BadCertificate(_) | Cause::TlsFailed => {
                Ending::ConnectFailed
            }
            Cause::Timeout => Ending::TimedOut,
            _ => Ending::Reset,
        }
    }

    /// What it says of the endpoint.
    pub fn outcome(&self) -> Outcome {
        if self.is_nobodys { Outcome::neutral() } else { outcome_of(&self.ending()) }
    }
}

impl Answer {
    /// An answer that comes this way.
    ///
    /// # Errors
    ///
    /// [`Cause::Garbage`] if its body is coded otherwise than in chunks: the coding is taken off here, as it belongs to one connection,
    /// and the client would get what it cannot read.
    pub fn new(response: Response<Incoming>, via: Via) -> Result<Self, Cause> {
        let seen = Seen::of(response.headers());
        if seen.codings > 0 && !is_only_chunked(response.headers()) {
            return Err(Cause::Garbage);
        }
        Ok(Self { response, seen, via })
    }

    /// Leaves the answer: another one is sent to the client.
    pub fn discard(self, upstream: &Upstream, worker: usize, settings: &PoolSettings) {
        if let Via::H1(connection) = self.via
            && self.response.body().is_end_stream()
        {
            drop(self.response);
            upstream.give_back(worker, connection, settings);
        }
    }
}

/// Sends a request to an endpoint, over a connection that is there or a new one.
///
/// A connection that was kept may have been closed by the other side at this very moment. What was provably not sent goes over
/// another one; what was sent without an answer does too if it may be done twice (RFC 9110, section 9.2.2), once and over a new
/// one. Neither is an attempt of the plan for retries: the endpoint did nothing wrong. With HTTP/2 an endpoint that ends a connection
/// says which requests it has not looked at, and those go over another one, whatever they are (RFC 9113, sections 6.8 and 8.7).
///
/// # Errors
///
/// Why there is no answer.
pub async fn attempt(
    worker: &Worker,
    upstream: &Upstream,
    speaking: &Speaking,
    message: &Message,
    body: &mut Outgoing,
    deadline: Deadline<'_>,
) -> Result<Answer, Failure> {
    let mut is_new = false;
    let mut ended = 0;
    loop {
        let connected = match kept(worker, upstream, speaking, is_new) {
            Some(connected) => connected,
            None => Box::pin(dialled(worker, upstream, speaking, deadline)).await?,
        };
        let mut connection = match connected {
            Connected::H1(connection) => connection,
            Connected::H2(shared, place) => {
                match Box::pin(over_h2(&shared, place, speaking, message, body, deadline)).await {
                    Ok(answer) => return Ok(answer),
                    Err(Some(failure)) => return Err(failure),
                    Err(None) => {
                        if let Some(pool) = upstream.h2(worker.index) {
                            pool.forget(&shared);
                        }
                        ended += 1;
                        if ended == MOST_ENDED {
                            return Err(Failure { is_refused: true, ..Cause::Reset.into() });
                        }
                        continue;
                    }
                }
            }
        };
        let is_used = connection.is_used();
        let request = message.request(body.take(), false, false);
        match connection.send(request, deadline).await {
            Ok(response) => return Ok(Answer::new(response, Via::H1(connection))?),
            Err(H1Failure::Cause(cause)) => return Err(cause.into()),
            Err(H1Failure::Unsent(request)) => {
                body.put_back(request.into_body());
                if !is_used {
                    return Err(Cause::Reset.into());
                }
                // Others may have been kept that are still open.
                continue;
            }
            Err(H1Failure::Gone) => {
                if !is_used || !message.method.is_idempotent() || !body.is_kept() {
                    return Err(Cause::Reset.into());
                }
            }
        }
        is_new = true;
    }
}

/// A connection for a request.
enum Connected {
    H1(Box<H1>),
    H2(H2, InUse),
}

/// One that is there; of those that were kept for one request at a time only if not `is_new`.
fn kept(worker: &Worker, upstream: &Upstream, speaking: &Speaking, is_new: bool) -> Option<Connected> {
    if let Some((shared, place)) =
        shared(worker, upstream, speaking).and_then(|pool| pool.take(speaking.number))
    {
        return Some(Connected::H2(shared, place));
    }
    if is_new { None } else { upstream.take(worker.index, speaking.number).map(Connected::H1) }
}

/// Where connections of HTTP/2 are, if it may be spoken.
fn shared<'a>(worker: &Worker, upstream: &'a Upstream, speaking: &Speaking) -> Option<&'a H2Pool> {
    upstream.h2(worker.index).filter(|_| speaking.protocol != UpstreamProtocol::Http1)
}

/// A new one.
async fn dialled(
    worker: &Worker,
    upstream: &Upstream,
    speaking: &Speaking,
    deadline: Deadline<'_>,
) -> Result<Connected, Cause> {
    let number = speaking.number;
    let pool = shared(worker, upstream, speaking);
    let dialing = match pool {
        Some(pool) => Some(in_time(deadline, pool.dial()).await?),
        None => None,
    };
    // Somebody else may have made one meanwhile.
    if let Some((shared, place)) = pool.and_then(|pool| pool.take(number)) {
        return Ok(Connected::H2(shared, place));
    }
    let (stream, is_h2) = in_time(deadline, connect(&upstream.address, speaking)).await??;
    worker.counts.opened.add(1);
    if !is_h2 {
        return Ok(Connected::H1(Box::new(H1::new(stream, number).await?)));
    }
    let shared = H2::new(stream, number).await?;
    let place = shared.enter_first();
    if let Some(pool) = pool {
        pool.add(&shared);
    }
    drop(dialing);
    Ok(Connected::H2(shared, place))
}

/// What belongs to a connection has no more time than the attempt.
///
/// # Errors
///
/// [`Cause::ConnectTimeout`].
pub async fn in_time<T>(deadline: Deadline<'_>, what: impl Future<Output = T>) -> Result<T, Cause> {
    timeout_at(deadline.at(), what).await.map_err(|_| Cause::ConnectTimeout)
}

/// The error is none if the endpoint has not seen it, and it can be sent over another connection.
async fn over_h2(
    connection: &H2,
    place: InUse,
    speaking: &Speaking,
    message: &Message,
    body: &mut Outgoing,
    deadline: Deadline<'_>,
) -> Result<Answer, Option<Failure>> {
    let request = message.request(body.take(), true, speaking.tls.is_some());
    match connection.clone().send(request, deadline).await {
        Ok(response) => {
            Answer::new(response, Via::H2(LazyTimer::new(), Some(place))).map_err(|cause| Some(cause.into()))
        }
        Err(H2Failure::Unsent(request)) => {
            body.put_back(request.into_body());
            Err(None)
        }
        Err(H2Failure::Unseen) if body.is_there() => Err(None),
        Err(H2Failure::Gone) if body.is_kept() && message.method.is_idempotent() => Err(None),
        // What came of its body is gone with the connection.
        Err(H2Failure::Unseen) => {
            Err(Some(Failure { is_refused: true, is_nobodys: true, ..Cause::Reset.into() }))
        }
        Err(H2Failure::Gone) => Err(Some(Failure { is_nobodys: true, ..Cause::Reset.into() })),
        Err(H2Failure::Refused) => Err(Some(Failure { is_refused: true, ..Cause::Reset.into() })),
        Err(H2Failure::Cause(cause)) => Err(Some(cause.into())),
    }
}

/// An endpoint that ends so many connections one after the other under a request refuses it.
const MOST_ENDED: usize = 3;
