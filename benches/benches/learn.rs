//! Policies that learn: a pick among endpoints that have answered, and a pick with the observation that ends it.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_balance::{BuiltIn, Event, LoadReport, Observation, Observed, Policy, Script, Table};
use evenkeel_benches::{Weights, mask, members, policy, table_loads, weights};
use evenkeel_types::Timestamp;

fn answer(micros: u64, at: Timestamp) -> Observation {
    Observation { latency: Duration::from_micros(micros), kind: Observed::Success, in_flight: 2, at }
}

/// A policy for which every endpoint has answered some twenty times and reported, at one second.
fn taught(name: &str, n: usize) -> BuiltIn {
    let policy = BuiltIn::new(&policy(name), &members(n, Weights::Equal)).expect("the defaults are valid");
    for round in 0..20 {
        let at = Timestamp::from_millis(900 + 5 * round);
        for token in 0..n as u64 {
            policy.on_event(Event::Observed(token, answer(10_000 + token * 7919 % 5000, at)));
            let report = LoadReport::new(100.0 + (token % 10) as f64, 0.0, 0.5);
            policy.on_event(Event::Reported(token, LoadReport { at, ..report }));
        }
    }
    policy
}

fn learn(criterion: &mut Criterion) {
    for name in [
        "least_request",
        "peak_ewma",
        "least_latency",
        "least_time",
        "c3",
        "prequal",
        "client_side_weighted_round_robin",
    ] {
        let mut group = criterion.benchmark_group(name);
        for n in [3, 10, 128, 1000] {
            let policy = taught(name, n);
            let (weights, loads, mask) = (weights(n, Weights::Equal), table_loads(n), mask(n, 1.0));
            let view = Table::new(&mask, &weights, &loads);
            let mut nanos = 1_000_000_000;
            let mut caller = Script::seeded(1);
            group.bench_function(BenchmarkId::new("pick", n), |bencher| {
                bencher.iter(|| {
                    nanos += 1000;
                    caller = caller.clone().at(Timestamp::from_nanos(nanos));
                    black_box(policy.choose(&view, &mut caller))
                });
            });
            group.bench_function(BenchmarkId::new("pick and observe", n), |bencher| {
                bencher.iter(|| {
                    nanos += 1000;
                    let at = Timestamp::from_nanos(nanos);
                    caller = caller.clone().at(at);
                    let picked = policy.choose(&view, &mut caller).expect("all are usable");
                    let observation = answer(10_000 + nanos % 4096, at);
                    policy.on_event(Event::Observed(picked as u64, observation));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, learn);
criterion_main!(benches);
