use std::fmt;
use std::task::{Context, Poll, Waker};

use evenkeel::{Cluster, Outcome, Pick, PickError, Tried};
use tower_service::Service;

use crate::error::{BalanceError, BoxError};
use crate::future::ResponseFuture;
use crate::judge::{AnyAnswer, JudgeBy};
use crate::key::{Key, KeyBy, Keys, NoKeys};
use crate::seek::Seek;
use crate::track::{OnResponse, Track};
use crate::via::{Aim, OneService, OwnService, Via};

/// A service that sends each request to an endpoint of a cluster.
///
/// Cheap to clone, and all clones share the cluster: there is no lock, no queue and no task in between, so no `Buffer` is
/// needed to share it. A request counts as in flight at its endpoint from `call` until its answer is there, or its body is
/// through ([`http`](Self::http), [`grpc`](Self::grpc)), or its future is dropped. A future that is dropped gives back what the
/// pick holds and is no verdict.
///
/// # Readiness
///
/// `poll_ready` is always ready. Who can take a request depends on the request, on its key and on what it has tried, so the
/// pick happens in `call`: readiness that reserved an endpoint would be that of another request, and it would be lost with
/// every clone. A cluster that can take nothing says so at once, by [`BalanceError::Pick`], in numbers and with a time where
/// that is known; nothing queues. (For waiting see [`Again::patience`](crate::Again::patience).)
///
/// The readiness of *endpoints* is honoured. A service that is ready is called within `call`, and that is all that happens
/// as a rule. One that is not is waited for by the future of the answer, and meanwhile another is asked too
/// ([`at_once`](Self::at_once)): whoever is ready first takes the request. One whose `poll_ready` fails has failed, and
/// another takes the request, which nobody has seen. Asking others counts as retries where the cluster has a budget.
///
/// # Type parameters
///
/// `T` is the payload of the endpoints, `V` how a request gets to one ([`OwnService`], [`OneService`]), `K` where keys come
/// from, `J` what answers mean and until when a request is in flight.
pub struct Balance<T, V = OwnService, K = NoKeys, J = OnResponse<AnyAnswer>> {
    cluster: Cluster<T>,
    pub(crate) via: V,
    pub(crate) keys: K,
    pub(crate) track: J,
    pub(crate) elsewhere: u32,
    pub(crate) at_once: u32,
}

impl<T> Balance<T> {
    /// Balances over services of the endpoints' own, which are their payloads. Every answer is a success and ends its request.
    #[must_use]
    pub const fn new(cluster: Cluster<T>) -> Self {
        Balance::with(cluster, OwnService)
    }
}

impl<T, S, A> Balance<T, OneService<S, A>> {
    /// Balances with one service for all endpoints; `aim` addresses each request.
    #[must_use]
    pub const fn over<Req>(cluster: Cluster<T>, service: S, aim: A) -> Self
    where
        S: Service<Req> + Clone,
        A: Aim<T, Req>,
    {
        Balance::with(cluster, OneService::new(service, aim))
    }
}

impl<T, V> Balance<T, V> {
    /// Balances over endpoints that are reached in a way of your own.
    #[must_use]
    pub const fn with(cluster: Cluster<T>, via: V) -> Self {
        Self {
            cluster,
            via,
            keys: NoKeys,
            track: OnResponse(AnyAnswer),
            elsewhere: ELSEWHERE,
            at_once: AT_ONCE,
        }
    }
}

impl<T, V, K, J> Balance<T, V, K, J> {
    /// Takes keys from requests, for policies that send equal keys to one endpoint.
    ///
    /// ```
    /// use evenkeel::Cluster;
    /// use evenkeel_tower::{Balance, Key};
    /// # #[derive(Clone)] struct Client;
    /// struct Call { user: String }
    ///
    /// let cluster = Cluster::<Client>::builder("users").build()?;
    /// let balance = Balance::new(cluster).keyed_by(|call: &Call| Key::bytes(&call.user));
    /// # let _ = balance;
    /// # Ok::<(), evenkeel::BuildError>(())
    /// ```
    #[must_use]
    pub fn keyed_by<Req, F>(self, key: F) -> Balance<T, V, KeyBy<F>, J>
    where
        F: for<'a> Fn(&'a Req) -> Key<'a>,
    {
        self.with_keys(KeyBy(key))
    }

    pub(crate) fn with_keys<U>(self, keys: U) -> Balance<T, V, U, J> {
        let Self { cluster, via, track, elsewhere, at_once, .. } = self;
        Balance { cluster, via, keys, track, elsewhere, at_once }
    }

    /// Says what answers mean, for answers that are complete when they are there.
    #[must_use]
    pub fn judged_by<Res, F>(self, judge: F) -> Balance<T, V, K, OnResponse<JudgeBy<F>>>
    where
        F: Fn(&Res) -> Outcome,
    {
        self.tracked_by(OnResponse(JudgeBy(judge)))
    }

    /// Says until when requests are in flight, and what answers mean.
    #[must_use]
    pub fn tracked_by<U>(self, track: U) -> Balance<T, V, K, U> {
        let Self { cluster, via, keys, elsewhere, at_once, .. } = self;
        Balance { cluster, via, keys, track, elsewhere, at_once }
    }

    /// How many further endpoints a request asks whose first one is not ready, or whose service failed before it had taken
    /// the request. Default 3: enough to step over a bad machine, and no walk through a fleet that is down. With 0 it waits
    /// for the one that was picked. Each attempt of [`retrying`](Self::retrying) and [`hedging`](Self::hedging) asks so.
    #[must_use]
    pub fn elsewhere(mut self, endpoints: u32) -> Self {
        self.elsewhere = endpoints;
        self
    }

    /// How many endpoints that are not ready a request waits for at the same time, at least one. Default 2: the one that was picked and one
    /// that may be faster. Another one is asked where one of them has failed, as long as [`elsewhere`](Self::elsewhere) allows.
    ///
    /// To ask a service whether it is ready often makes it connect, as with [`Pool`](crate::Pool): while a program starts, every request
    /// would connect to as many endpoints as it may ask. Take more where readiness is a queue or a limit of the service's own and costs
    /// nothing to ask for; a limit of the cluster's ([`ClusterBuilder::endpoint_limit`](evenkeel::ClusterBuilder::endpoint_limit)) is known
    /// before anybody is asked.
    #[must_use]
    pub fn at_once(mut self, endpoints: u32) -> Self {
        self.at_once = endpoints.max(1);
        self
    }

    /// The cluster.
    pub const fn cluster(&self) -> &Cluster<T> {
        &self.cluster
    }

    /// Picks for a request, first or again.
    #[inline]
    pub(crate) fn pick<Req>(&self, request: &Req, how: How<'_>) -> Result<Pick<T>, PickError>
    where
        K: Keys<Req>,
    {
        let key = self.keys.key(request);
        let request = key.request();
        self.cluster.pick(&match how {
            How::First => request,
            How::Waiting => request.waiting(),
            How::Elsewhere(tried) => request.excluding(tried),
            How::Preferring(tried) => request.preferring_others(tried),
            How::Hedge(tried) => request.excluding(tried).as_hedge(),
        })
    }
}

/// What a pick is for.
#[derive(Clone, Copy)]
pub(crate) enum How<'a> {
    First,
    /// The first, asked for before and not got.
    Waiting,
    Elsewhere(&'a Tried),
    Preferring(&'a Tried),
    Hedge(&'a Tried),
}

impl<T, V, K, J, Req, S> Service<Req> for Balance<T, V, K, J>
where
    V: Via<T, Req, Service = S> + Clone,
    S: Service<Req>,
    S::Error: Into<BoxError>,
    K: Keys<Req> + Clone,
    J: Track<T, S::Response> + Clone,
{
    type Response = J::Response;
    type Error = BalanceError;
    type Future = ResponseFuture<T, V, K, J, Req>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BalanceError>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let pick = match self.pick(&request, How::First) {
            Ok(pick) => pick,
            Err(error) => return ResponseFuture::failed(error.into()),
        };
        let mut service = self.via.service(pick.endpoint());
        // Nobody is woken by this look: whoever is not ready is asked again by the future.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => match self.via.aim(pick.endpoint(), &mut request) {
                Ok(()) => ResponseFuture::sent(service.call(request), pick, self.track.clone()),
                Err(error) => ResponseFuture::failed(BalanceError::Inner(error)),
            },
            ready => {
                let mut tried = Tried::default();
                tried.add(&pick);
                ResponseFuture::seeking(Seek::new(self.clone(), request, service, pick, ready), tried)
            }
        }
    }
}

impl<T, V: Clone, K: Clone, J: Clone> Clone for Balance<T, V, K, J> {
    fn clone(&self) -> Self {
        Self {
            cluster: self.cluster.clone(),
            via: self.via.clone(),
            keys: self.keys.clone(),
            track: self.track.clone(),
            elsewhere: self.elsewhere,
            at_once: self.at_once,
        }
    }
}

impl<T, V, K, J> fmt::Debug for Balance<T, V, K, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

const ELSEWHERE: u32 = 3;
const AT_ONCE: u32 = 2;
