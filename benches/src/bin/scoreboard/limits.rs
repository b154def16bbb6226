//! Limits and budgets: beginning and ending a call, a deposit, a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use evenkeel::{Clock, MonotonicClock, Outcome, Timestamp};
use evenkeel_limit::{
    Aimd, Extra, Gradient2, Ledger, LedgerConfig, LimitConfig, Limiter, Permit, RateConfig, RateLimit,
    RetryBudget, RetryBudgetConfig, Vegas,
};

use crate::cases::{Cases, repeat};

pub(crate) fn all(cases: &mut Cases) {
    floors(cases);
    limiters(cases);
    budgets(cases);
    rates(cases);
    #[cfg(feature = "peers")]
    peers(cases);
}

/// One shared compare-and-swap, and two.
fn floors(cases: &mut Cases) {
    let word = Arc::new(CachePadded::new(AtomicU64::new(0)));
    let add = |word: &AtomicU64| {
        let more = |count: u64| Some(count.wrapping_add(1));
        word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
    };
    cases.add("limit", "floor/one-cas", 0, 1.0, || {
        let word = Arc::clone(&word);
        repeat(move || add(&word))
    });
    cases.add("limit", "floor/two-cas", 0, 1.0, || {
        let word = Arc::clone(&word);
        repeat(move || (add(&word), add(&word)))
    });
}

fn limiters(cases: &mut Cases) {
    for (name, config) in [
        ("fixed", LimitConfig::fixed(1000)),
        ("aimd", LimitConfig::Aimd(Aimd::default())),
        ("vegas", LimitConfig::Vegas(Vegas::default())),
        ("gradient2", LimitConfig::Gradient2(Gradient2::default())),
    ] {
        let limiter = Arc::new(Limiter::new(&config, 1).expect("valid settings"));
        let outcome = Outcome::success().with_latency(Duration::from_millis(10));
        cases.add("limit", &format!("evenkeel/{name}"), 0, 1.0, || {
            let limiter = Arc::clone(&limiter);
            let mut nanos = 0;
            repeat(move || {
                nanos += 100;
                let now = Timestamp::from_nanos(nanos);
                limiter.try_acquire(now).ok().and_then(|token| limiter.release(token, &outcome, now))
            })
        });
    }
    let limiter = Arc::new(Limiter::new(&LimitConfig::fixed(1000), 1).expect("valid settings"));
    cases.add("limit", "evenkeel/fixed-permit", 0, 1.0, || {
        let limiter = Arc::clone(&limiter);
        repeat(move || Permit::try_acquire(&*limiter, Timestamp::ORIGIN).is_ok())
    });
    let full = Arc::new(Limiter::new(&LimitConfig::fixed(0), 1).expect("valid settings"));
    cases.add("limit", "evenkeel/refused", 0, 1.0, || {
        let full = Arc::clone(&full);
        repeat(move || full.try_acquire(Timestamp::ORIGIN).is_err())
    });
}

fn budgets(cases: &mut Cases) {
    let budget = Arc::new(RetryBudget::new(&RetryBudgetConfig::default()).expect("valid settings"));
    cases.add("limit", "evenkeel/budget-deposit", 0, 1.0, || {
        let budget = Arc::clone(&budget);
        let mut nanos = 0;
        repeat(move || {
            nanos += 100;
            budget.deposit(Timestamp::from_nanos(nanos));
        })
    });
    let clock = Arc::new(MonotonicClock::new());
    let timed = Arc::new(RetryBudget::new(&RetryBudgetConfig::default()).expect("valid settings"));
    cases.add("limit", "evenkeel/budget-deposit-and-clock", 0, 1.0, || {
        let (budget, clock) = (Arc::clone(&timed), Arc::clone(&clock));
        repeat(move || budget.deposit(clock.now()))
    });
    let rich = RetryBudgetConfig { ratio: 1000.0, min_per_second: u32::MAX, ttl: Duration::from_secs(60) };
    let rich = Arc::new(RetryBudget::new(&rich).expect("valid settings"));
    cases.add("limit", "evenkeel/budget-withdraw", 0, 1.0, || {
        let budget = Arc::clone(&rich);
        repeat(move || budget.try_withdraw(Timestamp::ORIGIN).is_ok())
    });
    let total = RetryBudgetConfig { ratio: 1000.0, min_per_second: u32::MAX, ttl: Duration::from_secs(60) };
    let ledger = Ledger::new(&LedgerConfig { total, ..LedgerConfig::default() }).expect("valid settings");
    let ledger = Arc::new(ledger);
    cases.add("limit", "evenkeel/ledger-reserve", 0, 1.0, || {
        let ledger = Arc::clone(&ledger);
        repeat(move || ledger.reserve(Extra::Retry, Timestamp::ORIGIN).is_ok())
    });
}

fn rates(cases: &mut Cases) {
    let config = RateConfig { limit: 1_000_000, per: Duration::from_secs(1), burst: 1_000_000 };
    let rate = Arc::new(RateLimit::new(&config).expect("valid settings"));
    cases.add("limit", "evenkeel/rate", 0, 1.0, || {
        let rate = Arc::clone(&rate);
        let mut nanos = 0;
        repeat(move || {
            nanos += 2500;
            rate.try_take(Timestamp::from_nanos(nanos)).is_ok()
        })
    });
}

#[cfg(feature = "peers")]
fn peers(cases: &mut Cases) {
    use tower::retry::budget::{Budget, TpsBudget};

    let budget = Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.2));
    cases.add("limit", "tower/budget-deposit", 0, 1.0, || {
        let budget = Arc::clone(&budget);
        repeat(move || budget.deposit())
    });
}
