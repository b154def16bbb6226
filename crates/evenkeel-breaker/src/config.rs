use std::time::Duration;

use evenkeel_types::Ratio;
use thiserror::Error;

use crate::Backoff;

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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct BreakerConfig {
    /// The reasons to trip, at least one and at most 8; [`combine`](Self::combine) says whether one is enough.
    ///
    /// Default: five failures in a row, as Envoy's outlier detection and Finagle's failure accrual. It needs no
    /// traffic estimate, costs no memory, and a healthy endpoint with 1 % of errors meets it once in 10^10 requests.
    /// Add a ratio for an endpoint that fails half of its requests, which rarely makes a run of five.
    pub rules: Vec<Rule>,
    /// Whether any rule trips it, or only all of them at once. Default: any, as everywhere.
    pub combine: Combine,
    /// A request that takes strictly longer than this is slow, whatever its verdict.
    ///
    /// Needed by [`Rule::SlowRatio`], and refused without such a rule, since it would judge nothing then, probes neither.
    /// The time is `Outcome::latency`, and without one the time from
    /// `try_acquire` to `record`, for which both read the clock. Default: none, since no number is right for every service:
    /// take two or three times the 99th percentile of good days. (resilience4j has 60 s, which sees nothing.)
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub slow_call_duration: Option<Duration>,
    /// How long it stays open before the first probe, at least 1 ms; rounded up to a millisecond.
    ///
    /// Default 5 s, as Polly and Hystrix. While other endpoints serve the traffic a refusal costs nothing, and one
    /// probe in five seconds costs a dead endpoint nothing either; a longer wait only keeps a restarted one idle.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub open_for: Duration,
    /// How that time grows when it opens again and again. Default: not at all.
    pub backoff: Option<Backoff>,
    /// How it comes back.
    pub half_open: HalfOpen,
    /// What an answer means that asks for less (HTTP 429 and 503).
    pub overload: Overload,
    /// How the weight of [`Breaker::factor`](crate::Breaker::factor) rises after it has closed. Default: at once.
    pub ramp: Option<Ramp>,
    /// The state in which it starts. Default: closed.
    pub initial: Initial,
    /// Keeps the numbers that a dry run counts, so that it can be put into one at any time; also counts clocks that go
    /// back. Default: no, since that is some 200 bytes for each breaker. An `initial` of `dry_run` implies it.
    pub dry_run: bool,
    /// Counts time windows in so many places that threads do not share, 1 to 64.
    ///
    /// Each stripe costs a ring and 128 bytes, and each verdict in which something is bad reads them all. Default 1: two
    /// threads that share one counter lose some 25 ns a request; that is worth memory only from four or so busy threads
    /// on one endpoint.
    pub stripes: u32,
    /// What jitter is drawn from, together with the salt of each breaker. Default 0: the salt alone tells breakers apart.
    pub seed: u64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            rules: vec![Rule::Consecutive { failures: 5 }],
            combine: Combine::Any,
            slow_call_duration: None,
            open_for: Duration::from_secs(5),
            backoff: None,
            half_open: HalfOpen::default(),
            overload: Overload::default(),
            ramp: None,
            initial: Initial::Closed,
            dry_run: false,
            stripes: 1,
            seed: 0,
        }
    }
}

/// How several rules make one decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Combine {
    /// One rule is enough. If several are reached by one outcome, failures in a row are named first, then the others in
    /// the order of the list.
    #[default]
    Any,
    /// Every rule has to be reached by the same outcome.
    All,
}

/// The state in which a breaker starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Initial {
    /// Lets requests through.
    #[default]
    Closed,
    /// Open, as if it had just tripped: the endpoint has to pass probes first.
    Open,
    /// Refuses until an operator says otherwise.
    ForcedOpen,
    /// Lets everything through and counts nothing until an operator says otherwise.
    Disabled,
    /// Counts what it would have refused, and refuses nothing.
    DryRun,
}

/// What an overload (HTTP 429 or 503, gRPC `RESOURCE_EXHAUSTED`) means to a breaker. It never counts as a failure in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Overload {
    /// Whether it counts as bad in ratios, averages and tests of failures; if not, it counts in none of them.
    ///
    /// Default: yes, as in linkerd. An endpoint that refuses half of what it gets should get less.
    pub in_ratio: bool,
    /// What it means as the answer to a probe.
    pub as_probe: OverloadProbe,
    /// Opens the breaker at once for the time that the answer asked for (`Retry-After`), if it named one.
    ///
    /// An answer that asks for less than 1 ms (`Retry-After: 0`) names none: it may be asked again at once.
    /// Default: no. One client's rate limit is not the endpoint's word for all.
    pub open_for_retry_after: bool,
    /// The longest time that such an answer may ask for, at least 1 ms. Default 5 min, as linkerd clamps it. Another one
    /// without `open_for_retry_after` is an error: nothing would look at it.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_retry_after: Duration,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            in_ratio: true,
            as_probe: OverloadProbe::Strict,
            open_for_retry_after: false,
            max_retry_after: Duration::from_secs(300),
        }
    }
}

/// What an overload means as the answer to a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum OverloadProbe {
    /// The probe has not passed: the breaker stays half-open and the slot is free for the next one.
    ///
    /// The default, as linkerd. A breaker whose every probe is answered so goes on probing, which is the right amount of
    /// traffic for an endpoint that asks for less.
    #[default]
    Strict,
    /// The probe has passed: the endpoint answers, and that was the question.
    Lenient,
}

/// How the weight of a breaker that has closed rises to one.
///
/// A failure while it rises steps it back; a success needs no step, since the time passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Ramp {
    /// From the first share to all of it, without failures; 1 ms to 24 hours.
    ///
    /// Default 30 s, as Envoy's and HAProxy's users set their slow start most: caches and pools are warm by then.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub over: Duration,
    /// The share to begin with, and the least after steps back; above 0. Default 5 %.
    pub from: Ratio,
    /// How it rises and steps back.
    pub shape: RampShape,
}

impl Default for Ramp {
    fn default() -> Self {
        Self {
            over: Duration::from_secs(30),
            from: Ratio::percent(5).unwrap_or(Ratio::ONE),
            shape: RampShape::Linear,
        }
    }
}

/// The shape of a [`Ramp`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RampShape {
    /// Evenly; a failure takes a quarter of the whole rise back.
    #[default]
    Linear,
    /// In ten equal steps; a failure halves it, and the step begins again (AIMD: additive increase, multiplicative
    /// decrease).
    Aimd,
}

/// A reason to trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
        /// The failures that trip it, 1 to 65,535.
        failures: u32,
    },
    /// Too large a share of the requests in a window.
    ///
    /// Failures and overloads (see [`Overload::in_ratio`]) count against it, neutral outcomes do not count at all. It is judged after every other
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
    /// Too large a share of the requests in a window took longer than
    /// [`slow_call_duration`](BreakerConfig::slow_call_duration).
    ///
    /// Slow and failed are independent: a slow failure counts here and in a [`Rule::Ratio`], a slow success only here.
    SlowRatio {
        /// The share that trips it, inclusive: above 0, at most 1.
        slow: Ratio,
        /// As in [`Rule::Ratio`].
        min_requests: u32,
        /// Which requests it looks at.
        window: Window,
    },
    /// Too large a share in an average in which what is old fades.
    Ewma {
        /// The share that trips it, inclusive: above 0, at most 1.
        failures: Ratio,
        /// Below this number of requests it says nothing, 1 to 65,535. Over time those of the last `window` count, up to a
        /// tenth more; it speaks on exactly this number, not on the one after it.
        min_requests: u32,
        /// What makes it fade.
        over: Fading,
    },
    /// More failures than chance explains, if the endpoint fails no more often than is `tolerated`.
    ///
    /// Three cumulative-sum tests at once, for failure rates of twice the tolerated one, of nearly all, and between. In
    /// place of a ratio and a minimum it has one knob, how often it may be wrong, and it decides as early as the evidence
    /// allows: after two to six requests when everything fails, after thousands when the rate has only doubled.
    /// A success of a healthy endpoint writes nothing. See `docs/circuit-breaking.md` for the formulas; the bound is that
    /// of Shin, Ramdas and Rinaldo, "E-detectors", 2023, which rests on Lorden (1971).
    Statistical {
        /// The share of failures that is normal: above 0, at most one half; 0.001 at least.
        tolerated: Ratio,
        /// How many requests pass on average before it trips by mistake, at an endpoint that fails exactly as often as
        /// tolerated: at least this many, 100 to 10^12.
        requests_per_false_trip: u64,
    },
    /// So many requests under way that began longer ago than this: evidence before anything has ended.
    ///
    /// An endpoint that swallows requests yields no outcome until timeouts strike. Each request is counted where it
    /// begins and where it ends, so a permit that is neither recorded nor released stays overdue until the epoch ends.
    /// Judged when a request begins, when one ends, and by `tick`; `try_acquire` reads the clock.
    Overdue {
        /// The number that trips it, inclusive: at least 1.
        requests: u32,
        /// How long a request may take before it is overdue, 10 ms to 1 hour; judged within a sixth above that.
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
        after: Duration,
    },
}

/// What makes an average fade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Fading {
    /// Requests: each new one weighs `1 - e^(-1 / window)`, the first ones equally. Finagle's average by count.
    Requests {
        /// How many, 1 to 65,535.
        window: u32,
    },
    /// Time: each request weighs `e^(-age / window)` and their sum is what the share is of.
    ///
    /// Safe against bursts: a hundred failures within one millisecond weigh a hundred. (An average in which a sample weighs
    /// by the time since the last one, as in Finagle and failsafe, gives all of them next to nothing.)
    Time {
        /// The time constant, 10 ms to 24 hours.
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
        window: Duration,
    },
}

/// The requests that a [`Rule::Ratio`] or a [`Rule::SlowRatio`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Window {
    /// The last so many requests of the present epoch. Reads no clock; 8 bytes for each 49 requests.
    Count {
        /// How many, 1 to 65,535.
        size: u32,
    },
    /// The requests that **ended** in the last `span`, in `buckets` equal parts. 8 bytes for each part.
    ///
    /// The newest bucket is still filling, so the real span is between `span × (1 − 1/buckets)` and `span`.
    Time {
        /// How far back it looks, at most 24 hours. A part must have at least 10 ms.
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Successful probes that close it, 1 to 65,535. One failed probe reopens it, and where there is a
    /// [`Rule::SlowRatio`], a slow one. Not looked at with [`ratio`](Self::ratio).
    ///
    /// Default 3: a single lucky answer is a fragile proof (App-vNext/Polly#239), and three take three round trips.
    pub successes_needed: u32,
    /// How long a probe may take before its slot is free again and its result no longer decides, at least 1 ms;
    /// rounded up to a millisecond.
    ///
    /// Default 30 s: it must exceed the timeout of a request, or a slow endpoint never closes its breaker. It is the
    /// longest time for which a probe that was lost (its task dropped, its host gone) can hold up the recovery.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub lease: Duration,
    /// Judges by a share of several probes, not by the first failure. Default: no.
    pub ratio: Option<ProbeRatio>,
    /// Decides after this time in half-open, whatever is known then, at least 1 ms. Default: never, since an endpoint
    /// without traffic has proved nothing, and the first request will tell. With [`Decision::Open`] it must leave time for
    /// as many probes as are needed, or a breaker with little traffic never closes.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub decide_after: Option<Duration>,
    /// How it decides then. Default: open. Closed without `decide_after` is an error: nothing would look at it.
    pub decide: Decision,
}

impl Default for HalfOpen {
    fn default() -> Self {
        Self {
            max_concurrent: 1,
            successes_needed: 3,
            lease: Duration::from_secs(30),
            ratio: None,
            decide_after: None,
            decide: Decision::Open,
        }
    }
}

/// Probes judged by a share, as resilience4j does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ProbeRatio {
    /// The verdicts after which it decides, 1 to 32,767: the last one does. Default 4.
    pub verdicts: u32,
    /// It opens if this share of them failed, inclusive, and closes if not; above 0. Default one half.
    pub failures: Ratio,
    /// It also opens if this share of them was slow, inclusive; above 0. Looked at if there is a
    /// [`Rule::SlowRatio`]. Default one half.
    pub slow: Ratio,
}

impl Default for ProbeRatio {
    fn default() -> Self {
        Self { verdicts: 4, failures: Ratio::HALF, slow: Ratio::HALF }
    }
}

/// Which way half-open ends without a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Decision {
    /// Open again, with the next wait.
    #[default]
    Open,
    /// Closed.
    Closed,
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
    #[error("rules.consecutive.failures is {0}: allowed are 1 to 65535")]
    ConsecutiveFailures(u32),
    /// A share of zero would trip on the first success.
    #[error("rules.{0} is 0: it must be above 0 and at most 1")]
    ZeroRatio(&'static str),
    /// A verdict on no request.
    #[error("rules.{0}.min_requests is 0: at least 1 is needed")]
    ZeroMinRequests(&'static str),
    /// The window never holds as many requests as the rule waits for, so that it would never trip.
    #[error(
        "rules.{rule}.min_requests is {min_requests}, more than the {size} of its window: lower it to the size"
    )]
    MinRequestsBeyondWindow {
        /// The rule.
        rule: &'static str,
        /// The configured minimum.
        min_requests: u32,
        /// The size of the window.
        size: u32,
    },
    /// The size of a count window is out of range.
    #[error("rules.{rule}.window.count.size is {size}: allowed are 1 to 65535")]
    WindowSize {
        /// The rule.
        rule: &'static str,
        /// The configured size.
        size: u32,
    },
    /// The number of buckets of a time window is out of range.
    #[error("rules.{rule}.window.time.buckets is {buckets}: allowed are 1 to 1024")]
    WindowBuckets {
        /// The rule.
        rule: &'static str,
        /// The configured number.
        buckets: u32,
    },
    /// A time window is too long, or too short for its buckets.
    #[error(
        "rules.{rule}.window.time.span is {span:?}: allowed are 10ms for each of its {buckets} buckets, to 24h"
    )]
    WindowSpan {
        /// The rule.
        rule: &'static str,
        /// The configured span.
        span: Duration,
        /// The configured buckets.
        buckets: u32,
    },
    /// A rule of slow requests does not know what slow is.
    #[error("slow_call_duration is missing: rules.slow_ratio needs it")]
    NoSlowCallDuration,
    /// Every request takes longer than nothing.
    #[error("slow_call_duration is 0: it must be above 0")]
    ZeroSlowCallDuration,
    /// What slow is would be known, and nothing would look at it.
    #[error("slow_call_duration is {0:?}, but no rule is a slow_ratio: add one, or leave the duration out")]
    UnusedSlowCallDuration(Duration),
    /// The window of an average over requests is out of range.
    #[error("rules.ewma.over.requests.window is {0}: allowed are 1 to 65535")]
    EwmaRequests(u32),
    /// The window of an average over time is out of range.
    #[error("rules.ewma.over.time.window is {0:?}: allowed are 10ms to 24h")]
    EwmaTime(Duration),
    /// The minimum of an average is out of range.
    #[error(
        "rules.ewma.min_requests is {min_requests}: allowed are 1 to {max}, as the window is never worth more"
    )]
    EwmaMinRequests {
        /// The configured minimum.
        min_requests: u32,
        /// The most that is allowed.
        max: u32,
    },
    /// The tolerated failure rate is out of range.
    #[error("rules.statistical.tolerated is {}: allowed are 0.001 to 0.5", .0.as_f64())]
    Tolerated(Ratio),
    /// The rate of false trips is out of range.
    #[error("rules.statistical.requests_per_false_trip is {0}: allowed are 100 to 1000000000000")]
    RequestsPerFalseTrip(u64),
    /// No request under way is not evidence.
    #[error("rules.overdue.requests is {0}: allowed are 1 to 1000000")]
    OverdueRequests(u32),
    /// The time after which a request is overdue is out of range.
    #[error("rules.overdue.after is {0:?}: allowed are 10ms to 1h")]
    OverdueAfter(Duration),
    /// The open time is shorter than the resolution of deadlines.
    #[error("open_for is {0:?}: at least 1ms is needed")]
    OpenFor(Duration),
    /// The longest wait is shorter than the first.
    #[error(
        "backoff.max is {max:?}, less than open_for, which is {open_for:?}: raise it, or leave backoff out"
    )]
    BackoffMax {
        /// The configured maximum.
        max: Duration,
        /// The first wait.
        open_for: Duration,
    },
    /// A factor below two does not grow.
    #[error("backoff.growth.exponential.factor is {0}: allowed are 2 to 100")]
    BackoffFactor(u32),
    /// The clean time is shorter than the resolution of deadlines.
    #[error("backoff.forget.clean.period is {0:?}: at least 1ms is needed")]
    CleanPeriod(Duration),
    /// A reset after no clean period.
    #[error("backoff.forget.clean.reset_after is 0: at least 1 is needed, or leave it out")]
    ResetAfter,
    /// The number of concurrent probes is out of range.
    #[error("half_open.max_concurrent is {0}: allowed are 1 to 1024")]
    MaxConcurrent(u32),
    /// The number of successes is out of range.
    #[error("half_open.successes_needed is {0}: allowed are 1 to 65535")]
    SuccessesNeeded(u32),
    /// The lease is shorter than the resolution of deadlines.
    #[error("half_open.lease is {0:?}: at least 1ms is needed, and more than a request may take")]
    Lease(Duration),
    /// The number of verdicts is out of range.
    #[error("half_open.ratio.verdicts is {0}: allowed are 1 to 32767")]
    ProbeVerdicts(u32),
    /// A share of zero would open on any probe.
    #[error("half_open.ratio.{0} is 0: it must be above 0 and at most 1")]
    ZeroProbeRatio(&'static str),
    /// The time in half-open is shorter than the resolution of deadlines.
    #[error("half_open.decide_after is {0:?}: at least 1ms is needed, or leave it out")]
    DecideAfter(Duration),
    /// The longest time of a server's hint is shorter than the resolution of deadlines.
    #[error("overload.max_retry_after is {0:?}: at least 1ms is needed")]
    MaxRetryAfter(Duration),
    /// The longest time of a hint that is not obeyed would be ignored.
    #[error("overload.max_retry_after is {0:?}, but open_for_retry_after is not set: leave it out")]
    MaxRetryAfterWithoutHints(Duration),
    /// What is decided after no time would be ignored.
    #[error("half_open.decide is closed, but there is no decide_after: leave it out, or say when")]
    DecideWithoutAfter,
    /// The time of the ramp is out of range.
    #[error("ramp.over is {0:?}: allowed are 1ms to 24h")]
    RampOver(Duration),
    /// A ramp from nothing never gets traffic that could prove anything.
    #[error("ramp.from is 0: it must be above 0 and at most 1")]
    RampFrom,
    /// The number of stripes is out of range.
    #[error("stripes is {0}: allowed are 1 to 64")]
    Stripes(u32),
    /// Stripes would be ignored.
    #[error("stripes is {0}, but no rule counts in a time window: leave it out")]
    StripesWithoutTimeWindow(u32),
}

#[cfg(feature = "serde")]
const fn default_buckets() -> u32 {
    10
}
