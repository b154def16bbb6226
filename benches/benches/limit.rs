//! Limits and budgets: a call begun and ended, a deposit, a token.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel_limit::{
    Aimd, EnvoyGradient, Gradient2, LimitConfig, Limiter, RateConfig, RateLimit, RetryBudget,
    RetryBudgetConfig, Vegas,
};
use evenkeel_types::{Outcome, Timestamp};

fn limiters(criterion: &mut Criterion) {
    for (name, config) in [
        ("fixed", LimitConfig::fixed(1000)),
        ("aimd", LimitConfig::Aimd(Aimd::default())),
        ("vegas", LimitConfig::Vegas(Vegas::default())),
        ("gradient2", LimitConfig::Gradient2(Gradient2::default())),
        ("envoy gradient", LimitConfig::EnvoyGradient(EnvoyGradient::default())),
    ] {
        let limiter = Limiter::new(&config, 1).expect("valid settings");
        let outcome = Outcome::success().with_latency(Duration::from_millis(10));
        let mut nanos = 0;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                nanos += 1000;
                let now = Timestamp::from_nanos(nanos);
                let token = limiter.try_acquire(now).ok()?;
                black_box(limiter.release(token, &outcome, now))
            });
        });
    }
}

fn budgets(criterion: &mut Criterion) {
    let budget = RetryBudget::new(&RetryBudgetConfig::default()).expect("valid settings");
    let mut nanos = 0;
    criterion.bench_function("budget deposit", |bencher| {
        bencher.iter(|| {
            nanos += 1000;
            budget.deposit(Timestamp::from_nanos(nanos));
        });
    });
    let config = RateConfig { limit: 1_000_000, per: Duration::from_secs(1), burst: 1000 };
    let rate = RateLimit::new(&config).expect("valid settings");
    let mut nanos = 0;
    criterion.bench_function("rate", |bencher| {
        bencher.iter(|| {
            nanos += 1000;
            black_box(rate.try_take(Timestamp::from_nanos(nanos)).is_ok())
        });
    });
}

criterion_group!(benches, limiters, budgets);
criterion_main!(benches);
