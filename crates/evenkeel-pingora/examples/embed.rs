//! How do I balance the requests of a pingora proxy?
//!
//! Keep an `Attempts` in the proxy's context: it picks a peer, tries another one after a failure, and tells the cluster how each request
//! ended. Here two servers on loopback answer, and a third address refuses; no client sees that.

#![allow(clippy::disallowed_methods, reason = "a program may start threads and wait")]

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use evenkeel::{BreakerConfig, Cluster, Endpoint, PolicyConfig, Request, Rule};
use evenkeel_pingora::Attempts;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Proxy(Cluster<()>);

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
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        attempts: &mut Attempts<()>,
        client_reused: bool,
    ) -> Box<Error> {
        // This hook takes the place of pingora's, which decides what may be sent again. So it has to.
        let mut error = error.more_context(format!("peer: {peer}"));
        if !session.req_header().method.is_idempotent() || session.as_ref().retry_buffer_truncated() {
            error.set_retry(false);
        } else {
            error.retry.decide_reuse(client_reused);
        }
        attempts.failed_on_the_way(error, client_reused)
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        head: &mut ResponseHeader,
        attempts: &mut Attempts<()>,
    ) -> Result<()> {
        attempts.answered(head.status.as_u16());
        Ok(())
    }

    async fn logging(&self, _: &mut Session, error: Option<&Error>, attempts: &mut Attempts<()>) {
        attempts.end(error);
    }
}

fn main() -> std::result::Result<(), Box<dyn StdError>> {
    let breaker = BreakerConfig {
        rules: vec![Rule::Consecutive { failures: 3 }],
        open_for: Duration::from_secs(60),
        ..BreakerConfig::default()
    };
    let cluster =
        Cluster::builder("backends").policy(PolicyConfig::round_robin()).breaker(breaker).build()?;
    let backends = [("one", serve("one")?), ("two", serve("two")?), ("dead", free()?)];
    for (id, address) in backends {
        cluster.upsert(Endpoint::new(id.parse()?, address.into()))?;
    }

    let (front, proxied) = (free()?, cluster.clone());
    // It runs until the program ends.
    thread::spawn(move || {
        let conf = ServerConf { threads: 1, ..ServerConf::default() };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let mut service = http_proxy_service(&server.configuration, Proxy(proxied));
        service.add_tcp(&front.to_string());
        server.add_service(service);
        server.run_forever();
    });
    while TcpStream::connect(front).is_err() {
        thread::sleep(Duration::from_millis(5));
    }

    let mut answers = BTreeMap::<String, usize>::new();
    for _ in 0..30 {
        *answers.entry(get(front)?).or_default() += 1;
    }
    println!("30 requests: {answers:?}");
    for endpoint in cluster.report().endpoints {
        println!("  {}: {}", endpoint.id, endpoint.status);
    }
    assert_eq!(answers.values().sum::<usize>(), 30);
    assert!(answers.keys().all(|body| ["one", "two"].contains(&body.as_str())), "{answers:?}");
    assert_eq!(cluster.usable(), 2, "the breaker of the dead one is open");
    // Its threads would keep the program.
    std::process::exit(0);
}

fn free() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A server that tells its name, and closes.
fn serve(name: &'static str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{name}",
                name.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok(address)
}

/// The body of `GET /`.
fn get(address: SocketAddr) -> std::result::Result<String, Box<dyn StdError>> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").ok_or("no answer")?.1.to_owned())
}
