//! A real pingora proxy before real sockets.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests; a proxy is waited for")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use evenkeel::{BreakerConfig, BreakerState, Cluster, Endpoint, EndpointId, PolicyConfig, Request, Rule};
use evenkeel_pingora::Attempts;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// The cluster, and whether bad gateways are a reason to ask another endpoint.
struct Proxy(Cluster<()>, bool);

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Attempts<()>;
    fn new_ctx(&self) -> Attempts<()> {
        Attempts::at_most(3)
    }
    async fn upstream_peer(&self, _: &mut Session, attempts: &mut Attempts<()>) -> Result<Box<HttpPeer>> {
        attempts.peer(&self.0, &Request::new(), false, "")
    }
    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        attempts: &mut Attempts<()>,
        error: Box<Error>,
    ) -> Box<Error> {
        attempts.failed_to_connect(error)
    }
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        attempts: &mut Attempts<()>,
        client_reused: bool,
    ) -> Box<Error> {
        if !session.req_header().method.is_idempotent() || session.as_ref().retry_buffer_truncated() {
            error.set_retry(false);
        } else {
            error.retry.decide_reuse(client_reused);
        }
        attempts.failed_on_the_way(error, client_reused)
    }
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        attempts: &mut Attempts<()>,
    ) -> Result<()> {
        let status = head.status.as_u16();
        let is_repeatable =
            session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        if self.1 && is_repeatable && [502, 503, 504].contains(&status) {
            return attempts.answered_or_elsewhere(&self.0, &Request::new(), status);
        }
        attempts.answered(status);
        Ok(())
    }
    async fn logging(&self, _: &mut Session, error: Option<&Error>, attempts: &mut Attempts<()>) {
        attempts.end(error);
    }
}

/// Ends the proxy when the sender is dropped.
struct Until(Mutex<Receiver<()>>);

#[async_trait]
impl ShutdownSignalWatch for Until {
    async fn recv(&self) -> ShutdownSignal {
        loop {
            if matches!(self.0.lock().unwrap().try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)) {
                return ShutdownSignal::FastShutdown;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Running {
    address: SocketAddr,
    cluster: Cluster<()>,
    _until: Sender<()>,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn start(backends: &[(&str, SocketAddr)]) -> Running {
    start_with(backends, false)
}

fn start_with(backends: &[(&str, SocketAddr)], again: bool) -> Running {
    let breaker = BreakerConfig {
        rules: vec![Rule::Consecutive { failures: 3 }],
        open_for: Duration::from_secs(600),
        ..BreakerConfig::default()
    };
    let cluster =
        Cluster::builder("backends").policy(PolicyConfig::round_robin()).breaker(breaker).build().unwrap();
    let endpoint = |(id, address): &(&str, SocketAddr)| Endpoint::new(id.parse().unwrap(), (*address).into());
    cluster.apply(backends.iter().map(endpoint)).unwrap();
    let (address, proxied) = (free_address(), cluster.clone());
    let (until, ended) = channel();
    thread::spawn(move || {
        let conf = ServerConf { threads: 1, ..ServerConf::default() };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let mut service = http_proxy_service(&server.configuration, Proxy(proxied, again));
        service.add_tcp(&address.to_string());
        server.add_service(service);
        server.run(RunArgs { shutdown_signal: Box::new(Until(Mutex::new(ended))) });
    });
    wait_for("proxy", || TcpStream::connect(address).is_ok());
    Running { address, cluster, _until: until }
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "no {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server that answers every request with this status, its own name, and a second half of the body when it is told to.
fn backend(name: &'static str, status: u16, hold: Option<Receiver<()>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hold = std::sync::Arc::new(Mutex::new(hold));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let hold = hold.clone();
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(_)) = lines.next() {
                    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                    let length = name.len() * 2;
                    if write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{name}")
                        .is_err()
                    {
                        return;
                    }
                    if let Some(hold) = &*hold.lock().unwrap() {
                        let _ = hold.recv();
                    }
                    if write!(stream, "{name}").is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A server that answers the first request of every connection, and closes it at the second.
fn forgetful() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let _ = write!(stream, "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok");
                let _ = lines.next();
            });
        }
    });
    address
}

/// Status and body of `GET /`, on a connection of its own.
fn get(address: SocketAddr) -> (u16, String) {
    send(address, "GET")
}

fn send(address: SocketAddr, method: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn breaker(cluster: &Cluster<()>, id: &str) -> BreakerState {
    let id: EndpointId = id.parse().unwrap();
    cluster.report().endpoints.iter().find(|endpoint| endpoint.id == id).unwrap().breaker.unwrap()
}

fn in_flight(cluster: &Cluster<()>) -> usize {
    cluster.report().endpoints.iter().map(|endpoint| endpoint.in_flight).sum()
}

#[test]
fn who_refuses_connections_costs_no_request() {
    let gone = free_address();
    let running =
        start(&[("one", backend("one", 200, None)), ("two", backend("two", 200, None)), ("gone", gone)]);
    let mut answers = BTreeMap::new();
    for _ in 0..40 {
        *answers.entry(get(running.address)).or_insert(0) += 1;
    }
    assert_eq!(
        answers.keys().collect::<Vec<_>>(),
        [&(200, "oneone".to_owned()), &(200, "twotwo".to_owned())],
        "{answers:?}"
    );
    assert!(breaker(&running.cluster, "gone").is_refusing());
    assert!(!breaker(&running.cluster, "one").is_refusing());
    wait_for("end", || in_flight(&running.cluster) == 0);
}

#[test]
fn an_answer_is_a_verdict_and_is_not_sent_again() {
    let running = start(&[("sick", backend("sick", 500, None)), ("well", backend("well", 200, None))]);
    let sick = (0..40).filter(|_| get(running.address).0 == 500).count();
    assert_eq!(sick, 3, "three failures in a row open its breaker");
    assert!(breaker(&running.cluster, "sick").is_refusing());
}

#[test]
fn a_status_sends_requests_elsewhere_that_may_be_repeated() {
    let running =
        start_with(&[("sick", backend("sick", 502, None)), ("well", backend("well", 200, None))], true);
    for _ in 0..20 {
        assert_eq!(get(running.address), (200, "wellwell".to_owned()));
    }
    assert!(breaker(&running.cluster, "sick").is_refusing(), "each of its answers was a verdict");
    wait_for("end", || in_flight(&running.cluster) == 0);

    let running =
        start_with(&[("sick", backend("sick", 502, None)), ("well", backend("well", 200, None))], true);
    let posts: Vec<_> = (0..4).map(|_| send(running.address, "POST")).collect();
    assert!(posts.contains(&(502, "sicksick".to_owned())), "its own answer, sent once: {posts:?}");

    let running = start_with(&[("sick", backend("sick", 502, None))], true);
    assert_eq!(get(running.address), (502, "sicksick".to_owned()), "there is nobody else");
}

#[test]
fn a_request_is_in_flight_until_its_body_is_through() {
    let (go, hold) = channel();
    let running = start(&[("slow", backend("slow", 200, Some(hold)))]);
    let address = running.address;
    let client = thread::spawn(move || get(address));
    wait_for("request in flight", || in_flight(&running.cluster) == 1);
    go.send(()).unwrap();
    assert_eq!(client.join().unwrap(), (200, "slowslow".to_owned()));
    wait_for("end", || in_flight(&running.cluster) == 0);

    // A client that goes away says nothing about the endpoint.
    for _ in 0..5 {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        wait_for("request in flight", || in_flight(&running.cluster) == 1);
        drop(stream);
        go.send(()).unwrap();
        wait_for("end", || in_flight(&running.cluster) == 0);
    }
    assert_eq!(breaker(&running.cluster, "slow"), BreakerState::Closed);
}

#[test]
fn a_kept_connection_that_was_closed_says_nothing_about_the_endpoint() {
    let running = start(&[("forgetful", forgetful())]);
    for request in 0..20 {
        assert_eq!(get(running.address), (200, "ok".to_owned()), "{request}");
    }
    assert_eq!(breaker(&running.cluster, "forgetful"), BreakerState::Closed);
}

#[test]
fn where_there_is_nobody_the_answer_is_503() {
    let running = start(&[("gone", free_address())]);
    assert!([502, 503].contains(&get(running.address).0), "tried once, and there is nobody else");
    while !breaker(&running.cluster, "gone").is_refusing() {
        get(running.address);
    }
    assert_eq!(get(running.address).0, 503);
}
