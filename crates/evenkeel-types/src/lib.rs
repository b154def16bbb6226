//! The nouns of evenkeel.
//!
//! Every other crate of the workspace speaks in these words, and this crate speaks no other. It reads no clock and
//! draws nothing by itself: a point in time is a [`Timestamp`] handed in, a draw comes from a [`RandomSource`] handed in.
//!
//! ```
//! use evenkeel_types::{Endpoint, Weight};
//!
//! let endpoint = Endpoint::new("users-1".parse()?, "10.0.0.1:8080".parse()?).with_weight(Weight::new(3));
//! assert_eq!(endpoint.id().as_str(), "users-1");
//! assert_eq!(endpoint.weight().get(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! `serde`: every noun serialises in the form in which a person would write it (`"10.0.0.1:8080"`, `3`, `"250ms"`) and
//! is validated when it is read back.

mod address;
mod announced;
mod endpoint;
#[cfg(feature = "serde")]
mod endpoint_form;
#[cfg(feature = "serde")]
pub mod human_duration;
mod id;
mod labels;
mod locality;
mod name;
mod outcome;
mod priority;
mod random;
mod ratio;
#[cfg(feature = "schema")]
mod schema;
mod timestamp;
mod weight;

pub use address::{Address, HostName, ParseAddressError};
pub use announced::Announced;
pub use endpoint::{Difference, Endpoint, InvalidEndpoint};
pub use id::{EndpointId, InvalidEndpointId};
pub use labels::{InvalidLabels, Labels};
pub use locality::Locality;
pub use name::{NameFault, check_name};
pub use outcome::{Classify, HttpStatus, Origin, Outcome, Verdict};
pub use priority::{InvalidPriority, Priority};
pub use random::{RandomSource, SplitMix64, WyRand, below};
pub use ratio::{InvalidRatio, Ratio};
#[cfg(feature = "schema")]
pub use schema::HumanDuration;
pub use timestamp::{Now, Timestamp};
pub use weight::Weight;
