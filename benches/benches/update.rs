//! One endpoint of many changes, from the call to the swapped snapshot.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::{CheckState, Endpoint, Weight};
use evenkeel_benches::{Weights, cluster, endpoint, endpoints};

fn set_weight(criterion: &mut Criterion) {
    each_size(criterion, "set_weight", |n| {
        let cluster = cluster("least_request", n, 1.0, Weights::Equal);
        let id = endpoint(n / 2, Weights::Equal).id().clone();
        let mut turn = 0;
        move || {
            turn += 1;
            cluster.set_weight(&id, Weight::new(1 + turn % 2)).is_ok()
        }
    });
}

fn upsert_and_remove(criterion: &mut Criterion) {
    each_size(criterion, "upsert and remove", |n| {
        let cluster = cluster("least_request", n, 1.0, Weights::Equal);
        let newcomer = endpoint(n, Weights::Equal);
        move || cluster.upsert(newcomer.clone()).is_ok() && cluster.remove(newcomer.id()).is_ok()
    });
}

fn apply(criterion: &mut Criterion) {
    each_size(criterion, "apply, one of the list is new", |n| {
        let cluster = cluster("least_request", n, 1.0, Weights::Equal);
        let mut list: Vec<Endpoint> = endpoints(n, Weights::Equal).collect();
        let mut turn = 0;
        move || {
            turn += 1;
            list[n / 2] = endpoint(n + turn % 2, Weights::Equal);
            cluster.apply(list.iter().cloned()).is_ok()
        }
    });
}

fn flip(criterion: &mut Criterion) {
    each_size(criterion, "flip, down and up", |n| {
        let cluster = cluster("least_request", n, 1.0, Weights::Equal);
        let endpoint = cluster.endpoint(endpoint(n / 2, Weights::Equal).id()).expect("a known endpoint");
        move || !endpoint.set_check(CheckState::Down).usable() && endpoint.set_check(CheckState::Up).usable()
    });
}

fn each_size<F: FnMut() -> bool>(criterion: &mut Criterion, name: &str, make: impl Fn(usize) -> F) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10);
    for n in [10, 1000, 10_000] {
        let mut act = make(n);
        group.bench_function(BenchmarkId::from_parameter(n), |bencher| bencher.iter(|| black_box(act())));
    }
    group.finish();
}

criterion_group!(benches, set_weight, upsert_and_remove, apply, flip);
criterion_main!(benches);
