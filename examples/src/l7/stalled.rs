//! Streams of HTTP/2 whose client takes nothing: it may keep a connection busy with other streams and grant this one no window,
//! for as long as it likes, and would hold an answer and a connection to a server all that while.
//!
//! hyper asks a body for the next piece when the client can take more. So a stream is stalled from when a piece was handed
//! over until the next is asked for. The body notes that here, in the thread, and the task of the stream looks.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Instant;

use super::timer::LazyTimer;
use super::worker::Worker;

/// Runs the streams of one connection, and ends those that are stalled for too long: they are reset (RFC 9113, section 8.1).
#[derive(Clone)]
pub struct Streams {
    worker: Arc<Worker>,
    /// How long a client may take for a piece.
    patience: Duration,
}

impl Streams {
    /// Of a connection that `worker` serves.
    pub const fn new(worker: Arc<Worker>, patience: Duration) -> Self {
        Self { worker, patience }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Self { worker, patience } = self.clone();
        tokio::spawn(async move {
            let mut stream = pin!(stream);
            let mut timer = LazyTimer::new();
            let mut since = None;
            poll_fn(|context| {
                HANDED_OVER.set(since);
                let polled = stream.as_mut().poll(context);
                since = HANDED_OVER.take();
                if polled.is_ready() {
                    return Poll::Ready(());
                }
                let Some(since) = since else { return Poll::Pending };
                timer.poll_until(since + patience, context).map(|()| worker.counts.too_slow.add(1))
            })
            .await;
        });
    }
}

/// A body is asked for a piece.
pub fn is_asked() {
    HANDED_OVER.set(None);
}

/// A body hands a piece over.
pub fn hands_over() {
    HANDED_OVER.set(Some(Instant::now()));
}

/// The longest piece of an answer over HTTP/2. The next is asked for when this one has gone, so a client has to take so much in the
/// time that it is given; it is also what is kept for a stream whose window is full.
pub const PIECE: usize = 16 << 10;

thread_local! {
    /// Of the stream that this thread is at: since when it has a piece to send.
    static HANDED_OVER: Cell<Option<Instant>> = const { Cell::new(None) };
}
