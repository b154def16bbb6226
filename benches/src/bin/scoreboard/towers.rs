//! The adapter for tower beside tower's own balancer, and clients of gRPC over it beside tonic's balanced channel.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel::{Cluster, Endpoint, LatencyConfig, PolicyConfig};
use evenkeel_benches::{Weights, endpoint};
use evenkeel_tower::Balance;
use evenkeel_tower::http::Authority;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::{Channel, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::balance::p2c;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma, PendingRequests};
use tower::{Service, ServiceExt};

use crate::cases::{Cases, repeat};
use crate::gates::{Bound, Gate, Rows, ratio};

/// A service that has answered already.
#[derive(Clone, Copy, Debug)]
struct Echo;

impl Service<()> for Echo {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

/// One call of a balanced service, by policy: ours shared as it is, tower's in a mutex and behind its buffer.
pub(crate) fn calls(cases: &mut Cases) {
    for n in SIZES {
        ours(cases, "evenkeel-tower/least_request", n, PolicyConfig::least_request(), false);
        ours(cases, "evenkeel-tower/peak_ewma", n, PolicyConfig::peak_ewma(), true);
        theirs(cases, "p2c-pending-requests", n, || {
            PendingRequests::new(Echo, CompleteOnResponse::default())
        });
        theirs(cases, "p2c-peak-ewma", n, || {
            PeakEwma::new(Echo, Duration::from_millis(1), 1e10, CompleteOnResponse::default())
        });
    }
}

fn ours(cases: &mut Cases, subject: &str, n: usize, policy: PolicyConfig, is_timed: bool) {
    if !cases.is_wanted(AREA, subject) {
        return;
    }
    let mut builder = Cluster::builder("bench").policy(policy).seed(42);
    if is_timed {
        builder = builder.latency(LatencyConfig::default());
    }
    let cluster = builder.build().expect("a valid cluster");
    let endpoints = (0..n).map(|position| endpoint(position, Weights::Equal).with_payload(Echo));
    cluster.apply(endpoints).expect("valid endpoints");
    let shared = Balance::new(cluster);
    cases.add(AREA, subject, n, 1.0, || {
        let mut balance = shared.clone();
        repeat(move || call(&mut balance))
    });
}

fn theirs<S>(cases: &mut Cases, name: &str, n: usize, make: impl Fn() -> S)
where
    S: Service<(), Response = (), Error = Infallible> + Load + Send + 'static,
    S::Metric: std::fmt::Debug,
    S::Future: Send,
{
    let balance =
        || p2c::Balance::<_, ()>::new(ServiceList::new::<()>((0..n).map(|_| make()).collect::<Vec<_>>()));
    let own = format!("tower/{name}");
    cases.add_single(AREA, &own, n, 1, {
        let mut balance = balance();
        repeat(move || call(&mut balance))
    });
    let in_mutex = format!("tower/{name}-in-mutex");
    let shared = Arc::new(Mutex::new(balance()));
    cases.add(AREA, &in_mutex, n, 1.0, || {
        let shared = Arc::clone(&shared);
        repeat(move || call(&mut *shared.lock().expect("no call panics")))
    });
    let in_buffer = format!("tower/{name}-in-buffer");
    if n == SIZES[0] && cases.is_wanted(AREA, &in_buffer) {
        let runtime = Arc::new(runtime(1));
        let (buffer, worker) = Buffer::pair(balance(), 1024);
        runtime.spawn(worker);
        cases.add(AREA, &in_buffer, n, 1.0, || {
            let (runtime, mut buffer) = (Arc::clone(&runtime), buffer.clone());
            repeat(move || runtime.block_on(async { buffer.ready().await?.call(()).await }).is_ok())
        });
    }
}

/// Services that answer at once leave nothing to wait for.
fn call<B: Service<(), Response = ()>>(balance: &mut B) -> bool {
    let cx = &mut Context::from_waker(Waker::noop());
    balance.poll_ready(cx).is_ready() && matches!(pin!(balance.call(())).poll(cx), Poll::Ready(Ok(())))
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().expect("a runtime")
}

/// Unary calls of gRPC to three servers on loopback.
pub(crate) fn grpc(cases: &mut Cases) {
    if !["tonic/balance_list", "evenkeel-tower/channels", "evenkeel-tower/one-client"]
        .iter()
        .any(|subject| cases.is_wanted(GRPC, subject))
    {
        return;
    }
    let runtime = Arc::new(runtime(2));
    let addresses: Vec<SocketAddr> = (0..SERVERS).map(|_| runtime.block_on(serve())).collect();
    let _entered = runtime.enter();

    let list = addresses.iter().map(|address| Channel::builder(uri(*address)));
    unary(cases, "tonic/balance_list", &runtime, &HealthClient::new(Channel::balance_list(list)));

    let endpoints = || addresses.iter().map(|address| of(*address));
    let cluster = Cluster::builder("bench").seed(42).build().expect("a valid cluster");
    let connect = |endpoint: &Endpoint| {
        Channel::builder(uri(endpoint.address().to_string().parse().expect("an address"))).connect_lazy()
    };
    cluster.apply_with(endpoints(), connect).expect("valid endpoints");
    let channel = evenkeel_tower::grpc::Channel::new(Balance::new(cluster).grpc());
    unary(cases, "evenkeel-tower/channels", &runtime, &HealthClient::new(channel));

    let cluster = Cluster::<()>::builder("bench").seed(42).build().expect("a valid cluster");
    cluster.apply(endpoints()).expect("valid endpoints");
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    let balance = Balance::over(cluster, client, Authority::http()).grpc();
    unary(
        cases,
        "evenkeel-tower/one-client",
        &runtime,
        &HealthClient::new(evenkeel_tower::grpc::Channel::new(balance)),
    );
}

fn unary<S>(cases: &mut Cases, subject: &str, runtime: &Arc<Runtime>, client: &HealthClient<S>)
where
    S: GrpcService<Body> + Clone + Send + 'static,
    S::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    HealthClient<S>: Clone,
{
    cases.add(GRPC, subject, SERVERS, 1.0, || {
        let (runtime, mut client) = (Arc::clone(runtime), client.clone());
        repeat(move || {
            let answer = runtime.block_on(client.check(HealthCheckRequest::default()));
            assert!(answer.is_ok(), "{answer:?}");
        })
    });
}

async fn serve() -> SocketAddr {
    let (_, service) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

fn uri(address: SocketAddr) -> Uri {
    Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/").build().expect("a URI")
}

fn of(address: SocketAddr) -> Endpoint {
    Endpoint::at(address.to_string().parse().expect("an address")).expect("a short id")
}

pub(crate) fn gates(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    for n in SIZES {
        for (ours, theirs) in [("least_request", "p2c-pending-requests"), ("peak_ewma", "p2c-peak-ewma")] {
            for threads in [1, 2] {
                let peer = format!("tower/{theirs}-in-mutex");
                let name = format!("{AREA} evenkeel-tower/{ours} / {peer}, N = {n}, {threads}T");
                let ours = rows.of(AREA, &format!("evenkeel-tower/{ours}"), n, threads);
                gates.push(ratio(name, ours, rows.of(AREA, &peer, n, threads), Bound::AtMost(0.5), None));
            }
        }
    }
    for threads in [1, 2] {
        for subject in ["evenkeel-tower/channels", "evenkeel-tower/one-client"] {
            let name = format!("{GRPC} {subject} / tonic/balance_list, {threads}T");
            let ours = rows.of(GRPC, subject, SERVERS, threads);
            let theirs = rows.of(GRPC, "tonic/balance_list", SERVERS, threads);
            gates.push(ratio(name, ours, theirs, Bound::AtMost(1.0), None));
        }
    }
}

const AREA: &str = "tower";
const GRPC: &str = "grpc";
const SIZES: [usize; 3] = [10, 100, 1000];
const SERVERS: usize = 3;
