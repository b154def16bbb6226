use std::fmt;

use evenkeel::Cluster;
use tower_layer::Layer;

use crate::balance::Balance;
use crate::judge::AnyAnswer;
use crate::key::NoKeys;
use crate::track::OnResponse;
use crate::via::OneService;

/// Puts a cluster in front of one service that can send to any address: each request is addressed to an endpoint, and goes on.
///
/// ```
/// use evenkeel::{Cluster, Live};
/// use evenkeel_tower::{BalanceLayer, BoxError};
/// use tower::ServiceBuilder;
///
/// let cluster = Cluster::<()>::builder("users").build()?;
/// let aim = |endpoint: &Live<()>, request: &mut String| {
///     *request = format!("http://{}{request}", endpoint.address());
///     Ok::<_, BoxError>(())
/// };
/// let client = tower::service_fn(async |url: String| Ok::<_, BoxError>(url));
/// let stack = ServiceBuilder::new().layer(BalanceLayer::new(cluster, aim)).service(client);
/// # fn is_service(_: impl tower::Service<String>) {}
/// # is_service(stack);
/// # Ok::<(), evenkeel::BuildError>(())
/// ```
pub struct BalanceLayer<T, A, K = NoKeys, J = OnResponse<AnyAnswer>> {
    cluster: Cluster<T>,
    aim: A,
    keys: K,
    track: J,
}

impl<T, A> BalanceLayer<T, A> {
    /// A layer over this cluster; `aim` addresses each request.
    #[must_use]
    pub const fn new(cluster: Cluster<T>, aim: A) -> Self {
        Self { cluster, aim, keys: NoKeys, track: OnResponse(AnyAnswer) }
    }
}

impl<T, A, K, J> BalanceLayer<T, A, K, J> {
    /// Takes keys from requests: see [`KeyBy`](crate::KeyBy).
    #[must_use]
    pub fn keys<U>(self, keys: U) -> BalanceLayer<T, A, U, J> {
        let Self { cluster, aim, track, .. } = self;
        BalanceLayer { cluster, aim, keys, track }
    }

    /// As [`Balance::tracked_by`].
    #[must_use]
    pub fn tracked_by<U>(self, track: U) -> BalanceLayer<T, A, K, U> {
        let Self { cluster, aim, keys, .. } = self;
        BalanceLayer { cluster, aim, keys, track }
    }
}

impl<T, A: Clone, K: Clone, J: Clone, S> Layer<S> for BalanceLayer<T, A, K, J> {
    type Service = Balance<T, OneService<S, A>, K, J>;

    fn layer(&self, service: S) -> Self::Service {
        let via = OneService::new(service, self.aim.clone());
        let balance = Balance::with(self.cluster.clone(), via).tracked_by(self.track.clone());
        balance.with_keys(self.keys.clone())
    }
}

impl<T, A: Clone, K: Clone, J: Clone> Clone for BalanceLayer<T, A, K, J> {
    fn clone(&self) -> Self {
        Self {
            cluster: self.cluster.clone(),
            aim: self.aim.clone(),
            keys: self.keys.clone(),
            track: self.track.clone(),
        }
    }
}

impl<T, A, K, J> fmt::Debug for BalanceLayer<T, A, K, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalanceLayer").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}
