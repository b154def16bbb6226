//! Placing keys: look-ups from a hash, builds, and updates of one member, beside their floors.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_balance::hash::Placement;
use evenkeel_balance::{
    Ketama, KetamaConfig, Maglev, MaglevConfig, Mask, MemberList, Policy, RingHash, RingHashConfig, Script,
    Table,
};
use evenkeel_benches::{Weights, members};
use evenkeel_types::{Endpoint, RandomSource, SplitMix64, WyRand};

const SIZES: [usize; 4] = [10, 100, 1000, 10_000];

/// Members of equal weight with one of them gone or changed; the token is the position in the full list.
#[derive(Debug)]
struct Without<'a>(&'a MemberList, usize);

impl evenkeel_balance::Members for Without<'_> {
    fn weights(&self) -> &[u32] {
        &self.0.weights()[1..]
    }

    fn token(&self, position: usize) -> u64 {
        self.0.token(if position < self.1 { position } else { position + 1 })
    }

    fn endpoint(&self, position: usize) -> std::sync::Arc<Endpoint> {
        self.0.endpoint(if position < self.1 { position } else { position + 1 })
    }
}

fn ring(members: &MemberList) -> RingHash {
    RingHash::new(&RingHashConfig::default(), members).expect("the defaults are valid")
}

fn ketama(members: &MemberList) -> Ketama {
    Ketama::new(&KetamaConfig::default(), members).expect("the defaults are valid")
}

fn maglev(members: &MemberList, table_size: u32) -> Maglev {
    let config = MaglevConfig { table_size, ..MaglevConfig::default() };
    Maglev::new(&config, members).expect("a prime of enough slots")
}

/// What the loop and its hashes cost by themselves, the table of a Maglev by hand, and a plain binary search.
fn floors(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash/floor");
    let mut hashes = WyRand::new(1);
    group.bench_function("draw", |bencher| bencher.iter(|| black_box(hashes.next_u64())));
    let table: Vec<u16> = (0..65_537_u32).map(|slot| (slot % 1000) as u16).collect();
    group.bench_function("hash % 65537, one load", |bencher| {
        bencher.iter(|| black_box(table[(hashes.next_u64() % 65_537) as usize]));
    });
    for n in SIZES {
        let mut source = SplitMix64::new(7);
        let mut points: Vec<(u64, u32)> = (0..n * 160).map(|p| (source.next_u64(), p as u32)).collect();
        points.sort_unstable();
        group.bench_function(BenchmarkId::new("binary search of 160 points each", n), |bencher| {
            bencher.iter(|| {
                let hash = hashes.next_u64();
                let at = points.partition_point(|point| point.0 < hash);
                black_box(points.get(at).unwrap_or(&points[0]).1)
            });
        });
    }
    group.finish();
}

fn lookup(criterion: &mut Criterion, name: &str, n: usize, placement: &impl Placement) {
    let mut hashes = WyRand::new(1);
    criterion.benchmark_group("hash/home").bench_function(BenchmarkId::new(name, n), |bencher| {
        bencher.iter(|| black_box(placement.home(hashes.next_u64())));
    });
}

fn lookups(criterion: &mut Criterion) {
    for n in SIZES {
        let all = members(n, Weights::Equal);
        lookup(criterion, "ring_hash", n, &ring(&all));
        lookup(criterion, "ketama", n, &ketama(&all));
        lookup(criterion, "maglev 65537", n, &maglev(&all, 65_537));
        lookup(criterion, "maglev 655373", n, &maglev(&all, 655_373));
    }
}

/// Whole picks, with a view and a caller behind pointers: all usable, one of ten, one alone, and with a bound.
fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash/pick");
    for n in [10, 1000, 10_000] {
        let all = members(n, Weights::Equal);
        let mut bounded = RingHashConfig::default();
        bounded.key.balance_factor = Some(125);
        let bounded = RingHash::new(&bounded, &all).expect("125 is valid");
        let (ring, maglev) = (ring(&all), maglev(&all, 65_537));
        let policies: [(&str, &dyn Policy); 3] =
            [("ring_hash", &ring), ("maglev", &maglev), ("ring_hash bounded", &bounded)];
        let masks: [(&str, Mask); 3] = [
            ("all", Mask::all_usable(n)),
            ("one in ten", Mask::new(n, |position| position % 10 == 0)),
            ("one", Mask::new(n, |position| position == n / 2)),
        ];
        for (policy_name, policy) in policies {
            for (mask_name, mask) in &masks {
                let view = Table::new(mask, &[], &[]);
                let mut hashes = WyRand::new(1);
                group.bench_function(
                    BenchmarkId::new(format!("{policy_name}, {mask_name} usable"), n),
                    |bencher| {
                        bencher.iter(|| {
                            let mut caller = Script::seeded(1).with_key(hashes.next_u64());
                            black_box(policy.pick(&view, &mut caller))
                        });
                    },
                );
            }
        }
    }
    group.finish();
}

fn builds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash/build");
    for n in [1000, 10_000] {
        let all = members(n, Weights::Equal);
        group.bench_function(BenchmarkId::new("ring_hash", n), |bencher| {
            bencher.iter_with_large_drop(|| ring(&all))
        });
        group.bench_function(BenchmarkId::new("ketama", n), |bencher| {
            bencher.iter_with_large_drop(|| ketama(&all))
        });
        for size in [65_537, 655_373] {
            group.bench_function(BenchmarkId::new(format!("maglev {size}"), n), |bencher| {
                bencher.iter_with_large_drop(|| maglev(&all, size));
            });
        }
    }
    group.finish();
}

fn updates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash/one member less");
    for n in [1000, 10_000] {
        let all = members(n, Weights::Equal);
        let (ring, ketama) = (ring(&all), ketama(&all));
        let mut gone = (0..n).cycle();
        let mut without = || Without(&all, gone.next().unwrap_or(0));
        group.bench_function(BenchmarkId::new("ring_hash", n), |bencher| {
            bencher.iter_with_large_drop(|| ring.updated(&without()).expect("valid as before"));
        });
        group.bench_function(BenchmarkId::new("ketama", n), |bencher| {
            bencher.iter_with_large_drop(|| ketama.updated(&without()).expect("valid as before"));
        });
    }
    group.finish();
}

fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

criterion_group!(name = benches; config = quick(); targets = floors, lookups, picks, builds, updates);
criterion_main!(benches);
