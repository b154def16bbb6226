use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::again::Copies;
use crate::error::BoxError;

/// Reads the bodies of requests before they are sent, so that they can be sent again.
///
/// A body of up to `limit` bytes is kept whole. Of a longer one what was read goes out first and the rest after it, once:
/// such a request cannot be copied. Bodies that wait for the answer (a stream in both directions) never come to their end, so
/// they must not come this way.
///
/// This goes around an [`Again`](crate::Again) whose copies are [`Idempotent`](super::Idempotent), or [`KeptWhole`] if every request
/// may be done twice. Services below it get [`Kept`] bodies; for one that
/// has a body type of its own, such as a channel of tonic, `tower::util::MapRequest` turns them into it:
///
/// ```
/// use evenkeel_tower::http::Kept;
/// use tonic::body::Body;
/// use tonic::transport::Channel;
/// use tower::ServiceExt;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # let _guard = runtime.enter();
/// let channel = Channel::from_static("http://10.0.0.1:50051").connect_lazy();
/// let payload = channel.map_request(|request: http::Request<Kept<Body>>| request.map(Body::new));
/// # let _ = payload;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KeepBody<S> {
    service: S,
    limit: usize,
}

impl<S> KeepBody<S> {
    /// Keeps up to so many bytes of a request.
    pub const fn new(service: S, limit: usize) -> Self {
        Self { service, limit }
    }
}

/// Makes [`KeepBody`].
#[derive(Clone, Copy, Debug)]
pub struct KeepBodyLayer {
    limit: usize,
}

impl KeepBodyLayer {
    /// Keeps up to so many bytes of a request.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for KeepBodyLayer {
    type Service = KeepBody<S>;

    fn layer(&self, service: S) -> KeepBody<S> {
        KeepBody::new(service, self.limit)
    }
}

impl<S, B> Service<Request<B>> for KeepBody<S>
where
    S: Service<Request<Kept<B>>> + Clone,
    S::Error: From<BoxError>,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = KeptFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready takes the request.
        let next = self.service.clone();
        let service = std::mem::replace(&mut self.service, next);
        let (head, body) = request.into_parts();
        let reading = Reading { head: Some(head), body: Some(body), kept: BytesMut::new(), trailers: None };
        KeptFuture { state: State::Reading { reading, service, limit: self.limit } }
    }
}

struct Reading<B> {
    head: Option<http::request::Parts>,
    body: Option<B>,
    kept: BytesMut,
    trailers: Option<HeaderMap>,
}

impl<B> Reading<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(&mut self, limit: usize, cx: &mut Context<'_>) -> Poll<Result<Request<Kept<B>>, BoxError>> {
        let is_whole = loop {
            let Some(body) = &mut self.body else { break true };
            match ready!(Pin::new(body).poll_frame(cx)) {
                None => break true,
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) => {
                        while data.has_remaining() {
                            let chunk = data.chunk();
                            self.kept.extend_from_slice(chunk);
                            let read = chunk.len();
                            data.advance(read);
                        }
                        if self.kept.len() > limit {
                            break false;
                        }
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        };
        let front = std::mem::take(&mut self.kept).freeze();
        let rest = if is_whole { Rest::None(self.trailers.take()) } else { Rest::of(self.body.take()) };
        let head = self.head.take().expect("a future is not polled after its end");
        Poll::Ready(Ok(Request::from_parts(head, Kept { front, rest })))
    }
}

/// The body of a request that was read: whole, or with a rest that goes out once.
pub struct Kept<B> {
    front: Bytes,
    rest: Rest<B>,
}

enum Rest<B> {
    /// All was read; trailers may follow.
    None(Option<HeaderMap>),
    Body(B),
}

impl<B> Rest<B> {
    fn of(body: Option<B>) -> Self {
        body.map_or(Self::None(None), Self::Body)
    }
}

impl<B> Kept<B> {
    /// A copy, if all of the body was read.
    #[must_use]
    pub fn copy(&self) -> Option<Self> {
        let Rest::None(trailers) = &self.rest else { return None };
        Some(Self { front: self.front.clone(), rest: Rest::None(trailers.clone()) })
    }
}

impl<B> Body for Kept<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if !this.front.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.front)))));
        }
        match &mut this.rest {
            Rest::None(trailers) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Rest::Body(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| {
                    frame
                        .map_err(Into::into)
                        .map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty()
            && match &self.rest {
                Rest::None(trailers) => trailers.is_none(),
                Rest::Body(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let front = self.front.len() as u64;
        let Rest::Body(body) = &self.rest else { return SizeHint::with_exact(front) };
        let rest = body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(front));
        }
        hint.set_lower(rest.lower().saturating_add(front));
        hint
    }
}

impl<B> fmt::Debug for Kept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_whole = matches!(self.rest, Rest::None(_));
        f.debug_struct("Kept").field("front", &self.front.len()).field("is_whole", &is_whole).finish()
    }
}

/// Copies of requests whose bodies were kept whole. All of them may be done twice, **a POST too**: whoever takes this says that they do no
/// harm. gRPC, where every call is a POST, has nothing else to go by. Where the method says it, take [`Idempotent`](super::Idempotent).
#[derive(Clone, Copy, Debug, Default)]
pub struct KeptWhole;

impl<B> Copies<Request<Kept<B>>> for KeptWhole {
    fn copy(&self, request: &Request<Kept<B>>) -> Option<Request<Kept<B>>> {
        copy(request)
    }

    fn may_repeat(&self, _: &Request<Kept<B>>) -> bool {
        true
    }
}

pub(super) fn copy<B>(request: &Request<Kept<B>>) -> Option<Request<Kept<B>>> {
    let body = request.body().copy()?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

pin_project! {
    /// A request whose body is read and which is then sent.
    pub struct KeptFuture<S, B>
    where
        S: Service<Request<Kept<B>>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<Kept<B>>>,
    {
        Reading { reading: Reading<B>, service: S, limit: usize },
        Sent { #[pin] answer: S::Future },
    }
}

impl<S, B> Future for KeptFuture<S, B>
where
    S: Service<Request<Kept<B>>>,
    S::Error: From<BoxError>,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Reading { reading, service, limit } => {
                    let request = match ready!(reading.poll(*limit, cx)) {
                        Ok(request) => request,
                        Err(error) => return Poll::Ready(Err(error.into())),
                    };
                    let answer = service.call(request);
                    state.set(State::Sent { answer });
                }
                StateProjection::Sent { answer } => return answer.poll(cx),
            }
        }
    }
}

impl<S, B> fmt::Debug for KeptFuture<S, B>
where
    S: Service<Request<Kept<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptFuture")
    }
}
