//! From a request to an answer: attempt by attempt, as the exchange says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evenkeel::route::retry::Ending;
use evenkeel::router::{Exchange, Next, SendError, outcome_of};
use evenkeel::{Outcome, Pick};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::header::{self, HeaderMap};
use tokio::time::{Instant, sleep};

use super::attempt::{Answer, Failure, attempt};
use super::cause::Cause;
use super::deadline::Deadline;
use super::grpc;
use super::head::Field;
use super::live::{Live, Speaking};
use super::message::{Message, Outgoing};
use super::request_body::{Fate, Upload};
use super::upgrade;
use super::upstream::Upstream;
use super::worker::Worker;

/// The answer of an endpoint.
pub struct Forwarded {
    /// The answer.
    pub answer: Answer,
    /// The endpoint.
    pub pick: Pick<Upstream>,
    /// What its head says of the endpoint; none if trailers will.
    pub verdict: Option<Outcome>,
    /// When it came.
    pub at: Instant,
    /// How long that took.
    pub taken: Duration,
}

/// Why there is none.
#[derive(Debug)]
pub enum Lost {
    /// Nobody can take it.
    NoEndpoint(SendError),
    /// All attempts failed; the last one so.
    Failed(Cause),
}

/// What an attempt needs besides the endpoint.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// The worker.
    pub worker: &'a Worker,
    /// The settings.
    pub live: &'a Live,
    /// The request.
    pub message: &'a Message,
    /// Whether the client asks for another protocol.
    pub is_upgrade: bool,
    /// What becomes of the client's body.
    pub fate: Option<&'a Fate>,
}

/// Sends a request until there is an answer, or nothing more to try.
///
/// What happens rarely is in boxes, here and below: a request would else carry the room for all of it, and to make and move that
/// costs more than the boxes do.
///
/// # Errors
///
/// Why there is no answer.
pub async fn forward(
    way: Way<'_>,
    exchange: &mut Exchange<Upstream>,
    body: &mut Outgoing,
) -> Result<Forwarded, Lost> {
    let mut last: Option<Result<Forwarded, Cause>> = None;
    loop {
        let mut pick = match exchange.pick() {
            Ok(pick) => pick,
            Err(error) => {
                return match last {
                    Some(Ok(answer)) => Ok(answer),
                    Some(Err(cause)) => Err(Lost::Failed(cause)),
                    None => Err(Lost::NoEndpoint(error)),
                };
            }
        };
        if exchange.attempts() > 1 {
            way.worker.counts.again.add(1);
        } else if let (Outgoing::Kept(bytes), false) = (&*body, way.is_upgrade)
            && exchange.hedge_in().is_some()
        {
            return Box::pin(hedged(way, exchange, pick, bytes.clone())).await;
        }
        let started = begin(exchange, &pick);
        let deadline = deadline(way, exchange, started);
        let speaking = way.live.speaking(exchange.cluster().name());
        let changed = match way.is_upgrade {
            false => Ok(None),
            true => Box::pin(upgrade::attempt(pick.payload(), speaking, way.message, deadline)).await,
        };
        let result = match changed {
            Ok(None) => attempt(way.worker, pick.payload(), speaking, way.message, body, deadline).await,
            Ok(Some(answer)) => Ok(answer),
            Err(failure) => Err(failure),
        };
        // What the client did wrong says nothing of the endpoint.
        if let (Err(_), Some(cause)) = (&result, way.fate.and_then(Fate::cause)) {
            return Err(Lost::Failed(cause));
        }
        if let (Err(failure), Some(fate)) = (&result, way.fate)
            && is_for_the_client(failure.cause, fate.upload(), way.message.is_call())
        {
            return Err(Lost::Failed(Cause::ClientTimeout));
        }
        let judged = judge(exchange, &mut pick, &result, started);
        if let Some(Ok(before)) = last.take() {
            discard(way, before);
        }
        let wait = match judged.next {
            Next::RetryAfter(wait) => wait,
            // Of a route with hedges, whose next attempt is not beside this one but after it.
            Next::HedgeNow => Duration::ZERO,
            _ => return judged.ended(result, pick).map_err(Lost::Failed),
        };
        if !body.is_there() {
            return judged.ended(result, pick).map_err(Lost::Failed);
        }
        last = Some(judged.ended(result, pick).map(|mut answer| {
            // The endpoint is not to wait for its verdict.
            if let Some(verdict) = answer.verdict.take() {
                answer.pick.record(verdict);
            }
            answer
        }));
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

/// Whether it failed because the client did not go on with its body, which says nothing of the endpoint: the time was over before
/// the client had sent all, or the endpoint has waited in vain and given up itself. A call may be quiet for as long as it likes: an
/// endpoint that goes away meanwhile does so by itself.
fn is_for_the_client(cause: Cause, upload: Upload, is_call: bool) -> bool {
    match (cause, upload) {
        (Cause::Timeout, Upload::WaitsForClient(_)) => true,
        (Cause::Reset, Upload::WaitsForClient(since)) => !is_call && since.elapsed() >= PATIENCE,
        _ => false,
    }
}

/// A second attempt beside the first, where that is slow.
async fn hedged(
    way: Way<'_>,
    exchange: &mut Exchange<Upstream>,
    first: Pick<Upstream>,
    body: Bytes,
) -> Result<Forwarded, Lost> {
    let mut running = FuturesUnordered::new();
    let send = |exchange: &Exchange<Upstream>, pick: Pick<Upstream>| {
        let started = begin(exchange, &pick);
        let deadline = deadline(way, exchange, started);
        let speaking = Arc::clone(way.live.speaking(exchange.cluster().name()));
        one_of_several(way, speaking, pick, body.clone(), started, deadline)
    };
    running.push(send(exchange, first));
    loop {
        let in_time = exchange.hedge_in();
        let ended = tokio::select! {
            biased;
            ended = running.next() => ended,
            () = sleep(in_time.unwrap_or(Duration::MAX)), if in_time.is_some() => None,
        };
        let mut last = None;
        let is_due = match ended {
            None => true,
            Some((mut pick, started, result)) => {
                let judged = judge(exchange, &mut pick, &result, started);
                let result = judged.ended(result, pick);
                match judged.next {
                    Next::Wait if !running.is_empty() => {
                        if let Ok(answer) = result {
                            discard(way, answer);
                        }
                        false
                    }
                    Next::HedgeNow => {
                        last = Some(result);
                        true
                    }
                    _ => return result.map_err(Lost::Failed),
                }
            }
        };
        if is_due {
            if let Ok(Some(pick)) = exchange.hedge() {
                way.worker.counts.again.add(1);
                running.push(send(exchange, pick));
                if let Some(Ok(answer)) = last {
                    discard(way, answer);
                }
            } else if running.is_empty() {
                return last.unwrap_or(Err(Cause::NoEndpoint)).map_err(Lost::Failed);
            } else if let Some(Ok(answer)) = last {
                discard(way, answer);
            }
        }
    }
}

async fn one_of_several(
    way: Way<'_>,
    speaking: Arc<Speaking>,
    pick: Pick<Upstream>,
    body: Bytes,
    started: Instant,
    deadline: Deadline<'_>,
) -> (Pick<Upstream>, Instant, Result<Answer, Failure>) {
    let mut body = Outgoing::Kept(body);
    let result = attempt(way.worker, pick.payload(), &speaking, way.message, &mut body, deadline).await;
    (pick, started, result)
}

/// An attempt is sent.
fn begin(exchange: &Exchange<Upstream>, pick: &Pick<Upstream>) -> Instant {
    if let Some(meter) = &pick.payload().meter {
        meter.picked(exchange.cluster().now());
    }
    Instant::now()
}

fn deadline<'a>(way: Way<'a>, exchange: &Exchange<Upstream>, started: Instant) -> Deadline<'a> {
    let latest = exchange.attempt_time().and_then(|time| started.checked_add(time));
    Deadline::new(started, way.live.settings.timeouts.response, latest, way.fate)
}

/// What an ending means.
#[derive(Clone, Copy)]
struct Judged {
    /// For the request.
    next: Next,
    /// For the endpoint, if it is not told yet.
    verdict: Option<Outcome>,
    at: Instant,
    taken: Duration,
}

impl Judged {
    fn ended(self, result: Result<Answer, Failure>, pick: Pick<Upstream>) -> Result<Forwarded, Cause> {
        let Self { verdict, at, taken, .. } = self;
        match result {
            Ok(answer) => Ok(Forwarded { answer, pick, verdict, at, taken }),
            Err(failure) => Err(failure.cause),
        }
    }
}

/// What an ending means for the request and for the endpoint.
fn judge(
    exchange: &mut Exchange<Upstream>,
    pick: &mut Pick<Upstream>,
    result: &Result<Answer, Failure>,
    started: Instant,
) -> Judged {
    let at = Instant::now();
    let taken = at.saturating_duration_since(started);
    let judged = |next, verdict| Judged { next, verdict, at, taken };
    let ended = |exchange: &Exchange<Upstream>, pick: &Pick<Upstream>, outcome: &Outcome| {
        if let Some(meter) = &pick.payload().meter {
            meter.ended(taken, outcome.verdict(), exchange.cluster().now());
        }
    };
    match result {
        Ok(answer) => {
            if answer.seen.has(Field::LoadReport) {
                tell(pick, answer.response.headers());
            }
            let Some(ending) = ending(answer) else {
                // How a call ended, its trailers tell; that it was answered, is known.
                ended(exchange, pick, &Outcome::success());
                return judged(Next::Done, None);
            };
            let outcome = outcome_of(&ending).with_latency(taken);
            ended(exchange, pick, &outcome);
            judged(exchange.after_unrecorded(pick, &ending, &outcome), Some(outcome))
        }
        Err(failure) => {
            let (ending, outcome) = (failure.ending(), failure.outcome());
            ended(exchange, pick, &outcome);
            judged(exchange.after_with(pick, &ending, outcome), None)
        }
    }
}

/// Tells the cluster what the endpoint says of its load. A report that is not to be believed counts as none.
pub fn tell(pick: &Pick<Upstream>, fields: &HeaderMap) {
    if let Some(Ok(report)) = evenkeel_orca::report_in(fields) {
        pick.report(report.load_report());
    }
}

/// What a head tells; none for a call of gRPC whose end tells.
fn ending(answer: &Answer) -> Option<Ending> {
    let headers = answer.response.headers();
    let status = answer.response.status().as_u16();
    if status == 200 && answer.seen.is_grpc {
        return grpc::ending(headers);
    }
    let retry_after = if answer.seen.has(Field::RetryAfter) { retry_after(headers) } else { None };
    Some(Ending::Http { status, retry_after })
}

/// `Retry-After` in seconds. A date is not understood: it would need the other side's clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

fn discard(way: Way<'_>, forwarded: Forwarded) {
    let Forwarded { answer, mut pick, verdict, .. } = forwarded;
    if let Some(verdict) = verdict {
        pick.record(verdict);
    }
    answer.discard(pick.payload(), way.worker.index, &way.live.settings.pool);
}

/// An endpoint that closes sooner has not waited for the client: those that do give it seconds at least (nginx 60 s, Apache 20 s).
const PATIENCE: Duration = Duration::from_secs(1);
