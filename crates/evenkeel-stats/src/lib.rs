//! The estimators that evenkeel decides by.

mod ewma;
mod in_flight;
mod peak_ewma;
mod rolling;
mod sync;
mod time_constant;

pub use ewma::Ewma;
pub use in_flight::{InFlight, InFlightGuard};
pub use peak_ewma::PeakEwma;
pub use rolling::{Counts, InvalidWindow, RollingCounter, WindowShape};
pub use time_constant::{TimeConstant, ZeroTimeConstant};
