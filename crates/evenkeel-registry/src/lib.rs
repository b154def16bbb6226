//! Who exists: the service registry of evenkeel, inside your process.
//!
//! Endpoints register under a [`Lease`] and renew it; one that falls silent is gone at its deadline, which is the last
//! renewal plus the time to live. Readers take a [`Snapshot`]: immutable, sorted, numbered with one more per visible
//! change. Whoever wants to follow holds a [`Watch`], which is a level and not a queue: it gives the newest snapshot
//! and the difference from the one it gave before.
//!
//! ```
//! use std::time::Duration;
//! use evenkeel_registry::{LeaseLost, Registry, ServiceName, SourceState};
//! use evenkeel_types::{Endpoint, Timestamp};
//!
//! let registry = Registry::default();
//! let users: ServiceName = "users".parse()?;
//! assert_eq!(registry.snapshot(&users).state(), SourceState::Pending); // not "none": nobody has registered yet
//!
//! // A process announces itself for ten seconds …
//! let endpoint = Endpoint::new("users-1".parse()?, "10.0.0.1:8080".parse()?);
//! let ttl = Duration::from_secs(10);
//! let (lease, _) = registry.register(Timestamp::ORIGIN, &users, endpoint, Some(ttl))?;
//! assert_eq!(registry.snapshot(&users).endpoints().len(), 1);
//!
//! // … renews once, and is heard of no more.
//! let deadline = registry.renew(Timestamp::from_secs(3), &lease)?;
//! assert_eq!(deadline, Timestamp::from_secs(13));
//! assert_eq!(registry.tick(deadline).len(), 1);
//! assert_eq!(registry.snapshot(&users).state(), SourceState::Absent);
//! assert_eq!(registry.renew(deadline, &lease), Err(LeaseLost::Gone)); // expired is expired: register again
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The parts
//!
//! - [`Catalog`] is the machine: plain `&mut self`, no lock, no clock. What it does about time, pauses and
//!   incarnations is written there.
//! - [`Registry`] is the catalog behind a lock, shared by cloning, with [`Watch`] and [`ServicesWatch`].
//! - [`Feed`] is where a discovery adapter says, in [`Event`]s, what a store says; [`Mirror`] is the machine behind it,
//!   with its guards in [`MirrorConfig`]; [`Merge`] makes one service of several sources.
//! - [`Registrar`] keeps one endpoint in a store, for adapters that register.
//! - [`Saved`] is a set on a disk, [`EventLog`] what [`Mirror::replay`] replays.
//! - [`Lease`] holds the table of what a lease may do when.
//! - [`EvictionLimit`] keeps a network failure from emptying a service.
//!
//! Nothing here reads a clock, sleeps or starts a thread: times are arguments, and a driver of yours calls
//! [`tick`](Registry::tick) at [`next_deadline`](Registry::next_deadline). The same calls give the same snapshots, so
//! that any sequence can be replayed.
//!
//! # Features
//!
//! `serde`: names, leases, events, saved sets, logs and the configuration can be written and read, snapshots written.
//!
//! `conformance`: the module `conformance`, the suite that every discovery adapter passes.

mod catalog;
mod change;
#[cfg(feature = "conformance")]
pub mod conformance;
mod deadlines;
mod event;
mod eviction;
mod feed;
mod lease;
mod merge;
mod mirror;
mod registrar;
mod registry;
mod revision;
mod saved;
mod selector;
mod service;
mod service_name;
mod service_names;
mod snapshot;
mod source;
mod sources;
mod watch;

pub use catalog::{
    AttachError, Catalog, CatalogConfig, ForgetError, InvalidCatalogConfig, RegisterError, UnknownSource,
    UpdateError,
};
pub use change::{Cause, Change, ChangeKind};
pub use event::{Coverage, Event, FeedError, Gap, Proof, Removal, TroubleKind};
pub use eviction::{EvictionLimit, Held, HoldReason, InvalidEvictionLimit};
pub use feed::Feed;
pub use lease::{Lease, LeaseLost, renew_after};
pub use merge::Merge;
pub use mirror::{
    EmptyGuard, EventLog, Fed, Hold, InvalidMirrorConfig, LogEntry, Logged, Mirror, MirrorConfig, Rejected,
    Settle, SourceNotice,
};
pub use registrar::{
    Action, Announce, Answer, Backoff, Heard, InvalidRegistrarConfig, LeaseToken, Order, Owner, Registrar,
    RegistrarConfig, RegistrarError, RegistrarState, Ticket, Transition,
};
pub use registry::Registry;
pub use revision::{InvalidRevision, Revision};
pub use saved::{LoadError, Saved};
pub use selector::Selector;
pub use service_name::{InvalidServiceName, ServiceName};
pub use service_names::{NameChange, ServiceNames};
pub use snapshot::{Snapshot, SourceState};
pub use source::{ShortText, SourceError, SourceName, SourceStatus};
pub use watch::{ServicesWatch, Watch};
