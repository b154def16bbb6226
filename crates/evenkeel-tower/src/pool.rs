use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evenkeel::{Clock, Timestamp};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::{BoxError, NotConnected};

/// Services to one endpoint, made when they are needed by a `MakeService` (a `Service<Target>` that answers with services), and
/// used again: a payload for services that take one request at a time, such as a connection of HTTP/1.
///
/// `poll_ready` takes one that is idle and ready, or makes one; so as many are made as requests run at the same time. A
/// service goes back when its answer is there; one that failed, or whose answer was not waited for, does not. Clones share the
/// idle ones. There is a short lock around their list, since a request takes one out and puts it back; services that can be
/// cloned need no pool. What making one fails with is a [`NotConnected`].
///
/// ```
/// use evenkeel::{Address, Cluster, Endpoint};
/// use evenkeel_tower::{Balance, BoxError, Pool};
/// use tower::{Service, ServiceExt, service_fn};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// // Stands for a connector.
/// let connect = service_fn(async |address: Address| {
///     Ok::<_, BoxError>(service_fn(move |name: &'static str| {
///         let answer = format!("{name} by {address}");
///         async move { Ok::<_, BoxError>(answer) }
///     }))
/// });
/// let cluster = Cluster::builder("users").build()?;
/// cluster.apply_with([Endpoint::at("10.0.0.1:80".parse()?)?], |endpoint| {
///     Pool::new(connect.clone(), endpoint.address().clone(), 4)
/// })?;
/// let answer = Balance::new(cluster).oneshot("anna").await?;
/// assert_eq!(answer, "anna by 10.0.0.1:80");
/// # Ok::<(), BoxError>(())
/// # }).map_err(|error| error.to_string())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<M, Target>
where
    M: Service<Target>,
{
    make: M,
    target: Target,
    idle: Arc<Idle<M::Response>>,
    /// Never locked: the mutex lets clones lie where threads share them, as payloads, though futures cannot be shared.
    state: Mutex<State<M::Future, M::Response>>,
}

struct Idle<S> {
    /// The one that was used last is at the end, with the time when it came back.
    services: Mutex<Vec<(S, Timestamp)>>,
    most: usize,
    aging: Option<Aging>,
}

/// How long a service may be idle, and by whose time.
struct Aging {
    timeout: Duration,
    clock: Box<dyn Clock>,
}

enum State<F, S> {
    Empty,
    Making(Pin<Box<F>>),
    /// One that may or may not be ready.
    Held(S),
}

impl<M, Target> Pool<M, Target>
where
    M: Service<Target>,
{
    /// A pool that keeps up to so many idle services.
    pub fn new(make: M, target: Target, max_idle: usize) -> Self {
        let idle = Idle { services: Mutex::default(), most: max_idle, aging: None };
        Self { make, target, idle: Arc::new(idle), state: Mutex::new(State::Empty) }
    }

    /// Drops services that were idle for so long by this clock. Default: none, they stay until they fail. Take less than the servers wait
    /// before they close idle connections, often 60 s or 75 s: a request that meets one while it is being closed is lost, and
    /// whether it was seen nobody knows.
    ///
    /// There is no task: whoever asks next drops what is too old. Say it before the pool is cloned, since each change begins with an
    /// empty list.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration, clock: impl Clock + 'static) -> Self {
        let aging = Some(Aging { timeout, clock: Box::new(clock) });
        self.idle = Arc::new(Idle { services: Mutex::default(), most: self.idle.most, aging });
        self
    }

    /// How many are idle.
    pub fn idle(&self) -> usize {
        self.idle.services.lock().len()
    }
}

impl<S> Idle<S> {
    fn now(&self) -> Timestamp {
        self.aging.as_ref().map_or(Timestamp::ORIGIN, |aging| aging.clock.now())
    }

    /// Drops those that were idle for too long, outside of the lock.
    fn drop_old(&self) {
        let Some(Aging { timeout, clock }) = &self.aging else { return };
        let now = clock.now();
        let old: Vec<(S, Timestamp)> = {
            let mut services = self.services.lock();
            services.extract_if(.., |(_, since)| now.saturating_since(*since) >= *timeout).collect()
        };
        drop(old);
    }

    /// One that is ready. Those that have failed in the meantime are dropped; the others stay.
    fn take<Req>(&self, cx: &mut Context<'_>) -> Option<S>
    where
        S: Service<Req>,
    {
        self.drop_old();
        // Asked outside the lock, since asking is code of the user; each is asked once.
        let mut busy = Vec::new();
        let found = loop {
            let next = self.services.lock().pop();
            let Some((mut service, since)) = next else { break None };
            match service.poll_ready(cx) {
                Poll::Ready(Ok(())) => break Some(service),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => busy.push((service, since)),
            }
        };
        if !busy.is_empty() {
            self.services.lock().append(&mut busy);
        }
        found
    }

    fn give_back(&self, service: S) {
        self.drop_old();
        let now = self.now();
        let mut services = self.services.lock();
        if services.len() < self.most {
            services.push((service, now));
        } else {
            drop(services);
            drop(service);
        }
    }
}

impl<M, Target, Req, S> Service<Req> for Pool<M, Target>
where
    M: Service<Target, Response = S>,
    M::Error: Into<BoxError>,
    Target: Clone,
    S: Service<Req>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = PoolFuture<S, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let state = self.state.get_mut();
        loop {
            match state {
                State::Held(service) => {
                    let ready = ready!(service.poll_ready(cx)).map_err(Into::into);
                    if ready.is_err() {
                        *state = State::Empty;
                    }
                    return Poll::Ready(ready);
                }
                State::Making(made) => {
                    let made = ready!(made.as_mut().poll(cx));
                    *state = State::Empty;
                    *state = State::Held(made.map_err(NotConnected::new)?);
                }
                State::Empty => {
                    if let Some(service) = self.idle.take::<Req>(cx) {
                        *state = State::Held(service);
                        return Poll::Ready(Ok(()));
                    }
                    ready!(self.make.poll_ready(cx)).map_err(NotConnected::new)?;
                    *state = State::Making(Box::pin(self.make.call(self.target.clone())));
                }
            }
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match std::mem::replace(self.state.get_mut(), State::Empty) {
            State::Held(mut service) => {
                let answer = Some(service.call(request));
                PoolFuture { answer, service: Some(service), idle: Some(Arc::clone(&self.idle)) }
            }
            State::Empty | State::Making(_) => PoolFuture { answer: None, service: None, idle: None },
        }
    }
}

pin_project! {
    /// The answer of a service of a [`Pool`].
    pub struct PoolFuture<S, F> {
        #[pin]
        answer: Option<F>,
        service: Option<S>,
        idle: Option<Arc<Idle<S>>>,
    }
}

impl<S, F, Res, E> Future for PoolFuture<S, F>
where
    F: Future<Output = Result<Res, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Res, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(answer) = this.answer.as_pin_mut() else {
            return Poll::Ready(Err("the pool was called before it was ready".into()));
        };
        let answer = ready!(answer.poll(cx)).map_err(Into::into);
        if let (Some(service), Some(idle), true) = (this.service.take(), this.idle.take(), answer.is_ok()) {
            idle.give_back(service);
        }
        Poll::Ready(answer)
    }
}

impl<M, Target> Clone for Pool<M, Target>
where
    M: Service<Target> + Clone,
    Target: Clone,
{
    fn clone(&self) -> Self {
        let (make, target) = (self.make.clone(), self.target.clone());
        Self { make, target, idle: Arc::clone(&self.idle), state: Mutex::new(State::Empty) }
    }
}

impl<M, Target> fmt::Debug for Pool<M, Target>
where
    M: Service<Target>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle()).finish_non_exhaustive()
    }
}

impl<S, F> fmt::Debug for PoolFuture<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolFuture")
    }
}
