//! Slow start: a returning endpoint gets a growing share of its requests.

mod config;
mod crowd;
mod curve;
mod envoy;
mod machine;

pub use config::{Ramp, SlowStartConfig, SlowStartConfigError};
pub use crowd::Crowd;
pub use curve::Curve;
pub use envoy::{EnvoySlowStart, EnvoySlowStartConfig, EnvoySlowStartConfigError};
pub use machine::{Entry, SlowStart, Warmth};
