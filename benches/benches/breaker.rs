//! The circuit breaker: a permit and a success while it is closed, and a refusal.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel_breaker::{Breaker, BreakerConfig, Rule, Window};
use evenkeel_types::{Outcome, Ratio, Timestamp};

fn closed(criterion: &mut Criterion) {
    let ratio = |window| Rule::Ratio { failures: Ratio::HALF, min_requests: 20, window };
    for (name, rule) in [
        ("consecutive", Rule::Consecutive { failures: 5 }),
        ("count window", ratio(Window::Count { size: 100 })),
        ("time window", ratio(Window::Time { span: Duration::from_secs(1), buckets: 10 })),
    ] {
        let breaker = breaker(rule);
        let mut now = 0;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                now += 1000;
                let admission = breaker.try_acquire(|| Timestamp::from_nanos(now)).ok()?;
                black_box(
                    breaker.record(admission.permit, &Outcome::success(), || Timestamp::from_nanos(now)),
                )
            });
        });
    }
}

fn refused(criterion: &mut Criterion) {
    let breaker = breaker(Rule::Consecutive { failures: 1 });
    let now = Timestamp::from_secs(1);
    let admission = breaker.try_acquire(now).expect("a new breaker is closed");
    breaker.record(admission.permit, &Outcome::failure(), now).expect("one failure trips it");
    criterion
        .bench_function("refused", |bencher| bencher.iter(|| black_box(breaker.try_acquire(now).is_err())));
}

fn breaker(rule: Rule) -> Breaker {
    let config = BreakerConfig { rules: vec![rule], ..BreakerConfig::default() };
    Breaker::new(&config).expect("valid rules")
}

criterion_group!(benches, closed, refused);
criterion_main!(benches);
