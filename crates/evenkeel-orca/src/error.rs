use thiserror::Error;

use crate::{HEADER, HEADER_BIN, MOST_BYTES};

/// A report that is not to be believed. The answer that it came in is as good as without it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OrcaError {
    /// The header is another one.
    #[error("{name} has no load report: {HEADER} and {HEADER_BIN} have")]
    Header {
        /// The header.
        name: String,
    },
    /// It is too long.
    #[error("a load report of {bytes} bytes: at most {MOST_BYTES} are read")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// It has none of the forms.
    #[error("a load report begins with `TEXT `, `JSON ` or `BIN `")]
    Form,
    /// It is said twice.
    #[error("there are several load reports in one answer: send one")]
    Several,
    /// It is no base64.
    #[error("the load report is no base64: {why}")]
    Base64 {
        /// What the decoder says.
        why: String,
    },
    /// It is no protocol buffer of this kind.
    #[error("the load report is no xds.data.orca.v3.OrcaLoadReport: {why}")]
    Proto {
        /// What the decoder says.
        why: String,
    },
    /// It is no JSON of this kind.
    #[error("the load report is not the JSON of an OrcaLoadReport: {why}")]
    Json {
        /// What the reader says.
        why: String,
    },
    /// One of its metrics is not one.
    #[error("metric {metric:?} of the load report: {why}")]
    Metric {
        /// Its name, as it stands there.
        metric: String,
        /// What is wrong, and what is allowed.
        why: &'static str,
    },
}
