//! Real servers of hyper and axum on loopback, and the pooling client of hyper-util before them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support {
    pub(crate) mod server;
}

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use evenkeel::{
    BreakerConfig, Cluster, Endpoint, LedgerConfig, Live, PolicyConfig, Rule, limit::RetryBudgetConfig,
};
use evenkeel_route::retry::{Ending, RetryConfig, RetryOn};
use evenkeel_tower::http::{
    Authority, ErrorsBy, Idempotent, JudgeHeadBy, KeepBodyLayer, KeptWhole, OnBody, StatusJudge, retry_after,
};
use evenkeel_tower::{Balance, BalanceError, BalanceLayer, BoxError, Judgement, Key, KeyBy, TokioTimer};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use support::server::{End, Script, Server, cluster_of, until};
use tower::{Service, ServiceBuilder, ServiceExt};

type Plain = Client<HttpConnector, Full<Bytes>>;

fn client() -> Plain {
    Client::builder(TokioExecutor::new()).build_http()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

fn in_flight<T>(cluster: &Cluster<T>) -> usize {
    cluster.endpoints().iter().map(evenkeel::Handle::in_flight).sum()
}

async fn servers(n: usize, script: Script) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..n {
        servers.push(Server::start(script.clone()).await);
    }
    servers
}

#[tokio::test]
async fn one_client_for_all_endpoints() {
    let servers = servers(3, Script::default()).await;
    let cluster = cluster_of(&servers);
    let mut balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    for _ in 0..12 {
        let answer = balance.ready().await.unwrap().call(get("/a?b=c")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    assert_eq!(servers.iter().map(Server::served).collect::<Vec<_>>(), [4, 4, 4]);
    assert_eq!(servers[0].last().1, "/a?b=c");
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn a_client_for_each_endpoint() {
    let servers = servers(2, Script::default()).await;
    let cluster = Cluster::builder("test").build().unwrap();
    let client = client();
    // Each endpoint's service knows where it is.
    let make = |endpoint: &Endpoint| {
        let (client, address) = (client.clone(), endpoint.address().to_string());
        tower::util::MapRequest::new(client, move |mut request: Request<Full<Bytes>>| {
            *request.uri_mut() = format!("http://{address}{}", request.uri().path()).parse().unwrap();
            request
        })
    };
    cluster.apply_with(servers.iter().map(Server::endpoint), make).unwrap();
    let mut balance = Balance::new(cluster.clone()).http();
    for _ in 0..10 {
        balance.call(get("/x")).await.unwrap();
    }
    assert_eq!(servers.iter().map(Server::served).sum::<u32>(), 10);
    assert_eq!(in_flight(&cluster), 0, "bodies were dropped");
}

#[tokio::test]
async fn in_flight_until_the_body_is_through() {
    let pause = Duration::from_millis(30);
    let script = Script { chunks: vec![b"one", b"two", b"three"], pause, ..Script::default() };
    let servers = servers(1, script).await;
    let cluster = cluster_of(&servers);
    let mut balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    let answer = balance.call(get("/")).await.unwrap();
    assert_eq!(in_flight(&cluster), 1);
    let mut body = answer.into_body();
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        frames += 1;
        assert!(frames > 2 || body.is_guarded());
    }
    assert!(frames >= 3 && !body.is_guarded());
    assert_eq!(in_flight(&cluster), 0, "the body is here still, and through");
    // Dropped in the middle.
    let answer = balance.call(get("/")).await.unwrap();
    assert_eq!(in_flight(&cluster), 1);
    drop(answer);
    assert_eq!(in_flight(&cluster), 0);
    // Empty bodies end with the head.
    servers[0].script(|script| (script.chunks, script.status) = (vec![], 204));
    let answer = balance.call(get("/")).await.unwrap();
    assert_eq!(in_flight(&cluster), 0);
    drop(answer);
}

/// A breaker that shows what was judged: two failures in a row open it.
fn watched(servers: &[Server]) -> Cluster<()> {
    let config = BreakerConfig {
        rules: vec![Rule::Consecutive { failures: 2 }],
        open_for: Duration::from_secs(600),
        ..BreakerConfig::default()
    };
    let cluster = Cluster::<()>::builder("test").breaker(config).build().unwrap();
    cluster.apply(servers.iter().map(Server::endpoint)).unwrap();
    cluster
}

#[tokio::test]
async fn an_endpoint_that_dies_in_the_middle_of_bodies() {
    let script = Script { end: End::Cut, ..Script::default() };
    for until_end in [false, true] {
        let servers = servers(1, script.clone()).await;
        let cluster = watched(&servers);
        let judge = if until_end { StatusJudge::until_end() } else { StatusJudge::default() };
        let mut balance =
            Balance::over(cluster.clone(), client(), Authority::http()).tracked_by(OnBody(judge));
        for _ in 0..2 {
            let answer = balance.call(get("/")).await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.expect_err("it breaks off");
            assert_eq!(in_flight(&cluster), 0);
        }
        // By the head all was well; by the end nothing was.
        assert_eq!(cluster.usable(), usize::from(!until_end));
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_is_no_verdict() {
    let script = Script { end: End::Never, ..Script::default() };
    let servers = servers(1, script).await;
    let cluster = watched(&servers);
    let balance = Balance::over(cluster.clone(), client(), Authority::http())
        .tracked_by(OnBody(StatusJudge::until_end()));
    for _ in 0..5 {
        drop(balance.clone().oneshot(get("/")).await.unwrap());
    }
    assert_eq!((cluster.usable(), in_flight(&cluster)), (1, 0));
}

#[tokio::test]
async fn statuses_and_a_dead_endpoint_are_verdicts() {
    for (status, is_failure) in [(500, true), (502, true), (404, false), (200, false)] {
        let servers = servers(1, Script { status, ..Script::default() }).await;
        let cluster = watched(&servers);
        let balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
        for _ in 0..2 {
            assert_eq!(balance.clone().oneshot(get("/")).await.unwrap().status(), status);
        }
        assert_eq!(cluster.usable() == 0, is_failure, "{status}");
    }
    // A judge of one's own.
    let teapots = servers(1, Script { status: 418, ..Script::default() }).await;
    let cluster = watched(&teapots);
    let judge = |status: StatusCode, _: &http::HeaderMap| match status.as_u16() {
        418 => evenkeel::Outcome::failure(),
        _ => evenkeel::Outcome::success(),
    };
    let balance =
        Balance::over(cluster.clone(), client(), Authority::http()).tracked_by(OnBody(JudgeHeadBy(judge)));
    for _ in 0..2 {
        balance.clone().oneshot(get("/")).await.unwrap();
    }
    assert_eq!(cluster.usable(), 0);
}

fn quick() -> RetryConfig {
    RetryConfig { attempts: 3, ..RetryConfig::default() }
}

#[tokio::test]
async fn no_request_is_lost_that_could_be_served() {
    let mut servers = servers(4, Script::default()).await;
    let cluster = cluster_of(&servers);
    // Two are gone; one asks for a moment.
    servers.truncate(2);
    servers[1].script(|script| (script.status, script.headers) = (503, vec![("retry-after", "0")]));
    let config = RetryConfig { attempts: 4, ..quick() };
    let balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    let client = balance.retrying(&config, Idempotent, TokioTimer).unwrap();
    let tasks: Vec<_> = (0..40).map(|_| tokio::spawn(client.clone().call(get("/")))).collect();
    for task in tasks {
        let answer = task.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    assert_eq!(servers[0].served(), 40);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn retry_after_is_heeded() {
    let servers =
        servers(2, Script { status: 503, headers: vec![("retry-after", "1")], ..Script::default() }).await;
    let cluster = cluster_of(&servers);
    let balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    let client = balance.retrying(&RetryConfig { attempts: 2, ..quick() }, Idempotent, TokioTimer).unwrap();
    let begun = tokio::time::Instant::now();
    let answer = client.clone().oneshot(get("/")).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), retry_after(answer.headers())),
        (503, Some(Duration::from_secs(1)))
    );
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(servers.iter().map(Server::served).collect::<Vec<_>>(), [1, 1]);
    drop(answer);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn only_what_may_be_done_twice_is() {
    let servers = servers(3, Script { status: 503, ..Script::default() }).await;
    let cluster = cluster_of(&servers);
    let balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    let client = balance.retrying(&quick(), Idempotent, TokioTimer).unwrap();
    for (method, attempts) in [(Method::GET, 3), (Method::PUT, 3), (Method::POST, 1), (Method::PATCH, 1)] {
        let before: u32 = servers.iter().map(Server::served).sum();
        let request = Request::builder().method(method.clone()).uri("/").body(Full::from("a body")).unwrap();
        assert_eq!(client.clone().oneshot(request).await.unwrap().status(), 503);
        assert_eq!(servers.iter().map(Server::served).sum::<u32>() - before, attempts, "{method}");
    }
}

#[tokio::test]
async fn a_post_that_nobody_has_seen_is_sent_again() {
    let mut servers = servers(2, Script::default()).await;
    let cluster = cluster_of(&servers);
    servers.truncate(1);
    let is_connect = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect)
    };
    // A listener that is just closing resets, which no kind of error tells from a request that was lost.
    let judge = ErrorsBy(StatusJudge::default(), move |error: &(dyn std::error::Error + 'static)| {
        let ending = if is_connect(error) { Ending::ConnectFailed } else { Ending::Reset };
        Judgement { ending: Some(ending), ..Judgement::of_error(error) }
    });
    let balance = Balance::over(cluster.clone(), client(), Authority::http()).tracked_by(OnBody(judge));
    let client = balance.retrying(&quick(), Idempotent, TokioTimer).unwrap();
    for _ in 0..6 {
        let request = Request::post("/order").body(Full::from("once")).unwrap();
        assert_eq!(client.clone().oneshot(request).await.unwrap().status(), 200);
        assert_eq!(servers[0].last().2, "once");
    }
    assert_eq!(servers[0].served(), 6);
    // Nobody left: the error is that of the client.
    servers.clear();
    until("the server is gone", || std::net::TcpStream::connect(cluster_address(&cluster)).is_err()).await;
    let error = client.clone().oneshot(Request::post("/").body(Full::default()).unwrap()).await.unwrap_err();
    let BalanceError::Inner(error) = &error else { panic!("{error}") };
    assert!(is_connect(&**error), "{error}");
    assert_eq!(in_flight(&cluster), 0);
}

fn cluster_address(cluster: &Cluster<()>) -> String {
    cluster.endpoints()[0].address().to_string()
}

#[tokio::test]
async fn the_clients_own_word_on_connecting_is_known() {
    let mut servers = servers(2, Script::default()).await;
    let cluster = cluster_of(&servers);
    let gone = servers.pop().unwrap().endpoint();
    until("the server is gone", || std::net::TcpStream::connect(gone.address().to_string()).is_err()).await;
    let balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    let client = balance.retrying(&quick(), Idempotent, TokioTimer).unwrap();
    for _ in 0..6 {
        let request = Request::post("/order").body(Full::from("once")).unwrap();
        assert_eq!(client.clone().oneshot(request).await.unwrap().status(), 200);
    }
    assert_eq!((servers[0].served(), in_flight(&cluster)), (6, 0));
}

#[tokio::test]
async fn kept_bodies_do_not_make_a_post_repeatable() {
    let servers = servers(3, Script { status: 503, ..Script::default() }).await;
    let cluster = cluster_of(&servers);
    let client: Client<HttpConnector, evenkeel_tower::http::Kept<OnceBody>> =
        Client::builder(TokioExecutor::new()).build_http();
    let balance = Balance::over(cluster.clone(), client, Authority::http()).http();
    let again = balance.retrying(&quick(), Idempotent, TokioTimer).unwrap();
    let stack = ServiceBuilder::new().layer(KeepBodyLayer::new(16)).service(again);
    for (method, attempts) in [(Method::PUT, 3), (Method::POST, 1)] {
        let before: u32 = servers.iter().map(Server::served).sum();
        let body = OnceBody::new(&["a short", " one"]);
        let request = Request::builder().method(method.clone()).uri("/").body(body).unwrap();
        assert_eq!(stack.clone().oneshot(request).await.unwrap().status(), 503);
        assert_eq!(servers.iter().map(Server::served).sum::<u32>() - before, attempts, "{method}");
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_cloned_are_kept() {
    let servers = servers(2, Script::default()).await;
    let cluster = cluster_of(&servers);
    servers[0].script(|script| script.status = 503);
    let client: Client<HttpConnector, evenkeel_tower::http::Kept<OnceBody>> =
        Client::builder(TokioExecutor::new()).build_http();
    let balance = Balance::over(cluster.clone(), client, Authority::http()).http();
    let again = balance.retrying(&quick(), KeptWhole, TokioTimer).unwrap();
    let stack = ServiceBuilder::new().layer(KeepBodyLayer::new(16)).service(again);
    for _ in 0..4 {
        let request = Request::post("/").body(OnceBody::new(&["a short", " one"])).unwrap();
        assert_eq!(stack.clone().oneshot(request).await.unwrap().status(), 200);
        assert_eq!(servers[1].last().2, "a short one");
    }
    // Too long to be kept: it is sent whole, and once.
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let request =
            Request::post("/").body(OnceBody::new(&["quite a long one", ", and", " more"])).unwrap();
        statuses.push(stack.clone().oneshot(request).await.unwrap().status().as_u16());
        assert!(servers.iter().any(|server| server.last().2 == "quite a long one, and more"));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    assert_eq!(in_flight(&cluster), 0);
}

/// A body that cannot be cloned and tells no length.
struct OnceBody(std::collections::VecDeque<&'static str>);

impl OnceBody {
    fn new(chunks: &[&'static str]) -> Self {
        Self(chunks.iter().copied().collect())
    }
}

impl http_body::Body for OnceBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.pop_front().map(|chunk| Ok(http_body::Frame::data(Bytes::from(chunk)))))
    }
}

#[tokio::test]
async fn a_slow_endpoint_costs_one_time_limit() {
    let servers = servers(2, Script::default()).await;
    let cluster = cluster_of(&servers);
    servers[0].script(|script| script.delay = Duration::from_secs(60));
    let config = RetryConfig {
        per_try_timeout: Some(Duration::from_millis(100)),
        on: RetryOn { timed_out: true, ..RetryOn::default() },
        ..quick()
    };
    let balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    let client = balance.retrying(&config, Idempotent, TokioTimer).unwrap();
    for _ in 0..4 {
        assert_eq!(client.clone().oneshot(get("/")).await.unwrap().status(), 200);
    }
    assert_eq!(servers[1].served(), 4);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn a_spent_budget_hands_out_the_503() {
    let servers = servers(3, Script { status: 503, ..Script::default() }).await;
    let budget = LedgerConfig { total: RetryBudgetConfig::empty(), ..LedgerConfig::default() };
    let cluster = Cluster::<()>::builder("test").budget(budget).build().unwrap();
    cluster.apply(servers.iter().map(Server::endpoint)).unwrap();
    let balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    let client = balance.retrying(&quick(), Idempotent, TokioTimer).unwrap();
    let answer = client.oneshot(get("/")).await.unwrap();
    assert_eq!(
        (answer.status(), servers.iter().map(Server::served).sum::<u32>()),
        (StatusCode::SERVICE_UNAVAILABLE, 1)
    );
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn cancelled_requests_leave_nothing() {
    let script = Script { delay: Duration::from_millis(40), chunks: vec![b"a", b"b"], ..Script::default() };
    let servers = servers(2, Script { pause: Duration::from_millis(40), ..script }).await;
    let cluster = cluster_of(&servers);
    let balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    for after in [0, 1, 20, 45, 60, 100, 300] {
        let mut balance = balance.clone();
        let whole = async move { balance.call(get("/")).await.unwrap().into_body().collect().await };
        let _ = tokio::time::timeout(Duration::from_millis(after), whole).await;
        assert_eq!(in_flight(&cluster), 0, "dropped after {after} ms");
    }
}

#[tokio::test]
async fn a_proxy_of_axum_over_a_stack() {
    use axum::extract::State;

    let servers = servers(3, Script::default()).await;
    let cluster = Cluster::<()>::builder("test").policy(PolicyConfig::rendezvous()).build().unwrap();
    cluster.apply(servers.iter().map(Server::endpoint)).unwrap();

    fn path(request: &Request<axum::body::Body>) -> Key<'_> {
        Key::bytes(request.uri().path())
    }
    let balance = BalanceLayer::new(cluster.clone(), Authority::http())
        .keys(KeyBy(path))
        .tracked_by(OnBody(StatusJudge::default()));
    let client: Client<HttpConnector, axum::body::Body> = Client::builder(TokioExecutor::new()).build_http();
    let stack = ServiceBuilder::new()
        .concurrency_limit(32)
        .timeout(Duration::from_secs(5))
        .layer(balance)
        .service(client);
    let stack =
        tower::util::BoxCloneSyncService::new(stack.map_response(|answer| answer.map(axum::body::Body::new)));
    type Stack =
        tower::util::BoxCloneSyncService<Request<axum::body::Body>, Response<axum::body::Body>, BoxError>;
    async fn forward(
        State(stack): State<Stack>,
        request: Request<axum::body::Body>,
    ) -> Result<Response<axum::body::Body>, StatusCode> {
        stack.oneshot(request).await.map_err(|_| StatusCode::BAD_GATEWAY)
    }
    let app = axum::Router::new().fallback(forward).with_state(stack);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    for path in ["/anna", "/bert", "/carl"] {
        let before: Vec<u32> = servers.iter().map(Server::served).collect();
        for _ in 0..4 {
            let answer = client.get(format!("http://{proxy}{path}").parse().unwrap()).await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        }
        let mut gained: Vec<u32> =
            servers.iter().zip(before).map(|(server, before)| server.served() - before).collect();
        gained.sort_unstable();
        assert_eq!(gained, [0, 0, 4], "{path} goes to one of them");
    }
    drop(servers);
    until("all endpoints are gone", || {
        cluster
            .endpoints()
            .iter()
            .all(|endpoint| std::net::TcpStream::connect(endpoint.address().to_string()).is_err())
    })
    .await;
    let answer = client.get(format!("http://{proxy}/anna").parse().unwrap()).await.unwrap();
    assert_eq!(answer.status(), 502);
    until("nothing is in flight", || in_flight(&cluster) == 0).await;
    serving.abort();
}

#[tokio::test]
async fn an_endpoint_without_authority_is_an_error() {
    let cluster = Cluster::<()>::builder("test").build().unwrap();
    cluster.apply([Endpoint::at("unix:/tmp/nobody.sock".parse().unwrap()).unwrap()]).unwrap();
    let balance = Balance::over(cluster.clone(), client(), Authority::http()).http();
    assert!(matches!(balance.oneshot(get("/")).await, Err(BalanceError::Inner(_))));
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test]
async fn requests_are_aimed_by_a_function_too() {
    let servers = servers(1, Script::default()).await;
    let cluster = cluster_of(&servers);
    let aim = |endpoint: &Live<()>, request: &mut Request<Full<Bytes>>| {
        *request.uri_mut() = format!("http://{}/moved", endpoint.address()).parse()?;
        Ok::<(), BoxError>(())
    };
    let balance = Balance::over(cluster, client(), aim).http();
    balance.oneshot(get("/")).await.unwrap();
    assert_eq!(servers[0].last().1, "/moved");
}
