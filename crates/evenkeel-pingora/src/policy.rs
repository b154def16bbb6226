use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use evenkeel::{Cluster, PolicyConfig, Request, Tried};
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use crate::backend::{Enablement, endpoints};

/// A policy of evenkeel in pingora's own `LoadBalancer`, which keeps membership and health. The configuration is a [`PolicyConfig`].
///
/// ```
/// use evenkeel::PolicyConfig;
/// use evenkeel_pingora::Policy;
/// use pingora_load_balancing::discovery::Static;
/// use pingora_load_balancing::{Backends, LoadBalancer};
///
/// let discovery = Static::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"])?;
/// let balancer =
///     LoadBalancer::<Policy>::from_backends_with_config(Backends::new(discovery), Some(PolicyConfig::maglev()));
/// # let _ = balancer;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Pingora builds it anew whenever the backends change, so that nothing learnt survives, and never says how a request went: policies that
/// read loads or latencies make no sense here. Use [`Balancer`](crate::Balancer) for those.
pub struct Policy {
    cluster: Option<Cluster<Backend>>,
}

impl BackendSelection for Policy {
    type Iter = PolicyIter;
    type Config = PolicyConfig;

    /// A policy that these backends cannot have (two of one address, a table that is too small) selects nobody: pingora's interface has no
    /// errors. Build a [`Balancer`](crate::Balancer) of the same to see them.
    fn build_with_config(backends: &BTreeSet<Backend>, config: &PolicyConfig) -> Self {
        let cluster = endpoints(backends, &Enablement::new()).ok().and_then(|endpoints| {
            let cluster = Cluster::builder("pingora").policy(config.clone()).build().ok()?;
            cluster.apply(endpoints).ok()?;
            Some(cluster)
        });
        Self { cluster }
    }

    /// Least request would need loads, so the default here is round robin.
    fn build(backends: &BTreeSet<Backend>) -> Self {
        Self::build_with_config(backends, &PolicyConfig::round_robin())
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> PolicyIter {
        PolicyIter { policy: Arc::clone(self), key: key.into(), tried: Tried::default(), current: None }
    }
}

/// Backends in the order of the policy, each once.
pub struct PolicyIter {
    policy: Arc<Policy>,
    key: Box<[u8]>,
    tried: Tried,
    current: Option<Backend>,
}

impl BackendIter for PolicyIter {
    fn next(&mut self) -> Option<&Backend> {
        let cluster = self.policy.cluster.as_ref()?;
        let request = if self.key.is_empty() { Request::new() } else { Request::with_key(&self.key) };
        let request = if self.tried.is_empty() { request } else { request.excluding(&self.tried) };
        let pick = cluster.pick(&request).ok()?;
        self.tried.add(&pick);
        self.current = Some(pick.payload().clone());
        self.current.as_ref()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("endpoints", &self.cluster.as_ref().map(Cluster::len)).finish()
    }
}

impl fmt::Debug for PolicyIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyIter").field("tried", &self.tried.len()).finish_non_exhaustive()
    }
}
