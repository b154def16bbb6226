//! Service discovery from a file, for evenkeel.
//!
//! A file lists the endpoints of one or several services, in [evenkeel's own format](mod@format) (TOML, YAML or JSON) or
//! as [Envoy's EDS files](eds). [`File::start`] follows it into a [`Feed`](evenkeel_registry::Feed): it watches the
//! *directory*, so that renames and the `..data` swaps of Kubernetes ConfigMaps are seen, and looks by itself at an
//! interval, since not every file system tells of changes.
//!
//! ```no_run
//! use std::time::Instant;
//! use evenkeel_file::{File, FileConfig};
//! use evenkeel_registry::{MirrorConfig, Registry};
//! use evenkeel_types::Timestamp;
//!
//! let registry = Registry::default();
//! let start = Instant::now();
//! let clock = move || Timestamp::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
//! let feed = registry.feed(&"users".parse()?, &"file".parse()?, MirrorConfig::default(), clock)?;
//! let handle = File::start(feed, FileConfig::at("/etc/evenkeel/users.toml"))?;
//! // … until the end of the program:
//! handle.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | the file | what is said | the set |
//! |---|---|---|
//! | lists endpoints | `Full` | these |
//! | lists none | `Full`, empty, without proof | held by the registry's guard |
//! | lists none and says `empty = true` | `Absent`, declared | empty |
//! | holds a bad entry | `Reject` with line and id | the rest |
//! | cannot be read as a whole, or lacks the service | `Trouble` with path and line | as it was |
//! | is gone, forbidden or larger than [`FileConfig::max_bytes`] | `Trouble` | as it was |
//!
//! # Without a thread
//!
//! [`Document::parse`] and [`Document::events`] are the same without files and threads: bytes in, events out.
//!
//! # Features
//!
//! `serde`: the configuration can be read and written.

mod answer;
mod config;
mod disk;
mod document;
pub mod eds;
mod fault;
mod fields;
pub mod format;
mod json;
mod node;
mod syntax;
mod toml;
mod watcher;
mod yaml;

pub use answer::{Answer, BadEntry};
pub use config::{FileConfig, FileError};
pub use document::Document;
pub use fault::Fault;
pub use syntax::Syntax;
pub use watcher::{File, Handle};
