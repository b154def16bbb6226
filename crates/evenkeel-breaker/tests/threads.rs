//! Many threads share a breaker, and no outcome is lost (gobreaker, TestCircuitBreakerInParallel).
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::thread;
use std::time::Duration;

use evenkeel_breaker::{Breaker, BreakerConfig, BreakerSet, BreakerSetConfig, Rule, Window};
use evenkeel_types::{Outcome, Ratio, Timestamp};

const THREADS: u64 = 10;
const EACH: u64 = 10_000;
const NOW: Timestamp = Timestamp::from_secs(1);

/// Every fourth outcome is bad; neutral ones in between do not count.
fn hammer(breaker: &Breaker) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for number in 0..EACH {
                    let outcome = if number % 4 == 0 { Outcome::overload(None) } else { Outcome::success() };
                    for outcome in [outcome, Outcome::neutral()] {
                        let permit = breaker.try_acquire(NOW).unwrap().permit;
                        assert_eq!(breaker.record(permit, &outcome, NOW), None);
                    }
                }
            });
        }
    });
}

fn check(window: Window, requests: u64, failures: std::ops::RangeInclusive<u64>) {
    let rule = Rule::Ratio { failures: Ratio::ONE, min_requests: 100, window };
    let breaker = Breaker::new(&BreakerConfig { rules: vec![rule], ..BreakerConfig::default() }).unwrap();
    hammer(&breaker);
    let stats = breaker.stats(NOW);
    assert_eq!(stats.window_requests, requests);
    assert!(failures.contains(&stats.window_failures), "{stats:?}");
}

#[test]
fn totals_are_exact() {
    let all = THREADS * EACH;
    check(Window::Time { span: Duration::from_secs(10), buckets: 10 }, all, all / 4..=all / 4);
    // Which outcomes were the last is the threads' race, so only their number is known.
    check(Window::Count { size: 60_000 }, 60_000, 13_000..=17_000);
}

/// After a storm one thread alone overwrites the ring: if the sum had drifted from the bits, it would show.
#[test]
fn the_sum_never_drifts_from_the_outcomes() {
    for size in [100, 200, 1000] {
        let rule = Rule::Ratio { failures: Ratio::ONE, min_requests: size, window: Window::Count { size } };
        let breaker = Breaker::new(&BreakerConfig { rules: vec![rule], ..BreakerConfig::default() }).unwrap();
        hammer(&breaker);
        for _ in 0..size {
            let permit = breaker.try_acquire(NOW).unwrap().permit;
            assert_eq!(breaker.record(permit, &Outcome::success(), NOW), None);
        }
        assert_eq!(breaker.stats(NOW).window_failures, 0);
    }
}

#[test]
fn striped_totals_are_exact() {
    let window = Window::Time { span: Duration::from_secs(10), buckets: 10 };
    let rule = Rule::Ratio { failures: Ratio::ONE, min_requests: 100, window };
    let config = BreakerConfig { rules: vec![rule], stripes: 4, ..BreakerConfig::default() };
    let breaker = Breaker::new(&config).unwrap();
    hammer(&breaker);
    let stats = breaker.stats(NOW);
    assert_eq!((stats.window_requests, stats.window_failures), (THREADS * EACH, THREADS * EACH / 4));
}

/// What begins ends, on whatever thread; and nothing that ends while another thread looks is taken for overdue, though one
/// overdue request would trip it.
#[test]
fn nothing_stays_under_way() {
    let rule = Rule::Overdue { requests: 1, after: Duration::from_secs(1) };
    let breaker = Breaker::new(&BreakerConfig { rules: vec![rule], ..BreakerConfig::default() }).unwrap();
    hammer(&breaker);
    let stats = breaker.stats(Timestamp::from_secs(100));
    assert_eq!((stats.under_way, stats.overdue), (0, 0));
}

/// Many threads ask for many keys: never more breakers than there is room for.
#[test]
fn a_set_stays_in_its_bounds() {
    let config = BreakerSetConfig { capacity: 10, shards: 3, ..BreakerSetConfig::default() };
    let breakers: BreakerSet<u64> = BreakerSet::new(&config).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let breakers = &breakers;
            scope.spawn(move || {
                for number in 0..1_000 {
                    let got = breakers.get(&(number * 7 + thread), Timestamp::from_nanos(number));
                    assert!(got.kept && (got.created || got.evicted.is_none()));
                    assert!(breakers.len() <= 10);
                }
            });
        }
    });
    assert_eq!(breakers.len(), 10);
}
