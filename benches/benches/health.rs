//! The health machines: what a pick reads, and what a check, a word and a heartbeat cost off its path.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel_health::{
    ActiveCheck, CheckConfig, CheckResult, CheckState, Curve, Entry, FlapConfig, FlapDamper, Note, Opinion,
    PhiAccrual, PhiConfig, Provenance, Ramp, SlowStart, SlowStartConfig, Standing, TimeToLive,
};
use evenkeel_types::{SplitMix64, Timestamp};

fn read_by_picks(criterion: &mut Criterion) {
    let standing = Standing::new();
    criterion.bench_function("standing is_usable", |bencher| {
        bencher.iter(|| black_box(&standing).is_usable());
    });
    for (name, curve, warming) in [
        ("slow_start factor, warm", Curve::Linear, false),
        ("slow_start factor, linear", Curve::Linear, true),
        ("slow_start factor, sixteenths", Curve::Sixteenths, true),
        ("slow_start factor, power", Curve::Power { aggression: 1.5 }, true),
    ] {
        let ramp = Ramp::new(SlowStartConfig { curve, ..SlowStartConfig::default() }).expect("valid");
        let slow_start = SlowStart::new();
        slow_start.enter(&ramp, Entry::Return, warming, Timestamp::from_secs(1));
        let mut now = 1_000_000_000;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                now = 1_000_000_000 + (now + 1000) % 20_000_000_000;
                black_box(&slow_start).factor(&ramp, Timestamp::from_nanos(now))
            });
        });
    }
}

fn off_the_path(criterion: &mut Criterion) {
    let mut check = ActiveCheck::new(CheckConfig::default(), Timestamp::ORIGIN, &mut SplitMix64::new(1))
        .expect("the default is valid");
    criterion.bench_function("check start and finish", |bencher| {
        bencher.iter(|| {
            let now = check.next_deadline();
            let probe = check.start(now).expect("it is due");
            black_box(check.finish(probe, now, CheckResult::Pass))
        });
    });

    let standing = Standing::new();
    let mut down = false;
    criterion.bench_function("standing set_check", |bencher| {
        bencher.iter(|| {
            down = !down;
            black_box(standing.set_check(if down { CheckState::Down } else { CheckState::Up }))
        });
    });

    let mut provenance = Provenance::new(TimeToLive::default()).expect("the default is valid");
    let mut now = 0;
    criterion.bench_function("provenance say", |bencher| {
        bencher.iter(|| {
            now += 1000;
            let state = if now % 2000 == 0 { CheckState::Down } else { CheckState::Up };
            let opinion = Opinion::Check(state);
            black_box(provenance.say(&standing, opinion, Note::default(), Timestamp::from_nanos(now)))
        });
    });

    let mut damper = FlapDamper::new(FlapConfig::default()).expect("the default is valid");
    criterion.bench_function("flap", |bencher| {
        bencher.iter(|| {
            now += 1_000_000_000;
            black_box(damper.flap(Timestamp::from_nanos(now)))
        });
    });

    let mut detector = PhiAccrual::new(PhiConfig::default()).expect("the default is valid");
    criterion.bench_function("phi heartbeat", |bencher| {
        bencher.iter(|| {
            now += 1_000_000_000;
            black_box(detector.heartbeat(Timestamp::from_nanos(now)))
        });
    });
    let later = Timestamp::from_nanos(now).saturating_add(Duration::from_secs(4));
    criterion.bench_function("phi", |bencher| bencher.iter(|| black_box(&detector).phi(later)));
    criterion.bench_function("phi suspect_at", |bencher| bencher.iter(|| black_box(&detector).suspect_at()));
}

criterion_group!(benches, read_by_picks, off_the_path);
criterion_main!(benches);
