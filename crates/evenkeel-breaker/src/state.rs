use evenkeel_types::Timestamp;

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
}

/// A change of state. Exactly one caller receives each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Transition {
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// When: the caller's `now`, or the entry of the state that ended if that was later.
    pub at: Timestamp,
    /// What caused it.
    pub reason: Reason,
    /// The epoch that began: one more than that of the state that ended, modulo 131,072 (2^17).
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
    /// The open time has passed.
    WaitOver,
    /// A probe failed.
    ProbeFailed,
    /// Enough probes succeeded.
    ProbesPassed,
    /// An operator's word: `Breaker::reset`.
    Reset,
}
