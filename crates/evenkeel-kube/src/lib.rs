//! Service discovery from the EndpointSlices of Kubernetes, for [`evenkeel_registry`].
//!
//! [`Kube::start`] lists and watches the slices of one service and says to a [`Feed`](evenkeel_registry::Feed) what is
//! there. It is synchronous, owns one thread, and ends when its handle is stopped or dropped.
//!
//! ```no_run
//! use std::time::Instant;
//! use evenkeel_kube::{Kube, KubeConfig, PortChoice};
//! use evenkeel_registry::{MirrorConfig, Registry, ServiceName, SourceName};
//! use evenkeel_types::Timestamp;
//!
//! let registry = Registry::default();
//! let users: ServiceName = "users".parse()?;
//! let start = Instant::now();
//! let clock = move || Timestamp::ORIGIN.saturating_add(start.elapsed());
//! let feed = registry.feed(&users, &SourceName::new("kube")?, MirrorConfig::default(), clock)?;
//!
//! let mut config = KubeConfig::new("users"); // of the pod's own namespace
//! config.endpoints.port = PortChoice::Named("http".into());
//! let handle = Kube::start(feed, config)?;
//! // `registry.watch(&users)` sees the set now, and each change.
//! handle.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Building
//!
//! The client library stands on `k8s-openapi`, which wants the *program* to say for which Kubernetes it is built, or it
//! does not compile. Any version does, since slices are read by this crate itself:
//!
//! ```toml
//! k8s-openapi = { version = "0.29", default-features = false, features = ["latest"] }
//! ```
//!
//! # Layers
//!
//! - [`Slice`] reads one slice; [`Mapping`] says how its entries become endpoints.
//! - [`Slices`] is a machine without IO: told what list and watch say, it makes [`Event`](evenkeel_registry::Event)s.
//!   Whoever has a client and a runtime already can drive it.
//! - [`Kube`] drives it with the crate `kube`, none of whose types shows.
//!
//! # No registrar
//!
//! Kubernetes registers pods itself: readiness gates do it. A process says that it is ready by its readiness probe, and
//! drains when it is told to terminate; see `docs/discovery/kube.md`.
//!
//! # Features
//!
//! `proxy`: HTTP and SOCKS5 proxies, from `proxy-url` of a kubeconfig or the environment.

mod access;
mod config;
mod follow;
mod gate;
mod keep_time;
mod mapping;
mod object;
mod slice;
mod slices;
mod trouble;

pub use config::{Access, Bounds, InvalidKubeConfig, KubeConfig, KubeError, Server};
pub use follow::{Kube, KubeHandle};
pub use mapping::{Family, Mapping, PortChoice, Protocol, Readiness};
pub use slice::{BadSlice, Slice};
pub use slices::{Relist, Slices};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
