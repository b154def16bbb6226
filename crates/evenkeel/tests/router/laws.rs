//! What holds for every configuration of a kind, and every sequence of events.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::ManualClock;
use evenkeel::route::retry::Ending;
use evenkeel::route::split::{Arm, SplitConfig, Stickiness};
use evenkeel::router::{Action, KeySource, Next, RouteConfig, RouterConfig};
use proptest::prelude::*;

use crate::world::{World, build_of, cluster, with_budget};

fn split(weights: &[u32]) -> RouterConfig {
    let arms = weights.iter().enumerate();
    let arms = arms.map(|(i, &weight)| Arm { cluster: format!("v{i}"), weight }).collect();
    let split = SplitConfig { arms, stickiness: Stickiness::Keyed, ..SplitConfig::default() };
    let mut route = RouteConfig::new("all", Action::Split(split));
    route.key = vec![KeySource::Header("x-user".into())];
    RouterConfig { routes: vec![route], ..RouterConfig::default() }
}

fn arms(world: &mut World, users: usize) -> Vec<usize> {
    (0..users).map(|user| world.send("/", &[("x-user", &user.to_string())]).expect("a route").arm()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A reload of an equal configuration changes nobody's answer; one where an arm grows moves users to that arm and nowhere
    /// else.
    #[test]
    fn users_move_to_the_arm_that_grew_and_nowhere_else(
        weights in prop::collection::vec(0..100_u32, 2..5),
        at in 0..5_usize,
        more in 1..100_u32,
    ) {
        prop_assume!(weights.iter().sum::<u32>() > 0);
        let clusters = (0..weights.len()).map(|i| cluster(&format!("v{i}"), 1)).collect();
        let mut world = build_of(split(&weights), clusters).expect("a valid split");
        let before = arms(&mut world, 100);
        world.router.apply(split(&weights), []).expect("the same again");
        prop_assert_eq!(&arms(&mut world, 100), &before);
        let (at, mut grown) = (at % weights.len(), weights.clone());
        grown[at] += more;
        world.router.apply(split(&grown), []).expect("a valid split");
        for (old, new) in before.into_iter().zip(arms(&mut world, 100)) {
            prop_assert!(old == new || new == at);
        }
    }

    /// Two routers of one seed decide alike, whatever a third does between their requests; and explaining changes nothing.
    #[test]
    fn the_same_seed_decides_alike(requests in prop::collection::vec((0..4_u8, any::<bool>()), 1..60)) {
        let text = include_str!("shop.toml");
        let build = || {
            let clusters = vec![cluster("v1", 3), cluster("v2", 3), cluster("empty", 0)];
            crate::world::build(text, clusters).expect("valid")
        };
        let (mut one, mut two) = (build(), build());
        for (target, explains) in requests {
            let target = ["/shop/a/b", "/session", "/broken", "/none"][usize::from(target)];
            let run = |world: &mut World| {
                let mut exchange = world.send(target, &[("x-user", "u")]).ok()?;
                let id = exchange.pick().ok()?.endpoint().id();
                Some((exchange.arm(), id))
            };
            let expected = run(&mut one);
            if explains {
                let request = evenkeel::route::matching::Request::new("GET", "example.com", target);
                let _ = two.router.explain(&evenkeel::router::Incoming::new(request));
            }
            prop_assert_eq!(run(&mut two), expected);
        }
    }

    /// Whatever fails and however it is abandoned: within the window no more is sent again than the ledger allows, everything
    /// in flight ends, and what was reserved and not sent is given back.
    #[test]
    fn no_sequence_sends_more_again_than_the_ledger_allows(
        budget in 0..6_u32,
        endings in prop::collection::vec((0..5_u8, any::<bool>()), 1..200),
    ) {
        let clock = Arc::new(ManualClock::default());
        let v1 = with_budget("v1", 4, &clock, budget);
        let mut route = RouteConfig::new("all", Action::Cluster("v1".into()));
        let retry = evenkeel::route::retry::RetryConfig { attempts: 3, ..Default::default() };
        route.retry = Some(retry);
        let config = RouterConfig { routes: vec![route], ..RouterConfig::default() };
        let mut world = build_of(config, vec![v1.clone()]).expect("valid");
        let mut sent_again = 0;
        let mut exchange = world.send("/", &[]).expect("a route");
        for (ending, goes_on) in endings {
            let kind = exchange.attempts();
            let Ok(mut pick) = exchange.pick() else {
                exchange = world.send("/", &[]).expect("a route");
                continue;
            };
            sent_again += u32::from(kind > 0);
            let ending = match ending {
                0 => Ending::Http { status: 200, retry_after: None },
                1 => Ending::Http { status: 503, retry_after: Some(Duration::from_millis(1)) },
                2 => Ending::ConnectFailed,
                3 => Ending::Reset,
                _ => Ending::Refused,
            };
            let next = exchange.after(&mut pick, &ending);
            if !(goes_on && matches!(next, Next::RetryAfter(_))) {
                exchange = world.send("/", &[]).expect("a route");
            }
        }
        drop(exchange);
        prop_assert!(sent_again <= budget, "{} of {}", sent_again, budget);
        for endpoint in v1.endpoints() {
            prop_assert_eq!(endpoint.in_flight(), 0);
        }
    }
}
