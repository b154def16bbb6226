//! The mask of usable positions: what picks read, and a flip of health.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_benches::mask as masked;

fn contains(criterion: &mut Criterion) {
    let mask = masked(10_000, 0.5);
    let mut position = 0;
    criterion.bench_function("contains", |bencher| {
        bencher.iter(|| {
            position = (position + 7919) % 10_000;
            black_box(mask.contains(position))
        });
    });
}

fn at(criterion: &mut Criterion) {
    let mask = masked(10_000, 0.5);
    let mut index = 0;
    criterion.bench_function("at", |bencher| {
        bencher.iter(|| {
            index = (index + 7919) % mask.usable();
            black_box(mask.at(index))
        });
    });
}

fn set(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("set, down and up");
    for n in [10, 10_000] {
        let mask = masked(n, 1.0);
        let mut position = 0;
        group.bench_function(BenchmarkId::from_parameter(n), |bencher| {
            bencher.iter(|| {
                position = (position + 7919) % n;
                black_box((mask.set(position, false), mask.set(position, true)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, contains, at, set);
criterion_main!(benches);
