//! Shares of tiers: the worked examples, what is remembered, panic in all its modes, and laws.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::{
    AdminState, Announced, ApplyError, BackupFailoverConfig, BackupMode, BreakerConfig, BuildError,
    CheckState, Cluster, ClusterBuilder, Endpoint, EndpointId, EnvoyFailoverConfig, EnvoyZoneConfig,
    FailoverConfig, FailoverMode, GrpcFailoverConfig, HalfOpen, Locality, LocalityConfig, ManualClock,
    Notice, OnPanic, Outcome, OutsideSubset, PanicAnswer, Pick, PickError, PolicyConfig, Priority,
    RandomSubsetConfig, Ratio, Request, Rule, StaticResponse, SubsetConfig, TierHappened, Tried, Weight,
    ZoneAwareConfig,
};
use proptest::prelude::*;

fn id(tier: usize, number: usize) -> EndpointId {
    format!("t{tier}-{number}").parse().unwrap()
}

fn endpoint(tier: usize, number: usize) -> Endpoint {
    let address = format!("10.{tier}.{}.{}:80", number / 250, number % 250);
    Endpoint::new(id(tier, number), address.parse().unwrap())
        .with_priority(Priority::new(tier as u8).unwrap())
}

/// Tiers of so many endpoints: usable, degraded, and down for a check.
type Counts = (usize, usize, usize);

fn fleet(tiers: &[Counts]) -> Vec<Endpoint> {
    let tier = |(tier, &(usable, degraded, down)): (usize, &Counts)| {
        let all = usable + degraded + down;
        (0..all).map(move |number| {
            endpoint(tier, number).with_announced(match number {
                _ if number < usable => Announced::Up,
                _ if number < usable + degraded => Announced::Degraded,
                _ => Announced::Down,
            })
        })
    };
    tiers.iter().enumerate().flat_map(tier).collect()
}

fn builder(failover: FailoverMode) -> (ClusterBuilder<()>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let builder = Cluster::builder("test").seed(5).clock(Arc::clone(&clock)).failover(failover);
    (builder, clock)
}

fn spill() -> FailoverMode {
    FailoverMode::Spill(FailoverConfig::default())
}

fn envoy() -> FailoverMode {
    FailoverMode::Envoy(EnvoyFailoverConfig::default())
}

fn on_panic(on_panic: OnPanic) -> FailoverMode {
    FailoverMode::Spill(FailoverConfig { on_panic, ..FailoverConfig::default() })
}

fn cluster(failover: FailoverMode, tiers: &[Counts]) -> Cluster<()> {
    let cluster = builder(failover).0.build().unwrap();
    cluster.apply(fleet(tiers)).unwrap();
    cluster
}

/// Usable and degraded shares, and panic, as the report tells them; in percent.
fn reported(cluster: &Cluster<()>) -> Vec<(f64, f64, bool)> {
    let round = |share: f64| (share * 1e6).round() / 1e4;
    let tiers = cluster.report().tiers;
    tiers.iter().map(|tier| (round(tier.share), round(tier.degraded_share), tier.panic)).collect()
}

/// What picks do, in percent, by tier and by whether the endpoint is degraded.
fn drawn(cluster: &Cluster<()>, picks: usize) -> BTreeMap<(u8, bool), f64> {
    let mut shares = BTreeMap::new();
    for _ in 0..picks {
        let pick = cluster.pick(&Request::new()).unwrap();
        let status = pick.endpoint().status();
        assert_eq!(pick.way().priority(), pick.endpoint().description().priority());
        assert_eq!(pick.way().is_degraded(), status.is_degraded());
        *shares.entry((pick.way().priority().get(), status.is_degraded())).or_insert(0.0) +=
            100.0 / picks as f64;
    }
    shares
}

struct Example {
    tiers: &'static [Counts],
    /// Shares as (usable, degraded, panic), in percent.
    spill: &'static [(f64, f64, bool)],
    envoy: &'static [(f64, f64, bool)],
}

/// Envoy's `priority.rst`, `panic_threshold.rst` and `degraded.rst`, and what our own mode makes of the same numbers.
const EXAMPLES: &[Example] = &[
    Example {
        tiers: &[(10, 0, 0), (10, 0, 0)],
        spill: &[(100.0, 0.0, false), (0.0, 0.0, false)],
        envoy: &[(100.0, 0.0, false), (0.0, 0.0, false)],
    },
    Example {
        tiers: &[(8, 0, 2), (10, 0, 0)],
        spill: &[(100.0, 0.0, false), (0.0, 0.0, false)],
        envoy: &[(100.0, 0.0, false), (0.0, 0.0, false)],
    },
    Example {
        tiers: &[(7, 0, 3), (10, 0, 0)],
        spill: &[(98.0, 0.0, false), (2.0, 0.0, false)],
        envoy: &[(98.0, 0.0, false), (2.0, 0.0, false)],
    },
    Example {
        tiers: &[(6, 0, 4), (10, 0, 0)],
        spill: &[(84.0, 0.0, false), (16.0, 0.0, false)],
        envoy: &[(84.0, 0.0, false), (16.0, 0.0, false)],
    },
    // Envoy rounds down to whole percents, 46 of 46.67; ours does not.
    Example {
        tiers: &[(1, 0, 2), (3, 0, 0)],
        spill: &[(46.6667, 0.0, false), (53.3333, 0.0, false)],
        envoy: &[(46.0, 0.0, false), (54.0, 0.0, false)],
    },
    Example {
        tiers: &[(1, 4, 5), (2, 0, 8)],
        spill: &[(14.2857, 57.1429, false), (28.5714, 0.0, true)],
        envoy: &[(15.0, 57.0, false), (28.0, 0.0, true)],
    },
    // All are in panic: Envoy divides by hosts, ours by what each can bear.
    Example {
        tiers: &[(2, 0, 8), (3, 0, 7), (1, 0, 9)],
        spill: &[(33.3333, 0.0, true), (50.0, 0.0, true), (16.6667, 0.0, true)],
        envoy: &[(34.0, 0.0, true), (33.0, 0.0, true), (33.0, 0.0, true)],
    },
    Example {
        tiers: &[(0, 0, 10), (10, 0, 0)],
        spill: &[(0.0, 0.0, false), (100.0, 0.0, false)],
        envoy: &[(0.0, 0.0, false), (100.0, 0.0, false)],
    },
    Example {
        tiers: &[(0, 0, 3), (0, 0, 4)],
        spill: &[(100.0, 0.0, true), (0.0, 0.0, true)],
        envoy: &[(43.0, 0.0, true), (57.0, 0.0, true)],
    },
];

#[test]
fn worked_examples() {
    for example in EXAMPLES {
        for (failover, expected) in [(spill(), example.spill), (envoy(), example.envoy)] {
            let cluster = cluster(failover.clone(), example.tiers);
            assert_eq!(reported(&cluster), expected, "{failover:?} {:?}", example.tiers);
            let mut tiers = vec![0.0; expected.len()];
            let mut panics = 0.0;
            for _ in 0..20_000 {
                let pick = cluster.pick(&Request::new()).unwrap();
                let tier = usize::from(pick.way().priority().get());
                tiers[tier] += 0.005;
                panics += if pick.way().is_panic() { 0.005 } else { 0.0 };
                assert_eq!(pick.way().is_spilled(), tier > 0);
                assert_eq!(pick.way().is_panic(), expected[tier].2);
                assert!(pick.way().is_panic() || pick.endpoint().status().usable());
                assert!(!pick.way().is_fallback());
            }
            for (tier, (usable, degraded, _)) in expected.iter().enumerate() {
                assert!((tiers[tier] - usable - degraded).abs() < 1.5, "{:?}: {tiers:?}", example.tiers);
            }
            let all: f64 = expected.iter().filter(|row| row.2).map(|row| row.0 + row.1).sum();
            assert!((panics - all).abs() < 1.5, "{panics} {all}");
        }
    }
}

#[test]
fn the_own_way_of_other_programs() {
    let counts = [(0, 2, 2), (3, 0, 0)];
    let strict = Cluster::<()>::builder("strict").seed(1).build().unwrap();
    strict.apply(fleet(&counts)).unwrap();
    assert_eq!(drawn(&strict, 100).into_keys().collect::<Vec<_>>(), [(1, false)]);
    let pick = strict.pick(&Request::new()).unwrap();
    assert!(pick.way().is_fallback() && !pick.way().is_spilled(), "{:?}", pick.way());
    assert!(strict.report().tiers.is_empty());

    // A degraded primary is a primary.
    let backup = |takes| FailoverMode::Backup(BackupFailoverConfig { takes });
    let haproxy = cluster(backup(BackupMode::First), &counts);
    assert_eq!(drawn(&haproxy, 100).into_keys().collect::<Vec<_>>(), [(0, true)]);
    for number in 0..2 {
        haproxy.drain(&id(0, number)).unwrap();
    }
    let names = |cluster: &Cluster<()>| {
        let pick = || cluster.pick(&Request::new()).unwrap().endpoint().id().to_string();
        let mut names: Vec<_> = (0..100).map(|_| pick()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    assert_eq!(names(&haproxy), ["t1-0"], "the first backup takes all");
    haproxy.drain(&id(1, 0)).unwrap();
    assert_eq!(names(&haproxy), ["t1-1"]);
    let mut tried = Tried::default();
    tried.add(&haproxy.pick(&Request::new()).unwrap());
    let again = haproxy.pick(&Request::new().excluding(&tried)).unwrap();
    assert_eq!(again.endpoint().id().as_str(), "t1-2");
    for takes in [BackupMode::All, BackupMode::Nginx] {
        let nginx = cluster(backup(takes), &[(1, 0, 0), (3, 0, 0)]);
        let mut tried = Tried::default();
        tried.add(&nginx.pick(&Request::new()).unwrap());
        assert_eq!(nginx.pick(&Request::new().excluding(&tried)).unwrap().way().priority().get(), 1);
        nginx.drain(&id(0, 0)).unwrap();
        assert_eq!(names(&nginx), ["t1-0", "t1-1", "t1-2"]);
    }
}

#[test]
fn grpc_waits_for_a_tier_that_starts() {
    let timeout = GrpcFailoverConfig { failover_timeout: Duration::from_secs(3) };
    let (builder, clock) = builder(FailoverMode::Grpc(timeout));
    let cluster = builder.build().unwrap();
    let starting = |number| endpoint(0, number).with_announced(Announced::Starting);
    cluster.apply([starting(0), starting(1), endpoint(1, 0)]).unwrap();
    let shares = || reported(&cluster).iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(shares(), [100.0, 0.0], "it is given its time");
    assert!(
        cluster.pick(&Request::new()).is_ok_and(|pick| pick.way().is_fallback()),
        "and nobody waits for it"
    );
    clock.advance(Duration::from_secs(3));
    cluster.tick();
    assert_eq!(shares(), [0.0, 100.0]);
    cluster.upsert(endpoint(0, 1)).unwrap();
    assert_eq!(shares(), [100.0, 0.0], "one that is ready takes all");
    cluster.drain(&id(0, 1)).unwrap();
    assert_eq!(shares(), [100.0, 0.0], "starting again, after having been ready");
    cluster.endpoint(&id(0, 0)).unwrap().set_check(CheckState::Down);
    assert_eq!(shares(), [0.0, 100.0], "failed");
    cluster.undrain(&id(0, 1)).unwrap();
    assert_eq!(shares(), [100.0, 0.0]);
}

/// Endpoints that are added and not ready yet are no loss, and nobody is sent to them, not even in panic.
#[test]
fn a_scale_out_is_no_outage() {
    let starting = |tier, number| endpoint(tier, number).with_announced(Announced::Starting);
    for failover in [spill(), envoy(), on_panic(OnPanic::FailClosed)] {
        for check in [CheckState::Unknown, CheckState::Down, CheckState::Starting] {
            let cluster = cluster(failover.clone(), &[(2, 0, 0), (2, 0, 0)]);
            for number in 2..5 {
                match check {
                    // Its first check is begun once it is there.
                    CheckState::Starting => cluster.upsert(endpoint(0, number)).unwrap(),
                    _ => cluster.upsert(starting(0, number)).unwrap(),
                };
                // One that is down asked too early.
                cluster.endpoint(&id(0, number)).unwrap().set_check(check);
            }
            assert_eq!(reported(&cluster), [(100.0, 0.0, false), (0.0, 0.0, false)], "{failover:?}");
            let names = drawn_names(&cluster, 1000);
            assert_eq!(names.keys().collect::<Vec<_>>(), ["t0-0", "t0-1"]);
            // They come, one by one; and what was there once and is not ready again is a loss.
            for number in 2..5 {
                cluster.upsert(endpoint(0, number)).unwrap();
                cluster.endpoint(&id(0, number)).unwrap().set_check(CheckState::Up);
                assert_eq!(reported(&cluster)[0], (100.0, 0.0, false));
            }
            for number in 2..5 {
                cluster.upsert(starting(0, number)).unwrap();
            }
            let (share, _, _) = reported(&cluster)[0];
            assert!((55.0..57.0).contains(&share), "two of five, with 40 % to spare: {share}");
        }
    }
    // Where nobody else is, they are all there is.
    let (builder, _) = builder(spill());
    let young: Cluster<()> = builder.build().unwrap();
    young.apply([starting(0, 0), starting(0, 1)]).unwrap();
    assert_eq!(reported(&young), [(100.0, 0.0, true)]);
    assert_eq!(drawn_names(&young, 100).len(), 2);
    young.upsert(endpoint(0, 2).with_announced(Announced::Down)).unwrap();
    assert_eq!(reported(&young), [(100.0, 0.0, true)]);
    assert_eq!(drawn_names(&young, 100).into_keys().collect::<Vec<_>>(), ["t0-2"], "it was there before");
}

#[test]
fn a_tier_loses_at_once_and_returns_slowly() {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let (builder, clock) = builder(FailoverMode::Spill(FailoverConfig {
        leave_below: Ratio::percent(30).unwrap(),
        return_at: Ratio::percent(60).unwrap(),
        ..FailoverConfig::default()
    }));
    let told = Arc::clone(&notices);
    let cluster: Cluster<()> = builder
        .observer(move |notice: &Notice| {
            if let Notice::Tier(notice) = notice {
                told.lock().unwrap().push((notice.priority.get(), notice.happened));
            }
        })
        .build()
        .unwrap();
    cluster.apply(fleet(&[(10, 0, 0), (10, 0, 0)])).unwrap();
    let first = || reported(&cluster)[0].0;
    let set = |count: usize| {
        for number in 0..10 {
            let state = if number < count { CheckState::Up } else { CheckState::Down };
            cluster.endpoint(&id(0, number)).unwrap().set_check(state);
        }
    };
    let wait = |millis| {
        clock.advance(Duration::from_millis(millis));
        cluster.tick()
    };
    assert_eq!((first(), wait(0)), (100.0, None), "nobody waits for anything");
    set(5);
    assert_eq!(first(), 70.0);
    set(2);
    assert_eq!(first(), 0.0, "left");
    assert!(cluster.report().tiers[0].left);
    set(10);
    assert_eq!(first(), 0.0);
    // Flaps do not bring it back.
    for _ in 0..20 {
        wait(3000);
        set(2);
        assert_eq!(first(), 0.0);
        set(10);
    }
    wait(4999);
    assert_eq!(first(), 0.0);
    wait(1);
    let mut last = first();
    for step in 1..=30 {
        let next = wait(1000);
        assert!(next.is_some() || step == 30, "it says when it has something to do");
        assert!(
            first() >= last && (first() - f64::from(step) * 100.0 / 30.0).abs() < 0.5,
            "{step}: {}",
            first()
        );
        last = first();
    }
    wait(1000);
    assert_eq!((first(), wait(0)), (100.0, None));
    let told = std::mem::take(&mut *notices.lock().unwrap());
    assert_eq!(told, [(0, TierHappened::Left), (0, TierHappened::Returned)]);
    // What is held back is used before anybody gets more than it can bear.
    set(0);
    set(10);
    for number in 0..10 {
        cluster.drain(&id(1, number)).unwrap();
    }
    assert_eq!(first(), 100.0);
    assert!(drawn(&cluster, 100).keys().all(|&key| key == (0, false)));
}

/// Picks alone let time pass: a tier comes back without anybody who ticks.
#[test]
fn picks_bring_a_tier_back() {
    let (builder, clock) = builder(spill());
    let cluster = builder.build().unwrap();
    cluster.apply(fleet(&[(2, 0, 0), (2, 0, 0)])).unwrap();
    for number in 0..2 {
        cluster.drain(&id(0, number)).unwrap();
    }
    assert_eq!(drawn(&cluster, 50).into_keys().collect::<Vec<_>>(), [(1, false)]);
    for number in 0..2 {
        cluster.undrain(&id(0, number)).unwrap();
    }
    for _ in 0..60 {
        clock.advance(Duration::from_secs(1));
        let _ = cluster.pick(&Request::new()).unwrap();
    }
    assert_eq!(drawn(&cluster, 50).into_keys().collect::<Vec<_>>(), [(0, false)]);
}

/// A tier that discovery loses and finds again is the same tier.
#[test]
fn what_is_known_of_a_tier_outlives_its_endpoints() {
    let (builder, clock) = builder(spill());
    let cluster = builder.build().unwrap();
    let (both, second) = (fleet(&[(4, 0, 0), (4, 0, 0)]), fleet(&[(0, 0, 0), (4, 0, 0)]));
    cluster.apply(both.clone()).unwrap();
    cluster.apply(second).unwrap();
    cluster.apply(both.clone()).unwrap();
    assert_eq!(reported(&cluster), [(0.0, 0.0, false), (100.0, 0.0, false)]);
    assert_eq!(cluster.report().tiers[0].held_back, 1.0);
    clock.advance(Duration::from_secs(35));
    cluster.tick();
    assert_eq!(reported(&cluster)[0].0, 100.0);
    cluster.clear();
    cluster.apply(both).unwrap();
    assert_eq!(reported(&cluster)[0].0, 100.0, "of a cluster that was cleared nothing is remembered");
}

#[test]
fn panic_in_all_its_modes() {
    let counts = [(1, 0, 9)];
    let open = cluster(on_panic(OnPanic::FailOpen), &counts);
    let names = drawn_names(&open, 2000);
    assert_eq!(names.len(), 10, "all, whatever discovery says of their health");
    let only = cluster(on_panic(OnPanic::UsableOnly), &counts);
    assert_eq!(drawn_names(&only, 50).into_keys().collect::<Vec<_>>(), ["t0-0"]);
    assert!(only.pick(&Request::new()).unwrap().way().is_panic());

    let closed = cluster(on_panic(OnPanic::FailClosed), &counts);
    let error = closed.pick(&Request::new()).unwrap_err();
    let PickError::Panic(panic) = error else { panic!("{error}") };
    assert_eq!((panic.priority.get(), panic.usable, panic.total), (0, 1, 10));
    assert_eq!(panic.answer, PanicAnswer::Refuse);
    assert_eq!(
        error.to_string(),
        "tier 0 is in panic with 1 of 10 endpoints usable: its requests are refused"
    );
    assert!(closed.explain(&Request::new()).to_string().contains("in panic"));

    let answer = StaticResponse { body: "later".into(), ..StaticResponse::default() };
    let fixed = cluster(on_panic(OnPanic::StaticResponse(answer.clone())), &counts);
    let error = fixed.pick(&Request::new()).unwrap_err();
    assert!(matches!(error, PickError::Panic(panic) if panic.answer == PanicAnswer::StaticResponse));
    assert_eq!(fixed.panic_response(), Some(&answer));
    assert_eq!(closed.panic_response(), None);

    let stale = cluster(on_panic(OnPanic::ServeStale), &counts);
    let pick = stale.pick(&Request::new()).unwrap();
    assert!(pick.way().should_serve_stale() && pick.endpoint().status().usable());
    stale.drain(&id(0, 0)).unwrap();
    let error = stale.pick(&Request::new()).unwrap_err();
    assert!(matches!(error, PickError::Panic(panic) if panic.answer == PanicAnswer::ServeStale), "{error}");
    let fails = EnvoyFailoverConfig { fail_traffic_on_panic: true, ..EnvoyFailoverConfig::default() };
    let fails = cluster(FailoverMode::Envoy(fails), &counts);
    assert!(matches!(fails.pick(&Request::new()), Err(PickError::Panic(_))));
}

fn drawn_names(cluster: &Cluster<()>, picks: usize) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for _ in 0..picks {
        let name = cluster.pick(&Request::new()).unwrap().endpoint().id().to_string();
        *names.entry(name).or_insert(0) += 1;
    }
    names
}

/// Panic sets aside what was concluded, never what was decided; and what this client met itself counts.
#[test]
fn panic_respects_what_was_decided_and_what_was_met() {
    let breaker = BreakerConfig {
        rules: vec![Rule::Consecutive { failures: 1 }],
        half_open: HalfOpen::default(),
        ..BreakerConfig::default()
    };
    for policy in PolicyConfig::all() {
        let (builder, _) = builder(spill());
        let cluster: Cluster<()> = builder.breaker(breaker.clone()).policy(policy.clone()).build().unwrap();
        cluster.apply(fleet(&[(0, 0, 12)])).unwrap();
        cluster.drain(&id(0, 0)).unwrap();
        cluster.endpoint(&id(0, 1)).unwrap().set_admin(AdminState::Maintenance);
        cluster.set_weight(&id(0, 2), Weight::new(0)).unwrap();
        cluster.upsert(endpoint(0, 3).with_announced(Announced::Draining)).unwrap();
        cluster.endpoint(&id(0, 4)).unwrap().set_check(CheckState::Down);
        // One whose breaker is open.
        let keys = (0..3000).map(|key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut picks = keys.map(|key| cluster.pick(&Request::with_hash(key)).unwrap());
        let mut out = vec![0, 1, 2, 3];
        // Some policies go to the first one only.
        if let Some(pick) = picks.find(|pick| pick.endpoint().id() == id(0, 5)) {
            pick.finish(Outcome::failure());
            out.push(5);
        }
        let mut names = BTreeMap::new();
        for key in 0..3000_u64 {
            let pick = cluster.pick(&Request::with_hash(key.wrapping_mul(0x9e37_79b9_7f4a_7c15))).unwrap();
            *names.entry(pick.endpoint().id().to_string()).or_insert(0) += 1;
        }
        for out in out {
            assert!(!names.contains_key(id(0, out).as_str()), "{} {names:?}", policy.name());
        }
        assert!(!names.is_empty(), "{}", policy.name());
        assert_eq!(
            cluster.report().tiers[0].zones[0].total,
            8,
            "an open breaker is a loss, not a withdrawal"
        );
    }
}

/// The part of a tier outside the subset takes what the inside cannot bear, before the next tier does.
#[test]
fn a_subset_spills_into_the_rest_of_its_tier() {
    let subset =
        SubsetConfig::Random(RandomSubsetConfig { size: 10, seed: Some(7), ..RandomSubsetConfig::default() });
    let (builder, _) = builder(spill());
    let cluster: Cluster<()> = builder.subset(subset.clone()).build().unwrap();
    cluster.apply(fleet(&[(30, 0, 0), (30, 0, 0)])).unwrap();
    let inside = cluster.subset();
    let of_first = inside.iter().filter(|endpoint| endpoint.description().priority().get() == 0);
    for endpoint in of_first.take(5) {
        endpoint.set_admin(AdminState::Drain);
        endpoint.set_check(CheckState::Down);
        endpoint.set_admin(AdminState::Ready);
    }
    let shares: Vec<_> = reported(&cluster).iter().map(|row| row.0).collect();
    assert_eq!(shares, [70.0, 30.0, 0.0, 0.0]);
    let mut outside = 0;
    for _ in 0..10_000 {
        let pick = cluster.pick(&Request::new()).unwrap();
        assert_eq!(pick.way().priority().get(), 0);
        assert!(!pick.way().is_spilled());
        outside += usize::from(pick.way().is_outside_subset());
    }
    assert!(outside.abs_diff(3000) < 200, "{outside}");

    let (builder, _) = self::builder(spill());
    let never: Cluster<()> = builder.subset(subset).outside_subset(OutsideSubset::Never).build().unwrap();
    never.apply(fleet(&[(30, 0, 0), (30, 0, 0)])).unwrap();
    assert_eq!(reported(&never).len(), 2);
    never.clear_subset().unwrap();
    assert_eq!(reported(&never).len(), 2);
}

/// Where a share leads nowhere, the others are asked: a breaker may refuse everybody of a tier.
#[test]
fn nobody_is_refused_while_somebody_would_take_it() {
    let breaker =
        BreakerConfig { rules: vec![Rule::Consecutive { failures: 1 }], ..BreakerConfig::default() };
    for policy in PolicyConfig::all() {
        let (builder, _) = builder(spill());
        let cluster: Cluster<()> = builder.breaker(breaker.clone()).policy(policy).build().unwrap();
        cluster.apply(fleet(&[(3, 0, 0), (3, 1, 0)])).unwrap();
        let mut tried = Tried::default();
        let mut held: Vec<Pick<()>> = Vec::new();
        for count in 0..7 {
            let pick = cluster.pick(&Request::with_key("k").excluding(&tried)).unwrap();
            assert_eq!(pick.way().priority().get(), u8::from(count > 2));
            assert_eq!(pick.way().is_fallback(), count > 2);
            tried.add(&pick);
            held.push(pick);
        }
        assert!(matches!(
            cluster.pick(&Request::with_key("k").excluding(&tried)),
            Err(PickError::AllTried { tried: 7 })
        ));
        assert!(cluster.pick(&Request::with_key("k").preferring_others(&tried)).is_ok());
        for pick in held.drain(..6) {
            pick.finish(Outcome::failure());
        }
        assert!(cluster.pick(&Request::with_key("k")).is_ok(), "one is left");
    }
}

#[test]
fn settings_that_would_be_ignored_are_refused() {
    let subset = SubsetConfig::Random(RandomSubsetConfig { size: 3, ..RandomSubsetConfig::default() });
    let here = Locality::new("eu", "a", "");
    let zones = |own: &Locality| LocalityConfig::ZoneAware(ZoneAwareConfig::new(own.clone()));
    let envoy_zones =
        LocalityConfig::EnvoyZoneAware(EnvoyZoneConfig { own: here.clone(), ..EnvoyZoneConfig::default() });
    let first = FailoverMode::Backup(BackupFailoverConfig::default());
    let start = || Cluster::<()>::builder("test");
    for (builder, text) in [
        (
            start().failover(envoy()).subset(subset.clone()),
            "outside_subset = \"last_resort\" would be ignored: Envoy's priorities know the subset alone; write \
             outside_subset = \"never\", or failover.mode = \"spill\"",
        ),
        (
            start().locality(envoy_zones.clone()).policy(PolicyConfig::maglev()),
            "locality.mode = \"envoy_zone_aware\" would be ignored: Envoy's hash policies take no notice of zones; \
             write locality.mode = \"zone_aware\"",
        ),
        (
            start().locality(zones(&here)).failover(first),
            "locality would be ignored: the first backup takes all requests, wherever it stands; write \
             failover.takes = \"all\"",
        ),
        (
            start().locality(zones(&Locality::new("eu", "", ""))),
            "locality.own.zone: this mode needs to know where this process stands; set it, or choose mode = \
             \"weights\"",
        ),
        (
            start().failover(FailoverMode::Spill(FailoverConfig {
                overprovisioning_percent: 99,
                ..FailoverConfig::default()
            })),
            "failover.overprovisioning_percent is 99: allowed are 100 to 100000",
        ),
        (
            start().failover(FailoverMode::Envoy(EnvoyFailoverConfig {
                panic_threshold_percent: 101,
                ..EnvoyFailoverConfig::default()
            })),
            "failover.panic_threshold_percent is 101: allowed are 0 to 100",
        ),
        (
            start().failover(FailoverMode::Grpc(GrpcFailoverConfig { failover_timeout: Duration::ZERO })),
            "failover.failover_timeout is zero: a tier that starts would never be waited for; 10s is usual",
        ),
    ] {
        let error = builder.build().err().map(|error: BuildError| error.to_string());
        assert_eq!(error.as_deref(), Some(text));
    }
    let cluster = start().failover(envoy()).locality(envoy_zones).build().unwrap();
    assert!(matches!(cluster.set_subset(subset, None), Err(ApplyError::WouldBeIgnored(_))));
    assert!(matches!(cluster.set_policy(PolicyConfig::maglev()), Err(ApplyError::WouldBeIgnored(_))));
    assert!(cluster.set_policy(PolicyConfig::round_robin()).is_ok());
}

#[cfg(feature = "config")]
#[test]
fn a_failover_is_read_from_a_file() {
    let read = |failover: &str| {
        let text = format!("name = \"users\"\n[failover]\n{failover}");
        evenkeel::ClusterConfig::from_toml(&text).map(|config| config.failover.expect("it was given"))
    };
    for (text, expected) in [
        ("mode = \"spill\"", spill()),
        ("mode = \"envoy\"\noverprovisioning_factor = 140", envoy()),
        ("mode = \"grpc\"\nfailover_timeout = \"10s\"", FailoverMode::Grpc(GrpcFailoverConfig::default())),
        ("mode = \"backup\"\ntakes = \"first\"", FailoverMode::Backup(BackupFailoverConfig::default())),
        ("mode = \"spill\"\non_panic = \"fail_closed\"", on_panic(OnPanic::FailClosed)),
    ] {
        assert_eq!(read(text).expect(text), expected);
        let config = evenkeel::ClusterConfig {
            failover: Some(expected.clone()),
            ..evenkeel::ClusterConfig::new("users")
        };
        let written = serde_json::to_value(&config).expect("it can be written");
        assert_eq!(written["failover"]["mode"], expected.name());
    }
    for bad in ["mode = \"waterfall\"", "mode = \"spill\"\npanic = 3", "takes = \"all\""] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

fn counts() -> impl Strategy<Value = Vec<Counts>> {
    prop::collection::vec((0..12_usize, 0..4_usize, 0..12_usize), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever flips: shares add up to one, nobody gets a share for whom nobody is there, and a pick finds somebody as long as
    /// anybody is usable.
    #[test]
    fn shares_add_up_and_nobody_is_forgotten(
        counts in counts(),
        flips in prop::collection::vec((0..5_usize, 0..20_usize, any::<bool>(), 0..4000_u64), 0..60),
        mode in 0..6_usize,
    ) {
        prop_assume!(counts.iter().any(|tier| tier.0 + tier.1 + tier.2 > 0));
        let mode = [
            spill(),
            envoy(),
            on_panic(OnPanic::UsableOnly),
            FailoverMode::Grpc(GrpcFailoverConfig::default()),
            FailoverMode::Backup(BackupFailoverConfig { takes: BackupMode::First }),
            FailoverMode::Backup(BackupFailoverConfig { takes: BackupMode::All }),
        ][mode].clone();
        let (builder, clock) = builder(mode);
        let cluster: Cluster<()> = builder.build().unwrap();
        cluster.apply(fleet(&counts)).unwrap();
        for (tier, number, up, millis) in flips {
            clock.set(evenkeel::Timestamp::from_nanos(millis * 1_000_000));
            if let Ok(endpoint) = cluster.endpoint(&id(tier, number)) {
                endpoint.set_check(if up { CheckState::Up } else { CheckState::Down });
            }
            let report = cluster.report();
            let sum: f64 = report.tiers.iter().map(|tier| tier.share + tier.degraded_share).sum();
            prop_assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            let usable = cluster.usable() > 0;
            for tier in &report.tiers {
                let zone = &tier.zones[0];
                let (some, degraded) = if tier.panic { (zone.total, zone.total) } else { (zone.usable, zone.degraded) };
                prop_assert!(!usable || tier.share == 0.0 || some > 0, "{tier:?}");
                prop_assert!(!usable || tier.degraded_share == 0.0 || degraded > 0, "{tier:?}");
            }
            let picks = (0..8).map(|_| cluster.pick(&Request::new())).collect::<Vec<_>>();
            prop_assert!(!usable || picks.iter().all(Result::is_ok), "{:?}", picks);
        }
    }

    /// The fewer of the first tier are usable, the less it gets, by what one endpoint can bear and no more.
    #[test]
    fn spill_is_monotone(total in 2..40_usize, second in 1..20_usize) {
        let cluster = cluster(spill(), &[(total, 0, 0), (second, 0, 0)]);
        let mut last = 1.0;
        for number in 0..total {
            cluster.endpoint(&id(0, number)).unwrap().set_check(CheckState::Down);
            let share = cluster.report().tiers[0].share;
            prop_assert!(share <= last && last - share < 1.4 / total as f64 + 1e-6, "{last} to {share}");
            last = share;
        }
        prop_assert_eq!(last, 0.0);
    }

    /// A key keeps its tier while that has a share for it: of a spill only so many keys move as it moves requests.
    #[test]
    fn keys_move_with_shares_and_no_further(down in 1..10_usize) {
        let (builder, _) = builder(spill());
        let cluster: Cluster<()> = builder.policy(PolicyConfig::maglev()).build().unwrap();
        cluster.apply(fleet(&[(10, 0, 0), (10, 0, 0)])).unwrap();
        let tiers = |cluster: &Cluster<()>| -> Vec<u8> {
            (0..2000_u64).map(|key| {
                let pick = cluster.pick(&Request::with_key(&key.to_le_bytes())).unwrap();
                pick.way().priority().get()
            }).collect()
        };
        let share = |tiers: &[u8]| tiers.iter().filter(|&&tier| tier == 0).count() as f64 / 2000.0;
        for number in 0..down {
            let before = tiers(&cluster);
            cluster.endpoint(&id(0, number)).unwrap().set_check(CheckState::Down);
            let after = tiers(&cluster);
            prop_assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "none comes back");
            prop_assert!((share(&after) - cluster.report().tiers[0].share).abs() < 0.05);
            prop_assert_eq!(&after, &tiers(&cluster));
        }
    }
}

/// Flips, updates and picks at once: in the end shares are what the endpoints say, and no pick failed meanwhile.
#[test]
fn shares_follow_flips_that_meet_updates() {
    let (builder, _) = builder(FailoverMode::Spill(FailoverConfig {
        min_dwell: Duration::ZERO,
        return_over: Duration::ZERO,
        ..FailoverConfig::default()
    }));
    let cluster: Cluster<()> = builder.build().unwrap();
    let all = fleet(&[(10, 0, 0), (10, 0, 0)]);
    cluster.apply(all.clone()).unwrap();
    std::thread::scope(|scope| {
        for half in 0..2_usize {
            let cluster = cluster.clone();
            scope.spawn(move || {
                for turn in 0..800_usize {
                    let endpoint = cluster.endpoint(&id(half, turn * 7 % 10)).unwrap();
                    endpoint.set_check(if turn % 3 == 0 { CheckState::Up } else { CheckState::Down });
                }
                for number in 0..10 {
                    let state = if number < 5 { CheckState::Up } else { CheckState::Down };
                    cluster.endpoint(&id(half, number)).unwrap().set_check(state);
                }
            });
        }
        for round in 0..150_usize {
            let mut set = all.clone();
            // Somebody comes and goes, so that places change.
            set.truncate(20 - round % 2);
            set.push(endpoint(2, round % 3));
            if round % 2 == 0 {
                cluster.apply(set).unwrap();
            } else {
                cluster.set_weight(&id(0, 3), Weight::new(1 + round as u32 % 5)).unwrap();
            }
            let _ = cluster.pick(&Request::new()).unwrap();
        }
    });
    cluster.set_weight(&id(0, 3), Weight::ONE).unwrap();
    cluster.apply(all).unwrap();
    assert_eq!(reported(&cluster).iter().map(|row| row.0).collect::<Vec<_>>(), [70.0, 30.0]);
}

/// The example of the page on failover is valid, and does what it says.
#[cfg(feature = "config")]
#[test]
fn the_page_tells_the_truth() {
    let page = include_str!("../../../docs/routing-and-failover.md");
    let section = page.split("## In a cluster").nth(1).expect("the section is there");
    let text = section.split("```toml").nth(1).and_then(|text| text.split("```").next()).expect("an example");
    let config = evenkeel::ClusterConfig::from_toml(text).unwrap();
    assert_eq!(config.failover, Some(spill()), "it spells out the defaults");
    let cluster: Cluster<()> = Cluster::from_config(config).unwrap();
    let pick = || cluster.pick(&Request::new()).unwrap();
    let [near, other, far] =
        ["users-1", "users-2", "users-far"].map(|name| name.parse::<EndpointId>().unwrap());
    assert_eq!((pick().endpoint().id(), pick().way().is_plain()), (near.clone(), true));
    cluster.drain(&near).unwrap();
    assert_eq!((pick().endpoint().id(), pick().way().crosses_zone()), (other.clone(), true));
    cluster.drain(&other).unwrap();
    assert_eq!((pick().endpoint().id(), pick().way().is_spilled()), (far, true));
}
