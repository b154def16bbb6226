//! Endpoints that take less than their weight for the moment, under every kind of policy.

use evenkeel::{Cluster, Endpoint, ManualClock, Outcome, PolicyConfig, Request, Tried};

fn cluster(policy: &str, count: u32) -> Cluster<()> {
    let policy: PolicyConfig = policy.parse().expect("a policy");
    let builder = Cluster::builder("factors").policy(policy).seed(7).clock(ManualClock::default());
    let cluster = builder.build().expect("valid settings");
    let endpoints = (1..=count)
        .map(|n| Endpoint::at(format!("10.0.0.{n}:80").parse().expect("an address")).expect("an id"));
    cluster.apply(endpoints).expect("a valid set");
    cluster
}

fn set(cluster: &Cluster<()>, index: usize, share: f64) {
    cluster.endpoints()[index].set_reported(share);
    cluster.tick();
}

/// How many of `picks` requests each endpoint got, in the order of its address.
fn counts(cluster: &Cluster<()>, picks: u32) -> Vec<u32> {
    let ids: Vec<_> = cluster.endpoints().iter().map(|endpoint| endpoint.id()).collect();
    let mut counts = vec![0; ids.len()];
    for n in 0..picks {
        let key = n.to_string();
        let pick = cluster.pick(&Request::with_key(&key)).expect("somebody is usable");
        let index = ids.iter().position(|id| *id == pick.endpoint().id()).expect("one of them");
        counts[index] += 1;
        pick.finish(Outcome::success());
    }
    counts
}

/// Shares within five standard deviations of what is expected.
fn assert_share(count: u32, picks: u32, share: f64, what: &str) {
    let (picks, actual) = (f64::from(picks), f64::from(count));
    let deviation = (picks * share * (1.0 - share)).sqrt();
    assert!(
        (actual - picks * share).abs() < 5.0 * deviation + 2.0,
        "{what}: {actual} of {picks}, expected {share}"
    );
}

#[test]
fn orders_and_chance_give_exact_shares() {
    for policy in ["round_robin", "random", "weighted_random", "smooth_weighted_round_robin", "static_stride"]
    {
        let cluster = cluster(policy, 5);
        set(&cluster, 2, 0.5);
        let counts = counts(&cluster, 20_000);
        for (index, &count) in counts.iter().enumerate() {
            assert_share(count, 20_000, if index == 2 { 0.5 / 4.5 } else { 1.0 / 4.5 }, policy);
        }
    }
}

#[test]
fn every_policy_sends_less_and_never_nothing() {
    for policy in PolicyConfig::all().iter().map(PolicyConfig::name) {
        if matches!(policy, "pick_first" | "first_available") {
            continue; // which send everything to one endpoint, whatever the shares
        }
        let cluster = cluster(policy, 4);
        let whole = counts(&cluster, 4_000);
        set(&cluster, 1, 0.25);
        let less = counts(&cluster, 4_000);
        assert!(less[1] > 0, "{policy}: {less:?}");
        assert!(f64::from(less[1]) < f64::from(whole[1]) * 0.6 + 20.0, "{policy}: {whole:?}, then {less:?}");
        assert_eq!(less.iter().sum::<u32>(), 4_000);
    }
}

#[test]
fn where_all_take_little_all_take_the_same() {
    let cluster = cluster("random", 4);
    for index in 0..4 {
        set(&cluster, index, 0.1);
    }
    for count in counts(&cluster, 8_000) {
        assert_share(count, 8_000, 0.25, "all at a tenth");
    }
}

#[test]
fn the_last_one_takes_all() {
    for policy in ["round_robin", "least_request", "maglev", "peak_ewma"] {
        let cluster = cluster(policy, 2);
        set(&cluster, 1, 0.001);
        let first = cluster.pick(&Request::with_key("k")).expect("usable");
        let mut tried = Tried::default();
        cluster.endpoints()[0].set_admin(evenkeel::AdminState::Drain);
        for _ in 0..100 {
            let pick = cluster.pick(&Request::with_key("k")).expect("one is left");
            assert_eq!(pick.endpoint().id(), cluster.endpoints()[1].id());
            pick.finish(Outcome::success());
        }
        tried.add(&first);
        first.finish(Outcome::failure());
    }
}

#[test]
fn a_retry_finds_the_one_that_takes_little() {
    let cluster = cluster("ring_hash", 2);
    set(&cluster, 1, 0.001);
    for n in 0..50 {
        let key = n.to_string();
        let first = cluster.pick(&Request::with_key(&key)).expect("usable");
        let mut tried = Tried::default();
        tried.add(&first);
        let other = cluster.pick(&Request::with_key(&key).excluding(&tried)).expect("the other one");
        assert_ne!(first.endpoint().id(), other.endpoint().id());
    }
}

#[test]
fn keys_leave_and_return_in_one_order() {
    for policy in ["maglev", "ring_hash", "rendezvous"] {
        let cluster = cluster(policy, 3);
        let home = |cluster: &Cluster<()>, key: u32| {
            let key = key.to_string();
            let pick = cluster.pick(&Request::with_key(&key)).expect("usable");
            pick.endpoint().id()
        };
        let at_home: Vec<u32> =
            (0..3_000).filter(|&key| home(&cluster, key) == cluster.endpoints()[1].id()).collect();
        let mut kept = at_home.len();
        let mut before = at_home;
        for share in [0.8, 0.5, 0.2, 0.05] {
            set(&cluster, 1, share);
            let now: Vec<u32> = before
                .iter()
                .copied()
                .filter(|&key| home(&cluster, key) == cluster.endpoints()[1].id())
                .collect();
            // Nobody comes who was gone at a larger factor: the rest of the keys stays where it was.
            let strangers =
                (0..3_000).filter(|key| home(&cluster, *key) == cluster.endpoints()[1].id()).count();
            assert_eq!(strangers, now.len(), "{policy} at {share}");
            assert!(now.len() < kept, "{policy} at {share}");
            kept = now.len();
            before = now;
        }
        assert!(kept > 0, "{policy}");
    }
}

#[test]
fn reports_tell_factors_and_shares() {
    let cluster = cluster("random", 3);
    set(&cluster, 0, 0.5);
    let report = cluster.report();
    assert_eq!(report.endpoints[0].factor, 0.5);
    assert_eq!(report.endpoints[0].expected_share, 0.2);
    assert_eq!(report.endpoints[1].expected_share, 0.4);
    set(&cluster, 0, f64::NAN);
    assert_eq!(cluster.report().endpoints[0].factor, 1.0);
    set(&cluster, 0, -3.0);
    assert!(cluster.report().endpoints[0].factor > 0.0);
}
