//! The pick of a cluster with tiers, zones, a subset and a breaker, beside its parts.

use std::sync::Arc;

use evenkeel::{MonotonicClock, Outcome, Request, Timestamp};
use evenkeel_benches::{PARTS, PIPELINE_SUBSET, pipeline, window_breaker};
use evenkeel_breaker::{Breaker, Rules};
use evenkeel_route::failover::{FailoverConfig, TierHealth, spill};
use evenkeel_route::locality::zone_aware;

use crate::cases::{Cases, repeat};
use crate::gates::{Bound, Gate, Rows, ratio};

pub(crate) fn cases(cases: &mut Cases) {
    let n = PIPELINE_SUBSET;
    if !cases.is_wanted("pipeline", "") {
        return;
    }
    let cluster = pipeline(MonotonicClock::new());
    cases.add("pipeline", "evenkeel/cluster", n, 1.0, || {
        let cluster = cluster.clone();
        repeat(move || cluster.pick(&Request::new()).map(|pick| pick.finish(Outcome::success())))
    });
    let plain = PARTS[0].cluster(n, MonotonicClock::new());
    cases.add("pipeline", "part/p2c", n, 1.0, || {
        let cluster = plain.clone();
        repeat(move || cluster.pick(&Request::new()).map(|pick| pick.finish(Outcome::success())))
    });
    let rules = Arc::new(Rules::new(&window_breaker()).expect("valid rules"));
    let breakers: Arc<[_]> = (0..n).map(|_| Box::new(Breaker::with_rules(&rules))).collect();
    cases.add("pipeline", "part/breaker", n, 1.0, || {
        let (breakers, mut nanos) = (Arc::clone(&breakers), 0);
        let mut draws = fastrand::Rng::with_seed(1);
        repeat(move || {
            nanos += 100;
            let (breaker, now) = (&breakers[draws.usize(..breakers.len())], Timestamp::from_nanos(nanos));
            let admission = breaker.try_acquire(now).ok()?;
            breaker.record(admission.permit, &Outcome::success(), now)
        })
    });
    let clock = Arc::new(MonotonicClock::new());
    cases.add("pipeline", "part/clock", n, 1.0, || {
        let clock = Arc::clone(&clock);
        repeat(move || evenkeel::Clock::now(&*clock))
    });
    let tier = |usable| TierHealth { total: 90, usable, degraded: 0 };
    let loads = spill(&[tier(54), tier(90), tier(90)], &FailoverConfig::default());
    let zones = zone_aware(&[2, 1, 1], &[18, 18, 18], 0).expect("three zones");
    cases.add("pipeline", "part/tier", n, 1.0, || {
        let (loads, mut draws) = (loads.clone(), fastrand::Rng::with_seed(1));
        repeat(move || loads.pick(draws.u64(..)))
    });
    cases.add("pipeline", "part/zone", n, 1.0, || {
        let (zones, mut draws) = (zones.clone(), fastrand::Rng::with_seed(1));
        repeat(move || zones.drawn(draws.u64(..)))
    });
}

/// At most a fifth more than the sum of its parts, with the clock reads that are made.
pub(crate) fn gates(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    for threads in [1, 2] {
        let of = |subject: &str| rows.of("pipeline", subject, PIPELINE_SUBSET, threads);
        let parts = ["p2c", "breaker", "tier", "zone", "clock"].map(|part| of(&format!("part/{part}")));
        let sum = parts.into_iter().sum();
        let name = format!("pick by tier, zone, subset, P2C and breaker / its parts, {threads}T");
        gates.push(ratio(name, of("evenkeel/cluster"), sum, Bound::AtMost(1.2), None));
    }
}
