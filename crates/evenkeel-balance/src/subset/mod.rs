//! Which part of a large fleet one client uses.
//!
//! A thousand clients of a thousand servers hold a million connections, most of them idle, and every health check is paid
//! a million times. A *subset* is the part of the fleet that one client talks to. Choose it once for each membership; the
//! policy then picks from it for each request.
//!
//! | kind | what a client must know | servers get equal load | one server comes or goes |
//! |---|---|---|---|
//! | [`deterministic`](DeterministicSubsetConfig) | its index | if clients are a multiple of n ÷ size, and size divides n | at most one connection a client; nearly all when n ÷ size changes |
//! | [`random`](RandomSubsetConfig) | nothing | roughly: spread √(n ÷ (clients · size)) | at most one connection a client |
//! | [`aperture`](ApertureConfig) | its index and the number of clients | always, when all clients run | about two connections a client |
//! | [`label`](LabelSubsetConfig) | the labels it wants | – | – |
//!
//! None of them asks for health: a flip must not make a fleet reconnect. Who runs out of usable endpoints in its subset
//! has to go outside; the façade does that.
//!
//! ```
//! use evenkeel_balance::subset::{ApertureConfig, SubsetConfig};
//! use evenkeel_balance::MemberList;
//! use evenkeel_types::Endpoint;
//!
//! let members = MemberList::new((1..=10).map(|host| {
//!     Endpoint::at(format!("10.0.0.{host}:80").parse().expect("an address")).expect("an id")
//! }));
//! // The second of four clients; each shall use three of the ten, by whole and fractional shares.
//! let config = SubsetConfig::Aperture(ApertureConfig { size: 3, ..ApertureConfig::new(1, 4) });
//! let subset = config.select(&members)?;
//! assert!(subset.len() >= 3 && subset.len() < 10);
//! for (position, weight) in &subset {
//!     assert!(position < 10 && weight > 0);
//! }
//! # Ok::<(), evenkeel_balance::subset::InvalidSubset>(())
//! ```

mod aperture;
mod config;
mod deterministic_subset;
mod error;
mod label_index;
mod label_subset;
mod load_aperture;
mod random_subset;
mod selected;

pub use aperture::ApertureConfig;
pub use config::SubsetConfig;
pub use deterministic_subset::DeterministicSubsetConfig;
pub use error::InvalidSubset;
pub use label_index::{Found, LabelIndex, LabelIndexConfig};
pub use label_subset::{LabelFallback, LabelSubsetConfig};
pub use load_aperture::{LoadAperture, LoadApertureConfig, Resized};
pub use random_subset::{HashedBy, RandomSubsetConfig};
pub use selected::{Subset, SubsetFallback};
