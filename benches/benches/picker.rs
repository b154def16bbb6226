//! The same from a handle of one thread, and choosing without counting.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::Outcome;
use evenkeel_benches::{POLICIES, Weights, cluster, names, request};

fn picker(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group(name);
    let request = request();
    let sizes: &[usize] = if POLICIES.contains(&name) { &[10, 1000, 10_000] } else { &[1000] };
    for &n in sizes {
        for (label, share) in [("all usable", 1.0), ("one in ten usable", 0.1)] {
            let mut picker = cluster(name, n, share, Weights::Equal).picker();
            group.bench_function(BenchmarkId::new(label, n), |bencher| {
                bencher.iter(|| black_box(picker.pick(&request).map(|pick| pick.finish(Outcome::success()))));
            });
            group.bench_function(BenchmarkId::new(format!("choosing, {label}"), n), |bencher| {
                bencher.iter(|| black_box(picker.choose(&request).is_ok()));
            });
        }
    }
    group.finish();
}

/// Every policy there is; those that look at weights where all are one do the same work.
fn every_policy(criterion: &mut Criterion) {
    for name in names() {
        picker(criterion, name);
    }
}

criterion_group!(benches, every_policy);
criterion_main!(benches);
