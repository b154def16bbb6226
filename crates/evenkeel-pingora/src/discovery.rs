#![expect(clippy::disallowed_types, reason = "pingora's discovery speaks in hash maps; none is walked")]

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use evenkeel::{Address, Endpoint, Watch};
use evenkeel_registry::SourceState;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, Result};
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::{Backend, Extensions};

use crate::backend::hash_key;

/// A service of a registry as pingora's `ServiceDiscovery`: etcd, Consul, ZooKeeper, DNS, files and whatever else feeds registries, for
/// pingora's own `LoadBalancer`.
///
/// The id, labels and locality of an endpoint are in `Backend::ext`, as an `Endpoint`. Weight 0, and an endpoint that announces that it does
/// not serve, become a disabled backend of weight 1: pingora's policies cannot be given a zero. Names and
/// Unix sockets are left out.
#[derive(Debug)]
pub struct RegistryDiscovery {
    watch: Watch,
}

impl RegistryDiscovery {
    /// What `watch` sees: `registry.watch(&service)`.
    #[must_use]
    pub const fn new(watch: Watch) -> Self {
        Self { watch }
    }
}

#[async_trait]
impl ServiceDiscovery for RegistryDiscovery {
    /// # Errors
    ///
    /// `ErrorType::InternalError` while nothing is known about the service: pingora keeps what it has.
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let snapshot = self.watch.latest();
        if snapshot.state() == SourceState::Pending {
            let service = self.watch.service().as_str();
            return Err(Error::explain(
                ErrorType::InternalError,
                format!("nothing is known about {service} yet"),
            ));
        }
        let (mut backends, mut enablement) = (BTreeSet::new(), HashMap::new());
        for endpoint in snapshot.endpoints().iter() {
            let Some(backend) = backend(endpoint) else { continue };
            let serves = !endpoint.weight().is_drain() && endpoint.announced().is_usable();
            enablement.insert(hash_key(&backend), serves);
            backends.insert(backend);
        }
        Ok((backends, enablement))
    }
}

fn backend(endpoint: &Endpoint) -> Option<Backend> {
    let Address::Socket(address) = endpoint.address() else { return None };
    let mut ext = Extensions::new();
    ext.insert(endpoint.clone());
    let weight = endpoint.weight().get().max(1);
    Some(Backend { addr: SocketAddr::Inet(*address), weight: usize::try_from(weight).ok()?, ext })
}
