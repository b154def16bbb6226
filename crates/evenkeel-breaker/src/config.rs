use std::time::Duration;

use evenkeel_types::Ratio;
use thiserror::Error;

/// When a breaker trips, how long it stays open, and how it comes back.
///
/// ```
/// use evenkeel_breaker::{Breaker, BreakerConfig, Rule, Window};
/// use evenkeel_types::Ratio;
///
/// let config = BreakerConfig {
///     rules: vec![
///         Rule::Consecutive { failures: 5 },
///         Rule::Ratio { failures: Ratio::HALF, min_requests: 20, window: Window::Count { size: 100 } },
///     ],
///     ..BreakerConfig::default()
/// };
/// let breaker = Breaker::new(&config)?;
/// # Ok::<(), evenkeel_breaker::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct BreakerConfig {
    /// Any rule that says trip, trips. At least one, at most 8.
    ///
    /// Default: five failures in a row, as Envoy's outlier detection and Finagle's failure accrual. It needs no
    /// traffic estimate, costs no memory, and a healthy endpoint with 1 % of errors meets it once in 10^10 requests.
    /// Add a ratio for an endpoint that fails half of its requests, which rarely makes a run of five.
    pub rules: Vec<Rule>,
    /// How long it stays open before the first probe, at least 1 ms; rounded up to a millisecond.
    ///
    /// Default 5 s, as Polly and Hystrix. While other endpoints serve the traffic a refusal costs nothing, and one
    /// probe in five seconds costs a dead endpoint nothing either; a longer wait only keeps a restarted one idle.
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub open_for: Duration,
    /// How it comes back.
    pub half_open: HalfOpen,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            rules: vec![Rule::Consecutive { failures: 5 }],
            open_for: Duration::from_secs(5),
            half_open: HalfOpen::default(),
        }
    }
}

/// A reason to trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Rule {
    /// So many failures in a row.
    ///
    /// A success starts the row again; an overload or a neutral outcome leaves it as it is, as in linkerd.
    Consecutive {
        /// The failures that trip it, 1 to 32,767.
        failures: u32,
    },
    /// Too large a share of the requests in a window.
    ///
    /// Failures and overloads count against it, neutral outcomes do not count at all. It is judged after every other
    /// outcome, also after a success: that one may complete `min_requests`.
    Ratio {
        /// The share that trips it, inclusive: above 0, at most 1.
        failures: Ratio,
        /// Below this number of requests in the window it says nothing: at least 1, and not more than a count window
        /// holds. It speaks on exactly this number, not on the one after it.
        min_requests: u32,
        /// Which requests it looks at.
        window: Window,
    },
}

/// The requests that a [`Rule::Ratio`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Window {
    /// The last so many requests of the present epoch. Reads no clock; 8 bytes for each 47 requests.
    Count {
        /// How many, 1 to 65,535.
        size: u32,
    },
    /// The requests that **ended** in the last `span`, in `buckets` equal parts. 16 bytes for each part.
    ///
    /// The newest bucket is still filling, so the real span is between `span × (1 − 1/buckets)` and `span`.
    Time {
        /// How far back it looks, at most 24 hours. A part must have at least 10 ms.
        #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
        span: Duration,
        /// In how many parts, 1 to 1,024. When it is not written in a configuration file: 10, so that the span is
        /// right to a tenth, as in Polly and linkerd.
        #[cfg_attr(feature = "serde", serde(default = "default_buckets"))]
        buckets: u32,
    },
}

/// How a breaker comes back after its open time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HalfOpen {
    /// Probes under way at any time, 1 to 1,024, and never more than successes are still needed.
    ///
    /// Default 1: an endpoint that has just failed is asked one question at a time.
    pub max_concurrent: u32,
    /// Successful probes that close it, 1 to 32,767. One failed probe reopens it.
    ///
    /// Default 3: a single lucky answer is a fragile proof (App-vNext/Polly#239), and three take three round trips.
    pub successes_needed: u32,
    /// How long a probe may take before its slot is free again and its result no longer decides, at least 1 ms;
    /// rounded up to a millisecond.
    ///
    /// Default 30 s: it must exceed the timeout of a request, or a slow endpoint never closes its breaker. It is the
    /// longest time for which a probe that was lost (its task dropped, its host gone) can hold up the recovery.
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub lease: Duration,
}

impl Default for HalfOpen {
    fn default() -> Self {
        Self { max_concurrent: 1, successes_needed: 3, lease: Duration::from_secs(30) }
    }
}

/// A setting of a [`BreakerConfig`] makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A breaker without a rule never trips: leave the breaker out instead.
    #[error("rules is empty: write at least one, or leave the breaker out")]
    NoRules,
    /// More rules than any outcome should be judged by.
    #[error("rules holds {0}: at most 8 are allowed")]
    TooManyRules(usize),
    /// The number of failures in a row is out of range.
    #[error("rules.consecutive.failures is {0}: allowed are 1 to 32767")]
    ConsecutiveFailures(u32),
    /// A share of zero would trip on the first success.
    #[error("rules.ratio.failures is 0: it must be above 0 and at most 1")]
    ZeroRatio,
    /// A verdict on no request.
    #[error("rules.ratio.min_requests is 0: at least 1 is needed")]
    ZeroMinRequests,
    /// The window never holds as many requests as the rule waits for, so that it would never trip.
    #[error(
        "rules.ratio.min_requests is {min_requests}, more than the {size} of its window: lower it to the size"
    )]
    MinRequestsBeyondWindow {
        /// The configured minimum.
        min_requests: u32,
        /// The size of the window.
        size: u32,
    },
    /// The size of a count window is out of range.
    #[error("rules.ratio.window.count.size is {0}: allowed are 1 to 65535")]
    WindowSize(u32),
    /// The number of buckets of a time window is out of range.
    #[error("rules.ratio.window.time.buckets is {0}: allowed are 1 to 1024")]
    WindowBuckets(u32),
    /// A time window is too long, or too short for its buckets.
    #[error(
        "rules.ratio.window.time.span is {span:?}: allowed are 10ms for each of its {buckets} buckets, to 24h"
    )]
    WindowSpan {
        /// The configured span.
        span: Duration,
        /// The configured buckets.
        buckets: u32,
    },
    /// The open time is shorter than the resolution of deadlines.
    #[error("open_for is {0:?}: at least 1ms is needed")]
    OpenFor(Duration),
    /// The number of concurrent probes is out of range.
    #[error("half_open.max_concurrent is {0}: allowed are 1 to 1024")]
    MaxConcurrent(u32),
    /// The number of successes is out of range.
    #[error("half_open.successes_needed is {0}: allowed are 1 to 32767")]
    SuccessesNeeded(u32),
    /// The lease is shorter than the resolution of deadlines.
    #[error("half_open.lease is {0:?}: at least 1ms is needed, and more than a request may take")]
    Lease(Duration),
}

#[cfg(feature = "serde")]
const fn default_buckets() -> u32 {
    10
}
