//! The knob of the statistical rule is true: false trips are as rare as it says, and real ones are found at 3 requests as
//! well as at 30,000. Draws are seeded, so that each run is the same.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::sync::Arc;

use evenkeel_breaker::{Breaker, BreakerConfig, Rule, Rules};
use evenkeel_types::{Outcome, RandomSource, Ratio, SplitMix64, Timestamp};

fn rules(tolerated: f64, requests_per_false_trip: u64) -> Arc<Rules> {
    let rule = Rule::Statistical { tolerated: Ratio::new(tolerated).unwrap(), requests_per_false_trip };
    Arc::new(Rules::new(&BreakerConfig { rules: vec![rule], ..BreakerConfig::default() }).unwrap())
}

/// After how many requests it trips, `most` at most.
fn run(rules: &Arc<Rules>, healthy: u64, rate: f64, most: u64, draws: &mut SplitMix64) -> u64 {
    let breaker = Breaker::with_rules(rules);
    let request = |failed: bool| {
        let permit = breaker.try_acquire(Timestamp::ORIGIN).unwrap().permit;
        let outcome = if failed { Outcome::failure() } else { Outcome::success() };
        breaker.record(permit, &outcome, Timestamp::ORIGIN).is_some()
    };
    for _ in 0..healthy {
        assert!(!request(false));
    }
    let limit = (rate * 2_f64.powi(53)) as u64;
    (1..=most).find(|_| request(draws.next_u64() >> 11 < limit)).unwrap_or(most)
}

fn mean(runs: u64, mut run: impl FnMut() -> u64) -> f64 {
    (0..runs).map(|_| run()).sum::<u64>() as f64 / runs as f64
}

/// At exactly the tolerated rate the mean time to a false trip is at least what was asked for. Runs that
/// reach four times that end there, which only lowers the mean.
#[test]
fn false_trips_are_as_rare_as_asked_for() {
    for (tolerated, asked) in
        [(0.01, 1_000), (0.05, 1_000), (0.05, 5_000), (0.2, 1_000), (0.5, 1_000), (0.001, 2_000)]
    {
        let rules = rules(tolerated, asked);
        let mut draws = SplitMix64::new(20_260_701);
        let runs = 100;
        let mean = mean(runs, || run(&rules, 0, tolerated, 4 * asked, &mut draws));
        println!("tolerated {tolerated}, asked for {asked}: {mean:.0}");
        assert!(mean >= asked as f64, "tolerated {tolerated}, asked for {asked}: {mean}");
    }
}

/// The same without a bound that is far from what it bounds: not more than some tens of times as rare.
#[test]
fn and_not_absurdly_rarer() {
    let rules = rules(0.05, 100);
    let mut draws = SplitMix64::new(7);
    let mean = mean(500, || run(&rules, 0, 0.05, 100_000, &mut draws));
    assert!((100.0..5_000.0).contains(&mean), "{mean}");
}

/// A dead endpoint is found within a handful of requests, by the third where failures are rare, and a long healthy past
/// makes no difference.
#[test]
fn a_dead_endpoint_is_found_at_once() {
    for (tolerated, asked, at_most) in
        [(0.01, 10_000, 3), (0.001, 10_000, 2), (0.05, 100_000, 5), (0.2, 1_000_000, 10)]
    {
        for healthy in [0, 30_000] {
            let found = run(&rules(tolerated, asked), healthy, 1.0, 100, &mut SplitMix64::new(1));
            assert!(found <= at_most, "tolerated {tolerated}: {found} after {healthy}");
        }
    }
}

/// A rate that has doubled is found in some thousand requests; one that has risen to a tenth in some dozens. A ratio of one
/// half over any window would never see either.
#[test]
fn a_small_rise_is_found_in_time() {
    let rules = rules(0.01, 100_000);
    let mut draws = SplitMix64::new(11);
    let doubled = mean(30, || run(&rules, 30_000, 0.02, 100_000, &mut draws));
    let tenth = mean(30, || run(&rules, 30_000, 0.1, 100_000, &mut draws));
    let half = mean(30, || run(&rules, 30_000, 0.5, 100_000, &mut draws));
    println!("doubled {doubled:.0}, a tenth {tenth:.0}, one half {half:.0}");
    assert!(doubled < 6_000.0, "{doubled}");
    assert!(tenth < 120.0, "{tenth}");
    assert!(half < 15.0, "{half}");
}
