use crate::MAX_LIMIT;
use crate::error::{LimitConfigError, check};
use crate::sync::{AtomicU32, Ordering};

/// The token bucket of the AWS SDKs' standard retry mode.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct AwsStandardConfig {
    /// The full count, up to 1,000,000; 0 allows no retry at all. Default 500.
    pub capacity: u32,
    /// What a retry after an error costs, 1 to the capacity (whatever it is if that is 0). Default 5; newer SDKs take 14.
    pub retry_cost: u32,
    /// What a retry after a timeout costs, 1 to 1,000,000; none is made if it is more than the capacity. Default 10; newer SDKs
    /// take 14.
    pub timeout_cost: u32,
    /// What a retry after throttling costs, 1 to 1,000,000, likewise. Default 5.
    pub throttling_cost: u32,
    /// What a success at the first attempt brings. Default 1.
    pub success_reward: u32,
}

impl Default for AwsStandardConfig {
    fn default() -> Self {
        Self { capacity: 500, retry_cost: 5, timeout_cost: 10, throttling_cost: 5, success_reward: 1 }
    }
}

/// Why an attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsRetry {
    /// It failed.
    Error,
    /// It timed out.
    Timeout,
    /// It was throttled.
    Throttling,
}

/// The token bucket of the AWS SDKs' standard retry mode. Source: `TokenBucket` of aws-smithy-runtime.
///
/// ```text
/// retry:                    takes its cost, or is refused
/// success after a retry:    gives that cost back
/// success at once:          gives success_reward
/// ```
///
/// never above the capacity. Nothing comes back by time: after a long outage it takes successes to retry again.
#[derive(Debug)]
pub struct AwsStandardBucket {
    config: AwsStandardConfig,
    tokens: AtomicU32,
}

impl AwsStandardBucket {
    /// A full bucket.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &AwsStandardConfig) -> Result<Self, LimitConfigError> {
        let AwsStandardConfig { capacity, retry_cost, timeout_cost, throttling_cost, .. } = *config;
        check(capacity <= MAX_LIMIT, "capacity", capacity, "0 to 1000000")?;
        let affordable = capacity == 0 || retry_cost <= capacity;
        check(retry_cost > 0 && affordable, "retry_cost", retry_cost, "1 to the capacity")?;
        for (field, cost) in [("timeout_cost", timeout_cost), ("throttling_cost", throttling_cost)] {
            check((1..=MAX_LIMIT).contains(&cost), field, cost, "1 to 1000000")?;
        }
        Ok(Self { config: config.clone(), tokens: AtomicU32::new(config.capacity) })
    }

    /// Takes the cost of a retry. What it cost belongs to [`succeeded`](Self::succeeded). `None`: do not retry.
    pub fn try_retry(&self, why: AwsRetry) -> Option<u32> {
        let cost = match why {
            AwsRetry::Error => self.config.retry_cost,
            AwsRetry::Timeout => self.config.timeout_cost,
            AwsRetry::Throttling => self.config.throttling_cost,
        };
        let less = |tokens: u32| tokens.checked_sub(cost);
        self.tokens.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less).ok().map(|_| cost)
    }

    /// A request has succeeded, whose last retry cost so much; `None` if it was the first attempt.
    pub fn succeeded(&self, last_retry: Option<u32>) {
        let back = last_retry.unwrap_or(self.config.success_reward);
        let more = |tokens: u32| Some(tokens.saturating_add(back).min(self.config.capacity));
        let _ = self.tokens.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
    }

    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.tokens.load(Ordering::Relaxed)
    }
}
