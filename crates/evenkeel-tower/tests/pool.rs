//! A pool of connections that take one request at a time, as HTTP/1 has them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support {
    pub(crate) mod server;
}

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel::{Address, Cluster, ManualClock};
use evenkeel_tower::{Balance, BoxError, Pool};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use support::server::{Script, Server};
use tower::{Service, ServiceExt};

/// A connection of HTTP/1.
struct Connection(SendRequest<Empty<Bytes>>);

impl Service<Request<Empty<Bytes>>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Connects and counts.
#[derive(Clone, Default)]
struct Connect(Arc<AtomicU32>);

impl Service<Address> for Connect {
    type Response = Connection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Address) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address.to_string()).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok(Connection(sender))
        })
    }
}

type Pooled = Pool<Connect, Address>;

fn cluster(servers: &[Server], connect: &Connect) -> Cluster<Pooled> {
    let cluster = Cluster::builder("test").build().unwrap();
    let make = |endpoint: &evenkeel::Endpoint| Pool::new(connect.clone(), endpoint.address().clone(), 2);
    cluster.apply_with(servers.iter().map(Server::endpoint), make).unwrap();
    cluster
}

/// Stands for a connection, and counts how many were made.
#[tokio::test]
async fn what_was_idle_for_too_long_is_not_used_again() {
    let made = AtomicU32::new(0);
    let connect = tower::service_fn(|(): ()| {
        let number = made.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, BoxError>(tower::service_fn(move |(): ()| async move { Ok::<_, BoxError>(number) })) }
    });
    let clock = Arc::new(ManualClock::default());
    let pool = Pool::new(connect, (), 4).idle_timeout(Duration::from_secs(10), Arc::clone(&clock));
    assert_eq!(pool.clone().oneshot(()).await.unwrap(), 0);
    clock.advance(Duration::from_secs(9));
    assert_eq!((pool.clone().oneshot(()).await.unwrap(), pool.idle()), (0, 1), "its time begins again");
    clock.advance(Duration::from_secs(10));
    assert_eq!((pool.clone().oneshot(()).await.unwrap(), pool.idle()), (1, 1));
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("/").header("host", "users").body(Empty::new()).unwrap()
}

fn in_flight(cluster: &Cluster<Pooled>) -> usize {
    cluster.endpoints().iter().map(evenkeel::Handle::in_flight).sum()
}

#[tokio::test]
async fn connections_are_used_again() {
    let servers = [Server::start(Script::default()).await];
    let connect = Connect::default();
    let cluster = cluster(&servers, &connect);
    let balance = Balance::new(cluster.clone()).http();
    for _ in 0..5 {
        let answer = balance.clone().oneshot(get()).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        // The connection itself hears of the end of the body in its own time.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(connect.0.load(Ordering::SeqCst) < 5, "most of them are not new");
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn as_many_as_run_at_the_same_time() {
    let servers = [Server::start(Script { delay: Duration::from_millis(50), ..Script::default() }).await];
    let connect = Connect::default();
    let cluster = cluster(&servers, &connect);
    let balance = Balance::new(cluster.clone()).http();
    let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(balance.clone().oneshot(get()))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(connect.0.load(Ordering::SeqCst), 4);
    assert!(cluster.endpoints()[0].payload().idle() <= 2);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_connected_to_is_stepped_over() {
    let mut servers = vec![Server::start(Script::default()).await, Server::start(Script::default()).await];
    let connect = Connect::default();
    let cluster = cluster(&servers, &connect);
    let gone = servers.remove(0).address;
    support::server::until("it is gone", || std::net::TcpStream::connect(gone).is_err()).await;
    let balance = Balance::new(cluster.clone()).http();
    for _ in 0..10 {
        assert_eq!(balance.clone().oneshot(get()).await.unwrap().status(), 200);
    }
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn cancelled_requests_take_their_connections_with_them() {
    let servers = [Server::start(Script { delay: Duration::from_secs(60), ..Script::default() }).await];
    let connect = Connect::default();
    let cluster = cluster(&servers, &connect);
    let balance = Balance::new(cluster.clone()).http();
    for after in [0, 1, 20] {
        let answer = balance.clone().oneshot(get());
        let _ = tokio::time::timeout(Duration::from_millis(after), answer).await;
        assert_eq!((in_flight(&cluster), cluster.endpoints()[0].payload().idle()), (0, 0));
    }
}
