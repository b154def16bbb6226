//! Choosing alone: a policy over plain slices, as someone uses it who balances without the façade.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_balance::{BuiltIn, Script, Table};
use evenkeel_benches::{Weights, mask, members, policy, table_loads, weights};

fn choose(criterion: &mut Criterion, name: &str, spread: Weights) {
    let mut group = criterion.benchmark_group(name);
    for n in [10, 1000, 10_000] {
        let policy = BuiltIn::new(&policy(name), &members(n, spread)).expect("the defaults are valid");
        let (weights, loads) = (weights(n, spread), table_loads(n));
        for (label, share) in [("all usable", 1.0), ("one in ten usable", 0.1)] {
            let mask = mask(n, share);
            let view = Table::new(&mask, &weights, &loads);
            let mut caller = Script::seeded(1);
            group.bench_function(BenchmarkId::new(label, n), |bencher| {
                bencher.iter(|| black_box(policy.choose(&view, &mut caller)));
            });
        }
    }
    group.finish();
}

fn round_robin(criterion: &mut Criterion) {
    choose(criterion, "round_robin", Weights::Equal);
}

fn smooth_weighted_round_robin(criterion: &mut Criterion) {
    choose(criterion, "smooth_weighted_round_robin", Weights::OneToTen);
}

fn random(criterion: &mut Criterion) {
    choose(criterion, "random", Weights::Equal);
}

fn weighted_random(criterion: &mut Criterion) {
    choose(criterion, "weighted_random", Weights::OneToTen);
}

fn least_request(criterion: &mut Criterion) {
    choose(criterion, "least_request", Weights::Equal);
}

criterion_group!(benches, round_robin, smooth_weighted_round_robin, random, weighted_random, least_request);
criterion_main!(benches);
