//! The gate of an endpoint that takes long to start.

use super::config::CheckConfigError;

/// Until one check has passed the endpoint is [`CheckState::Starting`](crate::CheckState::Starting), and its failures
/// are not held against it.
///
/// This is the startup probe of Kubernetes: the other probes wait until it succeeded once, and one success is enough,
/// <https://kubernetes.io/docs/concepts/workloads/pods/probes/>. Probers that have two questions ask
/// [`ActiveCheck::is_starting`](crate::ActiveCheck::is_starting) which of them is due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct StartupConfig {
    /// After so many failures in a row it counts as down instead of starting: it needs help and not patience.
    ///
    /// Default 30. With the default interval of 2 s that is a minute, which is longer than most programs need to start
    /// and shorter than most operators need to look. (Kubernetes has 3, at 10 s, and then restarts the container: we
    /// cannot.)
    pub failure_threshold: u32,
}

impl Default for StartupConfig {
    fn default() -> Self {
        Self { failure_threshold: 30 }
    }
}

impl StartupConfig {
    pub(super) const fn validate(&self) -> Result<(), CheckConfigError> {
        if self.failure_threshold == 0 { Err(CheckConfigError::ZeroStartup) } else { Ok(()) }
    }
}

/// Where an endpoint is on its way through the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// There is none, or it was passed.
    Open,
    /// Closed, after so many failures in a row.
    Closed { failures: u32 },
}

impl Gate {
    pub(super) const fn of(config: Option<&StartupConfig>) -> Self {
        match config {
            Some(_) => Self::Closed { failures: 0 },
            None => Self::Open,
        }
    }

    pub(super) const fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// The gate of an endpoint that has not passed once, after other settings were made: a new one is closed, one that is gone
    /// is open, and one that stays keeps its count, also if it is open since help is needed.
    pub(super) const fn under(self, old: Option<&StartupConfig>, new: Option<&StartupConfig>) -> Self {
        match (old, new) {
            (Some(_), Some(_)) => self,
            _ => Self::of(new),
        }
    }

    /// Counts a failure; `true` if it opens the gate to a plain "down".
    pub(super) fn fail(&mut self, config: Option<&StartupConfig>) -> bool {
        let Self::Closed { failures } = *self else { return false };
        let failures = failures.saturating_add(1);
        let given_up = config.is_none_or(|config| failures >= config.failure_threshold);
        *self = if given_up { Self::Open } else { Self::Closed { failures } };
        given_up
    }
}
