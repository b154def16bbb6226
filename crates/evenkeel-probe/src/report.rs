use std::time::Duration;

use evenkeel_health::CheckState;
use evenkeel_types::{Address, EndpointId};

use crate::advice::Advice;
use crate::counts::Counts;
use crate::sink::Finding;

/// A target as it is now.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TargetReport {
    /// The target.
    pub id: EndpointId,
    /// Where its checks go.
    pub address: Address,
    /// What the checks know of it.
    pub state: CheckState,
    /// The last result.
    pub last: Option<LastResult>,
    /// What the agent has wished so far.
    pub advice: Advice,
    /// How its checks ended.
    pub counts: Counts,
    /// Whether a check runs now.
    pub running: bool,
    /// Whether a check is due and waits for its start.
    pub waiting: bool,
}

/// The last result of a target.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LastResult {
    /// What was found.
    pub finding: Finding,
    /// How long ago.
    pub age: Duration,
}

/// A prober as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ProberReport {
    /// How many targets it has.
    pub targets: usize,
    /// Checks that run now, commands included.
    pub in_flight: usize,
    /// The most that ever ran at a time.
    pub peak_in_flight: usize,
    /// Checks that are due and wait for their start. If this is not zero for long, raise `max_in_flight`, or lower
    /// timeouts.
    pub waiting: usize,
    /// How checks ended, since the start. Those of targets that were removed are in it.
    pub counts: Counts,
    /// Panics in sinks.
    pub sink_panics: u64,
}
