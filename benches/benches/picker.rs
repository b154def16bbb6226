//! The same from a handle of one thread, and choosing without counting.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::{Outcome, Request};
use evenkeel_benches::{Weights, cluster};

fn picker(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group(name);
    for n in [10, 1000, 10_000] {
        for (label, share) in [("all usable", 1.0), ("one in ten usable", 0.1)] {
            let mut picker = cluster(name, n, share, Weights::Equal).picker();
            group.bench_function(BenchmarkId::new(label, n), |bencher| {
                bencher.iter(|| {
                    black_box(picker.pick(&Request::new()).map(|pick| pick.finish(Outcome::success())))
                });
            });
            group.bench_function(BenchmarkId::new(format!("choosing, {label}"), n), |bencher| {
                bencher.iter(|| black_box(picker.choose(&Request::new()).is_ok()));
            });
        }
    }
    group.finish();
}

fn round_robin(criterion: &mut Criterion) {
    picker(criterion, "round_robin");
}

fn smooth_weighted_round_robin(criterion: &mut Criterion) {
    picker(criterion, "smooth_weighted_round_robin");
}

fn random(criterion: &mut Criterion) {
    picker(criterion, "random");
}

fn weighted_random(criterion: &mut Criterion) {
    picker(criterion, "weighted_random");
}

fn least_request(criterion: &mut Criterion) {
    picker(criterion, "least_request");
}

criterion_group!(benches, round_robin, smooth_weighted_round_robin, random, weighted_random, least_request);
criterion_main!(benches);
