use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};

use crate::config::percent;
use crate::error::{LimitConfigError, check, check_span};
use crate::hedge::{HedgeDelay, HedgePlan};
use crate::{BudgetSpent, RetryBudget, RetryBudgetConfig};

/// When to send a second request, and how many.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HedgeConfig {
    /// How many second requests for each request, below 1; zero sends none. It is also the quantile of latency after which
    /// one is sent: 0.01 waits for the slowest hundredth. Default 0.01.
    pub max_extra_load: Ratio,
    /// No second request before this. Default 1 ms: below it the second is sent as the first comes back.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub min_delay: Duration,
    /// No second request at all where the delay would be this or more. Default 2 s: a call that slow has another trouble.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub off_at: Duration,
    /// The delay is computed over three of these. Default 10 s, at least 100 ms, at most 1 h.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub window: Duration,
    /// How often. Default 3 s, at least 10 ms, at most 1 h.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub refresh: Duration,
    /// Second requests a second that need no requests. Default 0: without traffic nothing is known about latency.
    pub min_per_second: u32,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self {
            max_extra_load: percent(1),
            min_delay: Duration::from_millis(1),
            off_at: Duration::from_secs(2),
            window: Duration::from_secs(10),
            refresh: Duration::from_secs(3),
            min_per_second: 0,
        }
    }
}

impl HedgeConfig {
    fn check(&self) -> Result<(), LimitConfigError> {
        let share = self.max_extra_load;
        check(share < Ratio::ONE, "max_extra_load", share.as_f64(), "0 to below 1")?;
        let hour = Duration::from_secs(3600);
        let windows = Duration::from_millis(100)..=hour;
        check_span(windows.contains(&self.window), "window", self.window, "100ms to 1h")?;
        let refreshes = Duration::from_millis(10)..=hour;
        check_span(refreshes.contains(&self.refresh), "refresh", self.refresh, "10ms to 1h")?;
        check_span(self.min_delay < self.off_at, "min_delay", self.min_delay, "less than off_at")?;
        check_span(self.off_at <= hour, "off_at", self.off_at, "more than min_delay, at most 1h")
    }

    fn budget(&self) -> Result<RetryBudget, LimitConfigError> {
        let ratio = self.max_extra_load.as_f64();
        let min_per_second = if ratio == 0.0 { 0 } else { self.min_per_second };
        RetryBudget::new(&RetryBudgetConfig { ratio, min_per_second, ttl: Duration::from_secs(10) })
    }
}

/// Second requests for what is slow: a delay that follows latency, and a budget.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_limit::{HedgeConfig, HedgeStep, Hedger};
/// use evenkeel_types::{Ratio, Timestamp};
///
/// let hedger = Hedger::new(&HedgeConfig { max_extra_load: Ratio::percent(50)?, ..HedgeConfig::default() })?;
/// for second in 0..4 {
///     hedger.start(Timestamp::from_secs(second));
///     hedger.record(Duration::from_millis(10), Timestamp::from_secs(second));
/// }
/// let now = Timestamp::from_secs(4);
/// let mut plan = hedger.start(now);
/// let at = plan.next_deadline().ok_or("a delay is known")?;
/// assert_eq!(plan.tick(at, || hedger.withdraw(None, at)), HedgeStep::Send);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Hedger {
    config: HedgeConfig,
    delay: HedgeDelay,
    budget: RetryBudget,
}

impl Hedger {
    /// Nothing known, so that no second requests are sent yet. Allocates 32 KiB for latencies.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &HedgeConfig) -> Result<Self, LimitConfigError> {
        config.check()?;
        Ok(Self { config: config.clone(), delay: HedgeDelay::new(config), budget: config.budget()? })
    }

    /// Another share; zero stops at once. Latencies stay, the budget begins anew, as in Finagle.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] unless it is below 1; then nothing has changed.
    pub fn set_max_extra_load(&mut self, share: Ratio) -> Result<(), LimitConfigError> {
        let config = HedgeConfig { max_extra_load: share, ..self.config.clone() };
        config.check()?;
        self.budget = config.budget()?;
        self.delay.set_max_extra_load(share);
        self.config = config;
        Ok(())
    }

    /// Counts a request, and plans its second one.
    pub fn start(&self, now: Timestamp) -> HedgePlan {
        self.budget.deposit(now);
        let is_on = self.config.max_extra_load > Ratio::ZERO;
        HedgePlan::new(self.delay.get().filter(|_| is_on).map(|delay| now.saturating_add(delay)))
    }

    /// As [`HedgeDelay::record`].
    pub fn record(&self, latency: Duration, now: Timestamp) {
        self.delay.record(latency, now);
    }

    /// Takes a second request from the budget, and from the client's budget too if there is one, or from neither.
    ///
    /// # Errors
    ///
    /// [`BudgetSpent`], of the one that refused.
    pub fn withdraw(&self, clients: Option<&RetryBudget>, now: Timestamp) -> Result<(), BudgetSpent> {
        match clients {
            None => self.budget.try_withdraw(now).map(drop),
            Some(clients) => self.budget.try_withdraw_both(clients, now).map(drop),
        }
    }

    /// The delay.
    #[must_use]
    pub const fn delay(&self) -> &HedgeDelay {
        &self.delay
    }

    /// The budget of second requests.
    #[must_use]
    pub const fn budget(&self) -> &RetryBudget {
        &self.budget
    }
}
