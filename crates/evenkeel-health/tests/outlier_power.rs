//! How often the rules eject a good endpoint, and how often they find a bad one: simulated requests with fixed seeds.
//!
//! `cargo test --release -p evenkeel-health --test outlier_power -- --ignored --nocapture` prints the tables of
//! `docs/outlier-detection.md`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

use std::sync::Arc;
use std::time::Duration;

use evenkeel_health::outlier::envoy::{EnvoyEvent, EnvoyOutlier, EnvoyOutlierConfig, EnvoyResult};
use evenkeel_health::outlier::{
    EjectionCaps, LatencyRule, OutlierChange, OutlierConfig, OutlierCounters, OutlierDetector, OutlierRules,
    SuccessRate,
};
use evenkeel_types::{Outcome, RandomSource, Ratio, SplitMix64, Timestamp};

/// Requests of each endpoint in an interval, and how likely each is to fail.
struct World {
    fails: Vec<f64>,
    requests: u32,
}

impl World {
    fn alike(n: usize, fails: f64, requests: u32) -> Self {
        Self { fails: vec![fails; n], requests }
    }

    fn with_bad(n: usize, bad: usize, of_bad: f64, of_good: f64, requests: u32) -> Self {
        let fails = (0..n).map(|index| if index < bad { of_bad } else { of_good }).collect();
        Self { fails, requests }
    }
}

/// Only the rule that is looked at; caps and brake out of its way.
fn bare() -> OutlierConfig {
    OutlierConfig {
        consecutive_failures: None,
        consecutive_local_failures: None,
        success_rate: None,
        brake: None,
        caps: EjectionCaps { max_ejected_ratio: Ratio::ONE, min_remaining: 0, ..EjectionCaps::default() },
        ..OutlierConfig::default()
    }
}

fn ejected_by_ours(
    config: &OutlierConfig,
    endpoints: usize,
    record: impl Fn(usize, &dyn Fn(&Outcome)),
) -> Vec<usize> {
    let rules = Arc::new(OutlierRules::new(config.clone()).unwrap());
    let mut detector = OutlierDetector::new(Arc::clone(&rules), 1, Timestamp::ORIGIN);
    for token in 0..endpoints {
        let counters = Arc::new(OutlierCounters::new());
        record(token, &|outcome| {
            counters.record(outcome, &rules);
        });
        detector.insert(token, counters, Timestamp::ORIGIN);
    }
    let changes = detector.sweep(detector.next_deadline());
    let ejected = changes.into_iter().filter_map(|change| match change {
        OutlierChange::Ejected { token, .. } => Some(token),
        _ => None,
    });
    ejected.collect()
}

/// How many of each endpoint's requests fail in one interval.
fn failures(world: &World, draws: &mut SplitMix64) -> Vec<u32> {
    let fails = |draws: &mut SplitMix64, p: f64| uniform(draws) < p;
    let of = |draws: &mut SplitMix64, p: f64| (0..world.requests).filter(|_| fails(draws, p)).count() as u32;
    world.fails.iter().map(|&p| of(draws, p)).collect()
}

fn uniform(draws: &mut SplitMix64) -> f64 {
    (draws.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn normal(draws: &mut SplitMix64) -> f64 {
    let radius = (-2.0 * libm::log(1.0 - uniform(draws))).sqrt();
    radius * libm::cos(std::f64::consts::TAU * uniform(draws))
}

fn ours(world: &World, failed: &[u32], config: &OutlierConfig) -> Vec<usize> {
    ejected_by_ours(config, failed.len(), |token, record| {
        (0..failed[token]).for_each(|_| record(&Outcome::failure()));
        (failed[token]..world.requests).for_each(|_| record(&Outcome::success()));
    })
}

/// Envoy's rule, with its minimum of hosts and requests lowered so that it judges at all.
fn envoys(world: &World, failed: &[u32]) -> Vec<usize> {
    let config = EnvoyOutlierConfig {
        consecutive_5xx: u32::MAX,
        max_ejection_percent: 100,
        success_rate_minimum_hosts: 2,
        success_rate_request_volume: 20,
        ..EnvoyOutlierConfig::default()
    };
    let mut detector = EnvoyOutlier::new(config, 1, Timestamp::ORIGIN).unwrap();
    for (host, &failed) in failed.iter().enumerate() {
        detector.insert(host);
        for request in 0..world.requests {
            let status = if request < failed { 500 } else { 200 };
            let _ = detector.put(host, EnvoyResult::Status(status), Timestamp::ORIGIN);
        }
    }
    let events = detector.sweep(detector.next_deadline());
    let ejected = events.into_iter().filter_map(|event| match event {
        EnvoyEvent::Eject { host, enforced: true, .. } => Some(host),
        _ => None,
    });
    ejected.collect()
}

struct Rates {
    /// Sweeps that ejected somebody good.
    false_ejections: f64,
    /// Sweeps that ejected every bad one.
    found: f64,
}

fn rates(world: &World, bad: usize, sweeps: u32, seed: u64, judge: impl Fn(&[u32]) -> Vec<usize>) -> Rates {
    let mut draws = SplitMix64::new(seed);
    let (mut wrong, mut found) = (0_u32, 0_u32);
    for _ in 0..sweeps {
        let ejected = judge(&failures(world, &mut draws));
        wrong += u32::from(ejected.iter().any(|&token| token >= bad));
        found += u32::from((0..bad).all(|token| ejected.contains(&token)));
    }
    let share = |count: u32| f64::from(count) / f64::from(sweeps);
    Rates { false_ejections: share(wrong), found: share(found) }
}

fn share_rule(false_ejections: f64, min_gap: u32) -> OutlierConfig {
    let rule = SuccessRate { min_gap: Ratio::percent(min_gap).unwrap(), ..SuccessRate::default() };
    OutlierConfig { false_ejections, success_rate: Some(rule), ..bare() }
}

/// The stated rate, and what chance adds to a measured one: three deviations.
fn bound(rate: f64, sweeps: u32) -> f64 {
    rate + 3.0 * (rate / f64::from(sweeps)).sqrt()
}

/// Without a minimal gap, so that the test alone keeps its word; at a rate that can be measured.
#[test]
fn good_endpoints_are_ejected_as_seldom_as_stated() {
    let sweeps = 1500;
    for n in [2, 3, 4, 5, 6, 7, 8, 9] {
        for (fails, requests) in [(0.01, 100), (0.3, 40), (0.5, 25)] {
            let world = World::alike(n, fails, requests);
            let config = share_rule(0.02, 0);
            let measured = rates(&world, 0, sweeps, n as u64, |failed| ours(&world, failed, &config));
            let allowed = bound(0.02, sweeps);
            assert!(measured.false_ejections <= allowed, "n={n} p={fails}: {}", measured.false_ejections);
        }
    }
    let world = World::alike(100, 0.1, 40);
    let config = share_rule(0.02, 0);
    let measured = rates(&world, 0, 300, 100, |failed| ours(&world, failed, &config));
    assert!(measured.false_ejections <= bound(0.02, 300), "{}", measured.false_ejections);
}

#[test]
fn the_default_finds_a_bad_endpoint_and_no_good_one() {
    for n in [2, 3, 4, 5, 6, 7, 8, 9, 100] {
        let world = World::with_bad(n, 1, 0.35, 0.01, 100);
        let config = share_rule(1e-6, 5);
        let measured = rates(&world, 1, 60, 7 + n as u64, |failed| ours(&world, failed, &config));
        assert_eq!(measured.false_ejections, 0.0, "n={n}");
        assert!(measured.found >= 0.8, "n={n}: {}", measured.found);
    }
}

#[test]
fn several_bad_endpoints_do_not_hide_each_other() {
    for (n, bad) in [(5, 2), (9, 4), (100, 30)] {
        let world = World::with_bad(n, bad, 0.5, 0.01, 100);
        let config = share_rule(1e-6, 5);
        let measured = rates(&world, bad, 40, n as u64, |failed| ours(&world, failed, &config));
        assert_eq!(measured.false_ejections, 0.0, "n={n}");
        assert!(measured.found >= 0.95, "n={n}: {}", measured.found);
        let envoy = rates(&world, bad, 40, n as u64, |failed| envoys(&world, failed));
        assert!(envoy.found < 0.1, "n={n}: Envoy's rule is blind to so many, but found {}", envoy.found);
    }
}

/// Endpoints whose mean latencies differ by some 15 %, log-normal requests around them.
fn latencies(n: usize, slow: f64, requests: u32, draws: &mut SplitMix64) -> Vec<Vec<Duration>> {
    (0..n)
        .map(|index| {
            let own = 0.02 * libm::exp(0.15 * normal(draws)) * if index == 0 { slow } else { 1.0 };
            let one = |_| Duration::from_secs_f64(own * libm::exp(0.7 * normal(draws)));
            (0..requests).map(one).collect()
        })
        .collect()
}

fn latency_rates(n: usize, slow: f64, requests: u32, sweeps: u32, config: &OutlierConfig) -> Rates {
    let mut draws = SplitMix64::new(n as u64);
    let (mut wrong, mut found) = (0_u32, 0_u32);
    for _ in 0..sweeps {
        let taken = latencies(n, slow, requests, &mut draws);
        let ejected = ejected_by_ours(config, n, |token, record| {
            taken[token].iter().for_each(|&latency| record(&Outcome::success().with_latency(latency)));
        });
        let is_bad = |token: usize| token == 0 && slow > 1.0;
        wrong += u32::from(ejected.iter().any(|&token| !is_bad(token)));
        found += u32::from(ejected.contains(&0));
    }
    let share = |count: u32| f64::from(count) / f64::from(sweeps);
    Rates { false_ejections: share(wrong), found: share(found) }
}

fn latency_rule(factor: f64) -> OutlierConfig {
    OutlierConfig { latency: Some(LatencyRule { factor, ..LatencyRule::default() }), ..bare() }
}

#[test]
fn latency_finds_the_slow_one_and_no_other() {
    for n in [3, 4, 5, 6, 7, 8, 9, 100] {
        let sweeps = if n == 100 { 40 } else { 300 };
        let config = latency_rule(3.0);
        assert_eq!(latency_rates(n, 1.0, 30, sweeps, &config).false_ejections, 0.0, "n={n}");
        let slow = latency_rates(n, 8.0, 30, sweeps, &config);
        assert_eq!(slow.false_ejections, 0.0, "n={n}");
        // Two peers tell little about their spread.
        let least = if n == 3 { 0.7 } else { 0.9 };
        assert!(slow.found > least, "n={n}: {}", slow.found);
    }
}

#[test]
#[ignore = "prints the tables of the documentation"]
fn tables() {
    println!(
        "| n | α = 0.01, p = 1 % | α = 0.01, p = 30 % | default, p = 10 % | Envoy, p = 1 % | Envoy, p = 10 % |"
    );
    println!("|---|---|---|---|---|---|");
    for n in [2, 3, 4, 5, 6, 7, 8, 9, 100] {
        let sweeps = if n == 100 { 4_000 } else { 40_000 };
        let of = |fails: f64, config: OutlierConfig| {
            let world = World::alike(n, fails, 100);
            rates(&world, 0, sweeps, 1, |failed| ours(&world, failed, &config)).false_ejections
        };
        let envoy = |fails: f64| {
            let world = World::alike(n, fails, 100);
            rates(&world, 0, sweeps / 4, 1, |failed| envoys(&world, failed)).false_ejections
        };
        println!(
            "| {n} | {:.4} | {:.4} | {:.5} | {:.3} | {:.3} |",
            of(0.01, share_rule(0.01, 0)),
            of(0.3, share_rule(0.01, 0)),
            of(0.1, share_rule(1e-6, 5)),
            envoy(0.01),
            envoy(0.1),
        );
    }
    for requests in [20, 50, 100, 500] {
        println!("\n{requests} requests of each endpoint in an interval, the others fail 1 %\n");
        println!("| n | fails 10 % | 20 % | 35 % | 50 % | 100 % | Envoy 20 % | Envoy 50 % | Envoy 100 % |");
        println!("|---|---|---|---|---|---|---|---|---|");
        for n in [2, 3, 4, 5, 7, 9, 100] {
            let sweeps = if n == 100 { 200 } else { 2_000 };
            let config = share_rule(1e-6, 5);
            let found = |fails: f64| {
                let world = World::with_bad(n, 1, fails, 0.01, requests);
                rates(&world, 1, sweeps, 1, |failed| ours(&world, failed, &config)).found
            };
            let envoy = |fails: f64| {
                let world = World::with_bad(n, 1, fails, 0.01, requests);
                rates(&world, 1, sweeps, 1, |failed| envoys(&world, failed)).found
            };
            print!("| {n}");
            [0.1, 0.2, 0.35, 0.5, 1.0].iter().for_each(|&fails| print!(" | {:.2}", found(fails)));
            [0.2, 0.5, 1.0].iter().for_each(|&fails| print!(" | {:.2}", envoy(fails)));
            println!(" |");
        }
    }
    println!("\n| n | false, factor 3 | false, factor 1.3 | found 3× | 4× | 5× | 6× | 10× |");
    println!("|---|---|---|---|---|---|---|---|");
    for n in [3, 4, 5, 6, 7, 8, 9, 100] {
        let sweeps = if n == 100 { 1_000 } else { 10_000 };
        let of = |slow: f64, factor: f64| latency_rates(n, slow, 50, sweeps, &latency_rule(factor));
        let alone = OutlierConfig {
            latency: Some(LatencyRule { factor: 1.3, min_excess: Duration::ZERO, ..LatencyRule::default() }),
            ..bare()
        };
        let without_floor = latency_rates(n, 1.0, 50, sweeps, &alone).false_ejections;
        print!("| {n} | {:.4} | {without_floor:.4}", of(1.0, 3.0).false_ejections);
        [3.0, 4.0, 5.0, 6.0, 10.0].iter().for_each(|&slow| print!(" | {:.2}", of(slow, 3.0).found));
        println!(" |");
    }
}
