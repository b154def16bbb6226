use evenkeel_types::{Ratio, Timestamp};

/// What a breaker does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum State {
    /// Lets every request through.
    Closed,
    /// Refuses every request.
    Open {
        /// From this point on, inclusive, the next request becomes a probe. A whole number of milliseconds.
        until: Timestamp,
    },
    /// Lets a few probes through and judges by them.
    HalfOpen,
    /// Refuses every request by an operator's word.
    ForcedOpen {
        /// When the word ends, inclusive; `None`: when another one is spoken.
        until: Option<Timestamp>,
    },
    /// Lets every request through by an operator's word, and counts nothing.
    Disabled {
        /// When the word ends, inclusive; `None`: when another one is spoken.
        until: Option<Timestamp>,
    },
    /// Lets every request through and counts what it would have refused.
    DryRun {
        /// The state in which it would be.
        would_be: WouldBe,
    },
}

impl State {
    /// Whether it refuses every request: open, or forced so.
    #[must_use]
    pub const fn is_refusing(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::ForcedOpen { .. })
    }

    /// When a refusing state ends by the clock.
    #[must_use]
    pub const fn refuses_until(&self) -> Option<Timestamp> {
        match *self {
            Self::Open { until } => Some(until),
            Self::ForcedOpen { until } => until,
            _ => None,
        }
    }
}

/// The state that a breaker would have if it were not in dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum WouldBe {
    /// As [`State::Closed`].
    Closed,
    /// As [`State::Open`].
    Open {
        /// Until when, inclusive.
        until: Timestamp,
    },
    /// As [`State::HalfOpen`].
    HalfOpen,
}

/// A change of state. Exactly one caller receives each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Transition {
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// When: the caller's `now`, or the entry of the state that ended if that was later. What was open or forced knows its
    /// end only, so there it is the caller's `now`.
    pub at: Timestamp,
    /// What caused it.
    pub reason: Reason,
    /// The epoch that began: one more than that of the state that ended, modulo 32,768 (2^15).
    pub epoch: u32,
}

/// What caused a [`Transition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// So many failures in a row. Reported also if a ratio was reached by the same outcome.
    Consecutive {
        /// The failures in a row.
        failures: u32,
    },
    /// Too large a share of a window failed.
    Ratio {
        /// The failures and overloads in the window.
        failures: u64,
        /// All requests in the window.
        requests: u64,
    },
    /// Too large a share of a window was slow.
    Slow {
        /// The slow requests in the window.
        slow: u64,
        /// All requests in the window.
        requests: u64,
    },
    /// Too large a share of a fading average failed.
    Ewma {
        /// The share.
        failures: Ratio,
    },
    /// More failures than chance explains.
    Statistical,
    /// Too many requests under way for too long.
    Overdue {
        /// How many.
        requests: u64,
    },
    /// The endpoint asked for a pause (`Retry-After`), and the breaker is set to obey.
    RetryAfter,
    /// The open time has passed.
    WaitOver,
    /// A probe failed.
    ProbeFailed,
    /// A probe succeeded, but took too long.
    ProbeSlow,
    /// Too large a share of the probes failed, or was slow.
    ProbeRatio {
        /// The probes that failed.
        failures: u32,
        /// The probes that were slow.
        slow: u32,
        /// All of them.
        verdicts: u32,
    },
    /// Half-open has lasted as long as it may.
    HalfOpenOver,
    /// Enough probes succeeded.
    ProbesPassed,
    /// An operator's word: `Breaker::reset`.
    Reset,
    /// An operator's word: `Breaker::open`, `Breaker::half_open`.
    ByHand,
    /// An operator's word: `Breaker::force`.
    Forced,
    /// A forced state has ended, by its limit or by `Breaker::unforce`.
    ForceOver,
}
