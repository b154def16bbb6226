use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};

use crate::config::percent;
use crate::error::{LimitConfigError, check, check_span};
use crate::shed::Shed;
use crate::{RetryBudget, RetryBudgetConfig};

/// What to do with requests whose deadline has passed.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct DeadlineConfig {
    /// At most so many sheds for each request served, up to 1. Default 0.2: where clocks differ, or a deadline was set too
    /// short, most requests look late.
    pub max_share: Ratio,
    /// Over this time, 1 s to 60 s. Default 10 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub window: Duration,
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        Self { max_share: percent(20), window: Duration::from_secs(10) }
    }
}

/// Sheds requests whose deadline has passed, but never more than a share. Shared by all threads.
///
/// Every request served earns `max_share` of a shed; one that is shed earns nothing. Source: `DeadlineFilter` of Finagle.
#[derive(Debug)]
pub struct DeadlineShed(RetryBudget);

impl DeadlineShed {
    /// Nothing earned.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &DeadlineConfig) -> Result<Self, LimitConfigError> {
        let share = config.max_share;
        check(share > Ratio::ZERO, "deadline.max_share", share.as_f64(), "above 0, at most 1")?;
        let windows = Duration::from_secs(1)..=Duration::from_secs(60);
        check_span(windows.contains(&config.window), "deadline.window", config.window, "1s to 60s")?;
        let budget = RetryBudgetConfig { ratio: share.as_f64(), min_per_second: 0, ttl: config.window };
        Ok(Self(RetryBudget::new(&budget)?))
    }

    /// A request comes with this deadline, if it has one. At the deadline itself it is not late, as in Finagle.
    ///
    /// # Errors
    ///
    /// [`Shed::TooLate`]: nobody waits for it any more.
    pub fn try_serve(&self, deadline: Option<Timestamp>, now: Timestamp) -> Result<(), Shed> {
        let is_late = deadline.is_some_and(|deadline| deadline < now);
        if is_late && self.0.try_withdraw(now).is_ok() {
            return Err(Shed::TooLate);
        }
        self.0.deposit(now);
        Ok(())
    }
}
