//! The balanced service over services that do as they are told: where requests go, what is waited for, and that nothing stays
//! in flight.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel::{
    BreakerConfig, Cluster, EndpointId, LedgerConfig, LimitConfig, ManualClock, Outcome, PickError,
    PolicyConfig, Rule, Verdict,
};
use evenkeel_tower::{Balance, BalanceError, Key, OnResponse};
use support::{Answer, Mood, Told, in_flight, told};
use tower::{Service, ServiceExt};

fn cluster(n: u32) -> (Cluster<Told>, Vec<Told>) {
    let cluster = Cluster::builder("test").policy(PolicyConfig::round_robin()).seed(7).build().unwrap();
    let services = told(&cluster, n);
    (cluster, services)
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn it_is_shared_without_a_buffer() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let (cluster, _) = cluster(1);
    let balance = Balance::new(cluster);
    shared(&balance);
    shared(&balance.clone().keyed_by(|request: &&'static str| Key::bytes(*request)));
    shared(&balance.http());
}

#[tokio::test]
async fn requests_are_spread_and_end() {
    let (cluster, services) = cluster(4);
    let mut balance = Balance::new(cluster.clone());
    for _ in 0..40 {
        balance.ready().await.unwrap().call("hello").await.unwrap();
    }
    assert_eq!(services.iter().map(Told::served).collect::<Vec<_>>(), [10; 4]);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn a_request_is_in_flight_from_the_call_until_its_answer() {
    let (cluster, services) = cluster(1);
    services[0].be(Mood::Silent);
    let mut balance = Balance::new(cluster.clone());
    let first = balance.call("one");
    assert_eq!(in_flight(&cluster), 1, "before it is polled");
    let mut second = balance.call("two");
    assert!(poll(&mut Box::pin(&mut second)).is_pending());
    assert_eq!(in_flight(&cluster), 2);
    drop((first, second));
    assert_eq!(in_flight(&cluster), 0, "dropping gives back");
}

#[tokio::test]
async fn a_busy_endpoint_is_left_for_another() {
    let (cluster, services) = cluster(2);
    services[0].be(Mood::Busy);
    for _ in 0..6 {
        assert_eq!(Balance::new(cluster.clone()).oneshot("hello").await.unwrap().0, 2);
    }
    assert_eq!((services[0].called(), services[1].served()), (0, 6));
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn if_all_are_busy_the_first_to_be_ready_takes_it() {
    let (cluster, services) = cluster(3);
    services.iter().for_each(|service| service.be(Mood::Busy));
    let mut balance = Balance::new(cluster.clone()).at_once(3);
    let waiting = tokio::spawn(balance.call("hello"));
    tokio::task::yield_now().await;
    assert_eq!(in_flight(&cluster), 3, "each is asked");
    services[1].be(Mood::Well);
    assert_eq!(waiting.await.unwrap().unwrap().0, 2);
    assert_eq!(in_flight(&cluster), 0);
}

/// A pool that is cold makes a connection for whoever asks whether it is ready.
#[tokio::test]
async fn no_more_are_waited_for_at_once_than_is_allowed() {
    for (at_once, waited_for) in [(None, 2), (Some(0), 1), (Some(1), 1), (Some(3), 3), (Some(9), 4)] {
        let (cluster, services) = cluster(8);
        services.iter().for_each(|service| service.be(Mood::Busy));
        let balance = Balance::new(cluster.clone());
        let mut balance = if let Some(most) = at_once { balance.at_once(most) } else { balance };
        let waiting = tokio::spawn(balance.call("hello"));
        tokio::task::yield_now().await;
        assert_eq!(in_flight(&cluster), waited_for, "{at_once:?}");
        // Where one has failed another is asked, and that one takes it.
        let is_asked = |place: usize| cluster.endpoints()[place].in_flight() == 1;
        let (asked, others): (Vec<usize>, Vec<usize>) = (0..8).partition(|&place| is_asked(place));
        if waited_for < 4 {
            others.iter().for_each(|&place| services[place].be(Mood::Well));
            services[asked[0]].be(Mood::Broken);
        } else {
            services[asked[0]].be(Mood::Well);
        }
        waiting.await.unwrap().unwrap();
        assert_eq!(in_flight(&cluster), 0, "{at_once:?}");
    }
}

#[tokio::test]
async fn without_elsewhere_it_waits_for_the_one() {
    let (cluster, services) = cluster(2);
    services.iter().for_each(|service| service.be(Mood::Busy));
    let mut balance = Balance::new(cluster.clone()).elsewhere(0);
    let waiting = tokio::spawn(balance.call("hello"));
    tokio::task::yield_now().await;
    assert_eq!(in_flight(&cluster), 1);
    let picked = cluster.endpoints().iter().position(|endpoint| endpoint.in_flight() == 1).unwrap();
    services[1 - picked].be(Mood::Well);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    services[picked].be(Mood::Well);
    waiting.await.unwrap().unwrap();
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn a_service_that_breaks_before_it_takes_the_request_loses_none() {
    let (cluster, services) = cluster(4);
    services[..3].iter().for_each(|service| service.be(Mood::Broken));
    for _ in 0..8 {
        assert_eq!(Balance::new(cluster.clone()).oneshot("hello").await.unwrap().0, 4);
    }
    services[3].be(Mood::Broken);
    let error = Balance::new(cluster.clone()).oneshot("hello").await.unwrap_err();
    assert_eq!(
        error.inner::<std::io::Error>().map(std::io::Error::kind),
        Some(std::io::ErrorKind::BrokenPipe)
    );
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn asking_others_is_bounded_by_the_budget() {
    let budget =
        LedgerConfig { total: evenkeel::limit::RetryBudgetConfig::empty(), ..LedgerConfig::default() };
    let cluster = Cluster::builder("test").budget(budget).build().unwrap();
    let services = told(&cluster, 2);
    services.iter().for_each(|service| service.be(Mood::Broken));
    assert!(matches!(Balance::new(cluster.clone()).oneshot("hello").await, Err(BalanceError::Inner(_))));
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn breakers_hear_of_errors_and_of_judged_answers() {
    let config = BreakerConfig { rules: vec![Rule::Consecutive { failures: 2 }], ..BreakerConfig::default() };
    let build = || Cluster::builder("test").breaker(config.clone()).build().unwrap();
    // Errors count by themselves.
    let failing = build();
    let services = told(&failing, 1);
    services[0].be(Mood::Failing);
    for _ in 0..2 {
        assert!(Balance::new(failing.clone()).oneshot("hello").await.is_err());
    }
    let error = Balance::new(failing.clone()).oneshot("hello").await.unwrap_err();
    assert!(matches!(error.pick(), Some(PickError::NoneUsable(_))), "{error}");
    assert!(error.to_string().contains("1 with an open breaker"), "{error}");

    // Answers count as they are judged.
    let judged = build();
    let services = told(&judged, 1);
    services[0].be(Mood::Status(500));
    let judge = |answer: &Answer| if answer.1 == 500 { Outcome::failure() } else { Outcome::success() };
    let balance = Balance::new(judged.clone()).judged_by(judge);
    for _ in 0..2 {
        assert_eq!(balance.clone().oneshot("hello").await.unwrap().1, 500);
    }
    assert!(balance.clone().oneshot("hello").await.unwrap_err().pick().is_some());

    // Readiness that fails counts too.
    let broken = build();
    told(&broken, 1)[0].be(Mood::Broken);
    for _ in 0..2 {
        assert!(Balance::new(broken.clone()).oneshot("hello").await.unwrap_err().pick().is_none());
    }
    assert!(Balance::new(broken.clone()).oneshot("hello").await.unwrap_err().pick().is_some());
    assert_eq!(in_flight(&failing) + in_flight(&judged) + in_flight(&broken), 0);
}

#[tokio::test]
async fn a_cancelled_probe_gives_its_permit_back() {
    let config = BreakerConfig {
        rules: vec![Rule::Consecutive { failures: 1 }],
        open_for: Duration::from_secs(1),
        ..BreakerConfig::default()
    };
    let clock = Arc::new(ManualClock::default());
    let cluster = Cluster::builder("test").breaker(config).clock(Arc::clone(&clock)).build().unwrap();
    let services = told(&cluster, 1);
    services[0].be(Mood::Failing);
    let mut balance = Balance::new(cluster.clone());
    assert!(balance.call("trip").await.is_err());
    assert!(balance.call("open").await.unwrap_err().pick().is_some());
    clock.advance(Duration::from_secs(2));
    services[0].be(Mood::Silent);
    // Each of these would be the last, if a probe that is dropped stayed out.
    for _ in 0..20 {
        let probe = balance.ready().await.unwrap().call("probe");
        assert_eq!(in_flight(&cluster), 1, "a probe went out");
        drop(probe);
    }
    services[0].be(Mood::Well);
    balance.call("probe").await.unwrap();
}

#[tokio::test]
async fn limits_are_errors_and_slots_come_back() {
    let limit = LimitConfig::fixed(1);
    let cluster = Cluster::builder("test").limit(limit).build().unwrap();
    let services = told(&cluster, 2);
    services.iter().for_each(|service| service.be(Mood::Silent));
    let mut balance = Balance::new(cluster.clone());
    for _ in 0..3 {
        let held = balance.call("held");
        let refused = balance.call("refused").await.unwrap_err();
        assert!(matches!(refused, BalanceError::Pick(PickError::Saturated(_))), "{refused}");
        drop(held);
    }
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn equal_keys_go_to_one_endpoint() {
    let cluster = Cluster::builder("test").policy(PolicyConfig::rendezvous()).build().unwrap();
    told(&cluster, 8);
    let balance = Balance::new(cluster.clone()).keyed_by(|request: &&'static str| Key::bytes(*request));
    for request in ["anna", "bert", "carl", "dora"] {
        let first = balance.clone().oneshot(request).await.unwrap().0;
        let expected = cluster.pick(&evenkeel::Request::with_key(request)).unwrap().payload().1;
        for _ in 0..5 {
            assert_eq!(balance.clone().oneshot(request).await.unwrap().0, first);
        }
        assert_eq!(first, expected);
    }
    let hashed = Balance::new(cluster.clone()).keyed_by(|_: &&'static str| Key::hash(42));
    let expected = cluster.pick(&evenkeel::Request::with_hash(42)).unwrap().payload().1;
    assert_eq!(hashed.oneshot("any").await.unwrap().0, expected);
}

#[tokio::test]
async fn source_addresses_are_keys_where_the_policy_goes_by_them() {
    let cluster = Cluster::builder("test").policy(PolicyConfig::ip_hash()).build().unwrap();
    told(&cluster, 8);
    for last in 0..6_u8 {
        let ip = std::net::IpAddr::from([192, 0, last, 1]);
        let balance =
            Balance::new(cluster.clone()).keyed_by(move |_: &&'static str| Key::none().from_address(ip));
        let expected = cluster.pick(&evenkeel::Request::new().from_address(ip)).unwrap().payload().1;
        for _ in 0..3 {
            assert_eq!(balance.clone().oneshot("hello").await.unwrap().0, expected);
        }
    }
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let cluster = Cluster::<Told>::builder("test").build().unwrap();
    let error = Balance::new(cluster.clone()).oneshot("hello").await.unwrap_err();
    assert!(matches!(error.pick(), Some(PickError::NotKnown(_))));
    let source = std::error::Error::source(&error).expect("the reason");
    assert!(source.is::<PickError>());
}

#[tokio::test]
async fn an_endpoint_that_left_gets_nothing_and_keeps_what_it_has() {
    let (cluster, services) = cluster(2);
    services.iter().for_each(|service| service.be(Mood::Busy));
    let mut balance = Balance::new(cluster.clone());
    let waiting = tokio::spawn(balance.call("before"));
    tokio::task::yield_now().await;
    let gone: EndpointId = "e1".parse().unwrap();
    cluster.remove(&gone).unwrap();
    services[0].be(Mood::Well);
    assert_eq!(waiting.await.unwrap().unwrap().0, 1, "it was asked before it left");
    services[1].be(Mood::Well);
    for _ in 0..5 {
        assert_eq!(balance.call("after").await.unwrap().0, 2);
    }
    assert_eq!(in_flight(&cluster), 0);
}

/// A service whose calls cost no allocation, so that what is counted is ours.
#[derive(Clone)]
struct Echo;

impl Service<()> for Echo {
    type Response = Outcome;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Outcome, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(Outcome::success()))
    }
}

#[test]
fn a_balanced_call_allocates_nothing() {
    let builder = Cluster::builder("test").breaker(BreakerConfig::default());
    let cluster = builder.build().unwrap();
    cluster.apply((1..=100).map(|number| support::endpoint(number).with_payload(Echo))).unwrap();
    let mut balance = Balance::new(cluster).tracked_by(OnResponse(evenkeel_tower::ByItself));
    let mut call = || {
        let mut answer = balance.call(());
        let Poll::Ready(Ok(outcome)) = poll(&mut answer) else { panic!("it answers at once") };
        assert_eq!(outcome.verdict(), Verdict::Success);
    };
    call();
    let counted = allocation_counter::measure(|| (0..1000).for_each(|_| call()));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn many_threads_share_one() {
    let cluster = Cluster::builder("test").build().unwrap();
    cluster.apply((1..=3).map(|number| support::endpoint(number).with_payload(Echo))).unwrap();
    let balance = Arc::new(Balance::new(cluster.clone()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut mine = (*balance).clone();
                for _ in 0..2000 {
                    assert!(poll(&mut mine.call(())).is_ready());
                }
            });
        }
    });
    assert_eq!(in_flight(&cluster), 0);
}
