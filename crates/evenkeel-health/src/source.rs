//! Who has a say about an endpoint, and what they may say.

use std::fmt;

/// A source of health. Each owns its part of a [`Status`](crate::Status), and nobody else can write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Source {
    /// The operator: [`AdminState`].
    Admin,
    /// What discovery announces: [`Announced`](evenkeel_types::Announced).
    Discovery,
    /// Our active check: [`CheckState`].
    Check,
    /// Outlier ejection by what requests met.
    Outlier,
    /// The endpoint's circuit breaker.
    Breaker,
    /// The configured weight: zero drains.
    Weight,
    /// Our own drain with a deadline: [`Drain`](crate::Drain).
    Drain,
    /// Whether discovery still names it. A separate source from what discovery says about its health, since a name that
    /// is gone says nothing at all.
    Membership,
    /// Heartbeats, judged by [`PhiAccrual`](crate::PhiAccrual).
    Heartbeat,
    /// Flap damping: [`FlapDamper`](crate::FlapDamper).
    Flap,
    /// The outlier detector, about an endpoint that it has let back in on trial.
    Probation,
    /// Slow start: [`SlowStart`](crate::SlowStart).
    SlowStart,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 12] = [
        Self::Admin,
        Self::Discovery,
        Self::Check,
        Self::Outlier,
        Self::Breaker,
        Self::Weight,
        Self::Drain,
        Self::Membership,
        Self::Heartbeat,
        Self::Flap,
        Self::Probation,
        Self::SlowStart,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "operator",
            Self::Discovery => "discovery",
            Self::Check => "check",
            Self::Outlier => "outlier detection",
            Self::Breaker => "breaker",
            Self::Weight => "weight",
            Self::Drain => "drain",
            Self::Membership => "membership",
            Self::Heartbeat => "heartbeat",
            Self::Flap => "flap damping",
            Self::Probation => "probation",
            Self::SlowStart => "slow start",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the operator wants, as the server states `ready`, `drain` and `maint` of HAProxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum AdminState {
    /// Nothing: the other sources decide.
    #[default]
    Ready,
    /// No new picks, calls in flight go on; checks go on too.
    Drain,
    /// Out of service: no picks, and no checks needed.
    #[cfg_attr(feature = "serde", serde(alias = "maint"))]
    Maintenance,
}

/// What our active check knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum CheckState {
    /// Not checked, not yet checked, or the last result is too old: usable, because nothing speaks against it.
    #[default]
    Unknown,
    /// The checks pass.
    Up,
    /// The checks pass, and the endpoint says that it works worse than its peers: used after them.
    Degraded,
    /// The checks fail: not usable.
    Down,
    /// The checks have not passed once, and the endpoint is given time to start: not usable yet.
    Starting,
}

impl CheckState {
    /// Whether new requests may go there as far as the check is concerned.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        !matches!(self, Self::Down | Self::Starting)
    }
}
