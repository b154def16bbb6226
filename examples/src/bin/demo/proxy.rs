//! A layer 7 proxy: it picks for each request, retries elsewhere, and says why when it cannot help.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use evenkeel::{
    Classify, Clock, Cluster, HttpStatus, MonotonicClock, Outcome, Pick, PickError, Tried, Verdict,
};
use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::headers;
use crate::passing::Passing;
use crate::phases::Ledger;
use crate::pool::{ConnectError, Connection, Pool, RequestBody, Upstream};

/// The proxy: a cluster to pick from, and what it counts.
#[derive(Debug)]
pub(crate) struct Proxy {
    cluster: Cluster<Upstream>,
    clock: MonotonicClock,
    ledger: Arc<Ledger>,
    retries: AtomicU64,
}

/// The client gets a backend's answer as it streams in, or the proxy's own words.
type Answer = Response<Either<Passing, Full<Bytes>>>;

impl Proxy {
    pub(crate) const fn new(cluster: Cluster<Upstream>, clock: MonotonicClock, ledger: Arc<Ledger>) -> Self {
        Self { cluster, clock, ledger, retries: AtomicU64::new(0) }
    }

    /// How many requests were sent again, elsewhere.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Serves connections until `stop` turns true, then lets requests in progress end.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener, &room) => accepted,
                () = told_to_stop(&mut stop) => break,
            };
            while connections.try_join_next().is_some() {}
            let Some((stream, client, permit)) = accepted else { continue };
            let connection = Arc::clone(&self).serve_connection(stream, client, stop.clone());
            connections.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, ended).await;
    }

    async fn serve_connection(
        self: Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        mut stop: watch::Receiver<bool>,
    ) {
        let _ = stream.set_nodelay(true);
        let answer = service_fn(|request| {
            let proxy = Arc::clone(&self);
            async move { Ok::<_, Infallible>(proxy.answer(request, client).await) }
        });
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
        tokio::pin!(connection);
        // What goes wrong on the way to the client is the client's to notice.
        tokio::select! {
            _ = connection.as_mut() => {}
            () = told_to_stop(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>, client: SocketAddr) -> Answer {
        if request.method() == Method::CONNECT {
            return own_words(StatusCode::NOT_IMPLEMENTED, "this proxy opens no tunnels");
        }
        let (mut head, body) = request.into_parts();
        headers::for_backend(&mut head, client.ip());
        match self.forward(head, body).await {
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                headers::for_client(&mut head);
                Response::from_parts(head, Either::Left(body))
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// What is idempotent and has no body can be sent again; what is streamed to one backend cannot go to the next.
    async fn forward(&self, head: Parts, body: Incoming) -> Result<Response<Passing>, Refusal> {
        if head.method.is_idempotent() && body.is_end_stream() {
            return self.forward_repeatable(&head).await;
        }
        let pick = self.pick(&Tried::default()).map_err(Refusal::NoBackend)?;
        let answer = self.attempt(pick, request(&head, Either::Left(body))).await;
        answer.map_err(|error| Refusal::Failed { tries: 1, error })
    }

    /// Tries one backend after the other until one answers as it should, nobody is left, or enough is enough.
    async fn forward_repeatable(&self, head: &Parts) -> Result<Response<Passing>, Refusal> {
        let mut tried = Tried::default();
        let mut last = None;
        loop {
            let pick = match self.pick(&tried) {
                Ok(pick) => pick,
                Err(error) => return last.unwrap_or(Err(Refusal::NoBackend(error))),
            };
            tried.add(&pick);
            let answer = self.attempt(pick, request(head, Either::Right(Empty::new()))).await;
            let answer = answer.map_err(|error| Refusal::Failed { tries: tried.len(), error });
            if tried.len() == MOST_TRIES || answer.as_ref().is_ok_and(is_good) {
                return answer;
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            last = Some(answer);
        }
    }

    fn pick(&self, tried: &Tried) -> Result<Pick<Upstream>, PickError> {
        let (phase, asked) = (self.ledger.present(), self.clock.now());
        let pick = self.cluster.pick(&evenkeel::Request::new().excluding(tried))?;
        pick.payload().meter.count_try(asked);
        pick.payload().watched.picked(asked);
        if tried.is_empty() {
            self.ledger.count(phase, &pick.endpoint().id());
        }
        Ok(pick)
    }

    /// One try at one backend. The verdict is given when the head of the answer is there; the pick goes on counting as
    /// in flight until the body is through.
    async fn attempt(
        &self,
        mut pick: Pick<Upstream>,
        request: Request<RequestBody>,
    ) -> Result<Response<Passing>, TryError> {
        let started = Instant::now();
        let answer = tokio::time::timeout(TRY_TIMEOUT, exchange(&pick.payload().pool, request))
            .await
            .unwrap_or(Err(TryError::Timeout));
        let status = answer.as_ref().map(|(_, response)| HttpStatus(response.status().as_u16()));
        let outcome = Outcome::from(&status).with_latency(started.elapsed());
        pick.payload().watched.ended(started.elapsed(), outcome.verdict(), self.clock.now());
        pick.record(outcome);
        match answer {
            Ok((connection, response)) => {
                let (head, body) = response.into_parts();
                Ok(Response::from_parts(head, Passing::new(body, connection, pick, started, self.clock)))
            }
            Err(error) => {
                pick.payload().meter.record_latency(started.elapsed(), self.clock.now());
                Err(error)
            }
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Answer {
        let status = match refusal {
            Refusal::NoBackend(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Failed { error: TryError::Timeout, .. } => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Failed { .. } => StatusCode::BAD_GATEWAY,
        };
        let mut answer = own_words(status, &refusal.to_string());
        if let Refusal::NoBackend(error) = refusal
            && let Some(at) = error.retry_at()
        {
            let wait = at.saturating_since(self.clock.now()).as_secs_f64().ceil();
            answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(wait as u64));
        }
        answer
    }
}

/// Returns when `true` was sent, or nobody is left to send it.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// A connection and the right to serve it; `None` if the accept failed.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, client)) => Some((stream, client, permit)),
        Err(_) => {
            // Out of file handles, as a rule: some will be free in a moment.
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

fn request(head: &Parts, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    request
}

/// The backend may have closed an idle connection just now. What was provably not sent goes over a new one.
async fn exchange(
    pool: &Pool,
    request: Request<RequestBody>,
) -> Result<(Connection, Response<Incoming>), TryError> {
    let mut connection = pool.checkout().await?;
    let unsent = match connection.try_send_request(request).await {
        Ok(response) => return Ok((connection, response)),
        Err(mut error) => match error.take_message() {
            Some(unsent) => unsent,
            None => return Err(error.into_error().into()),
        },
    };
    let mut connection = pool.connect().await?;
    let response = connection.send_request(unsent).await?;
    Ok((connection, response))
}

fn is_good(answer: &Response<Passing>) -> bool {
    let outcome = HttpStatus(answer.status().as_u16()).classify();
    matches!(outcome.verdict(), Verdict::Success | Verdict::Neutral)
}

fn own_words(status: StatusCode, words: &str) -> Answer {
    let mut answer = Response::new(Either::Right(Full::from(format!("{words}\n"))));
    *answer.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}

/// Why one try brought no answer.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("no connection: {0}")]
    Connect(#[from] ConnectError),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no answer within {TRY_TIMEOUT:?}")]
    Timeout,
}

/// Why the client gets no backend's answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no backend can take this request: {0}")]
    NoBackend(PickError),
    #[error("no answer after {tries} of at most {MOST_TRIES} tries; the last: {error}")]
    Failed { tries: usize, error: TryError },
}

/// The first try and two retries: enough for two bad backends at once, and no flood when all are bad.
const MOST_TRIES: usize = 3;

/// How long a backend may take to the head of its answer; ten times what the slow one of the story takes.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections from clients that are served at a time; more wait in the listener's queue.
const MOST_CONNECTIONS: usize = 1024;

/// How long requests in progress may take when the proxy stops.
const GRACE: Duration = Duration::from_secs(3);
