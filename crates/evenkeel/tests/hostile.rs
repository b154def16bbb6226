//! What must hold when words, factors, detector, limits and code of the user meet at a bad moment.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::{
    AdminState, BreakerConfig, Caller, Cause, Cluster, ClusterBuilder, Endpoint, EndpointId, Event, Handle,
    LedgerConfig, LimitConfig, ManualClock, Notice, Outcome, OutlierConfig, OutlierNotice, Policy,
    PolicyConfig, Priority, Request, Rule, SlowStartConfig, Tried, View, Wants, Weight, breaker,
};

fn id(n: u32) -> EndpointId {
    format!("e{n}").parse().expect("an id")
}

fn endpoint(n: u32) -> Endpoint {
    Endpoint::new(id(n), format!("10.0.0.{n}:80").parse().expect("an address"))
}

fn builder(policy: PolicyConfig) -> (ClusterBuilder<()>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (Cluster::builder("hostile").policy(policy).seed(7).clock(Arc::clone(&clock)), clock)
}

fn handle(cluster: &Cluster<()>, n: u32) -> Handle<()> {
    cluster.endpoint(&id(n)).expect("it is known")
}

/// So many failures at `n`, whoever else the policy names.
fn fail(cluster: &Cluster<()>, n: u32, times: u32) {
    let mut left = times;
    for _ in 0..10_000 {
        if left == 0 {
            return;
        }
        let pick = cluster.pick(&Request::new()).expect("somebody is usable");
        let is_it = pick.endpoint().id() == id(n);
        left -= u32::from(is_it);
        pick.finish(if is_it { Outcome::failure() } else { Outcome::success() });
    }
    unreachable!("{n} got no requests");
}

#[test]
fn a_word_without_an_end_takes_the_end_of_the_same_word_away() {
    let (builder, clock) = builder(PolicyConfig::round_robin());
    let cluster = builder.build().expect("valid settings");
    cluster.apply([endpoint(1)]).expect("a valid set");
    let one = handle(&cluster, 1);
    one.set_admin_for(AdminState::Drain, Duration::from_secs(10), "alice", "kernel").expect("short texts");
    one.set_admin(AdminState::Drain);
    clock.advance(Duration::from_secs(20));
    cluster.tick();
    assert_eq!(one.status().cause(), Some(Cause::AdminDrain), "drained until somebody says otherwise");
    assert_eq!(cluster.report().endpoints[0].causes[0].until, None);
}

#[test]
fn who_joins_without_being_usable_does_not_count_as_remaining() {
    let (builder, _) = builder(PolicyConfig::round_robin());
    let outlier = OutlierConfig { consecutive_failures: Some(3), ..OutlierConfig::default() };
    let cluster = builder.outlier(outlier).build().expect("valid settings");
    cluster.apply([endpoint(1), endpoint(2).with_weight(Weight::new(0))]).expect("a valid set");
    fail(&cluster, 1, 20);
    assert!(cluster.pick(&Request::new()).is_ok(), "the last one stays");
}

#[test]
fn who_comes_back_since_fewer_may_be_out_is_told() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notices = Arc::clone(&heard);
    let (builder, _) = builder(PolicyConfig::round_robin());
    let outlier = OutlierConfig { consecutive_failures: Some(3), brake: None, ..OutlierConfig::default() };
    let cluster = builder
        .outlier(outlier)
        .observer(move |notice: &Notice| notices.lock().expect("nobody panics").push(notice.clone()))
        .build()
        .expect("valid settings");
    cluster.apply((1..=4).map(endpoint)).expect("a valid set");
    fail(&cluster, 1, 3);
    fail(&cluster, 2, 3);
    cluster.remove(&id(4)).expect("it is known");
    let returned = |notice: &Notice| matches!(notice, Notice::Outlier(OutlierNotice::Returned { .. }));
    assert_eq!(heard.lock().expect("nobody panics").iter().filter(|notice| returned(notice)).count(), 1);
    assert_eq!(cluster.usable(), 2);
}

/// Chooses the first that is open, and panics when it is told to.
#[derive(Debug, Default)]
struct Faulty {
    in_pick: Arc<AtomicBool>,
    in_event: Arc<AtomicBool>,
    in_flight: Arc<Mutex<i64>>,
}

impl Policy for Faulty {
    fn pick(&self, view: &dyn View, _: &mut dyn Caller) -> Option<usize> {
        assert!(!self.in_pick.load(Ordering::Relaxed), "a fault of the policy");
        view.mask().iter().find(|&position| view.admits(position))
    }

    fn wants(&self) -> Wants {
        Wants::EVENTS
    }

    fn on_event(&self, event: Event) {
        match event {
            Event::Picked(_) => {
                assert!(!self.in_event.load(Ordering::Relaxed), "a fault of the policy");
                *self.in_flight.lock().expect("not poisoned") += 1;
            }
            Event::Released(_) => *self.in_flight.lock().expect("not poisoned") -= 1,
            _ => {}
        }
    }
}

#[test]
fn a_policy_that_panics_keeps_nothing() {
    let policy = Faulty::default();
    let (in_pick, in_event) = (Arc::clone(&policy.in_pick), Arc::clone(&policy.in_event));
    let in_flight = Arc::clone(&policy.in_flight);
    let (builder, _) = builder(PolicyConfig::custom(policy));
    let builder = builder.endpoint_limit(LimitConfig::fixed(1)).limit(LimitConfig::fixed(1));
    let cluster = builder.budget(LedgerConfig::default()).build().expect("valid settings");
    cluster.apply([endpoint(1)]).expect("a valid set");
    for fault in [&in_pick, &in_event] {
        fault.store(true, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| cluster.pick(&Request::new()).map(drop))).is_err());
        fault.store(false, Ordering::Relaxed);
        let pick = cluster.pick(&Request::new()).expect("the slots are free");
        assert_eq!(pick.endpoint().id(), id(1));
        drop(pick);
        assert_eq!(*in_flight.lock().expect("not poisoned"), 0);
        assert_eq!(cluster.in_flight(&id(1)), Some(0));
    }
}

#[test]
fn an_observer_that_panics_keeps_nothing_and_hides_nothing() {
    let (builder, clock) = builder(PolicyConfig::round_robin());
    let angry = Arc::new(AtomicBool::new(true));
    let mood = Arc::clone(&angry);
    let cluster = builder
        .breaker(BreakerConfig { rules: vec![Rule::Consecutive { failures: 1 }], ..BreakerConfig::default() })
        .outlier(OutlierConfig { consecutive_failures: Some(3), ..OutlierConfig::default() })
        .endpoint_limit(LimitConfig::fixed(1))
        .limit(LimitConfig::fixed(1))
        .observer(move |_: &Notice| assert!(!mood.load(Ordering::Relaxed), "a fault of the observer"))
        .build()
        .expect("valid settings");
    let quietly = |act: &dyn Fn()| drop(catch_unwind(AssertUnwindSafe(act)));
    quietly(&|| drop(cluster.apply([endpoint(1)])));
    for round in 0..20 {
        quietly(&|| {
            if let Ok(pick) = cluster.pick(&Request::new()) {
                match round % 3 {
                    0 => pick.finish(Outcome::failure()),
                    1 => drop(pick),
                    _ => pick.finish(Outcome::success()),
                }
            }
        });
        clock.advance(Duration::from_secs(40));
        quietly(&|| {
            let _ = cluster.tick();
        });
    }
    angry.store(false, Ordering::Relaxed);
    clock.advance(Duration::from_secs(3600));
    cluster.tick();
    for _ in 0..10 {
        cluster.pick(&Request::new()).expect("nothing was kept").finish(Outcome::success());
    }
}

#[test]
fn who_is_passed_over_is_asked_before_another_tier() {
    for policy in ["random", "round_robin", "least_request", "ring_hash"] {
        let (builder, _) = builder(policy.parse().expect("a policy"));
        let cluster = builder.build().expect("valid settings");
        let backup = |n| endpoint(n).with_priority(Priority::new(1).expect("in range"));
        cluster.apply([endpoint(1), endpoint(2), backup(3), backup(4)]).expect("a valid set");
        let mut tried = Tried::default();
        for (out, tier) in [([2, 2], 0), ([1, 2], 1)] {
            out.iter().for_each(|&n| drop(cluster.drain(&id(n))));
            let pick = cluster.pick(&Request::new()).expect("one is left");
            assert_eq!(pick.endpoint().description().priority().get(), tier);
            tried.add(&pick);
        }
        (1..=2).for_each(|n| drop(cluster.undrain(&id(n))));
        handle(&cluster, 2).set_reported(0.0);
        cluster.tick();
        for n in 0..50_u32 {
            let key = n.to_string();
            let pick = cluster.pick(&Request::with_key(&key).excluding(&tried)).expect("2 is usable");
            assert_eq!(pick.endpoint().id(), id(2), "{policy}: it takes little, and nobody else is there");
        }
    }
}

/// Where every key goes.
fn places(cluster: &Cluster<()>) -> BTreeMap<u32, EndpointId> {
    let place = |n: u32| {
        let key = n.to_string();
        (n, cluster.pick(&Request::with_key(&key)).expect("somebody is usable").endpoint().id())
    };
    (0..300).map(place).collect()
}

#[test]
fn keys_keep_their_places_where_all_take_little() {
    for policy in ["ring_hash", "maglev", "rendezvous"] {
        let (builder, _) = builder(policy.parse().expect("a policy"));
        let cluster = builder.build().expect("valid settings");
        cluster.apply((1..=6).map(endpoint)).expect("a valid set");
        for n in 1..=5 {
            handle(&cluster, n).set_reported(0.2);
        }
        cluster.tick();
        // The only one that takes everything goes: the rest are each other's measure.
        cluster.drain(&id(6)).expect("it is known");
        assert!(places(&cluster) == places(&cluster), "{policy}, after a drain");
        // New masks, and nothing that anybody waits for.
        cluster.remove(&id(6)).expect("it is known");
        assert!(places(&cluster) == places(&cluster), "{policy}, after an update");
        // One that gets nothing while others are left is no measure.
        cluster.upsert(endpoint(7)).expect("a valid endpoint");
        handle(&cluster, 7).set_check(evenkeel::CheckState::Degraded);
        assert!(places(&cluster) == places(&cluster), "{policy}, beside a degraded one");
    }
}

#[test]
fn expected_shares_are_those_that_picks_have() {
    let (builder, _) = builder("random".parse().expect("a policy"));
    let cluster = builder.slow_start(SlowStartConfig::default()).build().expect("valid settings");
    cluster.apply((1..=10).map(endpoint)).expect("a valid set");
    (2..=10).for_each(|n| drop(cluster.drain(&id(n))));
    cluster.tick();
    (2..=10).for_each(|n| drop(cluster.undrain(&id(n))));
    cluster.tick();
    let report = cluster.report();
    let mut counts: BTreeMap<EndpointId, u32> = BTreeMap::new();
    for _ in 0..20_000 {
        *counts.entry(cluster.pick(&Request::new()).expect("usable").endpoint().id()).or_default() += 1;
    }
    for endpoint in &report.endpoints {
        let share = f64::from(counts[&endpoint.id]) / 20_000.0;
        assert!((share - endpoint.expected_share).abs() < 0.02, "{share}: {endpoint:?}");
    }
}

#[test]
fn a_breaker_that_starts_open_is_seen_and_opens_by_itself() {
    let (builder, clock) = builder(PolicyConfig::round_robin());
    let config = BreakerConfig { initial: breaker::Initial::Open, ..BreakerConfig::default() };
    let cluster = builder.breaker(config).build().expect("valid settings");
    cluster.apply([endpoint(1)]).expect("a valid set");
    let report = &cluster.report().endpoints[0];
    assert_eq!((report.usable, report.cause), (false, Some(Cause::BreakerOpen)));
    assert!(cluster.pick(&Request::new()).is_err());
    clock.advance(Duration::from_secs(600));
    cluster.pick(&Request::new()).expect("a probe").finish(Outcome::success());
}
