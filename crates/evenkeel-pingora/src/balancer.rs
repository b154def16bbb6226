use std::collections::BTreeSet;
use std::fmt;
use std::net::ToSocketAddrs;
use std::time::Duration;

use evenkeel::{
    ApplyError, BuildError, Cluster, ClusterBuilder, EndpointId, Pick, PickError, PolicyConfig, Request,
};
use parking_lot::Mutex;
use pingora_error::{Error, ErrorType, Result};
use pingora_load_balancing::Backend;
use pingora_load_balancing::discovery::{ServiceDiscovery, Static};
use pingora_load_balancing::health_check::HealthCheck;
use thiserror::Error as ThisError;

use crate::backend::{Enablement, endpoints};
use crate::service::Tallies;

/// In place of `pingora_load_balancing::LoadBalancer`: the same names and calls, over a cluster with any policy.
///
/// It runs pingora's discovery and health checks, as a background service of the server or called by hand. `select` hands out a copy of the
/// backend as pingora's does, and nothing is known of it afterwards; [`pick`](Self::pick) hands out a guard.
///
/// Two things differ. A backend is known by its address, so one that comes again with another weight keeps what was learnt about it, and
/// an address that is listed twice is refused. And weight 0 drains.
///
/// ```
/// use evenkeel::PolicyConfig;
/// use evenkeel_pingora::Balancer;
///
/// let balancer = Balancer::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"], PolicyConfig::round_robin())?;
/// let backend = balancer.select(b"", 256).ok_or("nobody")?;
/// let pick = balancer.pick(b"user-42")?;
/// # let _ = (backend, pick);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Balancer {
    cluster: Cluster<Backend>,
    discovery: Box<dyn ServiceDiscovery + Send + Sync>,
    health_check: Option<Box<dyn HealthCheck + Send + Sync>>,
    pub(crate) tallies: Mutex<Tallies>,
    last_update_error: Mutex<Option<String>>,
    /// How often health checks run. `None`: once, when the service starts.
    pub health_check_frequency: Option<Duration>,
    /// How often discovery is asked. `None`: once, when the service starts.
    pub update_frequency: Option<Duration>,
    /// Whether backends are checked all at once, or one after the other.
    pub parallel_health_check: bool,
}

/// Backends cannot be used; those that were there before stay.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum BackendError {
    /// An address does not resolve.
    #[error("backend: {0}")]
    Resolve(#[from] std::io::Error),
    /// Two backends have one address.
    #[error("backend {0}: is listed twice; give it once, with the sum of the weights")]
    Twice(String),
    /// The address is a Unix socket without a path, or longer than an id may be.
    #[error("backend {0}: this address cannot name an endpoint")]
    Address(String),
    /// The weight is too large.
    #[error("backend {0}: weight = {1} is out of range: allowed are 0 to 4294967295")]
    Weight(String, usize),
    /// The cluster cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The cluster refuses the set.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl Balancer {
    /// A fixed list of addresses, as `LoadBalancer::try_from_iter`, and a policy.
    ///
    /// # Errors
    ///
    /// [`BackendError`] names the address and what is wrong.
    pub fn try_from_iter<A, I>(addresses: I, policy: PolicyConfig) -> Result<Self, BackendError>
    where
        I: IntoIterator<Item = A>,
        A: ToSocketAddrs,
    {
        let mut backends = BTreeSet::new();
        for address in addresses {
            for address in address.to_socket_addrs()? {
                let addr = pingora_core::protocols::l4::socket::SocketAddr::Inet(address);
                backends.insert(Backend { addr, weight: 1, ext: pingora_load_balancing::Extensions::new() });
            }
        }
        let balancer =
            Self::with_discovery(Static::new(backends.clone()), Cluster::builder("pingora").policy(policy))?;
        balancer.apply(&backends, &Enablement::new())?;
        Ok(balancer)
    }

    /// Backends from `discovery`, of which nothing is known until [`update`](Self::update) or the service has run; and a cluster with a
    /// breaker, outlier detection, latencies or whatever you like.
    ///
    /// # Errors
    ///
    /// [`BackendError::Build`].
    pub fn with_discovery(
        discovery: Box<dyn ServiceDiscovery + Send + Sync>,
        cluster: ClusterBuilder<Backend>,
    ) -> Result<Self, BackendError> {
        Ok(Self {
            cluster: cluster.build()?,
            discovery,
            health_check: None,
            tallies: Mutex::default(),
            last_update_error: Mutex::default(),
            health_check_frequency: None,
            update_frequency: None,
            parallel_health_check: false,
        })
    }

    /// How backends are checked.
    pub fn set_health_check(&mut self, check: Box<dyn HealthCheck + Send + Sync>) {
        self.health_check = Some(check);
    }

    pub(crate) fn health_check(&self) -> Option<&(dyn HealthCheck + Send + Sync)> {
        self.health_check.as_deref()
    }

    /// The cluster: reports, operator's words, limits.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster<Backend> {
        &self.cluster
    }

    /// A backend for the key; an empty key is none. `max_iterations` is there for the likeness: nothing is walked that could be
    /// long, and nobody is missed.
    ///
    /// The request is not counted as in flight. Policies that read loads need [`pick`](Self::pick).
    #[must_use]
    pub fn select(&self, key: &[u8], max_iterations: usize) -> Option<Backend> {
        let _ = max_iterations;
        self.pick(key).ok().map(|pick| pick.payload().clone())
    }

    /// The first backend, in the order of the policy, that `accept` takes. The second argument tells whether it is healthy, as pingora
    /// does; only healthy ones are offered.
    #[must_use]
    pub fn select_with<F>(&self, key: &[u8], max_iterations: usize, accept: F) -> Option<Backend>
    where
        F: Fn(&Backend, bool) -> bool,
    {
        let mut tried = evenkeel::Tried::default();
        for _ in 0..max_iterations {
            let pick = self.cluster.pick(&request(key).excluding(&tried)).ok()?;
            if accept(pick.payload(), true) {
                return Some(pick.payload().clone());
            }
            tried.add(&pick);
        }
        None
    }

    /// An endpoint for the key, held until the guard is dropped; an empty key is none.
    ///
    /// # Errors
    ///
    /// [`PickError`] says why there is nobody.
    #[inline]
    pub fn pick(&self, key: &[u8]) -> Result<Pick<Backend>, PickError> {
        self.cluster.pick(&request(key))
    }

    /// Asks discovery, and takes over what it says. Whoever it does not enable counts as announced down. An empty
    /// answer keeps the old set: no proof that there is nobody.
    ///
    /// # Errors
    ///
    /// What discovery says, or [`BackendError`] as context; the old set stays.
    pub async fn update(&self) -> Result<()> {
        let updated = self.ask_discovery().await;
        *self.last_update_error.lock() = updated.as_ref().err().map(ToString::to_string);
        updated
    }

    async fn ask_discovery(&self) -> Result<()> {
        let (backends, enablement) = self.discovery.discover().await?;
        self.apply(&backends, &enablement).map_err(|error| {
            Error::explain(ErrorType::InternalError, format!("discovered backends were not taken: {error}"))
        })
    }

    /// What the last [`update`](Self::update) failed with, also one of the background service: `None` if it was taken, or if there
    /// was none yet. While it is there the set in use is older than discovery.
    #[must_use]
    pub fn last_update_error(&self) -> Option<String> {
        self.last_update_error.lock().clone()
    }

    fn apply(&self, backends: &BTreeSet<Backend>, enablement: &Enablement) -> Result<(), BackendError> {
        self.cluster.apply(endpoints(backends, enablement)?)?;
        Ok(())
    }

    pub(crate) fn handle(&self, backend: &Backend) -> Option<evenkeel::Handle<Backend>> {
        let id: EndpointId = backend.addr.to_string().parse().ok()?;
        self.cluster.endpoint(&id).ok()
    }
}

#[inline]
fn request(key: &[u8]) -> Request<'_> {
    if key.is_empty() { Request::new() } else { Request::with_key(key) }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("cluster", &self.cluster.name())
            .field("endpoints", &self.cluster.len())
            .field("health_check_frequency", &self.health_check_frequency)
            .field("update_frequency", &self.update_frequency)
            .finish_non_exhaustive()
    }
}
