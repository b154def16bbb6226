use evenkeel_health::CheckConfigError;
use evenkeel_types::EndpointId;
use thiserror::Error;

/// Something that was asked of a prober cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// A setting of the prober or of a probe is wrong.
    #[error(transparent)]
    Config(#[from] ProbeConfigError),
    /// Thresholds and intervals do not fit together.
    #[error("check: {0}")]
    Check(#[from] CheckConfigError),
    /// There is a target of this id. Use [`update`](crate::Prober::update), or another id: a second check of one endpoint needs its own.
    #[error(
        "target {0} is there already: update it, or give the second check of an endpoint an id of its own"
    )]
    Duplicate(EndpointId),
    /// There is no target of this id; it may have been removed.
    #[error("no target {0}")]
    Unknown(EndpointId),
    /// The prober is full: raise `max_targets`, or start a second one.
    #[error("prober is full: max_targets is {max_targets}")]
    Full {
        /// The configured limit.
        max_targets: usize,
    },
    /// The prober was stopped.
    #[error("the prober was stopped")]
    Stopped,
    /// The operating system gives no thread or no event queue.
    #[error("prober not started: {0}")]
    Start(String),
}

/// A setting is wrong. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProbeConfigError {
    /// A value is out of range or not of the form that is needed.
    #[error("{field}: {value:?} is not allowed: {allowed}")]
    Setting {
        /// The path of the setting, as in a file: `http.path`.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// What it can be set to.
        allowed: &'static str,
    },
    /// A certificate or a key cannot be read or used.
    #[error("{field}: {problem}")]
    Certificate {
        /// The path of the setting, as in a file: `http.tls.roots`.
        field: String,
        /// What is wrong with it, and where it was read.
        problem: String,
    },
    /// This kind of check was not compiled in: turn the feature of `evenkeel-probe` on.
    #[error("{field}: needs the feature {feature:?} of evenkeel-probe, which is off{}", if *.unix { " or needs Unix" } else { "" })]
    FeatureOff {
        /// The setting that needs it.
        field: &'static str,
        /// The feature.
        feature: &'static str,
        /// Whether the feature does nothing outside Unix.
        unix: bool,
    },
}

impl ProbeConfigError {
    pub(crate) fn setting(field: &'static str, value: impl std::fmt::Display, allowed: &'static str) -> Self {
        Self::Setting { field, value: value.to_string(), allowed }
    }
}
