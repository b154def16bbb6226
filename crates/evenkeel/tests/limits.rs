//! Limits and the budget of a cluster: what is passed over, what is refused, and that everything is given back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::{
    BuildError, Cluster, Endpoint, LedgerConfig, LimitConfig, ManualClock, Notice, Outcome, PickError,
    PolicyConfig, Request, Tried, limit,
};

fn endpoints(count: u32) -> impl Iterator<Item = Endpoint> {
    (1..=count).map(|n| Endpoint::at(format!("10.0.0.{n}:80").parse().expect("an address")).expect("an id"))
}

fn cluster(
    build: impl FnOnce(evenkeel::ClusterBuilder<()>) -> evenkeel::ClusterBuilder<()>,
    count: u32,
) -> (Cluster<()>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let builder =
        Cluster::builder("limits").policy(PolicyConfig::round_robin()).seed(1).clock(Arc::clone(&clock));
    let cluster = build(builder).build().expect("valid settings");
    cluster.apply(endpoints(count)).expect("a valid set");
    (cluster, clock)
}

#[test]
fn a_busy_endpoint_is_passed_over_and_nobody_holds_it_against_it() {
    let (cluster, _) = cluster(|builder| builder.endpoint_limit(LimitConfig::fixed(2)), 2);
    let held: Vec<_> = (0..4).map(|_| cluster.pick(&Request::new()).expect("two each")).collect();
    for endpoint in cluster.endpoints() {
        assert_eq!(endpoint.in_flight(), 2);
        assert!(endpoint.is_saturated() && endpoint.status().usable());
    }
    let Err(error @ PickError::NoneUsable(shortage)) = cluster.pick(&Request::new()) else {
        unreachable!("both are full")
    };
    assert_eq!((shortage.saturated, shortage.total), (2, 2));
    assert_eq!(error.to_string(), "none of 2 endpoints is usable: 2 at their limit");
    let freed = held[3].endpoint().id();
    let mut held = held;
    held.pop().expect("the fourth").finish(Outcome::success());
    assert_eq!(cluster.pick(&Request::new()).expect("one is free").endpoint().id(), freed);
    drop(held);
    assert!(cluster.endpoints().iter().all(|endpoint| !endpoint.is_saturated()));
    assert_eq!(cluster.report().endpoints[0].limit, Some(2));
}

#[test]
fn slots_come_back_from_every_way_a_pick_can_end() {
    let (cluster, _) =
        cluster(|builder| builder.endpoint_limit(LimitConfig::fixed(1)).limit(LimitConfig::fixed(1)), 1);
    for round in 0..20 {
        let mut pick = cluster.pick(&Request::new()).expect("free again");
        assert!(matches!(cluster.pick(&Request::new()), Err(PickError::Saturated(_))));
        match round % 5 {
            0 => pick.finish(Outcome::success()),
            1 => pick.finish(Outcome::failure()),
            2 => drop(pick),
            3 => {
                pick.record(Outcome::success());
                assert!(cluster.pick(&Request::new()).is_err(), "a stream holds its slots");
                drop(pick);
            }
            _ => pick.finish(Outcome::neutral()),
        }
    }
}

#[test]
fn the_cluster_refuses_what_is_too_much_before_it_chooses() {
    let (cluster, _) = cluster(|builder| builder.limit(LimitConfig::fixed(3)), 2);
    let held: Vec<_> = (0..3).map(|_| cluster.pick(&Request::new()).expect("three in all")).collect();
    let error = cluster.pick(&Request::new()).expect_err("a fourth");
    assert_eq!(error.to_string(), "the cluster is saturated: 3 calls in flight, the limit is 3");
    drop(held);
    assert!(cluster.pick(&Request::new()).is_ok());
}

#[test]
fn a_pick_that_fails_gives_its_slot_back() {
    let (cluster, _) = cluster(|builder| builder.limit(LimitConfig::fixed(1)), 1);
    cluster.endpoints()[0].set_admin(evenkeel::AdminState::Drain);
    for _ in 0..3 {
        assert!(matches!(cluster.pick(&Request::new()), Err(PickError::NoneUsable(_))));
    }
    cluster.endpoints()[0].set_admin(evenkeel::AdminState::Ready);
    assert!(cluster.pick(&Request::new()).is_ok());
}

#[test]
fn a_limit_that_learns_moves_and_tells() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notices = Arc::clone(&heard);
    let aimd = LimitConfig::Aimd(limit::Aimd { initial: 10, min: 1, batch: None, ..limit::Aimd::default() });
    let observer = move |notice: &Notice| {
        if let Notice::Limit { id: Some(_), change } = notice {
            notices.lock().expect("nobody panics").push(*change);
        }
    };
    let (cluster, clock) = cluster(|builder| builder.endpoint_limit(aimd).observer(observer), 1);
    let held: Vec<_> = (0..10).map(|_| cluster.pick(&Request::new()).expect("ten")).collect();
    clock.advance(Duration::from_millis(10));
    for pick in held {
        pick.finish(Outcome::overload(None));
    }
    let told = heard.lock().expect("nobody panics").len();
    assert!(told > 0);
    let limit = cluster.report().endpoints[0].limit.expect("it has one");
    assert!(limit < 10, "{limit}");
}

#[test]
fn retries_take_from_the_budget_and_first_attempts_fill_it() {
    let total =
        limit::RetryBudgetConfig { ratio: 0.1, min_per_second: 0, ..limit::RetryBudgetConfig::default() };
    let budget = LedgerConfig { total, ..LedgerConfig::default() };
    let (cluster, _) = cluster(|builder| builder.budget(budget), 3);
    let mut sent_again = 0;
    for _ in 0..1_000 {
        let mut tried = Tried::default();
        let pick = cluster.pick(&Request::new()).expect("usable");
        tried.add(&pick);
        pick.finish(Outcome::failure());
        match cluster.pick(&Request::new().excluding(&tried)) {
            Ok(pick) => {
                sent_again += 1;
                pick.finish(Outcome::failure());
            }
            Err(PickError::BudgetSpent(_)) => {}
            Err(error) => unreachable!("{error}"),
        }
    }
    // A tenth of the requests, of which retries leave a tenth to those who come before them.
    assert!((85..=100).contains(&sent_again), "{sent_again}");
}

#[test]
fn a_request_that_waits_fills_the_budget_once() {
    let total =
        limit::RetryBudgetConfig { ratio: 0.1, min_per_second: 0, ..limit::RetryBudgetConfig::default() };
    let budget = LedgerConfig { total, ..LedgerConfig::default() };
    let (cluster, _) = cluster(|builder| builder.budget(budget), 3);
    let mut tried = Tried::default();
    tried.add(&cluster.pick(&Request::new()).expect("usable"));
    for _ in 0..1_000 {
        drop(cluster.pick(&Request::new().waiting()).expect("usable"));
    }
    let again = Request::new().excluding(&tried);
    for retry in [again, again.waiting()] {
        assert!(matches!(cluster.pick(&retry), Err(PickError::BudgetSpent(_))), "one request pays for none");
    }
    for _ in 0..100 {
        drop(cluster.pick(&Request::new()).expect("usable"));
    }
    assert!(cluster.pick(&again.waiting()).is_ok(), "a retry that waits is paid for as any other");
}

#[test]
fn what_is_not_sent_costs_no_budget() {
    let total =
        limit::RetryBudgetConfig { ratio: 0.0, min_per_second: 1, ..limit::RetryBudgetConfig::default() };
    let (cluster, _) =
        cluster(|builder| builder.budget(LedgerConfig { total, ..LedgerConfig::default() }), 1);
    let mut tried = Tried::default();
    tried.add(&cluster.pick(&Request::new()).expect("usable"));
    for _ in 0..50 {
        let again = cluster.pick(&Request::new().excluding(&tried));
        assert!(matches!(again, Err(PickError::AllTried { .. })), "{again:?}");
    }
}

#[test]
fn a_hedge_has_its_own_place() {
    let total =
        limit::RetryBudgetConfig { ratio: 0.5, min_per_second: 0, ..limit::RetryBudgetConfig::default() };
    let (cluster, _) =
        cluster(|builder| builder.budget(LedgerConfig { total, ..LedgerConfig::default() }), 3);
    for _ in 0..100 {
        let _ = cluster.pick(&Request::new()).expect("usable");
    }
    let hedges = (0..100).filter(|_| cluster.pick(&Request::new().as_hedge()).is_ok()).count();
    assert_eq!(hedges, 5, "a twentieth of the requests");
}

#[test]
fn settings_out_of_range_name_their_field() {
    let too_many = LimitConfig::fixed(u32::MAX);
    for (field, built) in [
        ("endpoint_limit", Cluster::<()>::builder("x").endpoint_limit(too_many.clone()).build()),
        ("limit", Cluster::<()>::builder("x").limit(too_many).build()),
    ] {
        let error = built.expect_err("too many");
        assert!(matches!(error, BuildError::Limit { .. }));
        assert!(error.to_string().starts_with(field), "{error}");
    }
}
