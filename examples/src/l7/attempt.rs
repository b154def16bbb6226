//! One attempt at one endpoint: a connection, the request, the head of the answer.

use evenkeel::route::retry::Ending;
use hyper::Response;
use hyper::body::{Body, Incoming};
use tokio::time::timeout_at;

use super::cause::Cause;
use super::connect::connect;
use super::deadline::Deadline;
use super::h1::{H1, H1Failure};
use super::h2::{H2, H2Failure};
use super::head::Seen;
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
    /// It drives itself.
    H2(LazyTimer),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// What happened.
    pub cause: Cause,
    /// The upstream refused it before it looked at it.
    pub is_refused: bool,
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, is_refused: false }
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
}

impl Answer {
    /// An answer that comes this way.
    pub fn new(response: Response<Incoming>, via: Via) -> Self {
        let seen = Seen::of(response.headers());
        Self { response, seen, via }
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
/// one. Neither is an attempt of the plan for retries: the endpoint did nothing wrong.
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
    loop {
        if speaking.protocol != UpstreamProtocol::Http1
            && !is_new
            && let Some(shared) = upstream.shared(worker.index, speaking.number)
        {
            match over_h2(shared, speaking, message, body, deadline).await {
                Err(None) => {
                    is_new = true;
                    continue;
                }
                Err(Some(failure)) => return Err(failure),
                Ok(answer) => return Ok(answer),
            }
        }
        let kept = if is_new { None } else { upstream.take(worker.index, speaking.number) };
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                let is_shared = speaking.protocol != UpstreamProtocol::Http1;
                let dialing = match is_shared {
                    true => in_time(deadline, upstream.dial(worker.index)).await?,
                    false => None,
                };
                if is_shared && !is_new && upstream.shared(worker.index, speaking.number).is_some() {
                    continue;
                }
                let (stream, is_h2) = in_time(deadline, connect(&upstream.address, speaking)).await??;
                worker.counts.opened.add(1);
                if is_h2 {
                    let shared = H2::new(stream, speaking.number).await?;
                    upstream.share(worker.index, &shared);
                    drop(dialing);
                    return match over_h2(shared, speaking, message, body, deadline).await {
                        Ok(answer) => Ok(answer),
                        Err(failure) => Err(failure.unwrap_or_else(|| Cause::Reset.into())),
                    };
                }
                Box::new(H1::new(stream, speaking.number).await?)
            }
        };
        let is_used = connection.is_used();
        let request = message.request(body.take(), false, false);
        match connection.send(request, deadline).await {
            Ok(response) => return Ok(Answer::new(response, Via::H1(connection))),
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

/// What belongs to a connection has no more time than the attempt.
///
/// # Errors
///
/// [`Cause::ConnectTimeout`].
pub async fn in_time<T>(deadline: Deadline<'_>, what: impl Future<Output = T>) -> Result<T, Cause> {
    timeout_at(deadline.at(), what).await.map_err(|_| Cause::ConnectTimeout)
}

/// The error is none if nothing was sent.
async fn over_h2(
    mut connection: H2,
    speaking: &Speaking,
    message: &Message,
    body: &mut Outgoing,
    deadline: Deadline<'_>,
) -> Result<Answer, Option<Failure>> {
    let request = message.request(body.take(), true, speaking.tls.is_some());
    match connection.send(request, deadline).await {
        Ok(response) => Ok(Answer::new(response, Via::H2(LazyTimer::new()))),
        Err(H2Failure::Unsent(request)) => {
            body.put_back(request.into_body());
            Err(None)
        }
        Err(H2Failure::Refused) => Err(Some(Failure { cause: Cause::Reset, is_refused: true })),
        Err(H2Failure::Cause(cause)) => Err(Some(cause.into())),
    }
}
