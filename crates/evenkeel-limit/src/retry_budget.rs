use std::fmt;
use std::time::Duration;

use evenkeel_types::Timestamp;
use thiserror::Error;

use crate::error::{LimitConfigError, check, check_span};
use crate::sliding::{Sliding, Spent};

/// How many retries there may be.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RetryBudgetConfig {
    /// Retries for each request, 0 to 1,000, kept in millionths. Default 0.2, as Finagle and linkerd: a fifth more load is
    /// what a fleet should survive on a bad day, and more is how a bad day becomes an outage.
    pub ratio: f64,
    /// Retries a second that need no requests, for a client that has just started or has little traffic; `ttl` of them are
    /// there at once. Default 10.
    pub min_per_second: u32,
    /// How long a request or a retry counts, 1 s to 60 s. Default 10 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub ttl: Duration,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10, ttl: Duration::from_secs(10) }
    }
}

impl RetryBudgetConfig {
    /// One that never lets anything through.
    #[must_use]
    pub const fn empty() -> Self {
        Self { ratio: 0.0, min_per_second: 0, ttl: Duration::from_secs(10) }
    }

    pub(crate) fn check(&self, path: &str) -> Result<(), LimitConfigError> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
        millionths(&format!("{prefix}ratio"), self.ratio)?;
        let allowed = Duration::from_secs(1)..=Duration::from_secs(60);
        check_span(allowed.contains(&self.ttl), format_args!("{prefix}ttl"), self.ttl, "1s to 60s")
    }

    /// In millionths of a retry.
    pub(crate) fn reserve(&self) -> u128 {
        u128::from(self.min_per_second) * self.ttl.as_nanos() / 1000
    }
}

/// A ratio of 0 to 1,000 in millionths, rounded; what is above zero and rounds to zero is refused.
pub(crate) fn millionths(field: &str, ratio: f64) -> Result<u64, LimitConfigError> {
    let is_fine = ratio == 0.0 || (0.000_001..=1000.0).contains(&ratio);
    check(is_fine, field, ratio, "0, or 0.000001 to 1000")?;
    Ok((ratio * 1e6 + 0.5) as u64)
}

/// How many retries there may be, in proportion to the requests of the last seconds. Shared by all threads.
///
/// ```text
/// allowed:  retries + 1 ≤ reserve + requests × ratio      over the last ttl
/// ```
///
/// where the reserve is `min_per_second × ttl`. Everything is counted in whole numbers and compared exactly, in millionths, so
/// 0.6 is 0.6 (tower 0.5 takes it for 1). Requests and retries are forgotten in ten steps, and a retry that is forgotten gives
/// its place back, so a spent reserve is there again after `ttl`. A deposit is one atomic addition, a withdrawal one
/// compare-and-swap. Source: `RetryBudget` of Finagle.
///
/// ```
/// use evenkeel_limit::{RetryBudget, RetryBudgetConfig};
/// use evenkeel_types::Timestamp;
///
/// let budget = RetryBudget::new(&RetryBudgetConfig { ratio: 0.5, min_per_second: 0, ..RetryBudgetConfig::default() })?;
/// let now = Timestamp::from_secs(1);
/// (0..4).for_each(|_| budget.deposit(now));
/// assert!(budget.try_withdraw(now).is_ok());
/// assert!(budget.try_withdraw(now).is_ok());
/// assert!(budget.try_withdraw(now).is_err());
/// # Ok::<(), evenkeel_limit::LimitConfigError>(())
/// ```
pub struct RetryBudget {
    window: Sliding<2>,
    ratio: u64,
    reserve: u128,
}

/// A withdrawal that can be taken back: with [`RetryBudget::cancel`] if nothing was sent. Dropping it keeps it spent.
#[derive(Debug)]
#[must_use = "it is spent, unless it is cancelled"]
pub struct Withdrawal(Spent);

impl Withdrawal {
    const fn spend(self) -> Spent {
        self.0
    }
}

/// The budget is used up: do not retry. It says nothing about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("budget used up: {spent} of {allowed} in the last seconds")]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BudgetSpent {
    /// What was taken in the window.
    pub spent: u64,
    /// What may be taken in it.
    pub allowed: u64,
}

impl RetryBudget {
    /// A budget with its reserve.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &RetryBudgetConfig) -> Result<Self, LimitConfigError> {
        config.check("")?;
        let ratio = millionths("ratio", config.ratio)?;
        Ok(Self { window: Sliding::new(config.ttl, SLOTS), ratio, reserve: config.reserve() })
    }

    /// Counts a request, not a retry.
    #[inline]
    pub fn deposit(&self, now: Timestamp) {
        self.window.add(REQUESTS, now);
    }

    /// Takes a retry.
    ///
    /// # Errors
    ///
    /// [`BudgetSpent`], with the numbers.
    pub fn try_withdraw(&self, now: Timestamp) -> Result<Withdrawal, BudgetSpent> {
        let spend = self.window.add_if(RETRIES, now, |spent| u128::from(spent) < self.allowed());
        spend.map(Withdrawal).ok_or_else(|| self.spent())
    }

    /// Takes one from each of two budgets, or from none: a hedge wants its own and the client's.
    ///
    /// # Errors
    ///
    /// [`BudgetSpent`], of the one that refused.
    pub fn try_withdraw_both(
        &self,
        other: &Self,
        now: Timestamp,
    ) -> Result<(Withdrawal, Withdrawal), BudgetSpent> {
        let mine = self.try_withdraw(now)?;
        match other.try_withdraw(now) {
            Ok(theirs) => Ok((mine, theirs)),
            Err(spent) => {
                self.cancel(mine);
                Err(spent)
            }
        }
    }

    /// Takes a withdrawal back: what it was for was not done. One that has been forgotten changes nothing.
    pub fn cancel(&self, withdrawal: Withdrawal) {
        self.window.take_back(RETRIES, withdrawal.spend());
    }

    /// How many could be taken now.
    #[must_use]
    pub fn balance(&self, now: Timestamp) -> u64 {
        let spent = u128::from(self.window.count(RETRIES, now));
        u64::try_from(self.allowed().saturating_sub(spent)).unwrap_or(u64::MAX)
    }

    /// In whole retries, as the window was last rolled.
    fn allowed(&self) -> u128 {
        let requests = u128::from(self.window.counted(REQUESTS));
        (self.reserve + requests * u128::from(self.ratio)) / 1_000_000
    }

    #[cold]
    fn spent(&self) -> BudgetSpent {
        let allowed = u64::try_from(self.allowed()).unwrap_or(u64::MAX);
        BudgetSpent { spent: self.window.counted(RETRIES), allowed }
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("requests", &self.window.counted(REQUESTS))
            .field("retries", &self.window.counted(RETRIES))
            .field("ratio_ppm", &self.ratio)
            .finish_non_exhaustive()
    }
}

const REQUESTS: usize = 0;
const RETRIES: usize = 1;
const SLOTS: usize = 10;
