use evenkeel_types::{Ratio, Timestamp};

use crate::RateRefusal;
use crate::config::percent;
use crate::error::{LimitConfigError, check};

/// The rate of the AWS SDKs' adaptive retry mode.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct AwsAdaptiveConfig {
    /// What is left of the rate after throttling, above 0 and below 1. Default 0.7.
    pub beta: Ratio,
    /// How fast the cubic grows, above 0, at most 100. Default 0.4.
    pub scale: f64,
    /// What a new half second counts for in the measured rate, above 0. Default 0.8.
    pub smoothing: Ratio,
    /// Never fewer requests a second than this, above 0. Default 0.5.
    pub min_rate: f64,
}

impl Default for AwsAdaptiveConfig {
    fn default() -> Self {
        Self { beta: percent(70), scale: 0.4, smoothing: percent(80), min_rate: 0.5 }
    }
}

/// The rate of the AWS SDKs' adaptive retry mode: nothing until the first throttling, then a token bucket whose rate follows
/// CUBIC. Source: `ClientRateLimiter` of aws-smithy-runtime.
///
/// ```text
/// measured:    requests in each half second × 2, smoothed
/// throttled:   last_max = min(measured, fill)  (measured, while the bucket is not on);  fill = beta × last_max
///              window = cbrt(last_max × (1 - beta) / scale)
/// otherwise:   fill = scale × (t - window)^3 + last_max      t: seconds since the throttling
/// then         fill = clamp(fill, min_rate, 2 × measured)
/// ```
///
/// `&mut`: a lock around it, as in the SDKs.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsAdaptiveRate {
    config: AwsAdaptiveConfig,
    now: f64,
    on: bool,
    fill: f64,
    capacity: f64,
    tokens: f64,
    refilled_at: f64,
    measured: f64,
    count: u64,
    /// `None` before the first attempt.
    last_bucket: Option<f64>,
    last_max: f64,
    window: f64,
    throttled_at: f64,
}

impl AwsAdaptiveRate {
    /// Not on yet.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &AwsAdaptiveConfig) -> Result<Self, LimitConfigError> {
        let beta = config.beta;
        let is_share = beta > Ratio::ZERO && beta < Ratio::ONE;
        check(is_share, "beta", beta.as_f64(), "above 0 and below 1")?;
        let scale = config.scale;
        check(scale > 0.0 && scale <= 100.0, "scale", scale, "above 0, at most 100")?;
        check(config.smoothing > Ratio::ZERO, "smoothing", config.smoothing.as_f64(), "above 0, at most 1")?;
        let least = config.min_rate;
        check(least > 0.0 && least <= 1e6, "min_rate", least, "above 0, at most 1000000")?;
        Ok(Self {
            config: config.clone(),
            now: 0.0,
            on: false,
            fill: 0.0,
            capacity: 0.0,
            tokens: 0.0,
            refilled_at: 0.0,
            measured: 0.0,
            count: 0,
            last_bucket: None,
            last_max: 0.0,
            window: 0.0,
            throttled_at: 0.0,
        })
    }

    /// Takes so many tokens: 1 for a call, 5 for a retry, 10 for one after a timeout.
    ///
    /// # Errors
    ///
    /// [`RateRefusal`]: from when on there are enough.
    pub fn try_take(&mut self, cost: f64, now: Timestamp) -> Result<(), RateRefusal> {
        self.refill(now);
        if !self.on {
            return Ok(());
        }
        // A bucket that is too small for the cost would wait for ever; the SDK lets it go into debt then.
        let needed = cost.min(self.capacity);
        if self.tokens >= needed {
            self.tokens -= cost.max(0.0);
            return Ok(());
        }
        let wait = ((needed - self.tokens) / self.fill).clamp(0.0, 86_400.0);
        let wait =
            std::time::Duration::from_secs_f64(wait).saturating_add(std::time::Duration::from_nanos(1));
        Err(RateRefusal { retry_at: now.saturating_add(wait) })
    }

    /// An attempt has ended: throttled, or in whatever other way.
    pub fn record(&mut self, throttled: bool, now: Timestamp) {
        self.refill(now);
        self.measure();
        let wanted = if throttled {
            let last_max = if self.on { self.measured.min(self.fill) } else { self.measured };
            self.last_max = last_max;
            self.window = self.cubic_window();
            self.throttled_at = self.now;
            self.on = true;
            last_max * self.config.beta.as_f64()
        } else {
            self.window = self.cubic_window();
            let t = self.now - self.throttled_at - self.window;
            self.config.scale * t * t * t + self.last_max
        };
        let least = self.config.min_rate;
        self.set_fill(wanted.min(2.0 * self.measured).max(least));
    }

    /// Tokens a second.
    #[must_use]
    pub const fn fill(&self) -> f64 {
        self.fill
    }

    /// The requests a second that were measured.
    #[must_use]
    pub const fn measured(&self) -> f64 {
        self.measured
    }

    /// Whether there was throttling, so that the bucket counts.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.on
    }

    fn refill(&mut self, now: Timestamp) {
        let seconds = now.as_nanos() as f64 / 1e9;
        self.now = self.now.max(seconds);
        let more = (self.now - self.refilled_at) * self.fill;
        self.tokens = (self.tokens + more).min(self.capacity);
        self.refilled_at = self.now;
    }

    fn measure(&mut self) {
        let bucket = libm::floor(self.now * 2.0) / 2.0;
        self.count += 1;
        let last = *self.last_bucket.get_or_insert(bucket);
        if bucket > last {
            let rate = self.count as f64 / (bucket - last);
            let smoothing = self.config.smoothing.as_f64();
            self.measured = rate * smoothing + self.measured * (1.0 - smoothing);
            self.count = 0;
            self.last_bucket = Some(bucket);
        }
    }

    fn cubic_window(&self) -> f64 {
        libm::cbrt(self.last_max * (1.0 - self.config.beta.as_f64()) / self.config.scale)
    }

    fn set_fill(&mut self, fill: f64) {
        self.fill = fill;
        self.capacity = fill.max(1.0);
        self.tokens = self.tokens.min(self.capacity);
    }
}
