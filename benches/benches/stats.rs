//! The estimators: what a request's end costs, and what a pick reads.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel_stats::{InFlight, PeakEwma, Quantiles, RollingCounter, TimeConstant, WindowShape};
use evenkeel_types::{Ratio, Timestamp};

fn peak_ewma(criterion: &mut Criterion) {
    let estimate = PeakEwma::new(TimeConstant::new(Duration::from_secs(10)).expect("above zero"));
    let mut now = 0;
    criterion.bench_function("peak_ewma observe", |bencher| {
        bencher.iter(|| {
            now += 1000;
            estimate.observe(Duration::from_nanos(1_000_000 + now % 4096), Timestamp::from_nanos(now));
        });
    });
    criterion.bench_function("peak_ewma read", |bencher| {
        bencher.iter(|| black_box(estimate.nanos(Timestamp::from_nanos(now + 1000))));
    });
}

fn rolling(criterion: &mut Criterion) {
    let window = RollingCounter::new(WindowShape::default()).expect("the default is valid");
    let mut now = 0;
    criterion.bench_function("rolling record", |bencher| {
        bencher.iter(|| {
            now += 1000;
            window.record_success(Timestamp::from_nanos(now));
        });
    });
    criterion.bench_function("rolling counts", |bencher| {
        bencher.iter(|| black_box(window.counts(Timestamp::from_nanos(now))));
    });
}

fn quantiles(criterion: &mut Criterion) {
    let quantiles = Quantiles::new();
    let mut nanos = 0;
    criterion.bench_function("quantiles record", |bencher| {
        bencher.iter(|| {
            nanos = (nanos + 7919) % 100_000_000;
            quantiles.record(Duration::from_nanos(nanos));
        });
    });
    criterion.bench_function("quantiles read", |bencher| {
        bencher.iter(|| black_box(quantiles.quantile(Ratio::HALF)));
    });
}

fn in_flight(criterion: &mut Criterion) {
    let calls = InFlight::new();
    criterion
        .bench_function("in_flight start and end", |bencher| bencher.iter(|| drop(black_box(calls.start()))));
}

criterion_group!(benches, peak_ewma, rolling, quantiles, in_flight);
criterion_main!(benches);
