use std::time::Duration;

use crate::error::{LimitConfigError, check};
use crate::sync::{AtomicU32, Ordering};

/// gRPC's `retryThrottling`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct GrpcThrottleConfig {
    /// The full count, 1 to 1,000. Default 10, as in the proposal's example.
    pub max_tokens: u32,
    /// What a success brings back, above 0, at most 1,000; decimals beyond the third are cut off. Default 0.1.
    pub token_ratio: f64,
}

impl Default for GrpcThrottleConfig {
    fn default() -> Self {
        Self { max_tokens: 10, token_ratio: 0.1 }
    }
}

/// gRPC's retry throttling: a count of tokens, and retries only above its half. Source: gRPC proposal A6.
///
/// ```text
/// failure:  tokens = max(0, tokens - 1)           at most five attempts in all, whatever the policy says
/// success:  tokens = min(max, tokens + ratio)
/// retry if  tokens > max / 2                      also of hedged attempts
/// ```
#[derive(Debug)]
pub struct GrpcThrottle {
    /// In thousandths.
    tokens: AtomicU32,
    max: u32,
    ratio: u32,
}

/// What a server says about retries: the metadata `grpc-retry-pushback-ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// Nothing: the backoff of the client holds.
    None,
    /// Retry after exactly this long, and begin the backoff anew.
    After(Duration),
    /// Do not retry: it was negative, or no number.
    Stop,
}

impl Pushback {
    /// Reads the value of `grpc-retry-pushback-ms`.
    #[must_use]
    pub fn parse(value: Option<&str>) -> Self {
        let Some(value) = value else { return Self::None };
        match value.parse::<u32>() {
            Ok(millis) => Self::After(Duration::from_millis(u64::from(millis))),
            Err(_) => Self::Stop,
        }
    }
}

impl GrpcThrottle {
    /// With all tokens.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &GrpcThrottleConfig) -> Result<Self, LimitConfigError> {
        check((1..=1000).contains(&config.max_tokens), "max_tokens", config.max_tokens, "1 to 1000")?;
        let ratio = config.token_ratio;
        check((0.001..=1000.0).contains(&ratio), "token_ratio", ratio, "0.001 to 1000")?;
        // A millionth of a thousandth more, so that 0.3 is not cut off to 0.299.
        let ratio = (ratio * 1000.0 + 1e-6) as u32;
        let max = config.max_tokens * 1000;
        Ok(Self { tokens: AtomicU32::new(max), max, ratio })
    }

    /// An attempt has failed with a status that may be retried, or the server said [`Pushback::Stop`]. Whether to retry.
    pub fn failure(&self) -> bool {
        let less = |tokens: u32| Some(tokens.saturating_sub(1000));
        let before = self.tokens.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
        before.unwrap_or_default().saturating_sub(1000) > self.max / 2
    }

    /// An attempt has succeeded.
    pub fn success(&self) {
        let more = |tokens: u32| Some(tokens.saturating_add(self.ratio).min(self.max));
        let _ = self.tokens.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
    }

    /// Whether retries and hedges are allowed now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.tokens.load(Ordering::Relaxed) > self.max / 2
    }

    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> f64 {
        f64::from(self.tokens.load(Ordering::Relaxed)) / 1000.0
    }
}
