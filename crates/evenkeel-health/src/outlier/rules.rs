//! Settings, and what is wrong with them.

use std::time::Duration;

use evenkeel_types::Ratio;
use thiserror::Error;

/// When an endpoint is ejected, for how long, how many at most, and how it comes back.
///
/// In a file, what is an `Option` here is turned off with `"off"`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct OutlierConfig {
    /// From one sweep to the next: 10 ms to 24 hours.
    ///
    /// Default 10 s, as Envoy and gRPC: a detector that compares shares needs some dozens of requests of each endpoint
    /// in an interval. Runs of failures do not wait for it.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub interval: Duration,
    /// So many failures in a row eject, 1 to 32,767.
    ///
    /// Default 5, as Envoy, Finagle and linkerd: an endpoint that fails 1 % of its requests meets it once in 10^10.
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::or_off::schema::<u32>"))]
    #[cfg_attr(feature = "serde", serde(alias = "consecutive_5xx", with = "super::or_off"))]
    pub consecutive_failures: Option<u32>,
    /// So many gateway failures in a row eject, 1 to 32,767.
    ///
    /// Default off: every gateway failure is a failure, so a limit only says something if it is below the one of
    /// `consecutive_failures`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::or_off::schema::<u32>"))]
    #[cfg_attr(feature = "serde", serde(alias = "consecutive_gateway_failure", with = "super::or_off"))]
    pub consecutive_gateway_failures: Option<u32>,
    /// So many failures of local origin in a row eject, 1 to 32,767.
    ///
    /// Default 5, as Envoy. Without `split_local_origin` it says nothing that `consecutive_failures` does not say.
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::or_off::schema::<u32>"))]
    #[cfg_attr(feature = "serde", serde(alias = "consecutive_local_origin_failure", with = "super::or_off"))]
    pub consecutive_local_failures: Option<u32>,
    /// Whether failures of local origin (no connection, our own timeout) are counted apart from the endpoint's answers.
    ///
    /// Default `false`, as Envoy: an endpoint that is not reached does not do its job either.
    #[cfg_attr(feature = "serde", serde(alias = "split_external_local_origin_errors"))]
    pub split_local_origin: bool,
    /// Whether an overload (429, 503) is a gateway failure.
    ///
    /// Default `false`, unlike Envoy: ejecting an endpoint that is full fills the others. Send it less instead.
    pub count_overload: bool,
    /// The chance that one sweep of an endpoint set in good order ejects anything, for each of the rules `success_rate`
    /// (and its local form) and `latency`: above 0, at most 0.1.
    ///
    /// Default 10^-6: with a sweep every 10 s, once in 116 days for each client that watches by itself. "In good order"
    /// means that all endpoints fail with the same probability, request by request.
    pub false_ejections: f64,
    /// Fails more often than its peers. Default on.
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::or_off::schema::<SuccessRate>"))]
    #[cfg_attr(feature = "serde", serde(with = "super::or_off"))]
    pub success_rate: Option<SuccessRate>,
    /// Fails more often than a fixed share. Default off, as Envoy does not enforce it: it needs no peers, and ejects
    /// everybody where the cause is a common one, as far as caps and brake let it.
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::or_off::schema::<FailureShare>"))]
    #[cfg_attr(feature = "serde", serde(alias = "failure_percentage", with = "super::or_off"))]
    pub failure_share: Option<FailureShare>,
    /// Slower than the peers' median. Default off: it is right only where endpoints get the same mix of requests.
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::or_off::schema::<LatencyRule>"))]
    #[cfg_attr(feature = "serde", serde(with = "super::or_off"))]
    pub latency: Option<LatencyRule>,
    /// How many may be out, whichever rule it is.
    pub caps: EjectionCaps,
    /// Holds ejections while too many endpoints trip at once. Default on.
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::or_off::schema::<Brake>"))]
    #[cfg_attr(feature = "serde", serde(with = "super::or_off"))]
    pub brake: Option<Brake>,
    /// How long an ejection lasts.
    pub ejection: EjectionTime,
    /// What comes after an ejection. Default: a probation.
    pub on_return: Return,
    /// What ends an ejection. Default: time.
    pub return_by: ReturnBy,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            consecutive_failures: Some(5),
            consecutive_gateway_failures: None,
            consecutive_local_failures: Some(5),
            split_local_origin: false,
            count_overload: false,
            false_ejections: 1e-6,
            success_rate: Some(SuccessRate::default()),
            failure_share: None,
            latency: None,
            caps: EjectionCaps::default(),
            brake: Some(Brake::default()),
            ejection: EjectionTime::default(),
            on_return: Return::default(),
            return_by: ReturnBy::default(),
        }
    }
}

/// Fails more often than its peers do together, and not by chance: Fisher's exact test of the endpoint against the rest.
///
/// It is valid from two endpoints on, has no sigma that a bad endpoint could blow up, and weighs peers by their requests,
/// so that an idle one does not skew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct SuccessRate {
    /// An endpoint with fewer requests in the interval is neither judged nor a peer: at least 1.
    ///
    /// Default 20. The test is valid at any number; below some 15 requests it can hardly ever be sure at 10^-6.
    #[cfg_attr(feature = "serde", serde(alias = "request_volume"))]
    pub min_requests: u32,
    /// Its share of failures must be above its peers' by this much.
    ///
    /// Default 5 %: with a million requests a difference of 0.1 % is certain and not worth an ejection.
    pub min_gap: Ratio,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { min_requests: 20, min_gap: percent(5) }
    }
}

/// Fails at least this share of its requests, whatever its peers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct FailureShare {
    /// The share that ejects, inclusive: above 0. Default 85 %, as Envoy and gRPC.
    pub threshold: Ratio,
    /// Below this number of requests in the interval it says nothing: at least 1. Default 50, as Envoy and gRPC.
    #[cfg_attr(feature = "serde", serde(alias = "request_volume"))]
    pub min_requests: u32,
}

impl Default for FailureShare {
    fn default() -> Self {
        Self { threshold: percent(85), min_requests: 50 }
    }
}

/// Slower than the median of its peers, by a factor and beyond what chance and the spread of the peers explain.
///
/// What is compared is the mean logarithm of the latencies of successes: a fast failure does not look fast, and one
/// slow request does not make an endpoint slow. It needs two peers, since of two endpoints neither is the median.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LatencyRule {
    /// So many times the peers' median: above 1. Default 3: replicas in one zone seldom differ by two.
    pub factor: f64,
    /// And slower by this much. Default 10 ms: three times 100 µs hurts nobody.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub min_excess: Duration,
    /// An endpoint with fewer timed successes in the interval is neither judged nor a peer: at least 2. Default 20.
    #[cfg_attr(feature = "serde", serde(alias = "request_volume"))]
    pub min_requests: u32,
}

impl Default for LatencyRule {
    fn default() -> Self {
        Self { factor: 3.0, min_excess: Duration::from_millis(10), min_requests: 20 }
    }
}

/// How many endpoints may be out at the same time. All three hold, and a probation counts as out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EjectionCaps {
    /// In number. Default off.
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::or_off::schema::<u32>"))]
    #[cfg_attr(feature = "serde", serde(with = "super::or_off"))]
    pub max_ejected: Option<u32>,
    /// As a share of all endpoints, rounded down.
    ///
    /// Default 50 %: 1 of 2 or 3, 2 of 4 or 5, 4 of 9. Envoy's 10 % ejects nobody below ten endpoints
    /// (envoyproxy/envoy#27066).
    #[cfg_attr(feature = "serde", serde(alias = "max_ejection_percent"))]
    pub max_ejected_ratio: Ratio,
    /// Whether that share is never less than one endpoint. Default `true`: a small share of a small set means "one".
    #[cfg_attr(feature = "serde", serde(alias = "always_eject_one_host"))]
    pub at_least_one: bool,
    /// So many stay in. Those that are unusable for another reason do not count as staying in.
    ///
    /// Default 1: a failing endpoint is better than none. Zero lets the last one go.
    pub min_remaining: u32,
}

impl Default for EjectionCaps {
    fn default() -> Self {
        Self { max_ejected: None, max_ejected_ratio: Ratio::HALF, at_least_one: true, min_remaining: 1 }
    }
}

/// The common-cause brake: endpoints do not break all at once by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Brake {
    /// If more than this share of the endpoints, and at least two of them, meet a rule …
    ///
    /// Default 50 %: 2 of 2 or 3, 3 of 4 or 5.
    pub share: Ratio,
    /// … within this time, …
    ///
    /// Default 10 s, one sweep.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub within: Duration,
    /// … nothing more is ejected for so long. Those that are out stay out until they are due.
    ///
    /// Default 30 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub hold: Duration,
}

impl Default for Brake {
    fn default() -> Self {
        Self { share: Ratio::HALF, within: Duration::from_secs(10), hold: Duration::from_secs(30) }
    }
}

/// How long an ejection lasts: `base`, growing with each ejection, at most `max`, and a jitter on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EjectionTime {
    /// The first one, at least 1 ms. It should exceed the timeout of a request, so that the results of requests sent before
    /// the ejection are not taken for those of the probation.
    ///
    /// Default 10 s; Envoy has 30 s. A probation costs one failed request, so coming back too early is cheap here.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(
        feature = "serde",
        serde(alias = "base_ejection_time", with = "evenkeel_types::human_duration")
    )]
    pub base: Duration,
    /// The longest one without its jitter, at least `base`. Default 300 s, as Envoy, gRPC and Finagle.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(
        feature = "serde",
        serde(alias = "max_ejection_time", with = "evenkeel_types::human_duration")
    )]
    pub max: Duration,
    /// How it grows. Default exponential.
    pub growth: Growth,
    /// Up to this share of the time is added, evenly drawn to the nanosecond, other for each endpoint and each ejection.
    ///
    /// Default 10 %: endpoints that went out together do not come back together.
    pub jitter: Ratio,
    /// After so long without meeting a rule, and …
    ///
    /// Default 60 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub clean_for: Duration,
    /// … so many requests of which nine in ten succeeded, the growth goes one step back: at least 1.
    ///
    /// Default 100. Time alone proves nothing (envoyproxy/envoy#21142): an endpoint without requests keeps its step. So
    /// requests are counted wherever times grow, also if no rule counts any.
    pub clean_requests: u32,
}

impl Default for EjectionTime {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            growth: Growth::Exponential,
            jitter: percent(10),
            clean_for: Duration::from_secs(60),
            clean_requests: 100,
        }
    }
}

/// How ejections of the same endpoint grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Growth {
    /// Doubling: 10, 20, 40 …
    #[default]
    Exponential,
    /// By the base: 10, 20, 30 …, as Envoy and gRPC.
    Linear,
    /// Not at all.
    Fixed,
}

/// What comes after an ejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Return {
    /// Its full share at once, as Envoy and gRPC.
    Full,
    /// A trickle first.
    Probation(Probation),
}

impl Default for Return {
    fn default() -> Self {
        Self::Probation(Probation::default())
    }
}

/// A trickle of requests until enough succeeded, then a share that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Probation {
    /// The factor on its weight while on probation, and at the start of the ramp: above 0. Default 5 %.
    pub share: Ratio,
    /// Successes in a row that end it, 1 to 32,767; one failure sends it out again.
    ///
    /// Default 3, as the breaker's half-open state: one may be luck.
    pub successes: u32,
    /// Without a failure it ends after so long all the same, at least 1 ms.
    ///
    /// Default 60 s. An endpoint that gets no requests must not stay on probation for ever, where it counts as out.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub patience: Duration,
    /// How long its share then takes to be full. Zero: at once. Default 30 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub ramp: Duration,
}

impl Default for Probation {
    fn default() -> Self {
        Self {
            share: percent(5),
            successes: 3,
            patience: Duration::from_secs(60),
            ramp: Duration::from_secs(30),
        }
    }
}

/// What ends an ejection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ReturnBy {
    /// Time alone. A passing check changes nothing: what requests met, a check may not see (envoyproxy/envoy#28303).
    #[default]
    Time,
    /// So many passing active checks in a row (1 to 1,000), and at the latest the longest ejection time: where no checks
    /// are made, nobody stays out for ever. (envoyproxy/envoy#39368)
    Checks(u32),
    /// Whichever comes first.
    TimeOrChecks(u32),
}

impl ReturnBy {
    pub(super) const fn passes(self) -> Option<u32> {
        match self {
            Self::Time => None,
            Self::Checks(passes) | Self::TimeOrChecks(passes) => Some(passes),
        }
    }
}

/// Settings of which it is known that they make sense. Shared by the detector and by all that count.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierRules {
    config: OutlierConfig,
    counts_requests: bool,
}

impl OutlierRules {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`OutlierConfigError`], the first setting that makes no sense.
    pub fn new(config: OutlierConfig) -> Result<Self, OutlierConfigError> {
        config.check()?;
        // Nobody else needs a word written for each success: rules that count requests, and ejection times that grow, since
        // they shrink again by requests.
        let forgets = config.ejection.growth != Growth::Fixed;
        let counts_requests = config.success_rate.is_some() || config.failure_share.is_some() || forgets;
        Ok(Self { config, counts_requests })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &OutlierConfig {
        &self.config
    }

    pub(super) fn counts_requests(&self) -> bool {
        self.counts_requests
    }
}

impl OutlierConfig {
    fn check(&self) -> Result<(), OutlierConfigError> {
        use OutlierConfigError as Bad;
        in_range("interval", self.interval, SHORTEST_INTERVAL, LONGEST)?;
        run("consecutive_failures", self.consecutive_failures)?;
        run("consecutive_gateway_failures", self.consecutive_gateway_failures)?;
        run("consecutive_local_failures", self.consecutive_local_failures)?;
        if !(self.false_ejections > 0.0 && self.false_ejections <= 0.1) {
            return Err(Bad::FalseEjections(self.false_ejections));
        }
        if let Some(rule) = self.success_rate {
            at_least("success_rate.min_requests", rule.min_requests, 1)?;
        }
        if let Some(rule) = self.failure_share {
            at_least("failure_share.min_requests", rule.min_requests, 1)?;
            above_zero("failure_share.threshold", rule.threshold)?;
        }
        if let Some(rule) = self.latency {
            at_least("latency.min_requests", rule.min_requests, 2)?;
            if !(rule.factor > 1.0 && rule.factor <= MOST_FACTOR) {
                return Err(Bad::LatencyFactor(rule.factor));
            }
        }
        if let Some(brake) = self.brake {
            in_range("brake.within", brake.within, MILLISECOND, LONGEST)?;
            in_range("brake.hold", brake.hold, MILLISECOND, LONGEST)?;
        }
        in_range("ejection.base", self.ejection.base, MILLISECOND, LONGEST)?;
        in_range("ejection.max", self.ejection.max, self.ejection.base, LONGEST)?;
        at_least("ejection.clean_requests", self.ejection.clean_requests, 1)?;
        if let Return::Probation(probation) = self.on_return {
            above_zero("on_return.probation.share", probation.share)?;
            run("on_return.probation.successes", Some(probation.successes))?;
            in_range("on_return.probation.patience", probation.patience, MILLISECOND, LONGEST)?;
            in_range("on_return.probation.ramp", probation.ramp, Duration::ZERO, LONGEST)?;
        }
        match self.return_by.passes() {
            Some(passes) if !(1..=1000).contains(&passes) => Err(Bad::Passes(passes)),
            _ => Ok(()),
        }
    }
}

/// A setting of an [`OutlierConfig`] makes no sense.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum OutlierConfigError {
    /// A time is out of range.
    #[error("{field} is {value:?}: allowed are {least:?} to {most:?}")]
    Time {
        /// Which setting.
        field: &'static str,
        /// What it is.
        value: Duration,
        /// The least that is allowed.
        least: Duration,
        /// The most that is allowed.
        most: Duration,
    },
    /// A number in a row is out of range. To turn a rule off, write `"off"`.
    #[error("{field} is {value}: allowed are 1 to 32767")]
    Run {
        /// Which setting.
        field: &'static str,
        /// What it is.
        value: u32,
    },
    /// A number is too small.
    #[error("{field} is {value}: at least {least} is needed")]
    TooSmall {
        /// Which setting.
        field: &'static str,
        /// What it is.
        value: u32,
        /// The least that is allowed.
        least: u32,
    },
    /// A share of zero.
    #[error("{field} is 0: it must be above 0 and at most 1")]
    ZeroShare {
        /// Which setting.
        field: &'static str,
    },
    /// The rate of false ejections is out of range.
    #[error("false_ejections is {0}: it must be above 0 and at most 0.1")]
    FalseEjections(f64),
    /// A factor that ejects endpoints for being as fast as their peers, or none ever.
    #[error("latency.factor is {0}: it must be above 1 and at most 1000000")]
    LatencyFactor(f64),
    /// The number of passing checks is out of range.
    #[error("return_by asks for {0} passing checks: allowed are 1 to 1000")]
    Passes(u32),
}

fn in_range(
    field: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), OutlierConfigError> {
    let is_in = least <= value && value <= most;
    if is_in { Ok(()) } else { Err(OutlierConfigError::Time { field, value, least, most }) }
}

fn run(field: &'static str, value: Option<u32>) -> Result<(), OutlierConfigError> {
    match value {
        Some(value) if !(1..=LONGEST_RUN).contains(&value) => Err(OutlierConfigError::Run { field, value }),
        _ => Ok(()),
    }
}

fn at_least(field: &'static str, value: u32, least: u32) -> Result<(), OutlierConfigError> {
    if value >= least { Ok(()) } else { Err(OutlierConfigError::TooSmall { field, value, least }) }
}

fn above_zero(field: &'static str, share: Ratio) -> Result<(), OutlierConfigError> {
    if share > Ratio::ZERO { Ok(()) } else { Err(OutlierConfigError::ZeroShare { field }) }
}

fn percent(percent: u32) -> Ratio {
    Ratio::percent(percent).expect("a constant below 100")
}

/// What fits the counters with room to spare.
const LONGEST_RUN: u32 = 32_767;
const MILLISECOND: Duration = Duration::from_millis(1);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const MOST_FACTOR: f64 = 1e6;
