use std::fmt::Display;

use thiserror::Error;

/// A setting makes no sense: which one, what it is, and what it may be.
///
/// ```
/// use evenkeel_limit::{RetryBudget, RetryBudgetConfig};
/// use std::time::Duration;
///
/// let config = RetryBudgetConfig { ttl: Duration::from_secs(61), ..RetryBudgetConfig::default() };
/// let error = RetryBudget::new(&config).unwrap_err();
/// assert_eq!(error.to_string(), "ttl is 61s: allowed are 1s to 60s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} is {value}: allowed are {allowed}")]
pub struct LimitConfigError {
    /// The path of the field in its configuration, as in `vegas.smoothing`.
    pub field: String,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub allowed: &'static str,
}

/// `Ok` if `holds`.
pub(crate) fn check(
    holds: bool,
    field: impl Display,
    value: impl Display,
    allowed: &'static str,
) -> Result<(), LimitConfigError> {
    if holds {
        return Ok(());
    }
    Err(LimitConfigError { field: field.to_string(), value: value.to_string(), allowed })
}

/// The same for a duration.
pub(crate) fn check_span(
    holds: bool,
    field: impl Display,
    value: std::time::Duration,
    allowed: &'static str,
) -> Result<(), LimitConfigError> {
    check(holds, field, format_args!("{value:?}"), allowed)
}
