//! etcd as a discovery source: a prefix is listed and watched without gaps, endpoints register under leases.
//!
//! Blocking HTTP to etcd's JSON gateway (`/v3`, etcd 3.4 and later), one thread for each adapter, no runtime and no
//! `protoc`.
//!
//! ```no_run
//! use evenkeel_etcd::{Etcd, EtcdConfig};
//! use evenkeel_registry::{MirrorConfig, Registry, ServiceName};
//! # fn clock() -> evenkeel_types::Timestamp { evenkeel_types::Timestamp::ORIGIN }
//!
//! let registry = Registry::default();
//! let users: ServiceName = "users".parse()?;
//! let feed = registry.feed(&users, &"etcd".parse()?, MirrorConfig::default(), clock)?;
//!
//! let mut config = EtcdConfig { prefix: "services/users/".to_owned(), ..EtcdConfig::default() };
//! config.connection.endpoints = vec!["http://10.0.0.1:2379".to_owned(), "http://10.0.0.2:2379".to_owned()];
//! let adapter = Etcd::start(feed, config)?;
//! // The registry follows the prefix until `adapter` is stopped or dropped.
//! # drop(adapter);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An endpoint that keeps itself in etcd, and goes in order:
//!
//! ```no_run
//! use std::time::Duration;
//! use evenkeel_etcd::{EtcdRegistrar, EtcdRegistrarConfig};
//! use evenkeel_types::Endpoint;
//!
//! let endpoint = Endpoint::new("users-1".parse()?, "10.0.0.7:8080".parse()?);
//! let mut config = EtcdRegistrarConfig { prefix: "services/users/".to_owned(), ..EtcdRegistrarConfig::default() };
//! config.connection.endpoints = vec!["http://10.0.0.1:2379".to_owned()];
//! let registrar = EtcdRegistrar::start(endpoint, config)?;
//! registrar.ready(true); // when the port listens
//! // …
//! registrar.leave(Duration::from_secs(30))?; // drains, then removes the entry
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Without a thread
//!
//! [`Follower`] is the same without IO: it says what to ask next, takes the bytes of the answers, and gives
//! [`Event`](evenkeel_registry::Event)s. [`request`] makes the requests of the gateway, [`entry`] reads and writes the
//! values.
//!
//! # Features
//!
//! `tls` (on by default): HTTPS by rustls. `serde`: the settings can be written and read.

mod adapter;
mod config;
pub mod entry;
mod follower;
mod registrar;
pub mod request;
mod session;
mod wire;

pub use adapter::{Etcd, EtcdHandle};
pub use config::{EtcdConfig, EtcdConnection, EtcdError, EtcdRegistrarConfig};
pub use evenkeel_adapter::{Call, InvalidSetting, Method, NotGone, RegistrarHandle, Secret, TlsConfig};
pub use follower::{Ask, FollowError, Follower, FollowerConfig, Probe, Seen};
pub use registrar::EtcdRegistrar;
