//! How do I keep retries from making an outage worse?
//!
//! Count every request in a `RetryBudget`, and take each retry from it. While little fails every failure is retried; when
//! everything fails, the load grows by the ratio and no more. A `Ledger` does the same for all kinds of extra load at once.

use std::error::Error;
use std::time::Duration;

use evenkeel_limit::{Extra, Ledger, LedgerConfig, RetryBudget, RetryBudgetConfig};
use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    println!("failing   load with a budget of 0.2   load with 3 retries always");
    for percent in [1, 10, 50, 100] {
        let (budgeted, unlimited) = (load(percent, Some(&budget()?)), load(percent, None));
        assert!(budgeted < 1.25, "the load grows by the ratio and no more: {budgeted}");
        println!("{percent:>6} %   {budgeted:>24.2}   {unlimited:>25.2}");
    }

    let ledger = Ledger::new(&LedgerConfig::default())?;
    let now = Timestamp::from_secs(1);
    (0..1000).for_each(|_| ledger.deposit(now));
    println!("\na bad second, in which everybody wants more, 1000 requests, stock {}:", ledger.stock(now));
    for kind in [Extra::Hedge, Extra::Spill, Extra::Retry, Extra::Probe] {
        let granted = (0..1000).filter(|_| ledger.reserve(kind, now).is_ok()).count();
        println!("  {kind:?}: {granted} of 1000");
    }
    println!("  all extra load together: {}", ledger.spent(now));
    Ok(())
}

fn budget() -> Result<RetryBudget, Box<dyn Error>> {
    let config = RetryBudgetConfig { ratio: 0.2, min_per_second: 10, ttl: Duration::from_secs(10) };
    Ok(RetryBudget::new(&config)?)
}

/// Attempts for each request, of 1000 requests a second over 30 s, each of which may be retried three times.
fn load(failing_percent: u64, budget: Option<&RetryBudget>) -> f64 {
    let mut draws = SplitMix64::new(1);
    let mut attempts = 0_u64;
    for millis in 0..30_000 {
        let now = Timestamp::from_millis(millis);
        if let Some(budget) = budget {
            budget.deposit(now);
        }
        for retry in 0..4 {
            let allowed = retry == 0 || budget.is_none_or(|budget| budget.try_withdraw(now).is_ok());
            if !allowed {
                break;
            }
            attempts += 1;
            if draws.next_u64() % 100 >= failing_percent {
                break;
            }
        }
    }
    attempts as f64 / 30_000.0
}
