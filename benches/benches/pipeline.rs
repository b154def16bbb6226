//! A pick through tiers, zones, a subset, two choices and a breaker; and a flip that moves shares.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel::{CheckState, MonotonicClock, Outcome, Request};
use evenkeel_benches::pipeline;

fn pick(criterion: &mut Criterion) {
    let cluster = pipeline(MonotonicClock::new());
    criterion.bench_function("pipeline/pick and finish", |bencher| {
        bencher.iter(|| black_box(cluster.pick(&Request::new()).map(|pick| pick.finish(Outcome::success()))));
    });
    let endpoints = cluster.subset();
    let mut is_up = false;
    criterion.bench_function("pipeline/flip", |bencher| {
        bencher.iter(|| {
            is_up = !is_up;
            endpoints[0].set_check(if is_up { CheckState::Up } else { CheckState::Down })
        });
    });
}

criterion_group!(benches, pick);
criterion_main!(benches);
