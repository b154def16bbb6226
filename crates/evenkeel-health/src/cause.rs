//! Why an endpoint is not plainly healthy.

use std::fmt;

use crate::Source;

/// Why an endpoint gets no new requests, or gets them after its peers.
///
/// The order of the variants, which is also that of `Ord`, is the order of precedence: where several causes hold at
/// once, the first of them is [`Status::cause`](crate::Status::cause). It goes from "somebody decided so" over
/// "somebody said so" to "we concluded so", that is from what only a person can undo to what mends itself.
///
/// ```
/// use evenkeel_health::Cause;
/// assert!(Cause::Maintenance < Cause::BreakerOpen);
/// assert_eq!(Cause::CheckDown.to_string(), "check down");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Cause {
    /// The operator took it out of service.
    Maintenance,
    /// The operator drains it.
    AdminDrain,
    /// Its configured weight is zero.
    ZeroWeight,
    /// It is being drained, with a deadline.
    Draining,
    /// Discovery says that it is about to leave.
    AnnouncedDraining,
    /// Discovery does not name it any more.
    NotInDiscovery,
    /// Discovery says that it is broken.
    AnnouncedDown,
    /// Discovery says that it is not ready yet.
    AnnouncedStarting,
    /// Its active checks fail.
    CheckDown,
    /// Its active checks have not passed once, and it is given time to start.
    CheckStarting,
    /// Its heartbeats are missed.
    Suspected,
    /// It was ejected as an outlier.
    Ejected,
    /// Its circuit breaker is open.
    BreakerOpen,
    /// It came and went too often, and is kept out until it has been quiet.
    FlapDamped,
    /// Discovery or the active check calls it degraded: usable, but after its peers.
    Degraded,
    /// It was ejected and is back on trial: usable, for a share of its requests.
    Probation,
    /// It is warming up after its return: usable, for a growing share of its requests.
    Warming,
}

impl Cause {
    /// Every cause, in order of precedence.
    pub const ALL: [Self; 17] = [
        Self::Maintenance,
        Self::AdminDrain,
        Self::ZeroWeight,
        Self::Draining,
        Self::AnnouncedDraining,
        Self::NotInDiscovery,
        Self::AnnouncedDown,
        Self::AnnouncedStarting,
        Self::CheckDown,
        Self::CheckStarting,
        Self::Suspected,
        Self::Ejected,
        Self::BreakerOpen,
        Self::FlapDamped,
        Self::Degraded,
        Self::Probation,
        Self::Warming,
    ];

    /// Whether it keeps new requests away. [`Degraded`](Self::Degraded), [`Probation`](Self::Probation) and
    /// [`Warming`](Self::Warming) do not.
    #[must_use]
    pub const fn is_blocking(self) -> bool {
        !matches!(self, Self::Degraded | Self::Probation | Self::Warming)
    }

    /// Who is to ask about it; `None` for [`Degraded`](Self::Degraded), which two sources can say.
    #[must_use]
    pub const fn source(self) -> Option<Source> {
        Some(match self {
            Self::Maintenance | Self::AdminDrain => Source::Admin,
            Self::ZeroWeight => Source::Weight,
            Self::AnnouncedDraining | Self::AnnouncedDown | Self::AnnouncedStarting => Source::Discovery,
            Self::CheckDown | Self::CheckStarting => Source::Check,
            Self::Ejected => Source::Outlier,
            Self::BreakerOpen => Source::Breaker,
            Self::Draining => Source::Drain,
            Self::NotInDiscovery => Source::Membership,
            Self::Suspected => Source::Heartbeat,
            Self::FlapDamped => Source::Flap,
            Self::Probation => Source::Probation,
            Self::Warming => Source::SlowStart,
            Self::Degraded => return None,
        })
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Maintenance => "maintenance",
            Self::AdminDrain => "drained by the operator",
            Self::ZeroWeight => "weight zero",
            Self::Draining => "draining",
            Self::AnnouncedDraining => "announced draining",
            Self::NotInDiscovery => "not in discovery",
            Self::AnnouncedDown => "announced down",
            Self::AnnouncedStarting => "announced starting",
            Self::CheckDown => "check down",
            Self::CheckStarting => "check starting",
            Self::Suspected => "heartbeats missed",
            Self::Ejected => "ejected",
            Self::BreakerOpen => "breaker open",
            Self::FlapDamped => "flapping",
            Self::Degraded => "degraded",
            Self::Probation => "on probation",
            Self::Warming => "warming up",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_complete_and_in_order_of_precedence() {
        assert!(Cause::ALL.is_sorted());
        assert_eq!(Cause::ALL.len(), Cause::Warming as usize + 1);
    }
}
