use std::time::Duration;

use evenkeel_types::Ratio;

use crate::MAX_LIMIT;
use crate::error::{LimitConfigError, check, check_span};

/// How many calls may be in flight, and what moves that number.
///
/// `fixed` holds what you know. The others look for it: `aimd` by drops alone, `vegas` and `gradient2` by the growth of
/// latency, `envoy_gradient` by measuring the latency without load now and then.
///
/// ```
/// use evenkeel_limit::{LimitConfig, Limiter, Vegas};
///
/// let config = LimitConfig::Vegas(Vegas { max: 400, ..Vegas::default() });
/// let limiter = Limiter::new(&config, 7)?;
/// assert_eq!(limiter.limit(), 20);
/// # Ok::<(), evenkeel_limit::LimitConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum LimitConfig {
    /// Always the same.
    Fixed(Fixed),
    /// Up by one while calls succeed, down by a tenth for each drop.
    Aimd(Aimd),
    /// By the estimated length of the queue, as TCP Vegas.
    Vegas(Vegas),
    /// By the latency of late beside that of a long while.
    Gradient2(Gradient2),
    /// By the median latency beside the one measured with few calls in flight: Envoy's adaptive concurrency.
    EnvoyGradient(EnvoyGradient),
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self::Fixed(Fixed::default())
    }
}

impl LimitConfig {
    /// A fixed limit.
    #[must_use]
    pub const fn fixed(limit: u32) -> Self {
        Self::Fixed(Fixed { limit })
    }

    /// The limit that it starts with.
    #[must_use]
    pub const fn initial(&self) -> u32 {
        match self {
            Self::Fixed(fixed) => fixed.limit,
            Self::Aimd(aimd) => aimd.initial,
            Self::Vegas(vegas) => vegas.initial,
            Self::Gradient2(gradient) => gradient.initial,
            Self::EnvoyGradient(gradient) => gradient.pinned,
        }
    }

    pub(crate) fn check(&self) -> Result<(), LimitConfigError> {
        match self {
            Self::Fixed(fixed) => check_limit("fixed.limit", fixed.limit, 0),
            Self::Aimd(aimd) => aimd.check(),
            Self::Vegas(vegas) => vegas.check(),
            Self::Gradient2(gradient) => gradient.check(),
            Self::EnvoyGradient(gradient) => gradient.check(),
        }
    }
}

/// Always the same limit.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Fixed {
    /// Calls in flight, 0 to 1,000,000. Zero lets nothing through.
    ///
    /// Default 1,024, as Envoy's `max_requests` and gRPC's A32: high enough that only trouble meets it.
    pub limit: u32,
}

impl Default for Fixed {
    fn default() -> Self {
        Self { limit: 1024 }
    }
}

/// Additive increase, multiplicative decrease.
///
/// ```text
/// dropped, or latency > timeout:   L = min(L - 1, floor(L × backoff))
/// otherwise, if 2 × in flight ≥ L: L = L + 1
/// ```
///
/// A drop is an overload (429, 503), a failure of the connection or of a gateway, or our own timeout. Source: `AIMDLimit` of
/// Netflix/concurrency-limits, whose defaults these are.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Aimd {
    /// The limit at the start. Default 20.
    pub initial: u32,
    /// Never below this. Default 20: it looks for a limit of a service; for one endpoint take 1.
    pub min: u32,
    /// Never above this. Default 200.
    pub max: u32,
    /// What is left of the limit after a drop, from 0.5 to below 1. Default 0.9: a drop costs ten calls of growth at 100.
    pub backoff: Ratio,
    /// A call that takes longer counts as dropped. Default 5 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub timeout: Duration,
    /// Judge batches of calls instead of each.
    pub batch: Option<Batch>,
}

impl Default for Aimd {
    fn default() -> Self {
        Self {
            initial: 20,
            min: 20,
            max: 200,
            backoff: percent(90),
            timeout: Duration::from_secs(5),
            batch: None,
        }
    }
}

impl Aimd {
    fn check(&self) -> Result<(), LimitConfigError> {
        check_range("aimd", self.initial, self.min, self.max)?;
        let backoff = self.backoff >= Ratio::HALF && self.backoff < Ratio::ONE;
        check(backoff, "aimd.backoff", self.backoff.as_f64(), "0.5 to below 1")?;
        check_span(!self.timeout.is_zero(), "aimd.timeout", self.timeout, "more than 0s")?;
        check_batch("aimd", self.batch.as_ref())
    }
}

/// By the estimated length of the queue.
///
/// ```text
/// queue = ceil(L × (1 - baseline / latency)),  d = max(1, floor(log10 L))
///
/// dropped:            L - d, or L × decrease
/// 2 × in flight < L:  L                        not used up: says nothing
/// queue ≤ d:          L + beta
/// queue < alpha:      L + d
/// queue > beta:       L - d, or L × decrease
/// otherwise:          L
/// ```
///
/// then clamped to `min` and `max` and smoothed. A sample below the baseline becomes the baseline and moves nothing. A
/// drop lowers the limit and is never a baseline, however quick it was; in Netflix's it is. Source: `VegasLimit` of Netflix/concurrency-limits, whose defaults these are.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Vegas {
    /// The limit at the start. Default 20.
    pub initial: u32,
    /// Never below this. Default 1.
    pub min: u32,
    /// Never above this. Default 1,000.
    pub max: u32,
    /// A queue below this is short. Default: 3 × d, from 3 at a limit of 10 to 9 at 1,000.
    pub alpha: Option<u32>,
    /// A queue above this is long. Default: 6 × d.
    pub beta: Option<u32>,
    /// What is left of the limit after a drop or with a long queue. Default: d less.
    pub decrease: Option<Ratio>,
    /// The part of the new limit in the sum with the old one, above 0. Default 1: no smoothing.
    pub smoothing: Ratio,
    /// After how many samples, in multiples of the limit, the baseline is measured anew; drawn from half of it to all of
    /// it each time. 1 to 10,000, default 30.
    pub probe_every: u32,
    /// How it is measured.
    pub probe: VegasProbe,
    /// Judge batches of calls instead of each. Recommended where single calls differ much: the average of a batch has no
    /// lucky call in it (Netflix/concurrency-limits#37).
    pub batch: Option<Batch>,
}

/// How [`Vegas`] measures its baseline anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum VegasProbe {
    /// The limit goes down by two betas, at most to a half, which empties the queue that Vegas keeps; the smallest sample of
    /// calls that began after that, of a limit's worth, is the baseline, and the limit comes back. So the baseline does not
    /// rise with the queue.
    #[default]
    Drain,
    /// The next sample is the baseline, whatever queue it stood in, as Netflix does it: under lasting load the baseline rises
    /// with each probe, and the limit with it (Netflix/concurrency-limits#165).
    NextSample,
}

impl Default for Vegas {
    fn default() -> Self {
        Self {
            initial: 20,
            min: 1,
            max: 1000,
            alpha: None,
            beta: None,
            decrease: None,
            smoothing: Ratio::ONE,
            probe_every: 30,
            probe: VegasProbe::default(),
            batch: None,
        }
    }
}

impl Vegas {
    fn check(&self) -> Result<(), LimitConfigError> {
        check_range("vegas", self.initial, self.min, self.max)?;
        let alpha = self.alpha.unwrap_or(1);
        check((1..=MAX_LIMIT).contains(&alpha), "vegas.alpha", alpha, "1 to 1000000")?;
        let beta = self.beta.unwrap_or(MAX_LIMIT);
        check((alpha..=MAX_LIMIT).contains(&beta), "vegas.beta", beta, "alpha to 1000000")?;
        let decrease = self.decrease.unwrap_or(Ratio::HALF);
        let is_share = decrease > Ratio::ZERO && decrease < Ratio::ONE;
        check(is_share, "vegas.decrease", decrease.as_f64(), "above 0 and below 1")?;
        check(
            self.smoothing > Ratio::ZERO,
            "vegas.smoothing",
            self.smoothing.as_f64(),
            "above 0, at most 1",
        )?;
        check((1..=10_000).contains(&self.probe_every), "vegas.probe_every", self.probe_every, "1 to 10000")?;
        check_batch("vegas", self.batch.as_ref())
    }
}

/// By the latency of late beside that of a long while.
///
/// ```text
/// long: mean of the first 10 samples, then an average in which a new one counts 2 / (long_window + 1);
///       × 0.95 after a sample of which it is more than twice
/// 2 × in flight < L:  L
/// otherwise:          g = clamp(tolerance × long / latency, 0.5, 1)
///                     L = (1 - smoothing) L + smoothing (g L + queue)
/// ```
///
/// A drop counts with `g = 0.5`, the smallest, and its latency not at all: a full server turns calls away quickly, and in
/// Netflix's, where drops count by their latency alone, that opens the limit. Source: `Gradient2Limit` of
/// Netflix/concurrency-limits, whose defaults these are.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Gradient2 {
    /// The limit at the start. Default 20.
    pub initial: u32,
    /// Never below this. Default 20; for one endpoint take less.
    pub min: u32,
    /// Never above this. Default 200.
    pub max: u32,
    /// How much of a queue is welcome. Default 4, at most 1,000,000.
    pub queue: u32,
    /// How much slower than the long average is still fine, 1 to 100. Default 1.5.
    pub tolerance: f64,
    /// The part of the new limit in the sum with the old one, above 0. Default 0.2.
    pub smoothing: Ratio,
    /// The length of the long average in samples, 1 to 1,000,000. Default 600: ten minutes of batches of a second.
    pub long_window: u32,
    /// Judge batches of calls instead of each. Recommended: 600 single calls are no long while.
    pub batch: Option<Batch>,
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self {
            initial: 20,
            min: 20,
            max: 200,
            queue: 4,
            tolerance: 1.5,
            smoothing: percent(20),
            long_window: 600,
            batch: None,
        }
    }
}

impl Gradient2 {
    fn check(&self) -> Result<(), LimitConfigError> {
        check_range("gradient2", self.initial, self.min, self.max)?;
        check(self.queue <= MAX_LIMIT, "gradient2.queue", self.queue, "0 to 1000000")?;
        check((1.0..=100.0).contains(&self.tolerance), "gradient2.tolerance", self.tolerance, "1 to 100")?;
        let smoothing = self.smoothing.as_f64();
        check(smoothing > 0.0, "gradient2.smoothing", smoothing, "above 0, at most 1")?;
        let window = self.long_window;
        check((1..=MAX_LIMIT).contains(&window), "gradient2.long_window", window, "1 to 1000000")?;
        check_batch("gradient2", self.batch.as_ref())
    }
}

/// Envoy's adaptive concurrency.
///
/// ```text
/// measuring:  the limit is pinned until so many calls that began after that have ended;
///             their quantile is the latency without load
/// else, every sample interval:
///             g = clamp(unloaded × (1 + buffer) / quantile, 0.5, 2)
///             L = clamp(g L + sqrt(g L), min, max)
/// ```
///
/// It measures at the start, after every `probe_interval` with up to `jitter` more, and when the limit has been `min` in five
/// intervals in a row. What began before the last measuring did is not heard. Source: `gradient_controller.cc` of Envoy.
///
/// Three things are different. What the limit is pinned to and what it may fall to are two settings (envoy#38338), so that
/// measuring need not refuse calls (envoy#18152); and the first measuring after the start is drawn from the seed, between no
/// interval and a whole one, so that proxies which start together do not measure together (envoy#8337). And a drop is not taken
/// for a quick answer: measuring does not hear it, afterwards it counts as slower than every answer, and the limit does not
/// grow after an interval in which more than one call in a hundred was dropped.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EnvoyGradient {
    /// The limit while it measures, and at the start. Default 3.
    pub pinned: u32,
    /// Never below this. Default 3.
    pub min: u32,
    /// Never above this. Default 1,000.
    pub max: u32,
    /// How often the limit is set, 1 ms to 1 h. Default 100 ms, as in Envoy's examples.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub interval: Duration,
    /// Which quantile of latency stands for all. Default 0.5.
    pub quantile: Ratio,
    /// What latency may have more than without load, as a share of it. Default 0.25.
    pub buffer: Ratio,
    /// How often it measures without load, at least one `interval`, at most 24 h. Default 60 s, as in Envoy's examples.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub probe_interval: Duration,
    /// Up to this share of the interval is added, drawn each time. Default 0.15.
    pub jitter: Ratio,
    /// How many calls a measuring takes, 1 to 1,000,000. Default 50.
    pub probe_calls: u32,
    /// After how long a measuring ends with fewer, if it has any; 1 ms to 24 h. Default 10 s: where few calls come, a pinned
    /// limit must not stay for minutes. Envoy has no such end.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub probe_timeout: Duration,
}

impl Default for EnvoyGradient {
    fn default() -> Self {
        Self {
            pinned: 3,
            min: 3,
            max: 1000,
            interval: Duration::from_millis(100),
            quantile: Ratio::HALF,
            buffer: percent(25),
            probe_interval: Duration::from_secs(60),
            jitter: percent(15),
            probe_calls: 50,
            probe_timeout: Duration::from_secs(10),
        }
    }
}

impl EnvoyGradient {
    fn check(&self) -> Result<(), LimitConfigError> {
        check_range("envoy_gradient", self.min, self.min, self.max)?;
        check_limit("envoy_gradient.pinned", self.pinned, 1)?;
        let (millisecond, hour) = (Duration::from_millis(1), Duration::from_secs(3600));
        let spans = millisecond..=hour;
        check_span(spans.contains(&self.interval), "envoy_gradient.interval", self.interval, "1ms to 1h")?;
        let spans = self.interval..=24 * hour;
        let probes = self.probe_interval;
        check_span(spans.contains(&probes), "envoy_gradient.probe_interval", probes, "interval to 24h")?;
        let timeout = self.probe_timeout;
        let spans = millisecond..=24 * hour;
        check_span(spans.contains(&timeout), "envoy_gradient.probe_timeout", timeout, "1ms to 24h")?;
        check_limit("envoy_gradient.probe_calls", self.probe_calls, 1)
    }
}

/// Batches of calls, each of which counts as one sample: its mean latency, its most calls in flight, and dropped if any was.
///
/// Source: `WindowedLimit` of Netflix/concurrency-limits, with one difference: a batch that has too few samples when its time
/// is over goes on, where Netflix throws it away, so that less than `min_samples` a second never move the limit there.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Batch {
    /// It lasts twice its smallest latency, but at least this long. Default 1 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub min_time: Duration,
    /// And at most this long, up to 1 h. Default 1 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_time: Duration,
    /// And until it has so many samples, 1 to 1,000,000. Default 10.
    pub min_samples: u32,
    /// Calls faster than this are left out, since they did no work. Default 100 µs.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub min_latency: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            min_time: Duration::from_secs(1),
            max_time: Duration::from_secs(1),
            min_samples: 10,
            min_latency: Duration::from_micros(100),
        }
    }
}

fn check_batch(path: &str, batch: Option<&Batch>) -> Result<(), LimitConfigError> {
    let Some(batch) = batch else { return Ok(()) };
    let hour = Duration::from_secs(3600);
    let (min, max) = (batch.min_time, batch.max_time);
    check_span(max <= hour, format_args!("{path}.batch.max_time"), max, "0s to 1h")?;
    check_span(min <= max, format_args!("{path}.batch.min_time"), min, "0s to max_time")?;
    let latency = batch.min_latency;
    check_span(latency <= hour, format_args!("{path}.batch.min_latency"), latency, "0s to 1h")?;
    check_limit(&format!("{path}.batch.min_samples"), batch.min_samples, 1)
}

fn check_range(path: &str, initial: u32, min: u32, max: u32) -> Result<(), LimitConfigError> {
    check_limit(&format!("{path}.max"), max, 1)?;
    check((1..=max).contains(&min), format_args!("{path}.min"), min, "1 to max")?;
    check((min..=max).contains(&initial), format_args!("{path}.initial"), initial, "min to max")
}

pub(crate) fn check_limit(field: &str, limit: u32, least: u32) -> Result<(), LimitConfigError> {
    let allowed = if least == 0 { "0 to 1000000" } else { "1 to 1000000" };
    check((least..=MAX_LIMIT).contains(&limit), field, limit, allowed)
}

/// A share that is written in this file.
pub(crate) const fn percent(percent: u32) -> Ratio {
    match Ratio::percent(percent) {
        Ok(ratio) => ratio,
        Err(_) => Ratio::ONE,
    }
}
