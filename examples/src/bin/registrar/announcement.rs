use std::error::Error;
use std::fmt;
use std::time::Duration;

use evenkeel::{Endpoint, MonotonicClock, Registry};
use evenkeel_adapter::RegistrarHandle;
use evenkeel_registry::{RegistrarConfig, RegistrarState};

use crate::embedded::Embedded;
use crate::options::{Options, Store};

/// The entry of this service in a store, kept by a thread of its own.
pub(crate) enum Announcement {
    /// In a store whose adapter is built on the shared thread: the registry of this process, etcd, Consul.
    Shared(RegistrarHandle),
    #[cfg(feature = "stores")]
    ZooKeeper(evenkeel_zookeeper::RegistrarHandle),
}

impl Announcement {
    /// Starts it; nothing is announced until it is [`ready`](Self::ready).
    pub(crate) fn start(
        options: &Options,
        endpoint: Endpoint,
        registry: &Registry,
        clock: MonotonicClock,
    ) -> Result<Self, Box<dyn Error>> {
        match options.store {
            Store::Embedded => {
                let store = Embedded {
                    registry: registry.clone(),
                    service: options.service.parse()?,
                    clock,
                    ttl: times().ttl,
                    lease: None,
                };
                Ok(Self::Shared(RegistrarHandle::spawn("registrar", endpoint, times(), 1, store, || {})?))
            }
            #[cfg(feature = "stores")]
            _ => Self::in_a_store(options, endpoint),
            #[cfg(not(feature = "stores"))]
            store => {
                let store = format!("{store:?}").to_lowercase();
                Err(format!("--store {store} needs the adapters: cargo run --features stores …").into())
            }
        }
    }

    #[cfg(feature = "stores")]
    fn in_a_store(options: &Options, endpoint: Endpoint) -> Result<Self, Box<dyn Error>> {
        use evenkeel_consul::{ConsulRegistrar, ConsulRegistrarConfig};
        use evenkeel_etcd::{EtcdRegistrar, EtcdRegistrarConfig};
        use evenkeel_zookeeper::{ZooKeeperRegistrar, ZooKeeperRegistrarConfig};

        let at = |by_default: &str| options.at.clone().unwrap_or_else(|| by_default.to_owned());
        // Renewals of processes that start together must not come together.
        let seed = u64::from(std::process::id());
        match options.store {
            Store::Consul => {
                let mut config =
                    ConsulRegistrarConfig { service: options.service.clone(), seed, ..Default::default() };
                config.connection.address = at("http://127.0.0.1:8500");
                config.registrar = times();
                Ok(Self::Shared(ConsulRegistrar::start(endpoint, config)?))
            }
            Store::Zookeeper => {
                let path = format!("/services/{}", options.service);
                let mut config = ZooKeeperRegistrarConfig::new([at("127.0.0.1:2181")], path);
                config.registrar = times();
                Ok(Self::ZooKeeper(ZooKeeperRegistrar::start(endpoint, config)?))
            }
            _ => {
                let prefix = format!("{}/", options.service);
                let mut config = EtcdRegistrarConfig { prefix, seed, ..Default::default() };
                config.connection.endpoints = vec![at("http://127.0.0.1:2379")];
                config.registrar = times();
                Ok(Self::Shared(EtcdRegistrar::start(endpoint, config)?))
            }
        }
    }

    pub(crate) fn ready(&self, ready: bool) {
        match self {
            Self::Shared(handle) => handle.ready(ready),
            #[cfg(feature = "stores")]
            Self::ZooKeeper(handle) => handle.ready(ready),
        }
    }

    pub(crate) fn state(&self) -> RegistrarState {
        match self {
            Self::Shared(handle) => handle.state(),
            #[cfg(feature = "stores")]
            Self::ZooKeeper(handle) => handle.status().state,
        }
    }

    /// Drains, and waits until the entry is gone, for so long at most.
    pub(crate) fn leave(&self, deadline: Duration) -> Result<(), Box<dyn Error + Send + Sync>> {
        match self {
            Self::Shared(handle) => Ok(handle.leave(deadline)?),
            #[cfg(feature = "stores")]
            Self::ZooKeeper(handle) => Ok(handle.leave(deadline)?),
        }
    }
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Announcement").field(&self.state()).finish()
    }
}

/// Short, since somebody looks on.
fn times() -> RegistrarConfig {
    RegistrarConfig {
        ttl: Duration::from_secs(4),
        propagation: Duration::from_millis(500),
        ..RegistrarConfig::default()
    }
}
