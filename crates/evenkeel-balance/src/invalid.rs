use thiserror::Error;

/// A policy cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidPolicy {
    /// A setting is out of range, or does not fit the members.
    #[error("policy {policy}: {setting}: {problem}")]
    Setting {
        /// The name of the policy.
        policy: &'static str,
        /// The key in its table.
        setting: &'static str,
        /// What is wrong with its value, and what is allowed.
        problem: String,
    },
    /// The members cannot be served: too many, or weights that cannot be represented.
    #[error("policy {policy}: {problem}")]
    Members {
        /// The name of the policy.
        policy: &'static str,
        /// What is wrong with them, and what to do.
        problem: String,
    },
    /// A policy of your own refused its members, and says why.
    #[error("policy: {0}")]
    Custom(String),
}

impl InvalidPolicy {
    /// The value of a setting is out of range.
    #[must_use]
    pub fn setting(policy: &'static str, setting: &'static str, problem: impl Into<String>) -> Self {
        Self::Setting { policy, setting, problem: problem.into() }
    }

    /// The members cannot be served.
    #[must_use]
    pub fn members(policy: &'static str, problem: impl Into<String>) -> Self {
        Self::Members { policy, problem: problem.into() }
    }
}
