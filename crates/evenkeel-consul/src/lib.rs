//! Consul as a discovery source: blocking queries on the health of a service, registration at the agent with a TTL check.
//!
//! Blocking HTTP, one thread for each adapter, no runtime.
//!
//! ```no_run
//! use evenkeel_consul::{Consul, ConsulConfig};
//! use evenkeel_registry::{MirrorConfig, Registry, ServiceName};
//! # fn clock() -> evenkeel_types::Timestamp { evenkeel_types::Timestamp::ORIGIN }
//!
//! let registry = Registry::default();
//! let users: ServiceName = "users".parse()?;
//! let feed = registry.feed(&users, &"consul".parse()?, MirrorConfig::default(), clock)?;
//! let config = ConsulConfig { service: "users".to_owned(), ..ConsulConfig::default() };
//! let adapter = Consul::start(feed, config)?;
//! // The registry follows the service until `adapter` is stopped or dropped.
//! # drop(adapter);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An endpoint that keeps itself registered, and goes in order:
//!
//! ```no_run
//! use std::time::Duration;
//! use evenkeel_consul::{ConsulRegistrar, ConsulRegistrarConfig};
//! use evenkeel_types::Endpoint;
//!
//! let endpoint = Endpoint::new("users-1".parse()?, "10.0.0.7:8080".parse()?);
//! let config = ConsulRegistrarConfig { service: "users".to_owned(), ..ConsulRegistrarConfig::default() };
//! let registrar = ConsulRegistrar::start(endpoint, config)?;
//! registrar.ready(true); // when the port listens
//! // …
//! registrar.leave(Duration::from_secs(30))?; // maintenance, then deregistered
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Without a thread
//!
//! [`Follower`] is the same without IO: it says what to ask next, takes headers and bytes of the answer, and gives
//! [`Event`](evenkeel_registry::Event)s. [`Pace`] says when.
//!
//! # Features
//!
//! `tls` (on by default): HTTPS by rustls. `serde`: the settings can be written and read.

mod adapter;
mod config;
mod entry;
mod follower;
mod pace;
mod registrar;

pub use adapter::{Consul, ConsulHandle};
pub use config::{Consistency, ConsulConfig, ConsulConnection, ConsulError, ConsulRegistrarConfig};
pub use entry::InvalidRegistration;
pub use evenkeel_adapter::{Call, InvalidSetting, Method, NotGone, RegistrarHandle, Secret, TlsConfig};
pub use follower::{FollowError, Follower, Head};
pub use pace::Pace;
pub use registrar::ConsulRegistrar;
