//! Requests on their way: retries, hedges, fallbacks, users who stay, copies, ramps and switches.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::sync::Arc;
use std::time::Duration;

use evenkeel::route::affinity::EndpointState;
use evenkeel::route::retry::{Ending, GiveUp};
use evenkeel::route::split::{Colour, RampState};
use evenkeel::router::{Affinity, ArmReason, Next, RampOrder, SendError};
use evenkeel::{
    AdminState, Announced, BackupFailoverConfig, BackupMode, CheckState, Cluster, Endpoint,
    EnvoyFailoverConfig, FailoverConfig, FailoverMode, GrpcFailoverConfig, LimitConfig, ManualClock, OnPanic,
    PickError, Priority,
};

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

/// Endpoints of two tiers, of which so many are up or degraded; all others of the tier are down.
fn tiers(failover: Option<FailoverMode>, tiers: [(usize, usize, usize); 2]) -> Cluster<()> {
    let builder = Cluster::builder("v1").seed(1).clock(ManualClock::default());
    let builder = match failover {
        Some(failover) => builder.failover(failover),
        None => builder,
    };
    let cluster = builder.build().unwrap();
    let endpoints = tiers.iter().enumerate().flat_map(|(tier, &(up, degraded, down))| {
        (0..up + degraded + down).map(move |i| {
            let address = format!("10.{tier}.0.{i}:80").parse().unwrap();
            let announced = match i {
                _ if i < up => Announced::Up,
                _ if i < up + degraded => Announced::Degraded,
                _ => Announced::Down,
            };
            Endpoint::new(format!("t{tier}-{i}").parse().unwrap(), address)
                .with_priority(Priority::new(tier as u8).unwrap())
                .with_announced(announced)
        })
    });
    cluster.apply(endpoints).unwrap();
    cluster
}

/// From which tier to which retries go: how many of two hundred leave their tier.
fn leavers(cluster: &Cluster<()>, retry: &str) -> [[u32; 2]; 2] {
    let mut world = world(&to_v1(&format!("retry = {retry}")), vec![cluster.clone()]);
    let mut counts = [[0; 2]; 2];
    for _ in 0..200 {
        let mut exchange = world.send("/", &[]).unwrap();
        let mut first = exchange.pick().unwrap();
        assert!(matches!(exchange.after(&mut first, &BAD), Next::RetryAfter(_)));
        let second = exchange.pick().unwrap();
        assert_ne!(first.endpoint().id(), second.endpoint().id());
        let [from, to] = [&first, &second].map(|pick| usize::from(pick.way().priority().get()));
        counts[from][to] += 1;
    }
    counts
}

/// Another tier only if that has a share.
#[test]
fn a_retry_avoids_the_tier_that_failed_if_another_one_has_a_share() {
    let spill = |config: FailoverConfig| Some(FailoverMode::Spill(config));
    let plain = || spill(FailoverConfig::default());
    let envoy = Some(FailoverMode::Envoy(EnvoyFailoverConfig::default()));
    let grpc = || Some(FailoverMode::Grpc(GrpcFailoverConfig::default()));
    let backup = |takes| Some(FailoverMode::Backup(BackupFailoverConfig { takes }));
    let modes = [None, plain(), envoy, grpc(), backup(BackupMode::First), backup(BackupMode::All)];
    for failover in modes {
        let whole = tiers(failover.clone(), [(9, 0, 1), (2, 0, 0)]);
        assert_eq!(leavers(&whole, "{}"), [[200, 0], [0, 0]], "nobody need leave: {failover:?}");
        let degraded = tiers(failover.clone(), [(9, 0, 1), (0, 1, 0)]);
        assert_eq!(leavers(&degraded, "{}"), [[200, 0], [0, 0]], "a degraded one is no better: {failover:?}");
        // The own tier has nobody else.
        let last = tiers(failover.clone(), [(1, 0, 0), (2, 0, 0)]);
        assert_eq!(leavers(&last, "{}"), [[0, 200], [0, 0]], "{failover:?}");
    }
    // Half of the first tier is left: it can take 70 %, and the rest goes to the second one.
    let half = tiers(plain(), [(5, 0, 5), (5, 0, 0)]);
    let [[stay, leave], [back, afar]] = leavers(&half, "{}");
    assert!(leave > 100 && back > 30 && (stay, afar) == (0, 0), "{stay} {leave} {back} {afar}");
    let [[stay, leave], _] = leavers(&half, "{ tier_after = 0 }");
    assert!(stay > 50 && leave > 10, "by the shares alone: {stay} {leave}");
    let half = tiers(plain(), [(5, 0, 5), (0, 5, 0)]);
    let [[stay, _], [back, _]] = leavers(&half, "{}");
    assert!(stay > 50 && back > 30, "a plain one at home first: {stay} {back}");
    // All requests go to one child, and so do all retries.
    assert_eq!(leavers(&tiers(grpc(), [(2, 0, 8), (9, 0, 0)]), "{}"), [[200, 0], [0, 0]]);
    // The second tier panics and refuses, and has a share.
    let config = FailoverConfig { on_panic: OnPanic::FailClosed, ..FailoverConfig::default() };
    let closed = tiers(spill(config), [(5, 0, 5), (1, 0, 9)]);
    let mut world = world(&to_v1("retry = {}"), vec![closed]);
    for _ in 0..100 {
        let mut exchange = world.send("/", &[]).unwrap();
        let Ok(mut first) = exchange.pick() else { continue };
        assert_eq!(first.way().priority().get(), 0);
        assert!(matches!(exchange.after(&mut first, &BAD), Next::RetryAfter(_)));
        if let Ok(second) = exchange.pick() {
            assert_eq!(second.way().priority().get(), 0, "it refuses retries too");
        }
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

/// What the user needs is nowhere else, however the request got there.
#[test]
fn no_retry_moves_a_user_who_may_go_nowhere_else() {
    let sticky = "[routes.affinity]\nlearned = { by = [\"source\"] }\nrules = { on_unhealthy = \"refuse\" }\n\
        [fallbacks]\nv1 = \"v2\"";
    for (setting, again) in [("", false), ("retry_same_endpoint = true\n", true)] {
        let text = to_v1(&format!("retry = {{}}\n{setting}{sticky}"));
        let mut world = world(&text, vec![cluster("v1", 3), cluster("v2", 1)]);
        let home = world.send("/", &[]).unwrap().pick().unwrap().endpoint().id();
        let mut exchange = world.send("/", &[]).unwrap();
        let mut pick = exchange.pick().unwrap();
        assert_eq!((pick.endpoint().id(), exchange.affinity()), (home.clone(), Affinity::Stayed));
        assert!(matches!(exchange.after(&mut pick, &BAD), Next::RetryAfter(_)));
        match exchange.pick() {
            Ok(pick) => assert!(again && pick.endpoint().id() == home),
            Err(error) => {
                assert!(!again);
                assert_eq!(error, SendError::Refused(EndpointState::Unhealthy));
                assert_eq!(exchange.affinity(), Affinity::Refused(EndpointState::Unhealthy));
            }
        }
    }
    let hedge = format!("hedge = {{ after = {{ fixed = \"50ms\" }} }}\n{sticky}");
    let mut world = world(&to_v1(&hedge), vec![cluster("v1", 3), cluster("v2", 1)]);
    let home = world.send("/", &[]).unwrap().pick().unwrap().endpoint().id();
    for ending in [BAD, Ending::ConnectFailed] {
        let mut exchange = world.send("/", &[]).unwrap();
        let mut pick = exchange.pick().unwrap();
        assert_eq!((pick.endpoint().id(), exchange.hedge_in()), (home.clone(), None));
        world.clock.advance(Duration::from_millis(50));
        assert!(exchange.hedge().unwrap().is_none(), "slow is no reason either");
        assert_eq!(exchange.after(&mut pick, &ending), Next::Done);
    }
}

#[test]
fn a_full_cluster_refuses_whoever_must_not_be_moved_when_it_is() {
    for (rule, refused) in [("refuse", true), ("lend", false)] {
        let builder = Cluster::<()>::builder("v1").seed(1).clock(ManualClock::default());
        let v1 = builder.limit(LimitConfig::fixed(1)).build().unwrap();
        fill(&v1, "v1", 2);
        let text = to_v1(&format!(
            "[routes.affinity]\nlearned = {{ by = [\"source\"] }}\nrules = {{ on_saturated = \"{rule}\" }}\n\
            [fallbacks]\nv1 = \"v2\""
        ));
        let mut world = world(&text, vec![v1, cluster("v2", 1)]);
        let held = world.send("/", &[]).unwrap().pick().unwrap();
        let mut exchange = world.send("/", &[]).unwrap();
        match exchange.pick() {
            Ok(pick) => assert!(!refused && pick.endpoint().id().as_str() == "v2-1"),
            Err(error) => assert_eq!((error, refused), (SendError::Refused(EndpointState::Saturated), true)),
        }
        drop(held);
        assert!(world.send("/", &[]).unwrap().pick().is_ok());
    }
}

#[test]
fn the_endpoint_that_answered_is_learnt() {
    let text = to_v1(
        "hedge = { after = { fixed = \"50ms\" } }\n[routes.affinity]\nlearned = { by = [{ cookie = \"session\" }] }",
    );
    for hedge_answers in [false, true] {
        let mut world = world(&text, vec![cluster("v1", 5)]);
        let user = [("cookie", "session=1")];
        let mut exchange = world.send("/", &user).unwrap();
        let mut first = exchange.pick().unwrap();
        world.clock.advance(Duration::from_millis(50));
        let mut second = exchange.hedge().unwrap().expect("it is time");
        let answers = if hedge_answers { &mut second } else { &mut first };
        let home = answers.endpoint().id();
        assert_eq!(exchange.after(answers, &GOOD), Next::Done);
        for _ in 0..5 {
            let mut exchange = world.send("/", &user).unwrap();
            let at = exchange.pick().unwrap().endpoint().id();
            assert_eq!((at, exchange.affinity()), (home.clone(), Affinity::Stayed), "{hedge_answers}");
        }
    }
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

/// Whoever gives up retries for hedges does not give up what retries did, however little traffic there is.
#[test]
fn a_route_with_hedges_sends_again_before_it_knows_how_long_answers_take() {
    use evenkeel::route::matching::Request;
    use evenkeel::router::Incoming;
    let mut world = world(&to_v1("hedge = {}"), vec![cluster("v1", 4)]);
    for (method, ending, again) in [
        ("GET", Ending::ConnectFailed, true),
        ("GET", Ending::Reset, true),
        ("GET", BAD, true),
        ("POST", Ending::ConnectFailed, true),
        ("POST", Ending::Refused, true),
        ("POST", Ending::Reset, false),
        ("POST", BAD, false),
    ] {
        for by_pick in [false, true] {
            let incoming = Incoming::new(Request::new(method, "h", "/"));
            let routed = world.router.route(&incoming, &mut world.scratch).unwrap();
            let mut exchange = routed.into_exchange().unwrap();
            let mut first = exchange.pick().unwrap();
            assert_eq!(exchange.hedge_in(), None, "it is not known when");
            assert!(exchange.hedge().unwrap().is_none());
            let next = exchange.after(&mut first, &ending);
            assert_eq!(next, if again { Next::HedgeNow } else { Next::Done }, "{method} {ending:?}");
            if again {
                let second =
                    if by_pick { exchange.pick().unwrap() } else { exchange.hedge().unwrap().unwrap() };
                assert_ne!(second.endpoint().id(), first.endpoint().id());
                assert!(exchange.hedge().unwrap().is_none(), "one more, not two");
            }
        }
    }
    assert_eq!(world.router.report().routes[0].hedged, 10);
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

/// A new version that nobody can reach has failed, also if the old one answers in its stead.
#[test]
fn a_ramp_to_a_version_that_is_down_is_aborted() {
    for fallbacks in ["", "[fallbacks]\nv2 = \"v1\"\n"] {
        let v2 = cluster("v2", 2);
        let mut world = world(&format!("{RAMP}{fallbacks}"), vec![cluster("v1", 2), v2.clone()]);
        for id in ["v2-1", "v2-2"] {
            v2.endpoint(&id.parse().unwrap()).unwrap().set_check(CheckState::Down);
        }
        let mut of_new = 0;
        for user in 0..3000 {
            let mut exchange = world.send("/", &[("x-user", &user.to_string())]).unwrap();
            of_new += exchange.arm();
            let served = exchange.pick();
            assert_eq!(served.is_ok(), exchange.arm() == 0 || !fallbacks.is_empty());
            match served {
                Ok(mut pick) => assert_eq!(exchange.after(&mut pick, &GOOD), Next::Done),
                // Asked again, it is the same request.
                Err(_) => assert!(exchange.pick().is_err()),
            }
        }
        assert_eq!(of_new, 100, "the budget is judged after a hundred requests");
        let state = world.router.report().routes[0].ramp.map(|(state, _)| state);
        assert_eq!(state, Some(RampState::Aborted), "{fallbacks}");
    }
}

/// The answers of a fallback, good or bad, are its own.
#[test]
fn what_a_fallback_answers_says_nothing_of_a_version() {
    let v2 = cluster("v2", 2);
    let text = format!("{RAMP}[fallbacks]\nv2 = \"v3\"\n");
    let mut world = world(&text, vec![cluster("v1", 2), v2.clone(), cluster("v3", 2)]);
    let arms = users(&mut world);
    let mut new = (0..1000).filter(|&user| arms[user] == 1).map(|user| user.to_string()).cycle();
    let mut ask = |usable: bool, ending: &Ending| {
        let check = if usable { CheckState::Up } else { CheckState::Down };
        for id in ["v2-1", "v2-2"] {
            v2.endpoint(&id.parse().unwrap()).unwrap().set_check(check);
        }
        let user = new.next().unwrap();
        let mut exchange = world.send("/", &[("x-user", &user)]).unwrap();
        let mut pick = exchange.pick().unwrap();
        assert_eq!(exchange.cluster().name(), if usable { "v2" } else { "v3" });
        let _ = exchange.after(&mut pick, ending);
        world.router.report().routes[0].ramp.unwrap().0
    };
    let failed = Ending::Http { status: 500, retry_after: None };
    // One failure of a hundred is within the budget, so that the fallback's answer made two of it.
    (0..98).for_each(|_| assert_eq!(ask(true, &GOOD), RampState::Step(0)));
    assert_eq!(ask(false, &failed), RampState::Step(0), "99 requests, one of which found nobody");
    assert_eq!(ask(true, &GOOD), RampState::Step(0), "1 of 100");
    assert_eq!(ask(false, &GOOD), RampState::Aborted, "2 of 101, however well the fallback answers");
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

/// Green turns out to be broken: its users go back with everybody else.
#[test]
fn a_switch_that_is_taken_back_now_keeps_nobody() {
    let text = "[[routes]]\nname = \"all\"\naction = { blue_green = { blue = \"v1\", green = \"v2\" } }";
    let mut world = world(text, vec![cluster("v1", 1), cluster("v2", 1)]);
    let green = [("cookie", "evenkeel-colour=green")];
    let reason = |world: &mut crate::world::World| world.send("/", &green).unwrap().arm_reason();
    assert!(world.router.switch("all", Colour::Green).unwrap().is_some());
    assert_eq!(reason(&mut world), ArmReason::Live(Colour::Green));
    world.clock.advance(Duration::from_secs(600));
    assert!(world.router.switch("all", Colour::Blue).unwrap().is_some());
    assert_eq!(reason(&mut world), ArmReason::Kept(Colour::Green), "the usual way keeps them");
    assert!(world.router.switch("all", Colour::Blue).unwrap().is_none());
    assert_eq!(reason(&mut world), ArmReason::Kept(Colour::Green), "and saying it again changes nothing");
    assert!(world.router.switch_now("all", Colour::Blue).unwrap().is_some());
    assert_eq!(reason(&mut world), ArmReason::Live(Colour::Blue));
    assert!(world.router.switch_now("all", Colour::Blue).unwrap().is_none());
    assert!(world.router.switch_now("all", Colour::Green).unwrap().is_some());
    assert!(world.router.switch_now("all", Colour::Blue).unwrap().is_some());
    assert_eq!(reason(&mut world), ArmReason::Live(Colour::Blue), "at once");
    assert!(world.router.switch_now("none", Colour::Blue).is_err());
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
