#![doc = include_str!("../README.md")]

mod error;
#[cfg(feature = "http")]
mod headers;
mod json;
mod report;
mod text;
mod wire;

pub use error::OrcaError;
#[cfg(feature = "http")]
pub use headers::report_in;
pub use report::OrcaReport;

/// The header of reports in any of the three forms.
pub const HEADER: &str = "endpoint-load-metrics";
/// The header, and the key of gRPC's metadata, of binary reports.
pub const HEADER_BIN: &str = "endpoint-load-metrics-bin";
/// A longer report is refused: headers are not longer, as a rule, and whoever balances by reports reads one in every answer.
pub const MOST_BYTES: usize = 16 << 10;
