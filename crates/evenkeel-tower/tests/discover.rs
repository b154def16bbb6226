//! `tower::discover::Discover`, both ways.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel::{CatalogConfig, CheckState, Cluster, Endpoint, PolicyConfig, Registry, Timestamp, Weight};
use evenkeel_tower::Balance;
use evenkeel_tower::discover::{WakeOnChange, feed, usable, watched};
use support::{Told, endpoint, in_flight, told};
use tokio::sync::mpsc;
use tower::balance::p2c;
use tower::discover::{Change, Discover};
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::{Service, ServiceExt};

/// Changes as they are sent.
struct Sent(mpsc::UnboundedReceiver<Change<u32, Told>>);

impl futures_core::Stream for Sent {
    type Item = Result<Change<u32, Told>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|change| change.map(Ok))
    }
}

#[tokio::test]
async fn a_discover_feeds_a_cluster() {
    let cluster =
        Cluster::builder("test").policy(PolicyConfig::round_robin()).max_endpoints(2).build().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    let fed = cluster.clone();
    let refused = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let told_of = std::sync::Arc::clone(&refused);
    let feeding = tokio::spawn(async move {
        let describe = |key: &u32| (*key != 9).then(|| endpoint(*key).with_weight(Weight::new(*key)));
        feed(&fed, Sent(receiver), describe, |error| told_of.lock().push(error.to_string())).await
    });
    let insert = |key, service| sender.send(Change::Insert(key, service)).unwrap();
    insert(1, Told::new(1));
    insert(2, Told::new(2));
    insert(3, Told::new(3)); // one too many
    insert(9, Told::new(9)); // not described
    insert(1, Told::new(10)); // another service
    sender.send(Change::Remove(3)).unwrap(); // never came in
    sender.send(Change::Remove(2)).unwrap();
    drop(sender);
    feeding.await.unwrap().unwrap();
    assert_eq!(cluster.len(), 1);
    assert_eq!(Balance::new(cluster.clone()).oneshot("hello").await.unwrap().0, 10);
    assert_eq!(cluster.endpoints()[0].weight(), Weight::new(1));
    let refused = refused.lock();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].contains("max_endpoints") && refused[1].contains("e3"), "{refused:?}");
}

#[tokio::test]
async fn a_second_run_brings_its_own_services() {
    let cluster = Cluster::builder("test").build().unwrap();
    for service in [10, 20] {
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(Change::Insert(1, Told::new(service))).unwrap();
        drop(sender);
        feed(&cluster, Sent(receiver), |key| Some(endpoint(*key)), |error| panic!("{error}")).await.unwrap();
        assert_eq!(Balance::new(cluster.clone()).oneshot("hello").await.unwrap().0, service);
    }
}

#[tokio::test]
async fn the_last_one_may_leave() {
    let cluster = Cluster::builder("test").build().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    sender.send(Change::Insert(1, Told::new(1))).unwrap();
    sender.send(Change::Remove(1)).unwrap();
    drop(sender);
    feed(&cluster, Sent(receiver), |key| Some(endpoint(*key)), |error| panic!("{error}")).await.unwrap();
    assert!(cluster.is_empty());
}

fn next<D: Discover + Unpin>(discover: &mut D) -> Option<String>
where
    D::Key: std::fmt::Display,
    D::Error: std::fmt::Debug,
{
    match Pin::new(discover).poll_discover(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Pending => None,
        Poll::Ready(change) => Some(match change.expect("it does not end").expect("it does not fail") {
            Change::Insert(key, _) => format!("+{key}"),
            Change::Remove(key) => format!("-{key}"),
        }),
    }
}

fn all<D: Discover + Unpin>(discover: &mut D) -> String
where
    D::Key: std::fmt::Display,
    D::Error: std::fmt::Debug,
{
    std::iter::from_fn(|| next(discover)).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_registry_is_a_discover() {
    let registry = Registry::new(CatalogConfig::default()).unwrap();
    let users = "users".parse().unwrap();
    let mut discover = watched(&registry, &users, |endpoint: &Endpoint| Told::new(endpoint.weight().get()));
    assert_eq!(all(&mut discover), "");
    let (now, ttl) = (Timestamp::from_secs(1), Duration::from_secs(10));
    let first = registry.register(now, &users, endpoint(1), Some(ttl)).unwrap().0;
    let _ = registry.register(now, &users, endpoint(2), Some(ttl)).unwrap();
    let _ = registry.register(now, &users, endpoint(3).with_weight(Weight::new(0)), Some(ttl)).unwrap();
    assert_eq!(all(&mut discover), "+e1 +e2");
    registry.deregister(now, &first).unwrap();
    assert_eq!(all(&mut discover), "-e1");
    assert_eq!(all(&mut discover), "");
}

#[tokio::test]
async fn a_balancer_of_tower_follows_a_cluster() {
    let wake = WakeOnChange::new();
    let waiter = wake.waiter();
    let cluster = Cluster::<Told>::builder("test").observer(wake).build().unwrap();
    let discover = usable(&cluster, waiter, |endpoint| {
        PendingRequests::new(endpoint.payload().clone(), CompleteOnResponse::default())
    });
    let mut balance = p2c::Balance::new(discover);
    // It is woken when the first ones come.
    let filling = cluster.clone();
    let services = tokio::spawn(async move {
        tokio::task::yield_now().await;
        told(&filling, 2)
    });
    for _ in 0..20 {
        balance.ready().await.unwrap().call("hello").await.unwrap();
    }
    let services = services.await.unwrap();
    assert!(services.iter().all(|service| service.served() > 0));
    // Who fails its checks leaves, and comes back.
    let first = cluster.endpoint(&"e1".parse().unwrap()).unwrap();
    first.set_check(CheckState::Down);
    let before = services[0].served();
    for _ in 0..20 {
        assert_eq!(balance.ready().await.unwrap().call("hello").await.unwrap().0, 2);
    }
    assert_eq!(services[0].served(), before);
    first.set_check(CheckState::Up);
    for _ in 0..40 {
        balance.ready().await.unwrap().call("hello").await.unwrap();
    }
    assert!(services[0].served() > before);
    assert_eq!(in_flight(&cluster), 0, "tower counts for itself");
}

#[test]
fn another_incarnation_is_another_service() {
    let wake = WakeOnChange::new();
    let waiter = wake.waiter();
    let cluster = Cluster::<Told>::builder("test").observer(wake).build().unwrap();
    told(&cluster, 2);
    let mut discover = usable(&cluster, waiter, |endpoint| endpoint.payload().clone());
    assert_eq!(all(&mut discover), "+e1 +e2");
    cluster.upsert(endpoint(1).with_incarnation(5).with_payload(Told::new(7))).unwrap();
    assert_eq!(all(&mut discover), "-e1 +e1");
    cluster.clear();
    assert_eq!(all(&mut discover), "-e1 -e2");
}
