//! Retries and hedges over services that do as they are told, in a time that the test holds in its hands.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use evenkeel::limit::{LimitConfig, RetryBudgetConfig};
use evenkeel::{Cluster, LedgerConfig, Outcome, PickError, PolicyConfig};
use evenkeel_route::retry::{Backoff, HedgeConfig, Jitter, RetryConfig, RetryOn};
use evenkeel_tower::{
    Again, Balance, BalanceError, Cloned, CopyBy, JudgeBy, NoKeys, OnResponse, OwnService, TokioTimer,
};
use proptest::prelude::*;
use support::{Answer, Mood, Told, in_flight, tokio_clock, told};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

type Judged = OnResponse<JudgeBy<fn(&Answer) -> Outcome>>;
type CopyFn = fn(&&'static str) -> Option<&'static str>;
type Client<C = Cloned> = Again<Told, OwnService, NoKeys, Judged, C, TokioTimer>;

fn judge(answer: &Answer) -> Outcome {
    match answer.1 {
        503 => Outcome::overload(Some(Duration::from_millis(300))),
        500.. => Outcome::failure(),
        _ => Outcome::success(),
    }
}

fn cluster(n: u32) -> (Cluster<Told>, Vec<Told>) {
    let policy = PolicyConfig::round_robin();
    let cluster = Cluster::builder("test").policy(policy).seed(7).clock(tokio_clock()).build().unwrap();
    let services = told(&cluster, n);
    (cluster, services)
}

fn balance(cluster: &Cluster<Told>) -> Balance<Told, OwnService, NoKeys, Judged> {
    Balance::new(cluster.clone()).judged_by(judge as fn(&Answer) -> Outcome)
}

fn config() -> RetryConfig {
    RetryConfig {
        attempts: 3,
        per_try_timeout: Some(Duration::from_millis(500)),
        on: RetryOn { timed_out: true, ..RetryOn::default() },
        backoff: Backoff { jitter: Jitter::None, ..Backoff::default() },
        ..RetryConfig::default()
    }
}

fn retrying(cluster: &Cluster<Told>) -> Client {
    balance(cluster).retrying(&config(), Cloned, TokioTimer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_sent_again_elsewhere() {
    for mood in [Mood::Failing, Mood::Refusing, Mood::Status(500), Mood::Broken, Mood::Busy, Mood::Silent] {
        let (cluster, services) = cluster(3);
        services[0].be(mood);
        services[1].be(mood);
        for _ in 0..6 {
            assert_eq!(retrying(&cluster).oneshot("hello").await.unwrap(), (3, 200), "{mood:?}");
        }
        assert_eq!(services[2].served(), 6);
        assert_eq!(in_flight(&cluster), 0, "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_and_the_last_answer_is_given() {
    let (cluster, services) = cluster(5);
    services.iter().for_each(|service| service.be(Mood::Status(500)));
    assert_eq!(retrying(&cluster).oneshot("hello").await.unwrap().1, 500);
    assert_eq!(services.iter().map(Told::called).sum::<u32>(), 3);
    assert!(services.iter().all(|service| service.called() <= 1), "each time another");
    services.iter().for_each(|service| service.be(Mood::Failing));
    assert!(matches!(retrying(&cluster).oneshot("hello").await, Err(BalanceError::Inner(_))));
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_tried_twice_unless_that_is_meant() {
    let (cluster, services) = cluster(1);
    services[0].be(Mood::Status(500));
    assert_eq!(retrying(&cluster).oneshot("hello").await.unwrap().1, 500);
    assert_eq!(services[0].called(), 1);
    assert_eq!(retrying(&cluster).same_again().oneshot("hello").await.unwrap().1, 500);
    assert_eq!(services[0].called(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_overload_is_given_the_time_it_asks_for() {
    let (cluster, services) = cluster(2);
    services[0].be(Mood::Status(503));
    for _ in 0..2 {
        let (begun, before) = (Instant::now(), services[0].called());
        assert_eq!(retrying(&cluster).oneshot("hello").await.unwrap(), (2, 200));
        let expected = if services[0].called() > before { 325 } else { 0 };
        assert_eq!(begun.elapsed(), Duration::from_millis(expected));
    }
    assert_eq!(services[0].called(), 1);
    // More than is allowed is the answer.
    services[1].be(Mood::Status(503));
    let impatient = RetryConfig { max_retry_after: Duration::from_millis(100), ..config() };
    let client = balance(&cluster).retrying(&impatient, Cloned, TokioTimer).unwrap();
    assert_eq!(client.oneshot("hello").await.unwrap().1, 503);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_copied_is_sent_again_only_if_it_was_not_sent() {
    let (cluster, services) = cluster(2);
    let client: Client<CopyBy<CopyFn>> =
        balance(&cluster).retrying(&config(), CopyBy((|_| None) as CopyFn), TokioTimer).unwrap();
    // Not ready, or broken before the call: the request is still here.
    for mood in [Mood::Broken, Mood::Busy] {
        services[0].be(mood);
        for _ in 0..4 {
            assert_eq!(client.clone().oneshot("hello").await.unwrap(), (2, 200), "{mood:?}");
        }
    }
    assert_eq!(services[0].called(), 0);
    services.iter().for_each(|service| service.be(Mood::Failing));
    assert!(client.clone().oneshot("hello").await.is_err());
    assert_eq!(services.iter().map(Told::called).sum::<u32>(), 9);
}

/// A place for one: whoever waits to try again does not keep others out.
#[tokio::test(start_paused = true)]
async fn a_wait_between_attempts_keeps_no_place_in_a_limit() {
    let cluster = Cluster::builder("test")
        .policy(PolicyConfig::round_robin())
        .limit(LimitConfig::fixed(1))
        .clock(tokio_clock())
        .build()
        .unwrap();
    let services = told(&cluster, 2);
    services.iter().for_each(|service| service.be(Mood::Status(503)));
    let first = tokio::spawn(retrying(&cluster).oneshot("hello"));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(services.iter().map(Told::called).sum::<u32>(), 1, "it was turned away, and waits");
    assert_eq!(in_flight(&cluster), 1);
    services.iter().for_each(|service| service.be(Mood::Well));
    assert_eq!(Balance::new(cluster.clone()).oneshot("hello").await.unwrap().1, 200);
    assert_eq!(first.await.unwrap().unwrap().1, 200);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_gives_the_answer_that_is_there() {
    let empty = LedgerConfig { total: RetryBudgetConfig::empty(), ..LedgerConfig::default() };
    let cluster = Cluster::builder("test").budget(empty).clock(tokio_clock()).build().unwrap();
    let services = told(&cluster, 3);
    services.iter().for_each(|service| service.be(Mood::Status(500)));
    assert_eq!(retrying(&cluster).oneshot("hello").await.unwrap().1, 500);
    assert_eq!(services.iter().map(Told::called).sum::<u32>(), 1);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn retries_stay_within_the_budget() {
    let total = RetryBudgetConfig { ratio: 0.1, min_per_second: 0, ..RetryBudgetConfig::default() };
    let budget = LedgerConfig { total, ..LedgerConfig::default() };
    let cluster = Cluster::builder("test").budget(budget).clock(tokio_clock()).build().unwrap();
    let services = told(&cluster, 4);
    services.iter().for_each(|service| service.be(Mood::Status(500)));
    let quick = Backoff { base: Duration::from_nanos(1), max: Duration::from_nanos(1), ..Backoff::default() };
    let client =
        balance(&cluster).retrying(&RetryConfig { backoff: quick, ..config() }, Cloned, TokioTimer).unwrap();
    for _ in 0..1000 {
        let _ = client.clone().oneshot("hello").await;
    }
    let sent = services.iter().map(Told::called).sum::<u32>();
    assert!((1050..=1100).contains(&sent), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_all_of_it() {
    let (cluster, services) = cluster(3);
    services.iter().for_each(|service| service.be(Mood::Silent));
    let begun = Instant::now();
    let client = retrying(&cluster).deadline(Duration::from_millis(700));
    assert!(matches!(client.oneshot("hello").await, Err(BalanceError::TimedOut)));
    assert_eq!(begun.elapsed().as_millis() / 10, 70);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_leaves_nothing() {
    let (cluster, services) = cluster(3);
    services[0].be(Mood::Silent);
    services[1].be(Mood::Failing);
    services[2].be(Mood::Slow(50));
    for after in [0, 1, 10, 40, 80, 300, 510, 600] {
        let answer = retrying(&cluster).oneshot("hello");
        let _ = tokio::time::timeout(Duration::from_millis(after), answer).await;
        assert_eq!(in_flight(&cluster), 0, "dropped after {after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_ready_holds_no_attempt_up() {
    let plain = RetryConfig { per_try_timeout: None, on: RetryOn::default(), ..config() };
    for first in [Mood::Busy, Mood::Broken] {
        let (cluster, services) = cluster(3);
        services[0].be(first);
        let hedge = HedgeConfig { attempts: 2, ..HedgeConfig::default() };
        let cannot = CopyBy((|_| None) as CopyFn);
        let retrying = balance(&cluster).retrying(&plain, Cloned, TokioTimer).unwrap();
        let hedging =
            balance(&cluster).hedging(&hedge, Duration::from_secs(600), Cloned, TokioTimer).unwrap();
        let uncopied = balance(&cluster).hedging(&hedge, Duration::ZERO, cannot, TokioTimer).unwrap();
        for _ in 0..3 {
            let begun = Instant::now();
            let limit = Duration::from_secs(60);
            for answer in [
                tokio::time::timeout(limit, retrying.clone().oneshot("hello")).await,
                tokio::time::timeout(limit, hedging.clone().oneshot("hello")).await,
                tokio::time::timeout(limit, uncopied.clone().oneshot("hello")).await,
            ] {
                let answer = answer.expect("no attempt hangs").unwrap();
                assert!([2, 3].contains(&answer.0), "{first:?}: {answer:?}");
            }
            assert_eq!(begun.elapsed(), Duration::ZERO, "{first:?}: nobody was waited for");
        }
        assert_eq!((services[0].called(), in_flight(&cluster)), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_gets_ready_the_time_limit_holds_and_is_their_failure() {
    let breaker = evenkeel::BreakerConfig {
        rules: vec![evenkeel::Rule::Consecutive { failures: 1 }],
        open_for: Duration::from_secs(600),
        ..evenkeel::BreakerConfig::default()
    };
    let cluster = Cluster::builder("test").breaker(breaker).clock(tokio_clock()).build().unwrap();
    let services = told(&cluster, 3);
    services.iter().for_each(|service| service.be(Mood::Busy));
    let client = balance(&cluster).at_once(3).retrying(&config(), Cloned, TokioTimer).unwrap();
    let begun = Instant::now();
    assert!(matches!(client.oneshot("hello").await, Err(BalanceError::TimedOut)));
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
    assert_eq!((cluster.usable(), in_flight(&cluster)), (0, 0), "all were asked");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_counts_once_for_the_budget() {
    let total = RetryBudgetConfig { ratio: 0.1, min_per_second: 0, ..RetryBudgetConfig::default() };
    let budget = LedgerConfig { total, ..LedgerConfig::default() };
    let cluster = Cluster::<Told>::builder("test").budget(budget).clock(tokio_clock()).build().unwrap();
    // Thousands of looks by ten requests, which pay for one retry.
    let client = retrying(&cluster).patience(Duration::from_secs(5));
    let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(client.clone().oneshot("hello"))).collect();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let services = told(&cluster, 4);
    services.iter().for_each(|service| service.be(Mood::Status(500)));
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().1, 500);
    }
    let sent = services.iter().map(Told::called).sum::<u32>();
    assert!((10..=11).contains(&sent), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn patience_waits_for_discovery_and_no_longer() {
    let cluster = Cluster::builder("test").clock(tokio_clock()).build().unwrap();
    let client = retrying(&cluster).patience(Duration::from_secs(5));
    let waiting = tokio::spawn(client.clone().oneshot("hello"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let services = told(&cluster, 1);
    assert_eq!(waiting.await.unwrap().unwrap(), (1, 200));
    assert_eq!(services[0].served(), 1);

    cluster.clear();
    let begun = Instant::now();
    let error = client.oneshot("hello").await.unwrap_err();
    assert!(matches!(error.pick(), Some(PickError::Empty(_))), "{error}");
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

fn hedging(cluster: &Cluster<Told>, attempts: u32) -> Client {
    let config = HedgeConfig { attempts, ..HedgeConfig::default() };
    balance(cluster).hedging(&config, Duration::from_millis(100), Cloned, TokioTimer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_hedged_elsewhere() {
    let (cluster, services) = cluster(2);
    services[0].be(Mood::Slow(10_000));
    for _ in 0..4 {
        let (begun, before) = (Instant::now(), services[0].called());
        assert_eq!(hedging(&cluster, 2).oneshot("hello").await.unwrap(), (2, 200));
        let expected = if services[0].called() > before { 100 } else { 0 };
        assert_eq!(begun.elapsed(), Duration::from_millis(expected));
        assert_eq!(in_flight(&cluster), 0, "the loser is let go");
    }
    assert!(services[0].called() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_loses_is_dropped() {
    let (cluster, services) = cluster(2);
    services[0].be(Mood::Slow(150));
    services[1].be(Mood::Slow(10_000));
    let begun = Instant::now();
    assert_eq!(hedging(&cluster, 2).oneshot("hello").await.unwrap(), (1, 200));
    assert!(begun.elapsed() <= Duration::from_millis(250));
    assert_eq!(services.iter().map(Told::called).sum::<u32>(), 2);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_hurries_the_hedge_and_the_last_failure_is_the_answer() {
    let (cluster, services) = cluster(3);
    services[0].be(Mood::Failing);
    services[1].be(Mood::Failing);
    let begun = Instant::now();
    assert_eq!(hedging(&cluster, 3).oneshot("hello").await.unwrap(), (3, 200));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    services[2].be(Mood::Failing);
    assert!(matches!(hedging(&cluster, 3).oneshot("hello").await, Err(BalanceError::Inner(_))));
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_for_it_nothing_is_hedged() {
    let empty = LedgerConfig { total: RetryBudgetConfig::empty(), ..LedgerConfig::default() };
    let cluster = Cluster::builder("test").budget(empty).clock(tokio_clock()).build().unwrap();
    let services = told(&cluster, 2);
    services.iter().for_each(|service| service.be(Mood::Slow(500)));
    assert_eq!(hedging(&cluster, 2).oneshot("hello").await.unwrap().1, 200);
    assert_eq!(services.iter().map(Told::called).sum::<u32>(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_done_twice_is_not_hedged() {
    let (cluster, services) = cluster(2);
    services.iter().for_each(|service| service.be(Mood::Slow(500)));
    let config = HedgeConfig::default();
    let copies = CopyBy((|_| None) as CopyFn);
    let client = balance(&cluster).hedging(&config, Duration::from_millis(100), copies, TokioTimer).unwrap();
    client.oneshot("hello").await.unwrap();
    assert_eq!(services.iter().map(Told::called).sum::<u32>(), 1);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let cluster = Cluster::<Told>::builder("test").build().unwrap();
    let refused = balance(&cluster).retrying(&RetryConfig { attempts: 0, ..config() }, Cloned, TokioTimer);
    assert_eq!(refused.unwrap_err().to_string(), "attempts is 0: allowed are 1 to 16");
    let hedge = HedgeConfig { attempts: 9, ..HedgeConfig::default() };
    let refused = balance(&cluster).hedging(&hedge, Duration::ZERO, Cloned, TokioTimer);
    assert_eq!(refused.unwrap_err().to_string(), "attempts is 9: allowed are 2 to 5");
}

fn any_mood() -> impl Strategy<Value = Mood> {
    prop_oneof![
        3 => Just(Mood::Well),
        1 => Just(Mood::Failing),
        1 => Just(Mood::Refusing),
        1 => Just(Mood::Busy),
        1 => Just(Mood::Broken),
        1 => Just(Mood::Silent),
        1 => (0..900_u64).prop_map(Mood::Slow),
        1 => prop_oneof![Just(200), Just(500), Just(503)].prop_map(Mood::Status),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever endpoints do and whenever callers give up: nothing stays in flight, and a request is served if enough of the
    /// endpoints are well and its caller waits.
    #[test]
    fn nothing_stays_in_flight(
        moods in proptest::collection::vec(any_mood(), 1..5),
        waits in proptest::collection::vec(proptest::option::of(0..1500_u64), 1..12),
        is_hedged: bool,
        changes in proptest::collection::vec((0..4_usize, any_mood()), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (cluster, services) = cluster(moods.len() as u32);
            services.iter().zip(&moods).for_each(|(service, mood)| service.be(*mood));
            let client = if is_hedged { hedging(&cluster, 3) } else { retrying(&cluster) };
            let client = client.deadline(Duration::from_secs(60));
            let mut changes = changes.into_iter();
            let mut tasks = Vec::new();
            for wait in waits {
                let answer = client.clone().call("hello");
                tasks.push(tokio::spawn(async move {
                    match wait {
                        Some(millis) => drop(tokio::time::timeout(Duration::from_millis(millis), answer).await),
                        None => drop(answer.await),
                    }
                }));
                if let Some((place, mood)) = changes.next() {
                    services[place % services.len()].be(mood);
                }
                tokio::task::yield_now().await;
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(in_flight(&cluster), 0);
            services.iter().for_each(|service| service.be(Mood::Well));
            assert_eq!(client.clone().call("hello").await.unwrap().1, 200);
        });
    }
}
