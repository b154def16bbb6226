//! What is usable.

mod cause;
mod rise_fall;
mod source;
mod standing;
mod status;
mod sync;

pub use cause::Cause;
pub use rise_fall::{ConfigError, RiseFall, RiseFallConfig, Start, Turn};
pub use source::{AdminState, CheckState, Source};
pub use standing::{Change, Standing};
pub use status::Status;
