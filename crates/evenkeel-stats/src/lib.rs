//! The estimators that evenkeel decides by.

mod ewma;
mod peak_ewma;
mod sync;
mod time_constant;

pub use ewma::Ewma;
pub use peak_ewma::PeakEwma;
pub use time_constant::{TimeConstant, ZeroTimeConstant};
