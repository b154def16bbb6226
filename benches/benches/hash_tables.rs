//! Where a hash lives, by every table of hashes, beside the shortest code that honestly does the same; what it costs to
//! build them, and to change one endpoint. With the feature `peers` the crates that do the same, hash given.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel_balance::hash::{Placement, jump_bucket};
use evenkeel_balance::{
    Anchor, AnchorConfig, IpHash, IpHashConfig, Jump, JumpConfig, Mask, Members, Modulo, ModuloConfig,
    MultiProbe, MultiProbeConfig, Rendezvous, RendezvousConfig, Script, Table,
};
use evenkeel_benches::{Weights, members};
use evenkeel_types::SplitMix64;

const SIZES: [usize; 4] = [10, 100, 1000, 10_000];

/// The next hash costs a nanosecond, in every case alike.
fn lookup(criterion: &mut Criterion, name: &str, n: usize, mut of: impl FnMut(u64) -> usize) {
    let mut key = 0_u64;
    criterion.bench_function(&format!("{name}/{n}"), |bencher| {
        bencher.iter(|| {
            key = key.wrapping_add(SplitMix64::STEP);
            black_box(of(SplitMix64::mix(key)))
        });
    });
}

fn home(placement: &impl Placement) -> impl FnMut(u64) -> usize {
    move |hash| placement.home(hash).map_or(0, |candidate| candidate.position)
}

fn lookups(criterion: &mut Criterion) {
    for n in SIZES {
        for (spread, suffix) in [(Weights::Equal, ""), (Weights::OneToTen, " weights 1 to 10")] {
            let set = members(n, spread);
            let set: &dyn Members = &set;
            let modulo = Modulo::new(&ModuloConfig::default(), set).expect("valid");
            lookup(criterion, &format!("modulo{suffix}"), n, home(&modulo));
            let jump = Jump::new(&JumpConfig::default(), set).expect("valid");
            lookup(criterion, &format!("jump{suffix}"), n, home(&jump));
            let anchor = Anchor::new(&AnchorConfig::default(), set).expect("valid");
            lookup(criterion, &format!("anchor{suffix}"), n, home(&anchor));
            let rendezvous = Rendezvous::new(&RendezvousConfig::default(), set).expect("valid");
            lookup(criterion, &format!("rendezvous{suffix}"), n, home(&rendezvous));
            let multi_probe = MultiProbe::new(&MultiProbeConfig::default(), set).expect("valid");
            lookup(criterion, &format!("multi_probe{suffix}"), n, home(&multi_probe));
        }
        let set = members(n, Weights::Equal);
        let ip_hash = IpHash::new(&IpHashConfig::default(), &set).expect("valid");
        lookup(criterion, "ip_hash", n, |hash| {
            let address = std::net::IpAddr::V4((hash as u32).into());
            ip_hash.home(ip_hash.hash_of(address, 0)).map_or(0, |candidate| candidate.position)
        });
    }
}

/// A tenth out: the rest is asked directly.
fn some_out(criterion: &mut Criterion) {
    for n in SIZES {
        let (set, ones) = (members(n, Weights::Equal), vec![1; n]);
        let mask = Mask::new(n, |position| position % 10 != 3);
        let view = Table::new(&mask, &ones, &[]);
        let rendezvous = Rendezvous::new(&RendezvousConfig::default(), &set).expect("valid");
        lookup(criterion, "rendezvous a tenth out", n, |hash| {
            rendezvous.choose(&view, &mut Script::seeded(1).with_key(hash)).unwrap_or(0)
        });
    }
}

fn floors(criterion: &mut Criterion) {
    for n in SIZES {
        let names: Vec<u64> = (0..n as u64).map(|name| SplitMix64::mix(name + 1)).collect();
        let slots: Vec<u32> = (0..n as u32).collect();
        lookup(criterion, "floor: nothing", n, |hash| hash as usize);
        lookup(criterion, "floor: remainder and load", n, |hash| slots[(hash % n as u64) as usize] as usize);
        lookup(criterion, "floor: the paper's jump", n, |hash| jump_bucket(hash, n as u32) as usize);
        lookup(criterion, "floor: mix and max", n, |hash| {
            let bids =
                names.iter().enumerate().map(|(position, name)| (SplitMix64::mix(hash ^ name), position));
            bids.max().map_or(0, |(_, position)| position)
        });
    }
}

/// Whole policies: names are hashed, tables made.
fn builds(criterion: &mut Criterion) {
    for n in [100, 1000, 10_000] {
        let set = members(n, Weights::Equal);
        let more = members(n + 1, Weights::Equal);
        let anchor = Anchor::new(&AnchorConfig::default(), &set).expect("valid");
        let jump = Jump::new(&JumpConfig::default(), &set).expect("valid");
        criterion.bench_function(&format!("build anchor/{n}"), |bencher| {
            bencher.iter(|| black_box(Anchor::new(&AnchorConfig::default(), &set)));
        });
        criterion.bench_function(&format!("add one to anchor/{n}"), |bencher| {
            bencher.iter(|| black_box(anchor.updated(&more)));
        });
        criterion.bench_function(&format!("build jump/{n}"), |bencher| {
            bencher.iter(|| black_box(Jump::new(&JumpConfig::default(), &set)));
        });
        criterion.bench_function(&format!("add one to jump/{n}"), |bencher| {
            bencher.iter(|| black_box(jump.updated(&more)));
        });
        criterion.bench_function(&format!("build multi_probe/{n}"), |bencher| {
            bencher.iter(|| black_box(MultiProbe::new(&MultiProbeConfig::default(), &set)));
        });
        criterion.bench_function(&format!("build rendezvous/{n}"), |bencher| {
            bencher.iter(|| black_box(Rendezvous::new(&RendezvousConfig::default(), &set)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600));
    targets = floors, lookups, some_out, builds
}
criterion_main!(benches);
