use crate::State;

/// What a breaker has counted, as a snapshot: each number is right, together they may be a moment apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Stats {
    /// The state.
    pub state: State,
    /// The present epoch, modulo 131,072 (2^17).
    pub epoch: u32,
    /// Failures in a row, while Closed; counted up to 32,767.
    pub failures_in_row: u32,
    /// Requests in the window of the first ratio rule, while Closed; 0 without such a rule.
    pub window_requests: u64,
    /// Failures and overloads in that window.
    pub window_failures: u64,
    /// Probes under way, while half-open: those whose lease has not ended.
    pub probes_in_flight: u32,
    /// Successful probes so far, while half-open.
    pub probes_passed: u32,
    /// How often it opened, wrapping at 2^32.
    pub times_opened: u32,
}
