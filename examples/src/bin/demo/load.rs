//! An open-loop load generator: requests leave on schedule, whether or not earlier ones were answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel::{Clock, MonotonicClock, Ratio, Timestamp};
use evenkeel_stats::{Quantiles, WindowedQuantiles};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How much, for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) rate: u32,
    pub(crate) length: Duration,
}

impl Schedule {
    /// The requests of the whole schedule.
    pub(crate) const fn requests(&self) -> u64 {
        self.rate as u64 * self.length.as_secs()
    }

    fn due(&self, number: u64) -> Duration {
        Duration::from_nanos(1_000_000_000 * number / u64::from(self.rate))
    }
}

/// What the clients saw.
#[derive(Debug)]
pub(crate) struct Seen {
    answered: AtomicU64,
    lost: Mutex<Vec<Lost>>,
    latency: Quantiles,
    recent: WindowedQuantiles,
}

/// A request without a 2xx answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lost {
    /// When it should have left, since the start.
    pub(crate) due: Duration,
    /// What came instead.
    pub(crate) reason: String,
    /// Whether any backend was usable when it left or when it was given up.
    pub(crate) avoidable: bool,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self {
            answered: AtomicU64::new(0),
            lost: Mutex::default(),
            latency: Quantiles::new(),
            recent: WindowedQuantiles::new(Duration::from_secs(1)).expect("the width is above zero"),
        }
    }

    fn note_latency(&self, taken: Duration, now: Timestamp) {
        self.latency.record(taken);
        self.recent.record(taken, now);
    }

    fn note_answer(&self, answer: Result<(), Lost>) {
        match answer {
            Ok(()) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(lost) => self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(lost),
        }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn lost(&self) -> Vec<Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A quantile of all latencies, each from when the request should have left.
    pub(crate) fn latency(&self, q: Ratio) -> Option<Duration> {
        self.latency.quantile(q)
    }

    /// The same of the last one to two seconds.
    pub(crate) fn recent(&self, q: Ratio, now: Timestamp) -> Option<Duration> {
        self.recent.quantile(q, now)
    }
}

/// Sends the whole schedule over `CONNECTIONS` keep-alive connections, of which the next free one takes what is due.
///
/// Latency counts from when a request was due, not from when it could be sent: if all connections are busy, the wait is
/// the service's fault and counts (without that, a stalled service is hardly measured: "coordinated omission").
pub(crate) async fn run(
    target: SocketAddr,
    schedule: Schedule,
    seen: Arc<Seen>,
    clock: MonotonicClock,
    usable: impl Fn() -> usize + Clone + Send + 'static,
) {
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, seen, usable) = (Arc::clone(&next), Arc::clone(&seen), usable.clone());
        clients.spawn(async move {
            let mut client = Client { target, connection: None };
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= schedule.requests() {
                    break;
                }
                let due = schedule.due(number);
                tokio::time::sleep_until(start + due).await;
                let usable_before = usable();
                let answer = client.send_patiently(number).await;
                seen.note_latency((start + due).elapsed(), clock.now());
                let avoidable = usable_before + usable() > 0;
                seen.note_answer(answer.map_err(|reason| Lost { due, reason, avoidable }));
            }
        });
    }
    while clients.join_next().await.is_some() {}
}

/// One keep-alive connection to the proxy.
struct Client {
    target: SocketAddr,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Client {
    /// As [`send`](Self::send), for as long as a client would wait. A connection that failed is not used again.
    async fn send_patiently(&mut self, number: u64) -> Result<(), String> {
        let answer = tokio::time::timeout(PATIENCE, self.send(number)).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    }

    /// Ok for a 2xx answer that came through completely.
    async fn send(&mut self, number: u64) -> Result<(), String> {
        let text = |error: hyper::Error| error.to_string();
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await.map_err(|error| format!("no connection to the proxy: {error}"))?,
        };
        connection.ready().await.map_err(text)?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = format!("/work/{number}").parse().expect("a path and a number");
        request.headers_mut().insert(HOST, HeaderValue::from_static("demo"));
        let answer = connection.send_request(request).await.map_err(text)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(text)?.to_bytes();
        self.connection = Some(connection);
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim_end()))
        }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.target).await?;
        stream.set_nodelay(true)?;
        let (connection, task) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(task);
        Ok(connection)
    }
}

/// Enough that a backend whose answers take a quarter of a second does not occupy all of them.
pub(crate) const CONNECTIONS: usize = 64;

/// Longer than the proxy tries, so that the reason for a loss is the proxy's.
const PATIENCE: Duration = Duration::from_secs(10);
