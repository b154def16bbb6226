//! What is usable.

mod rise_fall;

pub use rise_fall::{ConfigError, RiseFall, RiseFallConfig, Start, Turn};
