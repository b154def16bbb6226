//! What a check finds, and what follows from it.

use crate::source::CheckState;

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum CheckResult {
    /// It works.
    Pass,
    /// It works, and says that it is worse than its peers. Counts as a pass; the flag needs no confirmation, as in
    /// Envoy.
    Degraded,
    /// It does not answer (refused, reset, timed out): counts towards `fall`.
    Fail,
    /// It says itself that it does not serve: down at once, whatever `fall` says. In Envoy every failure that is not a
    /// network failure is one, unless its status is marked retriable.
    FailAtOnce,
}

/// A change of what the check knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CheckChange {
    /// What it knew before.
    pub before: CheckState,
    /// What it knows now, to be handed to [`Standing::set_check`](crate::Standing::set_check).
    pub after: CheckState,
}
