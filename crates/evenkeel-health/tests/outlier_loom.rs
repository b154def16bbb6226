//! Every interleaving of requests and a sweep. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p evenkeel-health --release --test outlier_loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use evenkeel_health::outlier::{
    OutlierChange, OutlierConfig, OutlierCounters, OutlierDetector, OutlierRules, SuccessRate, Suspicion,
};
use evenkeel_types::{Outcome, Ratio, Timestamp};
use loom::thread;

fn rules(config: OutlierConfig) -> std::sync::Arc<OutlierRules> {
    std::sync::Arc::new(OutlierRules::new(config).unwrap())
}

/// Two threads fail while nobody sweeps: the run is reported once, by whoever makes it full.
#[test]
fn a_run_is_reported_once() {
    loom::model(|| {
        let rules = rules(OutlierConfig { consecutive_failures: Some(3), ..OutlierConfig::default() });
        let counters = std::sync::Arc::new(OutlierCounters::new());
        assert_eq!(counters.record(&Outcome::failure(), &rules), None);
        let (theirs, their_rules) = (counters.clone(), rules.clone());
        let other = thread::spawn(move || theirs.record(&Outcome::failure(), &their_rules));
        let mine = counters.record(&Outcome::failure(), &rules);
        let reports = [mine, other.join().unwrap()].into_iter().flatten().count();
        assert_eq!(reports, 1);
        assert_eq!(counters.runs().0, 3);
    });
}

/// Requests beside a sweep: what the sweep does not take is there for the next one.
#[test]
fn a_sweep_loses_no_request() {
    loom::model(|| {
        // A rule that ejects on one failed request of one would: so the sweeps tell what they took.
        let share = evenkeel_health::outlier::FailureShare { threshold: Ratio::ONE, min_requests: 2 };
        let rules = rules(OutlierConfig {
            consecutive_failures: None,
            consecutive_local_failures: None,
            success_rate: None::<SuccessRate>,
            failure_share: Some(share),
            ..OutlierConfig::default()
        });
        let counters = std::sync::Arc::new(OutlierCounters::new());
        let mut detector = OutlierDetector::new(rules.clone(), 1, Timestamp::ORIGIN);
        detector.insert(0, counters.clone(), Timestamp::ORIGIN);
        detector.insert(1, std::sync::Arc::new(OutlierCounters::new()), Timestamp::ORIGIN);
        let (theirs, their_rules) = (counters.clone(), rules);
        let other = thread::spawn(move || {
            for _ in 0..2 {
                theirs.record(&Outcome::failure(), &their_rules);
            }
        });
        let taken_before = counters.requests().0;
        let first = detector.sweep(Timestamp::from_secs(10));
        other.join().unwrap();
        let left = counters.requests();
        assert_eq!(left.0, left.1, "failures and requests are one word");
        assert!(taken_before <= 2 && left.0 <= 2);
        let ejected = |changes: &[OutlierChange<i32>]| {
            changes.iter().any(|change| matches!(change, OutlierChange::Ejected { .. }))
        };
        // Both in the first sweep, or both in the second, or one in each.
        match left.0 {
            0 => assert!(ejected(&first)),
            2 => assert!(!ejected(&first) && ejected(&detector.sweep(Timestamp::from_secs(20)))),
            _ => assert!(!ejected(&first)),
        }
    });
}

/// A success and a failure on probation: one verdict, and it stays.
#[test]
fn a_probation_has_one_verdict() {
    loom::model(|| {
        let rules = rules(OutlierConfig::default());
        let counters = std::sync::Arc::new(OutlierCounters::new());
        let mut detector = OutlierDetector::new(rules.clone(), 1, Timestamp::ORIGIN);
        detector.insert(0, counters.clone(), Timestamp::ORIGIN);
        detector.insert(1, std::sync::Arc::new(OutlierCounters::new()), Timestamp::ORIGIN);
        for _ in 0..5 {
            if let Some(suspicion) = counters.record(&Outcome::failure(), &rules) {
                let _ = detector.suspect(0, suspicion, Timestamp::ORIGIN);
            }
        }
        let due = detector.status(0).unwrap().until.unwrap();
        let _ = detector.sweep(due);
        counters.record(&Outcome::success(), &rules);
        counters.record(&Outcome::success(), &rules);
        let (theirs, their_rules) = (counters.clone(), rules.clone());
        let other = thread::spawn(move || theirs.record(&Outcome::failure(), &their_rules));
        let mine = counters.record(&Outcome::success(), &rules);
        let theirs = other.join().unwrap();
        // Whoever came first decides; after a pass the failure is the first of a run.
        match (mine, theirs) {
            (Some(Suspicion::ProbationPassed), None) => assert_eq!(counters.runs().0, 1),
            (None, Some(Suspicion::ProbationFailed)) => {}
            other => unreachable!("{other:?}"),
        }
    });
}
