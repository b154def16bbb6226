//! The registry: leases renewed, endpoints that come and go, and a snapshot by name.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_benches::{Weights, endpoint};
use evenkeel_registry::{Lease, Registry, ServiceName};
use evenkeel_types::Timestamp;

const TTL: Option<Duration> = Some(Duration::from_secs(3600));

fn snapshot(criterion: &mut Criterion) {
    let (registry, service, _) = filled(1000);
    criterion.bench_function("snapshot", |bencher| bencher.iter(|| black_box(registry.snapshot(&service))));
}

fn renew(criterion: &mut Criterion) {
    let (registry, _, lease) = filled(1000);
    let mut now = 0;
    criterion.bench_function("renew", |bencher| {
        bencher.iter(|| {
            now += 1000;
            black_box(registry.renew(Timestamp::from_nanos(now), &lease).is_ok())
        });
    });
}

fn register_and_deregister(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("register and deregister");
    group.sample_size(10);
    for n in [10, 1000] {
        let (registry, service, _) = filled(n);
        let newcomer = endpoint(n, Weights::Equal);
        let now = Timestamp::from_secs(1);
        group.bench_function(BenchmarkId::from_parameter(n), |bencher| {
            bencher.iter(|| {
                let (lease, _) =
                    registry.register(now, &service, newcomer.clone(), TTL).expect("room for one more");
                black_box(registry.deregister(now, &lease).is_ok())
            });
        });
    }
    group.finish();
}

/// A registry with `n` endpoints of one service, and the lease of the last.
fn filled(n: usize) -> (Registry, ServiceName, Lease) {
    let registry = Registry::default();
    let service: ServiceName = "users".parse().expect("a name");
    let register = |position| {
        registry
            .register(Timestamp::ORIGIN, &service, endpoint(position, Weights::Equal), TTL)
            .expect("room")
            .0
    };
    let leases: Vec<Lease> = (0..n).map(register).collect();
    let last = leases.last().expect("at least one").clone();
    (registry, service, last)
}

criterion_group!(benches, snapshot, renew, register_and_deregister);
criterion_main!(benches);
