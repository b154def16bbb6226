//! A request's way through a cluster: picked, counted in flight, finished.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::{Outcome, Request};
use evenkeel_benches::{Weights, cluster};

fn pick(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group(name);
    for n in [10, 1000, 10_000] {
        for (label, share) in [("all usable", 1.0), ("one in ten usable", 0.1)] {
            let cluster = cluster(name, n, share, Weights::Equal);
            group.bench_function(BenchmarkId::new(label, n), |bencher| {
                bencher.iter(|| {
                    black_box(cluster.pick(&Request::new()).map(|pick| pick.finish(Outcome::success())))
                });
            });
        }
    }
    group.finish();
}

fn round_robin(criterion: &mut Criterion) {
    pick(criterion, "round_robin");
}

fn smooth_weighted_round_robin(criterion: &mut Criterion) {
    pick(criterion, "smooth_weighted_round_robin");
}

fn random(criterion: &mut Criterion) {
    pick(criterion, "random");
}

fn weighted_random(criterion: &mut Criterion) {
    pick(criterion, "weighted_random");
}

fn least_request(criterion: &mut Criterion) {
    pick(criterion, "least_request");
}

criterion_group!(benches, round_robin, smooth_weighted_round_robin, random, weighted_random, least_request);
criterion_main!(benches);
