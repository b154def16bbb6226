//! A request's way through a cluster: picked, counted in flight, finished.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::Outcome;
use evenkeel_benches::{POLICIES, Weights, cluster, names, request};

fn pick(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group(name);
    let request = request();
    let sizes: &[usize] = if POLICIES.contains(&name) { &[10, 1000, 10_000] } else { &[1000] };
    for &n in sizes {
        for (label, share) in [("all usable", 1.0), ("one in ten usable", 0.1)] {
            let cluster = cluster(name, n, share, Weights::Equal);
            group.bench_function(BenchmarkId::new(label, n), |bencher| {
                bencher
                    .iter(|| black_box(cluster.pick(&request).map(|pick| pick.finish(Outcome::success()))));
            });
        }
    }
    group.finish();
}

/// Every policy there is; those that look at weights where all are one do the same work.
fn every_policy(criterion: &mut Criterion) {
    for name in names() {
        pick(criterion, name);
    }
}

criterion_group!(benches, every_policy);
criterion_main!(benches);
