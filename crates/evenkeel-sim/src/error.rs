//! What is wrong with a scenario.

use std::fmt;

use thiserror::Error;

use crate::log::LogError;

/// A field of a scenario is impossible.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} = {value} is impossible: {allowed}")]
pub struct Invalid {
    /// Its path.
    pub field: String,
    /// What it is.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl Invalid {
    pub(crate) fn new(field: &str, value: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self { field: field.to_owned(), value: value.to_string(), allowed: allowed.to_string() }
    }

    pub(crate) fn unless(
        is_fine: bool,
        field: &str,
        value: impl fmt::Display,
        allowed: &str,
    ) -> Result<(), Self> {
        if is_fine { Ok(()) } else { Err(Self::new(field, value, format_args!("allowed is {allowed}"))) }
    }
}

/// A scenario cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The text is not a scenario: the message has the line, the key, and what is allowed there.
    #[error("{0}")]
    Text(String),
    /// A field is impossible.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// More work arrives than the servers can do, and nothing sheds it: the queues would grow for ever.
    #[error(
        "arrivals: the servers are asked for {percent} % of what they can do, and nothing sheds it (a timeout that \
         cancels, a queue_limit, a limit); lower the rate, or set allow_overload to see the queues grow"
    )]
    Overload {
        /// Of the capacity.
        percent: u64,
    },
    /// Neither the scenario nor evenkeel has a policy of this name.
    #[error("policy {0:?}: the scenario does not describe it, and evenkeel has none of this name")]
    NoPolicy(String),
    /// The settings of a policy are refused.
    #[error("policies.{policy}: {error}")]
    Policy {
        /// Its name.
        policy: String,
        /// What is wrong.
        error: String,
    },
    /// The access log cannot be replayed.
    #[error("arrivals.replay: {0}")]
    Log(#[from] LogError),
    /// The seeds are not written as seeds are.
    #[error("seeds {0:?}: write 1-5, or 1,3,7")]
    Seeds(String),
}
