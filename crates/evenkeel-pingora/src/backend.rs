//! Backends of pingora as endpoints.
#![expect(clippy::disallowed_types, reason = "pingora's discovery speaks in hash maps; none is walked")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use evenkeel::{Address, Announced, Endpoint, EndpointId, Weight};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_load_balancing::Backend;

use crate::balancer::BackendError;

/// Who of the backends serves, by [`hash_key`]; whoever is not named does.
pub(crate) type Enablement = HashMap<u64, bool>;

/// Each under its address. Weight 0 drains it; whoever is not enabled counts as announced down.
pub(crate) fn endpoints(
    backends: &BTreeSet<Backend>,
    enablement: &Enablement,
) -> Result<Vec<Endpoint<Backend>>, BackendError> {
    let mut known = BTreeMap::new();
    for backend in backends {
        if known.insert(backend.addr.to_string(), backend).is_some() {
            return Err(BackendError::Twice(backend.addr.to_string()));
        }
    }
    let serves = |backend: &Backend| enablement.get(&hash_key(backend)).copied().unwrap_or(true);
    backends.iter().map(|backend| endpoint(backend, serves(backend))).collect()
}

fn endpoint(backend: &Backend, serves: bool) -> Result<Endpoint<Backend>, BackendError> {
    let name = backend.addr.to_string();
    let address: Address = match &backend.addr {
        SocketAddr::Inet(address) => (*address).into(),
        SocketAddr::Unix(address) => {
            let path = address.as_pathname().and_then(|path| path.to_str());
            let path = path.ok_or_else(|| BackendError::Address(name.clone()))?;
            format!("unix:{path}").parse().map_err(|_| BackendError::Address(name.clone()))?
        }
    };
    let id: EndpointId = name.parse().map_err(|_| BackendError::Address(name.clone()))?;
    let weight = u32::try_from(backend.weight).map_err(|_| BackendError::Weight(name, backend.weight))?;
    let announced = if serves { Announced::Unknown } else { Announced::Down };
    let endpoint = Endpoint::new(id, address).with_weight(Weight::new(weight)).with_announced(announced);
    Ok(endpoint.with_payload(backend.clone()))
}

/// As the documentation of `ServiceDiscovery::discover` says: by the standard library's default hasher.
pub(crate) fn hash_key(backend: &Backend) -> u64 {
    let mut hasher = DefaultHasher::new();
    backend.hash(&mut hasher);
    hasher.finish()
}
