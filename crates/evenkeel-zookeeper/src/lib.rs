//! Service discovery and registration in ZooKeeper, for [`evenkeel_registry`].
//!
//! [`ZooKeeper::start`] follows the entries below one path and says to a [`Feed`](evenkeel_registry::Feed) what is there.
//! [`ZooKeeperRegistrar::start`] keeps one endpoint there, as an ephemeral node. Both are synchronous, own one thread,
//! and end when their handle is stopped or dropped.
//!
//! ```no_run
//! use std::time::Instant;
//! use evenkeel_registry::{MirrorConfig, Registry, ServiceName, SourceName};
//! use evenkeel_types::Timestamp;
//! use evenkeel_zookeeper::{ZooKeeper, ZooKeeperConfig};
//!
//! let registry = Registry::default();
//! let users: ServiceName = "users".parse()?;
//! let start = Instant::now();
//! let clock = move || Timestamp::ORIGIN.saturating_add(start.elapsed());
//! let feed = registry.feed(&users, &SourceName::new("zk")?, MirrorConfig::default(), clock)?;
//!
//! let config = ZooKeeperConfig::new(["10.0.0.1:2181", "10.0.0.2:2181"], "/services/users");
//! let handle = ZooKeeper::start(feed, config)?;
//! // `registry.watch(&users)` sees the set now, and each change.
//! handle.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layers
//!
//! - [`Entries`] reads and writes the data of a node, in the form of Curator, of ServerSets, or our own.
//! - [`Directory`] is a machine without IO: told what the server says, it asks for nodes and makes
//!   [`Event`](evenkeel_registry::Event)s. Whoever has a client and a runtime already can drive it.
//! - [`ZooKeeper`] and [`ZooKeeperRegistrar`] drive these with the crate `zookeeper-client`, none of whose types shows.
//!   Its timers and sockets share the one thread named `async-io` that the process has for all of them.
//!
//! # Needs
//!
//! ZooKeeper 3.6 or later, for persistent recursive watches. Feature `tls` for encrypted connections.

mod config;
mod directory;
mod entries;
mod follow;
mod keep_time;
mod link;
mod owner;
mod registrar;
mod runtime;

pub use config::{
    Acl, Bounds, Credentials, InvalidZooKeeperConfig, Password, Servers, Tls, ZooKeeperConfig,
    ZooKeeperError, ZooKeeperRegistrarConfig,
};
pub use directory::{Ask, Before, Directory, Touch};
pub use entries::{CuratorPort, Entries, EntryError, Format, Reading, Unwritable, Writing, node_name};
pub use follow::{ZooKeeper, ZooKeeperHandle};
pub use owner::whose;
pub use registrar::{RegistrarHandle, RegistrarStatus, StillThere, ZooKeeperRegistrar};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
