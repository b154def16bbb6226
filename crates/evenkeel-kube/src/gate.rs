use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use kube::client::{Body as RequestBody, DynBody};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

use crate::Bounds;

/// What lies between the client library and the network, and sees what the library keeps to itself: bytes. It bounds
/// them, tells when the last came, which status an answer had, and that a connection broke in the middle of one; and it
/// slows down a server that ends watches as fast as they are begun.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    max_answer: usize,
    max_line: usize,
    /// When the server was last heard, and what is wrong.
    signs: watch::Sender<Sign>,
    /// Of the last answer that was no success.
    status: AtomicU16,
    pace: std::sync::Mutex<Pace>,
}

/// What the gate has seen.
#[derive(Clone, Debug)]
pub(crate) struct Sign {
    /// When the last byte or beginning of a good answer came.
    pub(crate) heard: Instant,
    pub(crate) fault: Option<Fault>,
}

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A page or line beyond its bound.
    TooLarge(usize),
    /// A watch ended in the middle, for this reason.
    Broken(String),
}

#[derive(Debug, Default)]
struct Pace {
    begun: Option<Instant>,
    /// How many watches in a row were short.
    short: u32,
}

#[derive(Debug, Error)]
#[error("answer is larger than {0} bytes")]
struct TooLarge(usize);

impl Gate {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let sign = Sign { heard: Instant::now(), fault: None };
        Self {
            shared: Arc::new(Shared {
                max_answer: bounds.max_answer_bytes,
                max_line: bounds.max_line_bytes,
                signs: watch::Sender::new(sign),
                status: AtomicU16::new(0),
                pace: std::sync::Mutex::default(),
            }),
        }
    }

    pub(crate) fn signs(&self) -> watch::Receiver<Sign> {
        self.shared.signs.subscribe()
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.shared.signs.borrow().fault.clone()
    }

    /// The status of the last answer that was no success; 0 for none.
    pub(crate) fn status(&self) -> u16 {
        self.shared.status.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn heard(&self) {
        self.signs.send_modify(|sign| sign.heard = Instant::now());
    }

    fn fault(&self, fault: Fault) {
        self.signs.send_modify(|sign| sign.fault = Some(fault));
    }

    /// How long the next watch has to wait. One that lasted for a second is no reason to.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let mut pace = self.pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let short =
            pace.begun.is_some_and(|begun| now.saturating_duration_since(begun) < Duration::from_secs(1));
        pace.short = if short { pace.short.saturating_add(1) } else { 0 };
        let pause = match pace.short {
            0..=3 => Duration::ZERO,
            short => (FIRST_PAUSE * (1 << (short - 4).min(6))).min(Duration::from_secs(1)),
        };
        pace.begun = now.checked_add(pause);
        pause
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, shared: self.shared.clone() }
    }
}

/// A service behind a gate.
#[derive(Debug)]
pub(crate) struct Gated<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<RequestBody>> for Gated<S>
where
    S: Service<Request<RequestBody>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Metered>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let is_watch =
            request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let pause = if is_watch { self.shared.pause() } else { Duration::ZERO };
        let shared = self.shared.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let answer = answer.await?;
            let good = answer.status().is_success();
            if good {
                shared.heard();
            } else {
                shared.status.store(answer.status().as_u16(), Ordering::Relaxed);
            }
            let most = match (good, is_watch) {
                (true, true) => shared.max_line,
                (true, false) => shared.max_answer,
                (false, _) => MAX_ERROR.min(shared.max_answer),
            };
            let is_watch = is_watch && good;
            Ok(answer.map(|inner| Metered { inner, shared, is_watch, most, count: 0 }))
        })
    }
}

/// A body that is counted.
pub(crate) struct Metered {
    inner: Box<DynBody>,
    shared: Arc<Shared>,
    is_watch: bool,
    most: usize,
    /// Bytes in all, or of a watch since the last end of a line.
    count: usize,
}

impl Body for Metered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) else { return Poll::Pending };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.shared.heard();
                    if this.take(data) > this.most {
                        this.shared.fault(Fault::TooLarge(this.most));
                        return Poll::Ready(Some(Err(Box::new(TooLarge(this.most)))));
                    }
                }
            }
            // The library takes it for the end of the watch, and goes on from where it was.
            Some(Err(error)) if this.is_watch => {
                this.shared.fault(Fault::Broken(crate::access::chain(error.as_ref())));
            }
            Some(Err(_)) | None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Metered {
    /// Counts data, and gives the longest run of bytes that is bounded.
    fn take(&mut self, data: &[u8]) -> usize {
        if !self.is_watch {
            self.count = self.count.saturating_add(data.len());
            return self.count;
        }
        let mut longest = 0;
        for (at, line) in data.split(|&byte| byte == b'\n').enumerate() {
            self.count = if at == 0 { self.count.saturating_add(line.len()) } else { line.len() };
            longest = longest.max(self.count);
        }
        longest
    }
}

/// The largest body of an answer that is no success.
const MAX_ERROR: usize = 64 << 10;
/// Of watches that end at once: the fifth in a row waits for so long, the next for twice that, up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
