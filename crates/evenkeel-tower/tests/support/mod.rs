//! What the tests share: services that do as they are told, and clusters of them.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel::{Clock, Cluster, Endpoint, Timestamp};
use parking_lot::Mutex;
use tower::Service;

/// What a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Answers with an error.
    Failing,
    /// Answers with an error of connecting.
    Refusing,
    /// Is not ready.
    Busy,
    /// Is not ready, and never will be.
    Broken,
    /// Takes requests and never answers.
    Silent,
    /// Answers after so many milliseconds.
    Slow(u64),
    /// Answers with this status.
    Status(u16),
}

pub(crate) struct Control {
    pub(crate) mood: Mutex<Mood>,
    pub(crate) served: AtomicU32,
    pub(crate) called: AtomicU32,
    waiting: Mutex<Vec<Waker>>,
}

#[derive(Clone)]
pub(crate) struct Told(pub(crate) Arc<Control>, pub(crate) u32);

impl Told {
    pub(crate) fn new(number: u32) -> Self {
        let control = Control {
            mood: Mutex::new(Mood::Well),
            served: AtomicU32::new(0),
            called: AtomicU32::new(0),
            waiting: Mutex::default(),
        };
        Self(Arc::new(control), number)
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.0.mood.lock() = mood;
        let waiting = std::mem::take(&mut *self.0.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn served(&self) -> u32 {
        self.0.served.load(Ordering::SeqCst)
    }

    pub(crate) fn called(&self) -> u32 {
        self.0.called.load(Ordering::SeqCst)
    }
}

/// The number of the endpoint and the status.
pub(crate) type Answer = (u32, u16);

impl Service<&'static str> for Told {
    type Response = Answer;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, std::io::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        let mood = self.0.mood.lock();
        match *mood {
            Mood::Broken => Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into())),
            Mood::Busy => {
                self.0.waiting.lock().push(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _: &'static str) -> Self::Future {
        let (control, number) = (Arc::clone(&self.0), self.1);
        control.called.fetch_add(1, Ordering::SeqCst);
        let mood = *control.mood.lock();
        Box::pin(async move {
            let status = match mood {
                Mood::Failing => return Err(std::io::ErrorKind::ConnectionReset.into()),
                Mood::Refusing => return Err(std::io::ErrorKind::ConnectionRefused.into()),
                Mood::Silent => std::future::pending().await,
                Mood::Slow(millis) => {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    200
                }
                Mood::Status(status) => status,
                Mood::Well | Mood::Busy | Mood::Broken => 200,
            };
            control.served.fetch_add(1, Ordering::SeqCst);
            Ok((number, status))
        })
    }
}

/// The time of tokio, which tests hold in their hands.
#[derive(Debug)]
pub(crate) struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1).saturating_add(self.0.elapsed())
    }
}

pub(crate) fn tokio_clock() -> TokioClock {
    TokioClock(tokio::time::Instant::now())
}

pub(crate) fn endpoint(number: u32) -> Endpoint {
    let id = format!("e{number}").parse().expect("an id");
    Endpoint::new(id, format!("10.0.0.{number}:80").parse().expect("an address"))
}

/// Endpoints 1 to `n` of a cluster, and what each does.
pub(crate) fn told(cluster: &Cluster<Told>, n: u32) -> Vec<Told> {
    let services: Vec<Told> = (1..=n).map(Told::new).collect();
    cluster
        .apply(services.iter().map(|told| endpoint(told.1).with_payload(told.clone())))
        .expect("valid endpoints");
    services
}

/// All requests in flight.
pub(crate) fn in_flight<T>(cluster: &Cluster<T>) -> usize {
    cluster.endpoints().iter().map(evenkeel::Handle::in_flight).sum()
}
