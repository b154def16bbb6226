//! What a source says, as a value.

use evenkeel_types::Announced;

use crate::{AdminState, CheckState, Source};

/// What one source says about an endpoint.
///
/// ```
/// use evenkeel_health::{AdminState, Opinion, Source};
/// assert_eq!(Opinion::Admin(AdminState::Drain).source(), Source::Admin);
/// assert_eq!(Opinion::neutral(Source::Outlier), Opinion::Ejected(false));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Opinion {
    /// [`Source::Admin`].
    Admin(AdminState),
    /// [`Source::Discovery`].
    Announced(Announced),
    /// [`Source::Check`].
    Check(CheckState),
    /// [`Source::Outlier`]: whether it is ejected.
    Ejected(bool),
    /// [`Source::Breaker`]: whether it is open.
    BreakerOpen(bool),
    /// [`Source::Weight`]: whether it is zero.
    DrainedByWeight(bool),
    /// [`Source::Drain`]: whether it is being drained.
    Draining(bool),
    /// [`Source::Membership`]: whether discovery does not name it any more.
    Unlisted(bool),
    /// [`Source::Heartbeat`]: whether its heartbeats are missed.
    Suspected(bool),
    /// [`Source::Flap`]: whether it came and went too often.
    FlapDamped(bool),
    /// [`Source::Probation`]: whether it is back on trial.
    Probation(bool),
    /// [`Source::SlowStart`]: whether it is warming up.
    Warming(bool),
}

impl Opinion {
    /// Whose opinion it is.
    #[must_use]
    pub const fn source(self) -> Source {
        match self {
            Self::Admin(_) => Source::Admin,
            Self::Announced(_) => Source::Discovery,
            Self::Check(_) => Source::Check,
            Self::Ejected(_) => Source::Outlier,
            Self::BreakerOpen(_) => Source::Breaker,
            Self::DrainedByWeight(_) => Source::Weight,
            Self::Draining(_) => Source::Drain,
            Self::Unlisted(_) => Source::Membership,
            Self::Suspected(_) => Source::Heartbeat,
            Self::FlapDamped(_) => Source::Flap,
            Self::Probation(_) => Source::Probation,
            Self::Warming(_) => Source::SlowStart,
        }
    }

    /// What a source says that says nothing: ready, unknown or no.
    #[must_use]
    pub const fn neutral(source: Source) -> Self {
        match source {
            Source::Admin => Self::Admin(AdminState::Ready),
            Source::Discovery => Self::Announced(Announced::Unknown),
            Source::Check => Self::Check(CheckState::Unknown),
            Source::Outlier => Self::Ejected(false),
            Source::Breaker => Self::BreakerOpen(false),
            Source::Weight => Self::DrainedByWeight(false),
            Source::Drain => Self::Draining(false),
            Source::Membership => Self::Unlisted(false),
            Source::Heartbeat => Self::Suspected(false),
            Source::Flap => Self::FlapDamped(false),
            Source::Probation => Self::Probation(false),
            Source::SlowStart => Self::Warming(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_a_neutral_word_of_its_own() {
        for source in Source::ALL {
            assert_eq!(Opinion::neutral(source).source(), source);
        }
    }
}
