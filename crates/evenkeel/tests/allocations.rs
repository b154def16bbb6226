//! A pick and its end allocate nothing, for every policy, with exclusions, with half of the set down, and through both
//! handles.

use allocation_counter::measure;
use evenkeel::{
    BreakerConfig, CheckState, Cluster, Endpoint, FailoverConfig, FailoverMode, LatencyConfig, LedgerConfig,
    LimitConfig, Locality, LocalityConfig, ManualClock, Outcome, OutlierConfig, PolicyConfig, Priority,
    RandomSubsetConfig, Request, SlowStartConfig, SubsetConfig, Tried, Weight, ZoneAwareConfig,
};

const ENDPOINTS: usize = 100;

fn cluster(policy: PolicyConfig, half_down: bool, full: bool) -> Cluster<u64> {
    let mut builder = Cluster::builder("allocations").policy(policy).seed(7).clock(ManualClock::default());
    if full {
        let mut budget = LedgerConfig::default();
        // More than all retries of a test.
        budget.total.min_per_second = 100_000;
        builder = builder
            .breaker(BreakerConfig::default())
            .latency(LatencyConfig::default())
            .outlier(OutlierConfig::default())
            .slow_start(SlowStartConfig::default())
            .endpoint_limit(LimitConfig::fixed(20))
            .limit(LimitConfig::fixed(100))
            .budget(budget);
    }
    let cluster = builder.build().expect("valid settings");
    let endpoint = |number: usize| {
        let address = format!("10.0.0.{number}:80").parse().expect("an address");
        let weight = Weight::new(1 + number as u32 % 3);
        Endpoint::at(address).expect("a short name").with_weight(weight).with_payload(number as u64)
    };
    cluster.apply((0..ENDPOINTS).map(endpoint)).expect("a valid set");
    if half_down {
        for number in (0..ENDPOINTS).step_by(2) {
            let id = format!("10.0.0.{number}:80").parse().expect("an id");
            cluster.drain(&id).expect("it exists");
        }
    }
    cluster
}

fn check(what: &str, mut act: impl FnMut()) {
    // The first load of a thread makes arc-swap's record of that thread.
    act();
    let counted = measure(|| (0..1000).for_each(|_| act()));
    assert_eq!(counted.count_total, 0, "{what} allocates");
}

#[test]
fn a_pick_and_its_end_allocate_nothing() {
    for policy in PolicyConfig::all() {
        for (half_down, full) in [(false, false), (true, false), (false, true), (true, true)] {
            let name = format!("{} half down: {half_down}, everything on: {full}", policy.name());
            let cluster = cluster(policy.clone(), half_down, full);
            check(&name, || {
                let pick = cluster.pick(&Request::with_key("user-42")).expect("some are usable");
                assert!(pick.payload() < &(ENDPOINTS as u64));
                pick.finish(Outcome::success());
            });
            check(&format!("{name}, dropped"), || {
                drop(cluster.pick(&Request::new()).expect("some are usable"));
            });
            let mut picker = cluster.picker();
            check(&format!("{name}, picker"), || {
                picker.pick(&Request::new()).expect("some are usable").finish(Outcome::overload(None));
            });
            check(&format!("{name}, choosing alone"), || {
                assert!(picker.choose(&Request::new()).is_ok());
            });
        }
    }
}

#[test]
fn exclusions_allocate_nothing() {
    for policy in PolicyConfig::all() {
        for half_down in [false, true] {
            let cluster = cluster(policy.clone(), half_down, true);
            let mut tried = Tried::default();
            while tried.len() < 8 {
                tried.add(
                    &cluster.pick(&Request::new().excluding(&tried)).expect("more than eight are usable"),
                );
            }
            check(&format!("{} with exclusions, half down: {half_down}", policy.name()), || {
                let pick = cluster.pick(&Request::new().excluding(&tried)).expect("others are usable");
                pick.finish(Outcome::success());
            });
        }
    }
}

#[test]
fn collecting_tried_endpoints_allocates_nothing_up_to_eight() {
    let cluster = cluster(PolicyConfig::least_request(), false, true);
    check("eight retries", || {
        let mut tried = Tried::default();
        for _ in 0..8 {
            let pick = cluster.pick(&Request::new().excluding(&tried)).expect("others are usable");
            tried.add(&pick);
            pick.finish(Outcome::neutral());
        }
    });
}

/// Nearly all take a fiftieth of their weight, so that many are passed over before one is taken.
#[test]
fn passing_over_allocates_nothing() {
    for policy in PolicyConfig::all() {
        let cluster = cluster(policy.clone(), false, false);
        for endpoint in cluster.endpoints().iter().skip(1) {
            endpoint.set_reported(0.02);
        }
        let _ = cluster.tick();
        let mut key = 0_u64;
        check(&format!("{} with factors", policy.name()), || {
            key += 1;
            let pick = cluster.pick(&Request::with_hash(key)).expect("all are usable");
            pick.finish(Outcome::success());
        });
    }
}

/// Three tiers of three zones, in a subset: all up, spilling with a zone half down, and in panic.
#[test]
fn shares_of_tiers_and_zones_allocate_nothing() {
    let subset = RandomSubsetConfig { size: 60, seed: Some(1), ..RandomSubsetConfig::default() };
    for policy in PolicyConfig::all() {
        let cluster = Cluster::builder("allocations")
            .policy(policy.clone())
            .seed(7)
            .clock(ManualClock::default())
            .subset(SubsetConfig::Random(subset))
            .failover(FailoverMode::Spill(FailoverConfig::default()))
            .locality(LocalityConfig::ZoneAware(ZoneAwareConfig::new(Locality::new("eu", "z0", ""))))
            .breaker(BreakerConfig::default())
            .build()
            .expect("valid settings");
        let endpoint = |number: usize| {
            let address = format!("10.0.{}.{}:80", number / 250, number % 250).parse().expect("an address");
            Endpoint::at(address)
                .expect("a short name")
                .with_priority(Priority::new((number % 3) as u8).expect("a low one"))
                .with_locality(Locality::new("eu", &format!("z{}", number / 3 % 3), ""))
                .with_payload(0)
        };
        cluster.apply((0..270).map(endpoint)).expect("a valid set");
        let handles = cluster.endpoints();
        for (state, down) in [("all up", 0), ("spilling", 150), ("in panic", 270)] {
            for handle in &handles[..down] {
                handle.set_check(CheckState::Down);
            }
            let mut key = 0_u64;
            // Other programs' machines look at their members again at the first pick of each group after a flip.
            for key in 0..500 {
                drop(cluster.pick(&Request::with_hash(key)));
                drop(cluster.pick(&Request::new()));
            }
            check(&format!("{} by shares, {state}", policy.name()), || {
                key += 1;
                let pick = cluster.pick(&Request::with_hash(key)).expect("some are usable, or it is panic");
                pick.finish(Outcome::success());
                drop(cluster.pick(&Request::new()));
            });
        }
    }
}
