//! The estimators that evenkeel decides by.
//!
//! Three rules hold for all. The world comes in as arguments: no clock is read, and a time that goes back counts as the
//! latest known. Reading never mutates: asking for a load, twice or never, changes no later answer. What requests touch
//! is `&self` and lock-free: one word, one read-modify-write.
//!
//! ```
//! use std::time::Duration;
//! use evenkeel_stats::{InFlight, PeakEwma, TimeConstant};
//! use evenkeel_types::Timestamp;
//!
//! // The load of an endpoint, as power-of-two-choices with peak EWMA compares it.
//! let latency = PeakEwma::with_initial(TimeConstant::default(), Duration::from_millis(10), Timestamp::ORIGIN);
//! let in_flight = InFlight::new();
//!
//! let start = Timestamp::from_secs(1);
//! let call = in_flight.start();
//! let end = start.saturating_add(Duration::from_millis(40));
//! latency.observe(end.saturating_since(start), end);
//! let load = latency.nanos(end) * (in_flight.count() + 1) as f64;
//! assert_eq!(load, 80_000_000.0);
//! drop(call);
//! ```
//!
//! | type | answers | cost |
//! |---|---|---|
//! | [`PeakEwma`] | how slow is it, feared at once and forgiven slowly | one CAS; one `exp` to read |
//! | [`SampleEwma`] | what is the average, each call with the same say | one CAS |
//! | [`LatencyByLoad`] | how slow is it with so many others in flight | nine loads; a few to read |
//! | [`FailureShare`] | what part failed of late | one CAS; one load while nothing fails |
//! | [`Ewma`] | what is the average of late (`&mut`) | one `exp` |
//! | [`RollingCounter`] | how many failed in the last seconds | one CAS; O(buckets) to read |
//! | [`Quantiles`], [`WindowedQuantiles`] | how slow is the slowest percent | one addition; O(1 024) to read |
//! | [`InFlight`] | how many are under way | one addition, one subtraction |
//!
//! # Features
//!
//! `serde`: settings are read and written (durations as `"10s"`), counts are written.

mod ewma;
mod failure_share;
mod in_flight;
mod latency_by_load;
mod peak_ewma;
mod quantiles;
mod rolling;
mod sample_ewma;
mod stamped;
mod sync;
mod time_constant;
mod windowed_quantiles;

pub use ewma::Ewma;
pub use failure_share::FailureShare;
pub use in_flight::{InFlight, InFlightGuard};
pub use latency_by_load::LatencyByLoad;
pub use peak_ewma::PeakEwma;
pub use quantiles::Quantiles;
pub use rolling::{Counts, InvalidWindow, RollingCounter, WindowShape};
pub use sample_ewma::SampleEwma;
pub use stamped::Reading;
pub use time_constant::{TimeConstant, ZeroTimeConstant};
pub use windowed_quantiles::WindowedQuantiles;
