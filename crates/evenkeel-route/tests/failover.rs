//! Laws of spill and of its machine, and what a real Envoy did.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::time::Duration;

use evenkeel_route::failover::{
    EnvoyPriorities, Failover, FailoverConfig, ONE, OnPanic, Serve, Situation, TierHappened, TierHealth,
    TierLoads, spill,
};
use evenkeel_types::{RandomSource, Ratio, SplitMix64, Timestamp};
use proptest::prelude::*;

fn tier() -> impl Strategy<Value = TierHealth> {
    (0..40_u64).prop_flat_map(|total| {
        (0..=total).prop_flat_map(move |usable| {
            (0..=total - usable).prop_map(move |degraded| TierHealth { total, usable, degraded })
        })
    })
}

fn of_tier(loads: &TierLoads, tier: usize) -> u64 {
    loads.tiers()[tier].usable + loads.tiers()[tier].degraded
}

fn sum(loads: &TierLoads) -> u64 {
    (0..loads.tiers().len()).map(|tier| of_tier(loads, tier)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn shares_add_up_to_one(tiers in prop::collection::vec(tier(), 0..6), draw: u64) {
        let loads = spill(&tiers, &FailoverConfig::default());
        let nobody = tiers.iter().all(|tier| tier.total == 0);
        prop_assert_eq!(sum(&loads), if nobody { 0 } else { ONE });
        prop_assert_eq!(loads.situation() == Situation::Empty, nobody);
        match loads.pick(draw) {
            Some(pick) => {
                prop_assert!(tiers[pick.tier].total > 0);
                let usable = tiers.iter().any(|tier| tier.usable + tier.degraded > 0);
                let part = if pick.degraded { tiers[pick.tier].degraded } else { tiers[pick.tier].usable };
                prop_assert!(!usable || part > 0, "a share for nobody");
            }
            None => prop_assert!(nobody),
        }
    }

    /// One endpoint more or less moves at most what it can bear, in proportion to what all can bear.
    #[test]
    fn no_cliff_is_larger_than_one_endpoint(
        tiers in prop::collection::vec(tier(), 1..5),
        which in any::<prop::sample::Index>(),
    ) {
        let which = which.index(tiers.len());
        prop_assume!(tiers[which].usable > 0);
        let mut worse = tiers.clone();
        worse[which].usable -= 1;
        prop_assume!(worse.iter().any(|tier| tier.usable + tier.degraded > 0));
        let config = FailoverConfig::default();
        let (before, after) = (spill(&tiers, &config), spill(&worse, &config));
        let parts = |loads: &TierLoads| -> Vec<u64> {
            loads.tiers().iter().flat_map(|share| [share.usable, share.degraded]).collect()
        };
        let moved: u64 = parts(&before).iter().zip(parts(&after)).map(|(a, b)| a.abs_diff(b)).sum::<u64>() / 2;
        let worth = 1.4 / tiers[which].total as f64;
        let bears = |tiers: &[TierHealth]| -> f64 {
            tiers.iter().map(|tier| {
                let share = |part: u64| if tier.total == 0 { 0.0 } else { (1.4 * part as f64 / tier.total as f64).min(1.0) };
                share(tier.usable) + share(tier.degraded)
            }).sum::<f64>().min(1.0)
        };
        let most = worth / bears(&tiers).max(bears(&worse)) * ONE as f64 + 16.0;
        prop_assert!(moved as f64 <= most, "{moved} moved, {most} is one endpoint's worth");
    }

    #[test]
    fn spill_is_monotone(tiers in prop::collection::vec(tier(), 1..5), which in any::<prop::sample::Index>()) {
        let which = which.index(tiers.len());
        prop_assume!(tiers[which].usable > 0);
        let mut worse: Vec<TierHealth> = tiers.clone();
        worse[which].usable -= 1;
        // Degraded endpoints would take part in the balance of their own tier.
        let healthy = |tiers: &[TierHealth]| -> Vec<TierHealth> {
            tiers.iter().map(|tier| TierHealth { degraded: 0, ..*tier }).collect()
        };
        let (tiers, worse) = (healthy(&tiers), healthy(&worse));
        prop_assume!(worse.iter().any(|tier| tier.usable > 0));
        let (before, after) = (spill(&tiers, &FailoverConfig::default()), spill(&worse, &FailoverConfig::default()));
        let slack = 8;
        for tier in 0..tiers.len() {
            let (before, after) = (of_tier(&before, tier), of_tier(&after, tier));
            if tier == which {
                prop_assert!(after <= before + slack);
            } else {
                prop_assert!(after + slack >= before);
            }
        }
    }

    #[test]
    fn the_machine_replays_and_never_refuses_what_could_be_served(
        steps in prop::collection::vec((prop::collection::vec(tier(), 1..4), 0..20_000_u64), 1..40),
        leave in 0..=100_u32,
    ) {
        let threshold = Ratio::percent(leave).unwrap();
        let config = FailoverConfig { leave_below: threshold, return_at: threshold, ..FailoverConfig::default() };
        let run = || {
            let mut failover = Failover::new(&config).unwrap();
            let mut trace = Vec::new();
            for (tiers, millis) in &steps {
                // Clocks jump back and forth.
                let events = failover.update(tiers, Timestamp::from_millis(*millis)).unwrap();
                trace.push((events, failover.loads().clone()));
            }
            (failover, trace)
        };
        let (mut failover, trace) = run();
        prop_assert_eq!(&trace, &run().1);
        for ((tiers, _), (_, loads)) in steps.iter().zip(&trace) {
            let nobody = tiers.iter().all(|tier| tier.total == 0);
            prop_assert_eq!(sum(loads), if nobody { 0 } else { ONE });
            let plain = spill(tiers, &config);
            // Holding back never makes a shortage.
            prop_assert_eq!(loads.situation(), plain.situation());
        }
        // Nothing stays stuck: left alone, it ends where the pure function is, but for tiers that are left for good.
        let mut ticks = 0;
        while let Some(deadline) = failover.next_deadline() {
            failover.tick(deadline);
            ticks += 1;
            prop_assert!(ticks < 2000);
        }
        let last = &steps[steps.len() - 1].0;
        if (0..last.len()).all(|tier| !failover.is_left(tier)) {
            prop_assert_eq!(failover.loads(), &spill(last, &config));
        }
    }

    /// Health that flickers around a threshold moves the tier at most once in each dwell.
    #[test]
    fn noise_around_a_threshold_does_not_flap(seed: u64, every_millis in 1..2000_u64) {
        let config = FailoverConfig {
            leave_below: Ratio::percent(70).unwrap(),
            return_at: Ratio::percent(80).unwrap(),
            ..FailoverConfig::default()
        };
        let mut failover = Failover::new(&config).unwrap();
        let mut draws = SplitMix64::new(seed);
        let (mut turns, mut rises) = (0, 0);
        let mut share = ONE;
        let length = Duration::from_secs(120).as_millis() as u64 / every_millis;
        for step in 0..length {
            let usable = 60 + draws.next_u64() % 31;
            let tiers = [TierHealth { total: 100, usable, degraded: 0 }, TierHealth { total: 10, usable: 10, degraded: 0 }];
            let events = failover.update(&tiers, Timestamp::from_millis(step * every_millis)).unwrap();
            turns += events.iter().filter(|event| event.happened == TierHappened::Returned).count();
            let now = of_tier(failover.loads(), 0);
            rises += usize::from(now > share);
            share = now;
        }
        prop_assert!(turns <= 120 / 5 + 1, "{turns} returns");
        prop_assert!(every_millis >= 1000 || rises < 60, "{rises} rises");
    }
}

#[test]
fn tiers_are_left_and_return_slowly() {
    let config = FailoverConfig {
        leave_below: Ratio::percent(50).unwrap(),
        return_at: Ratio::percent(80).unwrap(),
        ..FailoverConfig::default()
    };
    let mut failover = Failover::new(&config).unwrap();
    let mut check = |secs: u64, usable: u64, share: f64, expected: &[TierHappened]| {
        let tiers = [
            TierHealth { total: 10, usable, degraded: 0 },
            TierHealth { total: 10, usable: 10, degraded: 0 },
        ];
        let events = failover.update(&tiers, Timestamp::from_secs(secs)).unwrap();
        let happened: Vec<TierHappened> = events.iter().map(|event| event.happened).collect();
        assert_eq!(happened, expected, "at {secs} s");
        let found = of_tier(failover.loads(), 0) as f64 / ONE as f64;
        assert!((found - share).abs() < 1e-6, "at {secs} s: {found}");
    };
    check(0, 10, 1.0, &[]);
    check(1, 6, 0.84, &[]);
    check(2, 7, 0.84, &[]); // dwell
    check(6, 7, 0.84, &[]); // it ends
    check(9, 7, 0.94, &[]); // a tenth of the way in 3 s
    check(60, 10, 1.0, &[]);
    check(61, 4, 0.0, &[TierHappened::Left]);
    check(62, 6, 0.0, &[]); // above leave, below return
    check(70, 8, 0.0, &[]); // dwell begins
    check(74, 10, 0.0, &[]);
    check(75, 10, 0.0, &[TierHappened::Returned]);
    check(90, 10, 0.5, &[]);
    check(105, 10, 1.0, &[]);
}

#[test]
fn panic_does_what_it_is_told() {
    let all = [
        (OnPanic::FailOpen, Serve::AnyOf { tier: 0 }),
        (OnPanic::UsableOnly, Serve::Tier { tier: 0, degraded: false }),
        (OnPanic::FailClosed, Serve::Refuse),
        (OnPanic::ServeStale, Serve::Stale { tier: 0 }),
    ];
    for (on_panic, expected) in all {
        let mut failover = Failover::new(&FailoverConfig { on_panic, ..FailoverConfig::default() }).unwrap();
        assert_eq!(failover.serve(0), Serve::Refuse, "no tiers");
        let tier = |usable| [TierHealth { total: 10, usable, degraded: 0 }];
        let events = failover.update(&tier(4), Timestamp::ORIGIN).unwrap();
        assert_eq!(events[0].happened, TierHappened::PanicBegan);
        assert_eq!(failover.serve(7), expected);
        let events = failover.update(&tier(5), Timestamp::ORIGIN).unwrap();
        assert_eq!(events[0].happened, TierHappened::PanicEnded, "exactly the threshold is no panic");
        assert_eq!(failover.serve(7), Serve::Tier { tier: 0, degraded: false });
    }
}

#[test]
fn retries_leave_tried_tiers() {
    let tier = |usable| TierHealth { total: 10, usable, degraded: 0 };
    let loads = spill(&[tier(10), tier(5), tier(5)], &FailoverConfig::default());
    assert_eq!(loads.pick(u64::MAX).unwrap().tier, 0);
    // P1 would take nothing now: tried is tried, and all count again.
    assert_eq!(loads.pick_elsewhere(0, |tier| tier == 0).unwrap().tier, 0);
    let loads = spill(&[tier(4), tier(3), tier(10)], &FailoverConfig::default());
    let mut counts = [0_u32; 3];
    for i in 0..1000_u64 {
        counts[loads.pick_elsewhere(i * (u64::MAX / 1000), |tier| tier == 0).unwrap().tier] += 1;
    }
    assert_eq!(counts[0], 0);
    assert!(counts[1].abs_diff(42 * 1000 / 44) < 3, "{counts:?}");
}

/// `behaviour_priority.jsonl` and `behaviour_panic.jsonl`: what Envoy 1.40 did, within three and a half standard deviations.
#[test]
fn a_real_envoy_divides_alike() {
    let mut cases = 0;
    for case in recorded("behaviour_priority") {
        let levels = case["levels"].as_array().unwrap();
        let tiers: Vec<TierHealth> = levels
            .iter()
            .map(|level| TierHealth {
                total: level["total"].as_u64().unwrap(),
                usable: level["healthy"].as_u64().unwrap(),
                degraded: level["degraded"].as_u64().unwrap(),
            })
            .collect();
        let factor = case["overprovisioning_factor"].as_u64().unwrap() as u32;
        let priorities = EnvoyPriorities::new(&tiers, factor, threshold(&case));
        let requests = case["requests"].as_u64().unwrap();
        for (level, load) in priorities.levels().iter().enumerate() {
            let count = |is_counted: &dyn Fn(&str) -> bool| -> u64 {
                let groups = case["counts"].as_array().unwrap().iter();
                groups
                    .filter(|group| group["priority"].as_u64() == Some(level as u64))
                    .filter(|group| is_counted(group["health"].as_str().unwrap()))
                    .map(|group| group["requests"].as_u64().unwrap())
                    .sum()
            };
            let id = &case["id"];
            if load.panic {
                within(id, requests, count(&|_| true), load.healthy + load.degraded);
            } else {
                within(id, requests, count(&|health| health == "HEALTHY"), load.healthy);
                within(id, requests, count(&|health| health == "DEGRADED"), load.degraded);
                assert_eq!(count(&|health| health == "UNHEALTHY"), 0, "{id}");
            }
        }
        cases += 1;
    }
    for case in recorded("behaviour_panic") {
        panic_case(&case);
        cases += 1;
    }
    assert_eq!(cases, 27, "all cases of both files");
}

/// Of these only the health marks are recorded with the configuration.
fn panic_case(case: &serde_json::Value) {
    let mut hosts: Vec<(usize, &str)> = Vec::new();
    let localities = case["config"]["load_assignment"]["endpoints"].as_array().unwrap();
    for locality in localities {
        let priority = locality["priority"].as_u64().unwrap_or(0) as usize;
        for host in locality["lb_endpoints"].as_array().unwrap() {
            hosts.push((priority, host["health_status"].as_str().unwrap_or("HEALTHY")));
        }
    }
    let levels = hosts.iter().map(|(priority, _)| priority + 1).max().unwrap();
    let count = |level: usize, wanted: &[&str]| {
        hosts.iter().filter(|(priority, health)| *priority == level && wanted.contains(health)).count() as u64
    };
    let tiers: Vec<TierHealth> = (0..levels)
        .map(|level| TierHealth {
            total: count(level, &["HEALTHY", "DEGRADED", "UNHEALTHY"]),
            usable: count(level, &["HEALTHY"]),
            degraded: count(level, &["DEGRADED"]),
        })
        .collect();
    let priorities = EnvoyPriorities::new(&tiers, 140, threshold(case));
    let requests = case["requests"].as_u64().unwrap();
    let fails = case["config"]["common_lb_config"]["zone_aware_lb_config"]["fail_traffic_on_panic"] == true;
    for (level, load) in priorities.levels().iter().enumerate() {
        let sent = |wanted: &[&str]| -> u64 {
            let hosts = hosts.iter().enumerate();
            hosts
                .filter(|(_, (priority, health))| *priority == level && wanted.contains(health))
                .map(|(i, _)| case["counts"][i.to_string()].as_u64().unwrap())
                .sum()
        };
        let all = sent(&["HEALTHY", "DEGRADED", "UNHEALTHY", "DRAINING"]);
        let id = &case["id"];
        if load.panic && fails || !load.panic && tiers[level].usable + tiers[level].degraded == 0 {
            assert_eq!(all, 0, "{id}");
        } else if load.panic {
            within(id, requests, all, load.healthy + load.degraded);
        } else {
            within(id, requests, sent(&["HEALTHY"]), load.healthy);
            within(id, requests, sent(&["DEGRADED"]), load.degraded);
            assert_eq!(sent(&["UNHEALTHY", "DRAINING"]), 0, "{id}");
        }
    }
}

fn threshold(case: &serde_json::Value) -> u32 {
    case["config"]["common_lb_config"]["healthy_panic_threshold"]["value"].as_u64().unwrap_or(50) as u32
}

fn recorded(name: &str) -> Vec<serde_json::Value> {
    let file = format!("{}/../evenkeel-conformance/vectors/envoy/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["type"] == "case").collect()
}

fn within(id: &serde_json::Value, requests: u64, count: u64, percent: u32) {
    let share = f64::from(percent) / 100.0;
    let mean = requests as f64 * share;
    let deviation = (mean * (1.0 - share)).sqrt();
    assert!((count as f64 - mean).abs() <= 3.5 * deviation, "{id}: {count} instead of {mean}");
}
