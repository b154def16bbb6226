//! Model checks: every interleaving of a few threads. Run with `RUSTFLAGS='--cfg loom'`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test fails so")]

use std::time::Duration;

use evenkeel_limit::{
    Aimd, Extra, KeyedRate, KeyedRateConfig, Ledger, LedgerConfig, LedgerKind, LimitConfig, Limiter,
    RateConfig, RateLimit, RetryBudget, RetryBudgetConfig,
};
use evenkeel_types::{Outcome, Timestamp};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

const NOW: Timestamp = Timestamp::from_secs(100);

/// Both at once; what each returns.
fn both<R: 'static, S>(first: impl FnOnce() -> R + 'static, second: impl FnOnce() -> S) -> (R, S) {
    let other = thread::spawn(first);
    let mine = second();
    (other.join().unwrap(), mine)
}

#[test]
fn never_more_in_flight_than_the_limit() {
    loom::model(|| {
        let limiter = Arc::new(Limiter::new(&LimitConfig::fixed(1), 1).unwrap());
        let present = Arc::new(AtomicU32::new(0));
        let call = |limiter: Arc<Limiter>, present: Arc<AtomicU32>| {
            move || {
                let Ok(token) = limiter.try_acquire(NOW) else { return false };
                assert_eq!(present.fetch_add(1, Ordering::SeqCst), 0);
                present.fetch_sub(1, Ordering::SeqCst);
                limiter.release(token, &Outcome::success(), NOW);
                true
            }
        };
        let (first, second) =
            both(call(limiter.clone(), present.clone()), call(limiter.clone(), present.clone()));
        assert!(first || second, "somebody gets the only slot");
        assert_eq!(limiter.in_flight(), 0);
    });
}

#[test]
fn a_lowered_limit_holds_for_whoever_comes_after() {
    loom::model(|| {
        let limiter = Arc::new(Limiter::new(&LimitConfig::fixed(2), 1).unwrap());
        let other = limiter.clone();
        let (_, taken) = both(
            move || {
                let _ = other.set_limit(1).unwrap();
            },
            || [limiter.try_acquire(NOW), limiter.try_acquire(NOW)].into_iter().filter(Result::is_ok).count(),
        );
        assert_eq!((limiter.limit(), limiter.in_flight() as usize), (1, taken));
        assert!(limiter.try_acquire(NOW).is_err());
    });
}

#[test]
fn a_predecessor_does_not_set_its_successors_limit() {
    loom::model(|| {
        let config = LimitConfig::Aimd(Aimd { initial: 2, min: 1, ..Aimd::default() });
        let limiter = Arc::new(Limiter::new(&config, 1).unwrap());
        let token = limiter.try_acquire(NOW).unwrap();
        let other = limiter.clone();
        let (_, successor) = both(
            move || {
                let _ = other.release(token, &Outcome::overload(None), NOW);
            },
            || limiter.successor(&LimitConfig::fixed(7), 1).unwrap(),
        );
        assert_eq!((successor.limit(), successor.in_flight()), (7, 0));
    });
}

#[test]
fn a_drop_that_finds_the_algorithm_at_work_is_kept() {
    loom::model(|| {
        let config = LimitConfig::Aimd(Aimd { initial: 10, min: 1, ..Aimd::default() });
        let limiter = Arc::new(Limiter::new(&config, 1).unwrap());
        let tokens = (limiter.try_acquire(NOW).unwrap(), limiter.try_acquire(NOW).unwrap());
        let other = limiter.clone();
        both(
            move || {
                let _ = other.release(tokens.0, &Outcome::overload(None), NOW);
            },
            || {
                let _ = limiter.release(tokens.1, &Outcome::overload(None), NOW);
            },
        );
        let last = limiter.try_acquire(NOW).unwrap();
        let _ = limiter.release(last, &Outcome::success(), NOW);
        assert_eq!(limiter.limit(), 8, "two drops, the second of them perhaps with the last sample");
        assert_eq!(limiter.in_flight(), 0);
    });
}

#[test]
fn a_budget_is_not_spent_twice() {
    loom::model(|| {
        let config = RetryBudgetConfig { ratio: 1.0, min_per_second: 0, ttl: Duration::from_secs(10) };
        let budget = Arc::new(RetryBudget::new(&config).unwrap());
        budget.deposit(NOW);
        let other = budget.clone();
        let (first, second) =
            both(move || other.try_withdraw(NOW).is_ok(), || budget.try_withdraw(NOW).is_ok());
        assert!(first != second);
        assert_eq!(budget.balance(NOW), 0);
    });
}

#[test]
fn no_deposit_is_lost_while_the_window_moves() {
    loom::model(|| {
        let config = RetryBudgetConfig { ratio: 1.0, min_per_second: 0, ttl: Duration::from_secs(10) };
        let budget = Arc::new(RetryBudget::new(&config).unwrap());
        budget.deposit(NOW);
        let later = Timestamp::from_secs(101);
        let other = budget.clone();
        both(move || other.deposit(later), || budget.deposit(later));
        assert_eq!(budget.balance(later), 3);
        assert!(budget.balance(Timestamp::from_secs(110)) <= 2, "the first has left");
        assert_eq!(budget.balance(Timestamp::from_secs(111)), 0, "so have all");
    });
}

#[test]
fn a_cancelled_withdrawal_is_there_for_the_other() {
    loom::model(|| {
        let config = RetryBudgetConfig { ratio: 1.0, min_per_second: 0, ttl: Duration::from_secs(10) };
        let budget = Arc::new(RetryBudget::new(&config).unwrap());
        budget.deposit(NOW);
        let withdrawal = budget.try_withdraw(NOW).unwrap();
        let other = budget.clone();
        let (_, granted) = both(
            move || {
                other.cancel(withdrawal);
            },
            || budget.try_withdraw(NOW).is_ok(),
        );
        assert_eq!(budget.balance(NOW), u64::from(!granted));
    });
}

#[test]
fn a_ledger_gives_its_last_one_to_one_kind() {
    loom::model(|| {
        let total = RetryBudgetConfig { ratio: 1.0, min_per_second: 0, ttl: Duration::from_secs(10) };
        let free = LedgerKind::default();
        let config = LedgerConfig {
            total,
            probe: free.clone(),
            retry: free.clone(),
            spill: free.clone(),
            hedge: free,
        };
        let ledger = Arc::new(Ledger::new(&config).unwrap());
        ledger.deposit(NOW);
        let other = ledger.clone();
        let (first, second) = both(
            move || other.reserve(Extra::Retry, NOW).is_ok(),
            || ledger.reserve(Extra::Hedge, NOW).is_ok(),
        );
        assert!(first != second);
        assert_eq!(ledger.spent(NOW), 1);
    });
}

#[test]
fn a_bucket_of_one_gives_one() {
    loom::model(|| {
        let rate = RateLimit::new(&RateConfig { limit: 1, per: Duration::from_secs(1), burst: 1 }).unwrap();
        let rate = Arc::new(rate);
        let other = rate.clone();
        let (first, second) = both(move || other.try_take(NOW).is_ok(), || rate.try_take(NOW).is_ok());
        assert!(first != second);
    });
}

#[test]
fn a_new_key_gets_one_place() {
    loom::model(|| {
        let rate = RateConfig { limit: 1, per: Duration::from_secs(1), burst: 1 };
        let rates =
            KeyedRate::new(&KeyedRateConfig { rate, keys: 8, ..KeyedRateConfig::default() }, 1).unwrap();
        let rates = Arc::new(rates);
        let other = rates.clone();
        let (first, second) =
            both(move || other.try_take(b"a", NOW).is_ok(), || rates.try_take(b"a", NOW).is_ok());
        assert!(first != second, "one of the two, and not both from two places");
    });
}
