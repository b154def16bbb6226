//! xDS as a discovery source, for [`evenkeel_registry`]: endpoints (EDS) and clusters (CDS) over one aggregated stream
//! (ADS, gRPC), as state of the world or delta.
//!
//! [`Xds::start`] opens one stream to a control plane, on one thread. [`XdsHandle::follow`] mirrors an EDS resource, or
//! whatever EDS resource a CDS cluster names, into a [`Feed`](evenkeel_registry::Feed); as many as you like go over the
//! same stream. [`Xds::start_all`] follows every cluster that the control plane has for this node.
//!
//! ```no_run
//! use std::time::Instant;
//! use evenkeel_registry::{MirrorConfig, Registry};
//! use evenkeel_types::Timestamp;
//! use evenkeel_xds::{Follow, Xds, XdsConfig};
//!
//! let registry = Registry::default();
//! let start = Instant::now();
//! let clock = move || Timestamp::ORIGIN.saturating_add(start.elapsed());
//!
//! let mut config = XdsConfig::new(["http://127.0.0.1:18000"], "node-1");
//! config.node.cluster = "shop".to_owned();
//! let xds = Xds::start(config)?;
//! for service in ["users", "orders"] {
//!     let feed = registry.feed(&service.parse()?, &"xds".parse()?, MirrorConfig::default(), clock)?;
//!     xds.follow(Follow::Endpoints(service.to_owned()), feed)?;
//! }
//! // `registry.watch(&"users".parse()?)` sees the set now, and each change.
//! xds.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layers
//!
//! - [`Assignment::read`] and [`Cluster::read`] say what a resource means, and why it is invalid.
//! - [`XdsClient`] is the protocol without IO: bytes of responses in, bytes of requests and
//!   [`Event`](evenkeel_registry::Event)s out. Whoever has a gRPC client and a runtime already can drive it.
//! - [`Frames`] are the messages in the body of a gRPC stream.
//! - [`Xds`] drives these over HTTP/2, on one thread with a runtime of its own that nobody sees.
//!
//! # Files
//!
//! The *file subscription* of xDS (`path_config_source`) is the crate `evenkeel-file`, which follows Envoy's EDS files
//! and reads the same fields in the same way (a bad entry costs itself there, the whole assignment here, as the
//! protocol has an answer to give). The ids are the same, so that a file can be the fall-back of a control plane.
//!
//! # Features
//!
//! `tls` (default): HTTPS. `serde`: settings can be read and written.

mod adapter;
mod assignment;
mod client;
mod cluster;
mod config;
mod connect;
mod frames;
mod invalid;
mod proto;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod wire;

pub use adapter::{AssignmentStatus, Followed, Xds, XdsHandle, XdsStatus};
pub use assignment::{Assignment, DropOverload, OverloadPolicy};
pub use client::{Counts, End, Follow, Scope, Unreadable, XdsClient};
pub use cluster::{Cluster, Members};
pub use config::{Deletions, NodeConfig, OnTimeout, Variant, XdsConfig, XdsConnection, XdsError};
pub use evenkeel_adapter::{InvalidTls, InvalidUrl, Secret, TlsConfig};
pub use evenkeel_registry::Backoff;
pub use frames::{FrameError, Frames};
pub use invalid::InvalidResource;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
