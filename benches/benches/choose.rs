//! Choosing alone: a policy over plain slices, as someone uses it who balances without the façade.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_balance::{BuiltIn, InvalidPolicy, Table};
use evenkeel_benches::{Weights, caller, mask, members, names, policy, table_loads, weights};

fn choose(criterion: &mut Criterion, name: &str) {
    let spread = if name.contains("weighted") { Weights::OneToTen } else { Weights::Equal };
    let mut group = criterion.benchmark_group(name);
    for n in [10, 1000, 10_000] {
        let policy = match BuiltIn::new(&policy(name), &members(n, spread)) {
            Ok(policy) => policy,
            // What copies a program has its limits too.
            Err(InvalidPolicy::Members { .. }) => continue,
            Err(error) => unreachable!("the defaults are valid: {error}"),
        };
        let (weights, loads) = (weights(n, spread), table_loads(n));
        for (label, share) in [("all usable", 1.0), ("one in ten usable", 0.1)] {
            let mask = mask(n, share);
            let view = Table::new(&mask, &weights, &loads);
            let mut caller = caller();
            group.bench_function(BenchmarkId::new(label, n), |bencher| {
                bencher.iter(|| black_box(policy.choose(&view, &mut caller)));
            });
        }
    }
    group.finish();
}

/// Every policy there is; those that look at weights where all are one do the same work.
fn every_policy(criterion: &mut Criterion) {
    for name in names() {
        choose(criterion, name);
    }
}

criterion_group!(benches, every_policy);
criterion_main!(benches);
