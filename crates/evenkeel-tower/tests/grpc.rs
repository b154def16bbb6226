//! Clients of tonic over a cluster of real HTTP/2 servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support {
    pub(crate) mod server;
}

use std::time::Duration;

use evenkeel::{BreakerConfig, Cluster, Endpoint, PolicyConfig, Rule, Weight};
use evenkeel_route::retry::RetryConfig;
use evenkeel_tower::http::{KeepBodyLayer, Kept, KeptWhole};
use evenkeel_tower::{Balance, TokioTimer, grpc};
use support::server::{End, Script, Server, until};
use tonic::Code;
use tonic::body::Body;
use tonic::transport::{Channel, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{ServiceBuilder, ServiceExt};

/// An answer of `grpc.health.v1.Health/Check`: SERVING, in one frame.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

fn well() -> Script {
    Script {
        headers: vec![("content-type", "application/grpc")],
        chunks: vec![SERVING],
        end: End::Trailers(vec![("grpc-status", "0")]),
        ..Script::default()
    }
}

/// An answer without messages.
fn refusal(code: &'static str) -> Script {
    Script {
        headers: vec![("content-type", "application/grpc"), ("grpc-status", code)],
        chunks: vec![],
        end: End::Whole,
        ..Script::default()
    }
}

async fn servers(n: usize) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..n {
        servers.push(Server::start(well()).await);
    }
    servers
}

fn connect(endpoint: &Endpoint) -> Channel {
    let address = endpoint.address().to_string();
    let uri = Uri::builder().scheme("http").authority(address).path_and_query("/").build();
    Channel::builder(uri.expect("an address is an authority")).connect_lazy()
}

fn cluster(policy: PolicyConfig, servers: &[Server]) -> Cluster<Channel> {
    cluster_by(policy, servers, connect)
}

fn cluster_by<T>(policy: PolicyConfig, servers: &[Server], make: impl Fn(&Endpoint) -> T) -> Cluster<T> {
    let breaker = BreakerConfig {
        rules: vec![Rule::Consecutive { failures: 2 }],
        open_for: Duration::from_secs(600),
        ..BreakerConfig::default()
    };
    let cluster = Cluster::builder("test").policy(policy).seed(1).breaker(breaker).build().unwrap();
    cluster.apply_with(servers.iter().map(Server::endpoint), make).unwrap();
    cluster
}

fn in_flight<T>(cluster: &Cluster<T>) -> usize {
    cluster.endpoints().iter().map(evenkeel::Handle::in_flight).sum()
}

fn served(servers: &[Server]) -> Vec<u32> {
    servers.iter().map(Server::served).collect()
}

#[tokio::test]
async fn a_client_of_tonic_is_balanced() {
    let servers = servers(3).await;
    let cluster = cluster(PolicyConfig::round_robin(), &servers);
    let client = HealthClient::new(grpc::Channel::new(Balance::new(cluster.clone()).grpc()));
    for _ in 0..12 {
        let answer = client.clone().check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(answer.into_inner().status, 1);
        assert_eq!(in_flight(&cluster), 0);
    }
    assert_eq!(served(&servers), [4, 4, 4]);
}

#[tokio::test]
async fn weights_are_honoured() {
    let servers = servers(3).await;
    let cluster = cluster(PolicyConfig::round_robin(), &servers);
    for (server, weight) in servers.iter().zip([6, 3, 0]) {
        cluster.set_weight(server.endpoint().id(), Weight::new(weight)).unwrap();
    }
    let mut client = HealthClient::new(grpc::Channel::new(Balance::new(cluster).grpc()));
    for _ in 0..90 {
        client.check(HealthCheckRequest::default()).await.unwrap();
    }
    assert_eq!(served(&servers), [60, 30, 0]);
}

#[tokio::test]
async fn load_is_honoured() {
    let servers = servers(2).await;
    servers[0].script(|script| script.delay = Duration::from_millis(150));
    let cluster = cluster(PolicyConfig::least_request(), &servers);
    let client = HealthClient::new(grpc::Channel::new(Balance::new(cluster.clone()).grpc()));
    let mut tasks = Vec::new();
    // Four callers, one request after the other: the slow one gets what it can take and no more.
    for _ in 0..4 {
        let mut client = client.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..25 {
                client.check(HealthCheckRequest::default()).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // Choosing blindly, half of them would be slow.
    assert!(served(&servers)[0] <= 20, "{:?}", served(&servers));
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn a_sick_endpoint_is_left_alone() {
    let servers = servers(3).await;
    servers[0].script(|script| *script = refusal("14"));
    servers[1].script(|script| script.end = End::Trailers(vec![("grpc-status", "13")]));
    let cluster = cluster(PolicyConfig::round_robin(), &servers);
    let client = HealthClient::new(grpc::Channel::new(Balance::new(cluster.clone()).grpc()));
    let mut codes = Vec::new();
    for _ in 0..30 {
        codes.push(
            client
                .clone()
                .check(HealthCheckRequest::default())
                .await
                .map_or_else(|status| status.code(), |_| Code::Ok),
        );
    }
    // Two failures each, one told in the head and one in the trailers.
    assert_eq!(codes.iter().filter(|code| **code == Code::Unavailable).count(), 2);
    assert_eq!(codes.iter().filter(|code| **code == Code::Internal).count(), 2);
    assert_eq!(served(&servers), [2, 2, 26]);
    assert_eq!((cluster.usable(), in_flight(&cluster)), (1, 0));
}

#[tokio::test]
async fn what_is_the_requests_fault_opens_no_breaker() {
    let servers = servers(1).await;
    let cluster = cluster(PolicyConfig::round_robin(), &servers);
    let mut client = HealthClient::new(grpc::Channel::new(Balance::new(cluster.clone()).grpc()));
    for code in ["5", "3", "12", "16", "7"] {
        servers[0].script(|script| *script = refusal(code));
        client.check(HealthCheckRequest::default()).await.unwrap_err();
    }
    assert_eq!(cluster.usable(), 1);
}

#[tokio::test]
async fn an_endpoint_that_dies_in_the_middle_is_a_failure() {
    let servers = servers(1).await;
    servers[0].script(|script| script.end = End::Cut);
    let cluster = cluster(PolicyConfig::round_robin(), &servers);
    let mut client = HealthClient::new(grpc::Channel::new(Balance::new(cluster.clone()).grpc()));
    for _ in 0..2 {
        client.check(HealthCheckRequest::default()).await.unwrap_err();
    }
    assert_eq!((cluster.usable(), in_flight(&cluster)), (0, 0));
    let status = client.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "told in gRPC's words");
    assert!(status.message().contains("1 with an open breaker"), "{status}");
    assert_eq!(servers[0].served(), 2);
}

#[tokio::test]
async fn a_stream_is_in_flight_until_its_end() {
    let servers = servers(1).await;
    servers[0].script(|script| {
        script.chunks = vec![SERVING, SERVING, SERVING];
        script.pause = Duration::from_millis(20);
    });
    let cluster = cluster(PolicyConfig::round_robin(), &servers);
    let mut client = HealthClient::new(grpc::Channel::new(Balance::new(cluster.clone()).grpc()));
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    for _ in 0..3 {
        assert_eq!(in_flight(&cluster), 1);
        stream.message().await.unwrap().expect("a message");
    }
    assert!(stream.message().await.unwrap().is_none());
    assert_eq!(in_flight(&cluster), 0);
    // Left in the middle.
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().expect("a message");
    drop(stream);
    assert_eq!((in_flight(&cluster), cluster.usable()), (0, 1));
}

#[tokio::test]
async fn cancelled_calls_leave_nothing() {
    let servers = servers(2).await;
    servers.iter().for_each(|server| server.script(|script| script.delay = Duration::from_millis(200)));
    let cluster = cluster(PolicyConfig::round_robin(), &servers);
    let client = HealthClient::new(grpc::Channel::new(Balance::new(cluster.clone()).grpc()));
    for after in [0, 1, 20, 100] {
        let mut client = client.clone();
        let check = client.check(HealthCheckRequest::default());
        tokio::time::timeout(Duration::from_millis(after), check).await.expect_err("it is slow");
        assert_eq!(in_flight(&cluster), 0, "after {after} ms");
    }
    assert_eq!(cluster.usable(), 2);
}

#[tokio::test]
async fn calls_are_sent_again_elsewhere() {
    let mut servers = servers(4).await;
    // The channel's own type of bodies.
    let cluster = cluster_by(PolicyConfig::round_robin(), &servers, |endpoint| {
        connect(endpoint).map_request(|request: http::Request<Kept<Body>>| request.map(Body::new))
    });
    servers[0].script(|script| *script = refusal("14"));
    let gone = servers.remove(3).address;
    until("it is gone", || std::net::TcpStream::connect(gone).is_err()).await;
    let again = Balance::new(cluster.clone()).grpc();
    let again = again
        .retrying(&RetryConfig { attempts: 3, ..RetryConfig::default() }, KeptWhole, TokioTimer)
        .unwrap();
    let stack = ServiceBuilder::new().layer(KeepBodyLayer::new(4096)).service(again);
    let client = HealthClient::new(grpc::Channel::new(stack));
    for _ in 0..20 {
        client.clone().check(HealthCheckRequest::default()).await.unwrap();
    }
    assert_eq!(in_flight(&cluster), 0);
    assert_eq!(cluster.usable(), 2, "both were found out");
}

/// A server of tonic itself.
#[tokio::test]
async fn a_server_of_tonic_answers() {
    let (_, service) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let serving =
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let cluster = Cluster::builder("test").build().unwrap();
    cluster.apply_with([Endpoint::at(address.to_string().parse().unwrap()).unwrap()], connect).unwrap();
    let mut client = HealthClient::new(grpc::Channel::new(Balance::new(cluster.clone()).grpc()));
    assert_eq!(client.check(HealthCheckRequest::default()).await.unwrap().into_inner().status, 1);
    let unknown = HealthCheckRequest { service: "nobody".to_owned() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(in_flight(&cluster), 0);
    serving.abort();
}

#[tokio::test]
async fn nobody_known_is_unavailable() {
    let cluster = Cluster::<Channel>::builder("test").build().unwrap();
    let mut client = HealthClient::new(grpc::Channel::new(Balance::new(cluster).grpc()));
    let status = client.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("no endpoints known yet"), "{status}");
}
