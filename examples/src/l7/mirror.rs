//! Copies of requests, for which nobody waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use evenkeel::route::retry::Ending;
use evenkeel::router::{Exchange, outcome_of};
use http_body_util::BodyExt;
use hyper::header::{self, HeaderValue};
use tokio::time::{Instant, timeout_at};

use super::attempt::{Via, attempt};
use super::deadline::Deadline;
use super::live::Own;
use super::message::{Message, Outgoing};
use super::upstream::Upstream;
use super::worker::Worker;

/// Sends a copy, if the route says so and the body is kept.
pub fn copy(
    worker: &Arc<Worker>,
    live: &Arc<Own>,
    exchange: &Exchange<Upstream>,
    message: &Message,
    body: &Outgoing,
) {
    let Some((cluster, suffix)) = exchange.mirror() else { return };
    let (Outgoing::Kept(bytes), Some(Ok(mut pick))) = (body, exchange.pick_mirror()) else {
        worker.counts.not_copied.add(1);
        return;
    };
    if worker.copies.load(Ordering::Relaxed) >= MOST_COPIES {
        worker.counts.not_copied.add(1);
        return;
    }
    let copies = UnderWay::new(worker);
    let mut message = message.clone();
    if let Some(host) = with_suffix(&message.host, suffix) {
        message.headers.insert(header::HOST, host.clone());
        message.host = host;
    }
    let (live, speaking) = (Arc::clone(live), Arc::clone(live.speaking(cluster.name())));
    let mut body = Outgoing::Kept(bytes.clone());
    worker.counts.copied.add(1);
    drop(tokio::spawn(async move {
        let worker = &copies.0;
        let started = Instant::now();
        let deadline = started + live.settings.timeouts.response;
        let limit = Deadline::new(started, live.settings.timeouts.response, None, None);
        match attempt(worker, pick.payload(), &speaking, &message, &mut body, limit).await {
            Ok(answer) => {
                let ending = Ending::Http { status: answer.response.status().as_u16(), retry_after: None };
                pick.record(outcome_of(&ending).with_latency(started.elapsed()));
                let body = answer.response.into_body();
                let is_whole = read(body, answer.via, deadline).await;
                if let Some(Via::H1(connection)) = is_whole {
                    pick.payload().give_back(worker.index, connection, &live.settings.pool);
                }
            }
            Err(failure) => pick.record(failure.outcome()),
        }
    }));
}

/// Reads an answer that nobody wants, so that the connection can be kept.
async fn read(mut body: hyper::body::Incoming, mut via: Via, deadline: Instant) -> Option<Via> {
    let all = async {
        loop {
            let frame = std::future::poll_fn(|context| {
                if let Via::H1(connection) = &mut via {
                    return connection.poll_body(&mut body, context);
                }
                std::pin::Pin::new(&mut body.frame()).poll(context)
            });
            match frame.await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
                None => return true,
            }
        }
    };
    let is_whole = timeout_at(deadline, all).await.unwrap_or(false);
    is_whole.then_some(via)
}

/// The name with the suffix, before its port.
fn with_suffix(host: &HeaderValue, suffix: &str) -> Option<HeaderValue> {
    if suffix.is_empty() {
        return None;
    }
    let host = host.to_str().ok()?;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    HeaderValue::from_str(&format!("{name}{suffix}{port}")).ok()
}

struct UnderWay(Arc<Worker>);

impl UnderWay {
    fn new(worker: &Arc<Worker>) -> Self {
        worker.copies.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(worker))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.copies.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Copies that are under way at a time, for each worker: a cluster that does not answer shall not fill the memory.
const MOST_COPIES: usize = 256;
