use evenkeel_types::Ratio;

use crate::config::percent;
use crate::error::{LimitConfigError, check};
use crate::sync::{AtomicU32, Ordering};
use crate::{MAX_LIMIT, Refusal};

/// Envoy's `retry_budget`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EnvoyRetryBudgetConfig {
    /// Retries in flight as a share of requests in flight and pending. Default 0.2.
    pub budget: Ratio,
    /// So many retries in flight are always allowed, up to 1,000,000. Default 3.
    pub min_retry_concurrency: u32,
}

impl Default for EnvoyRetryBudgetConfig {
    fn default() -> Self {
        Self { budget: percent(20), min_retry_concurrency: 3 }
    }
}

/// A limit on the retries in flight.
///
/// ```text
/// retries in flight < max(min_retry_concurrency, floor(budget × (active + pending)))
/// ```
///
/// It is instantaneous: nothing is remembered. Source: `ResourceManagerImpl` of Envoy. Taking is one compare-and-swap, where
/// Envoy compares and then adds.
#[derive(Debug)]
pub struct EnvoyRetryBudget {
    config: EnvoyRetryBudgetConfig,
    retries: AtomicU32,
}

impl EnvoyRetryBudget {
    /// No retries in flight.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &EnvoyRetryBudgetConfig) -> Result<Self, LimitConfigError> {
        let least = config.min_retry_concurrency;
        check(least <= MAX_LIMIT, "min_retry_concurrency", least, "0 to 1000000")?;
        Ok(Self { config: config.clone(), retries: AtomicU32::new(0) })
    }

    /// Begins a retry while so many requests are active or pending; [`end`](Self::end) it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the limit and the retries in flight.
    pub fn try_begin(&self, active_and_pending: u32) -> Result<(), Refusal> {
        let limit = self.limit(active_and_pending);
        let more = |retries: u32| (retries < limit).then_some(retries + 1);
        match self.retries.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(in_flight) => Err(Refusal { limit, in_flight, retry_hint: None }),
        }
    }

    /// Ends a retry.
    pub fn end(&self) {
        let less = |retries: u32| retries.checked_sub(1);
        let _ = self.retries.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
    }

    /// The limit while so many requests are active or pending.
    #[must_use]
    pub fn limit(&self, active_and_pending: u32) -> u32 {
        let share = u64::from(active_and_pending) * u64::from(self.config.budget.parts_per_million());
        self.config.min_retry_concurrency.max((share / 1_000_000) as u32)
    }

    /// The retries in flight.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }
}
