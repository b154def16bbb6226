//! Outlier detection: what a finished request costs, and a sweep.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::{Outcome, Timestamp};
use evenkeel_health::outlier::{
    EjectionTime, Growth, LatencyRule, OutlierConfig, OutlierCounters, OutlierDetector, OutlierRules,
    SuccessRate,
};

use crate::cases::{Cases, repeat};

/// A success, by the rules that look at it; two threads share the endpoint.
/// Runs of failures, and nothing else that counts requests: ejections do not grow either.
fn runs_alone() -> OutlierConfig {
    let ejection = EjectionTime { growth: Growth::Fixed, ..EjectionTime::default() };
    OutlierConfig { success_rate: None, ejection, ..OutlierConfig::default() }
}

pub(crate) fn records(cases: &mut Cases) {
    let default = OutlierConfig::default;
    for (name, config) in
        [("runs", runs_alone()), ("default", default()), ("latency", with_latency(default()))]
    {
        let rules = Arc::new(OutlierRules::new(config).expect("valid rules"));
        let counters = Arc::new(OutlierCounters::new());
        cases.add("outlier", &format!("evenkeel/record:{name}"), 0, 1.0, || {
            let (rules, counters) = (Arc::clone(&rules), Arc::clone(&counters));
            let success = Outcome::success().with_latency(Duration::from_millis(12));
            repeat(move || counters.record(&success, &rules))
        });
    }
}

/// One request of each endpoint, and a sweep after it; and the requests alone. Every tenth fails, and all have enough
/// requests to be judged: so every tenth is tested against its peers.
pub(crate) fn sweeps(cases: &mut Cases, n: usize) {
    let rule = SuccessRate { min_requests: 1, ..SuccessRate::default() };
    let config = OutlierConfig {
        consecutive_failures: None,
        consecutive_local_failures: None,
        success_rate: Some(rule),
        ..OutlierConfig::default()
    };
    for (name, config) in [("default", config.clone()), ("latency", with_latency(config))] {
        for swept in [false, true] {
            let subject = format!("evenkeel/{}:{name}", if swept { "touch+sweep" } else { "touch" });
            if cases.is_wanted("outlier", &subject) {
                cases.add_single("outlier", &subject, n, 1, repeat(swept_cluster(&config, n, swept)));
            }
        }
    }
}

fn swept_cluster(config: &OutlierConfig, n: usize, swept: bool) -> impl FnMut() -> usize + Send + 'static {
    let rules = Arc::new(OutlierRules::new(config.clone()).expect("valid rules"));
    let mut detector = OutlierDetector::new(Arc::clone(&rules), 1, Timestamp::ORIGIN);
    let counters: Vec<Arc<OutlierCounters>> = (0..n).map(|_| Arc::default()).collect();
    for (token, counters) in counters.iter().enumerate() {
        detector.insert(token, Arc::clone(counters), Timestamp::ORIGIN);
    }
    let outcomes = [Outcome::failure(), Outcome::success().with_latency(Duration::from_millis(12))];
    move || {
        for (token, counters) in counters.iter().enumerate() {
            counters.record(&outcomes[usize::from(token % 10 > 0)], &rules);
        }
        if swept { detector.sweep(detector.next_deadline()).len() } else { 0 }
    }
}

fn with_latency(mut config: OutlierConfig) -> OutlierConfig {
    config.latency = Some(LatencyRule { min_requests: 2, ..LatencyRule::default() });
    config
}
