//! Requests on their way: retries, hedges, fallbacks, users who stay, copies, ramps and switches.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::route::affinity::EndpointState;
use evenkeel::route::retry::{Ending, GiveUp};
use evenkeel::route::split::{Colour, RampState};
use evenkeel::router::{Affinity, ArmReason, Next, RampOrder, SendError};
use evenkeel::{AdminState, Endpoint, ManualClock, PickError, Priority};

use crate::world::{cluster, fill, with_budget, world};

const GOOD: Ending = Ending::Http { status: 200, retry_after: None };
const BAD: Ending = Ending::Http { status: 503, retry_after: None };

fn to_v1(settings: &str) -> String {
    format!("[[routes]]\nname = \"all\"\naction = {{ cluster = \"v1\" }}\n{settings}\n")
}

#[test]
fn a_retry_goes_elsewhere_after_its_wait() {
    let retry = "timeout = \"2s\"\nretry = { attempts = 3, backoff = { jitter = \"none\" }, per_try_timeout = \"1s\" }";
    let mut world = world(&to_v1(retry), vec![cluster("v1", 3)]);
    let mut exchange = world.send("/", &[]).unwrap();
    assert_eq!(exchange.attempt_time(), Some(Duration::from_secs(1)));
    let mut seen = Vec::new();
    for expected in [
        Next::RetryAfter(Duration::from_millis(25)),
        Next::RetryAfter(Duration::from_millis(50)),
        Next::GiveUp(GiveUp::Attempts),
    ] {
        let mut pick = exchange.pick().unwrap();
        seen.push(pick.endpoint().id());
        assert_eq!(exchange.after(&mut pick, &BAD), expected);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3, "each attempt goes somewhere else");
    assert_eq!(world.router.report().routes[0].retried, 2);
    world.clock.advance(Duration::from_millis(1500));
    assert_eq!(exchange.attempt_time(), Some(Duration::from_millis(500)), "never longer than the request");
}

#[test]
fn what_must_not_be_done_twice_is_not() {
    use evenkeel::route::matching::Request;
    use evenkeel::router::Incoming;
    for (method, expected) in [("GET", true), ("POST", false), ("PUT", false)] {
        let mut world = world(&to_v1("retry = {}"), vec![cluster("v1", 3)]);
        let incoming = Incoming::new(Request::new(method, "h", "/"));
        let routed = world.router.route(&incoming, &mut world.scratch).unwrap();
        let mut exchange = routed.into_exchange().unwrap();
        let mut pick = exchange.pick().unwrap();
        let next = exchange.after(&mut pick, &Ending::Reset);
        assert_eq!(matches!(next, Next::RetryAfter(_)), expected, "{method}: {next:?}");
    }
}

#[test]
fn one_endpoint_is_tried_twice_only_if_asked_for() {
    for (setting, again) in [("", false), ("retry_same_endpoint = true", true)] {
        let mut world = world(&to_v1(&format!("retry = {{}}\n{setting}")), vec![cluster("v1", 1)]);
        let mut exchange = world.send("/", &[]).unwrap();
        let mut pick = exchange.pick().unwrap();
        assert!(matches!(exchange.after(&mut pick, &Ending::Reset), Next::RetryAfter(_)));
        drop(pick);
        match exchange.pick() {
            Ok(_) => assert!(again),
            Err(error) => {
                assert!(!again);
                assert_eq!(error, SendError::Pick(PickError::AllTried { tried: 1 }));
            }
        }
    }
}

#[test]
fn a_retry_avoids_the_tier_that_failed() {
    let v1 = cluster("v1", 0);
    let endpoint = |name: &str, priority: u8| {
        let priority = Priority::new(priority).unwrap();
        let address = "10.0.0.1:80".parse().unwrap();
        Endpoint::new(name.parse().unwrap(), address).with_priority(priority)
    };
    v1.apply([endpoint("a", 0), endpoint("b", 0), endpoint("c", 1)]).unwrap();
    for (tier_after, expected) in [(1, Some("c")), (0, None)] {
        let settings = to_v1(&format!("retry = {{ attempts = 3, tier_after = {tier_after} }}"));
        let mut world = world(&settings, vec![v1.clone()]);
        let mut exchange = world.send("/", &[]).unwrap();
        let mut first = exchange.pick().unwrap();
        assert_ne!(first.endpoint().id().as_str(), "c");
        assert!(matches!(exchange.after(&mut first, &BAD), Next::RetryAfter(_)));
        let second = exchange.pick().unwrap();
        let went_to = second.endpoint().id();
        assert_eq!(went_to.as_str() == "c", expected.is_some(), "{tier_after}: {went_to}");
        drop(second);
        let third = exchange.pick().unwrap();
        assert_ne!(third.endpoint().id(), went_to, "with every tier tried, what is left serves");
    }
}

/// However many requests fail, what is sent again stays within the budget of the cluster; and what a ledger gave for an attempt
/// that was never sent comes back.
#[test]
fn retries_never_exceed_the_ledger() {
    let clock = Arc::new(ManualClock::default());
    let v1 = with_budget("v1", 3, &clock, 5);
    let mut world = world(&to_v1("retry = { attempts = 3 }"), vec![v1]);
    let (mut again, mut refused) = (0, 0);
    for _ in 0..100 {
        let mut exchange = world.send("/", &[]).unwrap();
        let mut pick = exchange.pick().unwrap();
        loop {
            match exchange.after(&mut pick, &BAD) {
                Next::RetryAfter(_) => again += 1,
                Next::GiveUp(GiveUp::Budget) => {
                    refused += 1;
                    break;
                }
                Next::GiveUp(GiveUp::Attempts) => break,
                other => panic!("{other:?}"),
            }
            match exchange.pick() {
                Ok(next) => pick = next,
                Err(error) => panic!("the budget had agreed: {error}"),
            }
        }
    }
    assert!((1..=5).contains(&again), "{again} retries");
    assert!(refused > 90);
    clock.advance(Duration::from_secs(5));
    for _ in 0..20 {
        let mut exchange = world.send("/", &[]).unwrap();
        let mut pick = exchange.pick().unwrap();
        let next = exchange.after(&mut pick, &BAD);
        assert!(
            matches!(next, Next::RetryAfter(_)),
            "the last one was dropped unsent, so it cost nothing: {next:?}"
        );
    }
}

#[test]
fn a_retry_nobody_asked_the_plan_about_still_asks_the_ledger() {
    let clock = Arc::new(ManualClock::default());
    let mut world = world(&to_v1(""), vec![with_budget("v1", 9, &clock, 2)]);
    let mut exchange = world.send("/", &[]).unwrap();
    let sent = (0..6).filter(|_| exchange.pick().is_ok()).count();
    assert!((1..=3).contains(&sent), "{sent}");
    assert!(matches!(exchange.pick(), Err(SendError::Pick(PickError::BudgetSpent(_)))));
}

#[test]
fn fallbacks_serve_in_their_order_and_the_error_is_that_of_the_first() {
    let fallbacks = "[fallbacks]\nv1 = \"v2\"\nv2 = \"v3\"\n";
    let text = to_v1("retry = { attempts = 3 }") + fallbacks;
    let clusters = [("v1", 2), ("v2", 0), ("v3", 2)].map(|(name, count)| cluster(name, count));
    let mut world = world(&text, clusters.to_vec());
    let mut exchange = world.send("/", &[]).unwrap();
    assert_eq!(exchange.pick().unwrap().endpoint().id().as_str().split('-').next(), Some("v1"));
    for id in ["v1-1", "v1-2"] {
        let _ = clusters[0].drain(&id.parse().unwrap()).unwrap();
    }
    let mut exchange = world.send("/", &[]).unwrap();
    let mut pick = exchange.pick().unwrap();
    assert_eq!(exchange.cluster().name(), "v3", "v2 is not known yet");
    let first = pick.endpoint().id();
    assert!(matches!(exchange.after(&mut pick, &BAD), Next::RetryAfter(_)));
    assert_ne!(exchange.pick().unwrap().endpoint().id(), first, "a retry in the fallback goes elsewhere too");
    for id in ["v3-1", "v3-2"] {
        let _ = clusters[2].drain(&id.parse().unwrap()).unwrap();
    }
    let error = world.send("/", &[]).unwrap().pick().unwrap_err();
    let SendError::Pick(PickError::NoneUsable(shortage)) = error else { panic!("{error}") };
    assert_eq!((shortage.total, shortage.withdrawn), (2, 2), "of v1");
    let report = &world.router.report().routes[0];
    assert_eq!((report.fell_back, report.unsent), (2, 1));
}

const COOKIE: &str =
    "[routes.affinity]\ncookie = { keys = [{ id = 1, secret = \"a secret of the fleet\" }] }";

fn value_of(set_cookie: &str) -> String {
    set_cookie.split(';').next().unwrap_or_default().to_owned()
}

#[test]
fn a_user_with_a_cookie_stays_and_a_forged_one_is_none() {
    let v1 = cluster("v1", 5);
    let mut world = world(&to_v1(COOKIE), vec![v1.clone()]);
    let mut exchange = world.send("/", &[]).unwrap();
    let pick = exchange.pick().unwrap();
    let (home, cookies) = (pick.endpoint().id(), exchange.set_cookies(&pick));
    assert_eq!((exchange.affinity(), cookies.len()), (Affinity::New, 1));
    let cookie = value_of(&cookies[0]);
    for _ in 0..20 {
        let mut exchange = world.send("/", &[("cookie", &cookie)]).unwrap();
        let pick = exchange.pick().unwrap();
        assert_eq!((pick.endpoint().id(), exchange.affinity()), (home.clone(), Affinity::Stayed));
        assert!(exchange.set_cookies(&pick).is_empty(), "nothing new to tell");
    }
    for forged in
        [&cookie[..cookie.len() - 2], &cookie.replace("=1.1.", "=1.2."), "evenkeel=v1-1", "evenkeel="]
    {
        let mut exchange = world.send("/", &[("cookie", forged)]).unwrap();
        let pick = exchange.pick().unwrap();
        assert_eq!(exchange.affinity(), Affinity::New, "{forged}");
        assert_eq!(exchange.set_cookies(&pick).len(), 1);
    }
    let counts = world.router.report().routes[0].cookies.expect("the route has cookies");
    assert_eq!((counts.forged, counts.malformed), (2, 2));
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(world.send("/", &[("cookie", &cookie)]).unwrap().affinity(), Affinity::New, "expired");
}

#[test]
fn a_user_who_comes_back_is_never_sent_elsewhere() {
    let v1 = cluster("v1", 5);
    let mut world = world(&to_v1(COOKIE), vec![v1.clone()]);
    let mut exchange = world.send("/", &[]).unwrap();
    let pick = exchange.pick().unwrap();
    let (home, mut cookie) = (pick.endpoint().id(), value_of(&exchange.set_cookies(&pick)[0]));
    drop(pick);
    let mut ask = |minutes: u64, cookie: &str| {
        world.clock.advance(Duration::from_secs(60 * minutes));
        let mut exchange = world.send("/", &[("cookie", cookie)]).unwrap();
        let pick = exchange.pick().unwrap();
        (pick.endpoint().id(), exchange.set_cookies(&pick).first().map(|field| value_of(field)))
    };
    assert_eq!(ask(29, &cookie), (home.clone(), None), "less than half an hour");
    for minutes in [10, 31, 59, 30, 31] {
        let (at, renewed) = ask(minutes, &cookie);
        assert_eq!(at, home);
        cookie = renewed.expect("half of its time is over");
    }
    let handle = v1.endpoint(&home).unwrap();
    let _ = handle.set_admin(AdminState::Maintenance);
    let (elsewhere, moved) = ask(31, &cookie);
    assert_ne!(elsewhere, home);
    assert!(moved.is_some_and(|moved| moved != cookie), "the other one's");
    let _ = handle.set_admin(AdminState::Ready);
    assert_eq!(ask(30, &cookie).1.map(|field| field.len() > 20), Some(true), "gone, so a new one");
}

#[test]
fn a_user_who_is_lent_keeps_the_cookie_alive_and_never_means_never() {
    let lend = "[routes.affinity]\nrules = { on_unhealthy = \"lend\" }\n\
        cookie = { keys = [{ id = 1, secret = \"a secret of the fleet\" }] }";
    let v1 = cluster("v1", 3);
    let mut first = world(&to_v1(lend), vec![v1.clone()]);
    let mut exchange = first.send("/", &[]).unwrap();
    let pick = exchange.pick().unwrap();
    let (home, cookie) = (pick.endpoint().id(), value_of(&exchange.set_cookies(&pick)[0]));
    drop(pick);
    let handle = v1.endpoint(&home).unwrap();
    let _ = handle.set_admin(AdminState::Maintenance);
    first.clock.advance(Duration::from_secs(1900));
    let mut exchange = first.send("/", &[("cookie", &cookie)]).unwrap();
    let pick = exchange.pick().unwrap();
    assert_ne!(pick.endpoint().id(), home);
    let renewed = value_of(&exchange.set_cookies(&pick)[0]);
    drop(pick);
    let _ = handle.set_admin(AdminState::Ready);
    first.clock.advance(Duration::from_secs(1900));
    let mut exchange = first.send("/", &[("cookie", &renewed)]).unwrap();
    assert_eq!(exchange.pick().unwrap().endpoint().id(), home, "the new one names the home");

    let never = COOKIE.replace("cookie = {", "cookie = { renew = \"never\",");
    let mut second = world(&to_v1(&never), vec![cluster("v1", 3)]);
    let mut exchange = second.send("/", &[]).unwrap();
    let pick = exchange.pick().unwrap();
    let cookie = value_of(&exchange.set_cookies(&pick)[0]);
    second.clock.advance(Duration::from_secs(3599));
    let mut exchange = second.send("/", &[("cookie", &cookie)]).unwrap();
    let pick = exchange.pick().unwrap();
    assert_eq!((exchange.affinity(), exchange.set_cookies(&pick).len()), (Affinity::Stayed, 0));
}

#[test]
fn what_becomes_of_a_user_whose_endpoint_is_in_trouble() {
    let v1 = cluster("v1", 3);
    let mut world = world(&to_v1(COOKIE), vec![v1.clone()]);
    let mut exchange = world.send("/", &[]).unwrap();
    let pick = exchange.pick().unwrap();
    let (home, cookie) = (pick.endpoint().id(), value_of(&exchange.set_cookies(&pick)[0]));
    drop(pick);
    let mut ask = |expected: Affinity| {
        let mut exchange = world.send("/", &[("cookie", &cookie)]).unwrap();
        let pick = exchange.pick().unwrap();
        assert_eq!(exchange.affinity(), expected);
        let at_home = pick.endpoint().id() == home;
        (at_home, exchange.set_cookies(&pick).len())
    };
    let handle = v1.endpoint(&home).unwrap();
    let _ = handle.set_admin(AdminState::Drain);
    assert_eq!(ask(Affinity::Stayed), (true, 0), "a drain waits for sessions");
    let _ = handle.set_admin(AdminState::Maintenance);
    assert_eq!(ask(Affinity::Moved(EndpointState::Unhealthy)), (false, 1));
    let _ = handle.set_admin(AdminState::Ready);
    assert_eq!(ask(Affinity::Stayed), (true, 0));
    v1.remove(&home).unwrap();
    assert_eq!(ask(Affinity::Moved(EndpointState::Gone)), (false, 1));
}

#[test]
fn a_user_who_may_go_nowhere_else_is_refused() {
    let v1 = cluster("v1", 3);
    let affinity =
        "[routes.affinity]\nlearned = { by = [\"source\"] }\nrules = { on_unhealthy = \"refuse\" }";
    let mut world =
        world(&(to_v1(affinity) + "\n[fallbacks]\nv1 = \"v2\""), vec![v1.clone(), cluster("v2", 1)]);
    let mut exchange = world.send("/", &[]).unwrap();
    let home = exchange.pick().unwrap().endpoint().id();
    for _ in 0..10 {
        let mut exchange = world.send("/", &[]).unwrap();
        assert_eq!(exchange.pick().unwrap().endpoint().id(), home, "learnt by the first request");
    }
    let _ = v1.endpoint(&home).unwrap().set_admin(AdminState::Maintenance);
    let error = world.send("/", &[]).unwrap().pick().unwrap_err();
    assert_eq!(error, SendError::Refused(EndpointState::Unhealthy), "and no fallback serves");
}

#[test]
fn a_list_names_an_endpoint_for_each_attempt() {
    let affinity = "retry = { attempts = 3 }\n[routes.affinity]\nlist_header = \"X-Endpoint\"";
    let mut world = world(&to_v1(affinity), vec![cluster("v1", 5)]);
    let mut exchange = world.send("/", &[("x-endpoint", "v1-3, v1-1")]).unwrap();
    for expected in ["v1-3", "v1-1"] {
        let mut pick = exchange.pick().unwrap();
        assert_eq!((pick.endpoint().id().as_str(), exchange.affinity()), (expected, Affinity::Listed));
        assert!(matches!(exchange.after(&mut pick, &BAD), Next::RetryAfter(_)));
    }
    let third = exchange.pick().unwrap().endpoint().id();
    assert!(!["v1-3", "v1-1"].contains(&third.as_str()), "beyond the list the policy chooses");
}

#[test]
fn a_hedge_follows_after_its_delay_or_at_once() {
    let hedge = "hedge = { attempts = 3, after = { fixed = \"50ms\" } }";
    let mut world = world(&to_v1(hedge), vec![cluster("v1", 4)]);
    let mut exchange = world.send("/", &[]).unwrap();
    let mut first = exchange.pick().unwrap();
    assert_eq!(exchange.hedge_in(), Some(Duration::from_millis(50)));
    assert!(exchange.hedge().unwrap().is_none(), "not yet");
    world.clock.advance(Duration::from_millis(50));
    let mut second = exchange.hedge().unwrap().expect("now");
    assert_ne!(second.endpoint().id(), first.endpoint().id());
    assert_eq!(exchange.after(&mut second, &BAD), Next::HedgeNow, "a bad ending hurries the next one");
    let mut third = exchange.hedge().unwrap().expect("at once");
    assert_eq!(exchange.after(&mut third, &BAD), Next::Wait, "the first is still under way");
    assert_eq!(exchange.after(&mut first, &GOOD), Next::Done);
    assert_eq!((world.router.report().routes[0].hedged, exchange.attempts()), (2, 3));
}

#[test]
fn hedges_keep_to_the_ledger() {
    let clock = Arc::new(ManualClock::default());
    let hedge = "hedge = { attempts = 2, after = { fixed = \"50ms\" } }";
    let mut world = world(&to_v1(hedge), vec![with_budget("v1", 4, &clock, 3)]);
    let mut hedged = 0;
    for _ in 0..50 {
        let mut exchange = world.send("/", &[]).unwrap();
        let _first = exchange.pick().unwrap();
        world.clock.advance(Duration::from_millis(50));
        hedged += u32::from(exchange.hedge().unwrap().is_some());
    }
    assert!((1..=3).contains(&hedged), "{hedged}");
}

#[test]
fn copies_are_exactly_as_many_as_asked_for() {
    let mirror = "mirror = { cluster = \"shadow\", share = 0.25 }";
    let mut world = world(&to_v1(mirror), vec![cluster("v1", 2), cluster("shadow", 1)]);
    let mut copied = 0;
    for _ in 0..100 {
        let exchange = world.send("/", &[]).unwrap();
        if let Some((cluster, suffix)) = exchange.mirror() {
            assert_eq!((cluster.name(), suffix), ("shadow", "-shadow"));
            assert_eq!(exchange.pick_mirror().unwrap().unwrap().endpoint().id().as_str(), "shadow-1");
            copied += 1;
        }
    }
    assert_eq!((copied, world.router.report().routes[0].mirrored), (25, 25));
}

const RAMP: &str = "[[routes]]\nname = \"all\"\nkey = [{ header = \"x-user\" }]\n[routes.action.ramp]\n\
    old = \"v1\"\nnew = \"v2\"\nstickiness = \"keyed\"\n\
    plan = { steps = [{ share = 0.1, hold = \"10s\" }, { share = 1.0, hold = \"10s\" }] }\n";

/// Where a thousand users go.
fn users(world: &mut crate::world::World) -> Vec<usize> {
    let arm = |user: usize| world.send("/", &[("x-user", &user.to_string())]).expect("a route").arm();
    (0..1000).map(arm).collect()
}

#[test]
fn a_ramp_moves_users_once_and_back_if_it_fails() {
    let mut world = world(RAMP, vec![cluster("v1", 2), cluster("v2", 2)]);
    let first = users(&mut world);
    let new: usize = first.iter().sum();
    // Four standard deviations.
    assert!(new.abs_diff(100) < 38, "{new}");
    assert_eq!(users(&mut world), first, "users stay");
    // The new version fails: a hundred answers are enough.
    for user in (0..1000).filter(|&user| first[user] == 1).cycle().take(100) {
        let mut exchange = world.send("/", &[("x-user", &user.to_string())]).unwrap();
        let Ok(mut pick) = exchange.pick() else { continue };
        assert_eq!(exchange.after(&mut pick, &Ending::Http { status: 500, retry_after: None }), Next::Done);
    }
    assert_eq!(users(&mut world), vec![0; 1000]);
    let report = &world.router.report().routes[0];
    assert_eq!(report.ramp.map(|(state, _)| state), Some(RampState::Aborted));
    assert_eq!(world.router.tick().ramps.len(), 2, "it began, and it ended");
    assert!(world.router.tick().ramps.is_empty(), "each change is told once");
}

#[test]
fn a_ramp_goes_on_with_time_and_on_orders() {
    let mut world = world(RAMP, vec![cluster("v1", 2), cluster("v2", 2)]);
    let first = users(&mut world);
    assert!(world.router.order("all", RampOrder::Pause).unwrap().is_some());
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(users(&mut world), first, "paused");
    assert!(world.router.order("all", RampOrder::Resume).unwrap().is_some());
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(users(&mut world), vec![1; 1000], "a request lets the deadline pass");
    assert!(world.router.order("all", RampOrder::Promote).unwrap().is_some());
    assert!(world.router.order("none", RampOrder::Promote).is_err());
    assert!(world.router.order("all", RampOrder::Abort).unwrap().is_some());
    assert_eq!(users(&mut world), vec![0; 1000]);
}

#[test]
fn a_switch_keeps_users_for_a_while() {
    let text = "[[routes]]\nname = \"all\"\n\
        action = { blue_green = { blue = \"v1\", green = \"v2\", switch = { keep = \"60s\" } } }";
    let mut world = world(text, vec![cluster("v1", 1), cluster("v2", 1)]);
    let mut exchange = world.send("/", &[]).unwrap();
    let pick = exchange.pick().unwrap();
    let cookie = value_of(&exchange.set_cookies(&pick)[0]);
    assert_eq!(
        (cookie.as_str(), exchange.arm_reason()),
        ("evenkeel-colour=blue", ArmReason::Live(Colour::Blue))
    );
    assert!(world.router.switch("all", Colour::Green).unwrap().is_some());
    assert!(world.router.switch("all", Colour::Green).unwrap().is_none());
    assert_eq!(world.send("/", &[]).unwrap().arm_reason(), ArmReason::Live(Colour::Green));
    assert_eq!(world.send("/", &[("cookie", &cookie)]).unwrap().arm_reason(), ArmReason::Kept(Colour::Blue));
    world.clock.advance(Duration::from_secs(60));
    let exchange = world.send("/", &[("cookie", &cookie)]).unwrap();
    assert_eq!((exchange.arm_reason(), exchange.cluster().name()), (ArmReason::Live(Colour::Green), "v2"));
    assert_eq!(world.router.report().routes[0].live, Some(Colour::Green));
}

/// An answer that comes after everything around it has changed is still taken.
#[test]
fn an_exchange_outlives_its_router() {
    let v1 = cluster("v1", 3);
    let mut world = world(&to_v1("retry = {}"), vec![v1.clone()]);
    let mut exchange = world.send("/", &[]).unwrap();
    let mut pick = exchange.pick().unwrap();
    drop(world);
    fill(&v1, "v1", 2);
    assert!(matches!(exchange.after(&mut pick, &BAD), Next::RetryAfter(_)));
    assert!(exchange.pick().is_ok());
}

/// A body that breaks off after a good head is a failure, though the plan for retries has seen the head.
#[test]
fn a_verdict_may_wait_for_the_end_of_the_body() {
    use evenkeel::router::outcome_of;
    use evenkeel::{BreakerConfig, Cluster, Outcome};
    let breaker: BreakerConfig = toml::from_str("rules = [{ consecutive = { failures = 1 } }]").unwrap();
    let clock = Arc::new(ManualClock::default());
    let v1 = Cluster::<()>::builder("v1").seed(1).clock(Arc::clone(&clock)).breaker(breaker).build().unwrap();
    fill(&v1, "v1", 2);
    let usable = || v1.report().endpoints.iter().filter(|endpoint| endpoint.usable).count();
    let mut world = world(&to_v1("retry = {}\ntimeout = \"2s\""), vec![v1.clone()]);
    let mut exchange = world.send("/", &[]).unwrap();
    assert!(exchange.may_send_again());
    let pick = exchange.pick().unwrap();
    assert_eq!(exchange.after_unrecorded(&pick, &GOOD, &outcome_of(&GOOD)), Next::Done);
    assert_eq!(usable(), 2);
    pick.finish(Outcome::failure());
    assert_eq!(usable(), 1);
    // The plan goes on as with a verdict.
    let mut exchange = world.send("/", &[]).unwrap();
    let pick = exchange.pick().unwrap();
    assert!(matches!(exchange.after_unrecorded(&pick, &BAD, &outcome_of(&BAD)), Next::RetryAfter(_)));
    drop(pick);
    assert_eq!(usable(), 1, "nobody said anything of the endpoint");
    world.clock.advance(Duration::from_millis(1500));
    assert_eq!(exchange.time_left(), Some(Duration::from_millis(500)));
    let mut plain = crate::world::world(&to_v1(""), vec![cluster("v1", 1)]);
    let exchange = plain.send("/", &[]).unwrap();
    assert!(!exchange.may_send_again() && exchange.time_left().is_none());
}
