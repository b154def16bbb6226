//! What requests met, as evidence for the active check.

use super::config::CheckConfigError;

/// How the results of real requests reach the active check, as `observe` of HAProxy.
///
/// Errors are counted in a row; a good response or a passing check clears the count, and an endpoint that is down counts
/// none, since what still comes in there began before. What a response means is the caller's word: HAProxy calls 100 to
/// 499, 501 and 505 good at layer 7, and any connection at layer 4.
///
/// Source: `observe`, `error-limit` and `on-error`, <https://docs.haproxy.org/3.2/configuration.html#5.2-observe>.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ObserveConfig {
    /// So many errors in a row make evidence. Default 10, as HAProxy: a handful of errors is what one bad request and
    /// its retries make.
    pub error_limit: u32,
    /// What the evidence does. Default [`OnError::FailCheck`], as HAProxy.
    pub on_error: OnError,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        Self { error_limit: 10, on_error: OnError::FailCheck }
    }
}

impl ObserveConfig {
    pub(super) const fn validate(&self) -> Result<(), CheckConfigError> {
        if self.error_limit == 0 { Err(CheckConfigError::ZeroErrorLimit) } else { Ok(()) }
    }
}

/// What enough errors in a row do. All of them also bring the next check forward to the fast interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum OnError {
    /// Nothing else: the check decides.
    #[cfg_attr(feature = "serde", serde(alias = "fast_interval", alias = "fastinter"))]
    FastInterval,
    /// Counts as one failed check.
    #[default]
    #[cfg_attr(feature = "serde", serde(alias = "fail_check"))]
    FailCheck,
    /// Counts as if all but the last of the failed checks had been seen: one more takes it down.
    #[cfg_attr(feature = "serde", serde(alias = "sudden_death"))]
    SuddenDeath,
    /// Takes it down at once.
    #[cfg_attr(feature = "serde", serde(alias = "mark_down"))]
    MarkDown,
}
