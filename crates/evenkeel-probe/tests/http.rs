//! HTTP checks against servers of every shape.

#![cfg(feature = "http")]
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests against real sockets and processes, which take real time"
)]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel_health::CheckResult;
use evenkeel_probe::{BodyMatch, HttpProbe, HttpVersion, Phase, Prober, ProberConfig, Reason};
use evenkeel_types::Address;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{LATE, SOON, Server, fails, fails_at_once, find, next, nobody, passes, target, watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn get() -> HttpProbe {
    HttpProbe { timeout: LATE, ..HttpProbe::path("/health") }
}

/// A server that reads a request, writes this, and closes.
fn raw(answer: impl Into<Vec<u8>>) -> Server {
    let answer: Arc<[u8]> = answer.into().into();
    Server::new(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(&answer).await;
        }
    })
}

/// A server that writes this over and over.
fn endless(head: &'static str, piece: &'static str) -> Server {
    Server::new(move |mut stream| async move {
        let _ = stream.read(&mut [0; 4_096]).await;
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(piece.as_bytes()).await.is_ok() {}
    })
}

/// A server that writes a byte at a time, and never the last.
fn drip(answer: &'static str) -> Server {
    Server::new(move |mut stream| async move {
        let _ = stream.read(&mut [0; 4_096]).await;
        for byte in answer.as_bytes() {
            let _ = stream.write_all(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::future::pending::<()>().await;
    })
}

fn status(line: &str) -> Server {
    raw(format!("HTTP/1.1 {line}\r\ncontent-length: 2\r\n\r\nok"))
}

#[test]
fn the_status_decides() {
    passes(status("200 OK").address, get());
    passes(status("204 No Content").address, get());
    assert_eq!(fails_at_once(status("503 No").address, get(), "wrong_status"), Reason::WrongStatus(503));
    fails_at_once(status("302 Found").address, get(), "wrong_status");
    let expected = HttpProbe { expected: "302, 404".parse().unwrap(), ..get() };
    passes(status("404 Not Found").address, expected.clone());
    fails_at_once(status("200 OK").address, expected, "wrong_status");
    let retriable = HttpProbe { retriable: "500-599".parse().unwrap(), ..get() };
    assert_eq!(fails(status("503 No").address, retriable, "wrong_status"), Reason::WrongStatus(503));
}

#[test]
fn the_body_decides_if_it_is_asked_for() {
    let body = |text: &str| HttpProbe { body: Some(BodyMatch::Contains(text.to_owned())), ..get() };
    let pattern = |text: &str| HttpProbe { body: Some(BodyMatch::Regex(text.to_owned())), ..get() };
    let server = raw("HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"status\": \"up\"}");
    passes(server.address, body("\"up\""));
    passes(server.address, pattern(r#""status":\s*"up""#));
    let reason = fails_at_once(server.address, body("down"), "wrong_body");
    assert!(reason.to_string().contains("status"), "{reason}");
    fails_at_once(server.address, pattern("^up$"), "wrong_body");

    let chunked =
        raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nal\r\n3\r\nive\r\n0\r\n\r\n");
    passes(chunked.address, body("alive"));
    let until_close = raw("HTTP/1.0 200 OK\r\n\r\nalive");
    passes(until_close.address, body("alive"));
    let broken = raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    fails(broken.address, body("alive"), "protocol");
}

#[test]
fn a_body_of_any_size_is_read_to_its_limit_only() {
    let contains = |text: &str| HttpProbe { body: Some(BodyMatch::Contains(text.to_owned())), ..get() };
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    fails_at_once(endless(head, "abcdefgh").address, contains("xyz"), "wrong_body");
    passes(endless(head, "abcdefgh").address, contains("habc"));
    let pattern = HttpProbe { body: Some(BodyMatch::Regex("h$".to_owned())), max_body: 8, ..get() };
    passes(endless(head, "abcdefgh").address, pattern);
    passes(endless(head, "abcdefgh").address, get());
    let huge = raw("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nabc");
    fails(huge.address, contains("xyz"), "protocol");
    let sent = "HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\nabc";
    fails(raw(sent).address, contains("xyz"), "closed");
}

#[test]
fn answers_that_are_not_http_fail() {
    fails(raw("SSH-2.0-OpenSSH_9.2\r\n").address, get(), "protocol");
    fails(raw(vec![0_u8; 100]).address, get(), "protocol");
    fails(raw("HTTP/1.1 2 OK\r\n\r\n").address, get(), "protocol");
    fails(raw("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").address, get(), "protocol");
    assert_eq!(fails(raw("").address, get(), "closed"), Reason::Closed);
    assert_eq!(fails(raw("HTTP/1.1 200 OK\r\nconte").address, get(), "closed"), Reason::Closed);
}

#[test]
fn a_head_of_any_size_is_read_to_its_limit_only() {
    fails(endless("HTTP/1.1 200 OK\r\nx: ", "aaaaaaaaaaaaaaaa").address, get(), "protocol");
    fails(endless("HTTP/1.1 200 OK\r\n", "x: a\r\n").address, get(), "protocol");
    fails(endless("", "HTTP/1.1 ").address, get(), "protocol");
}

#[test]
fn who_never_comes_to_an_end_is_out_of_time() {
    let soon = HttpProbe { timeout: SOON, ..get() };
    for server in [drip("HTTP/1.1 200 OK\r\nx"), drip(""), endless("", "HTTP/1.1 100 Continue\r\n\r\n")] {
        assert_eq!(fails(server.address, soon.clone(), "timed_out"), Reason::TimedOut(Phase::Answer));
    }
    let body = HttpProbe { body: Some(BodyMatch::Contains("alive".into())), ..soon };
    fails(drip("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nali").address, body.clone(), "timed_out");
    let patient = HttpProbe { timeout: LATE, ..body };
    passes(drip("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nalive").address, patient);
}

#[test]
fn refused_reset_and_closed_are_told_apart() {
    assert_eq!(fails(nobody(), get(), "refused"), Reason::Refused);
    for sent in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let server = Server::new(move |mut stream| async move {
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(sent.as_bytes()).await;
            stream.set_zero_linger().unwrap();
        });
        assert_eq!(fails(server.address, get(), "reset"), Reason::Reset);
    }
}

#[test]
fn the_request_is_what_was_asked_for() {
    let echo = |probe: HttpProbe, wanted: &str| {
        let server = Server::new(|mut stream| async move {
            let mut held = [0; 4_096];
            let length = stream.read(&mut held).await.unwrap_or(0);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&held[..length]).await;
        });
        let wanted = wanted.replace("ADDRESS", &server.address.to_string());
        passes(server.address, HttpProbe { body: Some(BodyMatch::Contains(wanted)), ..probe });
    };
    echo(get(), "GET /health HTTP/1.1\r\n");
    echo(get(), "host: ADDRESS\r\n");
    echo(get(), "user-agent: evenkeel-probe\r\n");
    echo(HttpProbe { host: Some("api.example".into()), ..get() }, "host: api.example\r\n");
    echo(
        HttpProbe { method: "OPTIONS".into(), path: "/a?b=c".into(), ..get() },
        "OPTIONS /a?b=c HTTP/1.1\r\n",
    );
    let headers = [("X-Key".to_owned(), "v".to_owned()), ("User-Agent".to_owned(), "me".to_owned())];
    echo(HttpProbe { headers: headers.clone().into(), ..get() }, "x-key: v\r\n");
    echo(HttpProbe { headers: headers.into(), ..get() }, "user-agent: me\r\n");
    passes(
        raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").address,
        HttpProbe { method: "HEAD".into(), ..get() },
    );
}

#[test]
fn a_header_says_degraded() {
    let server = raw("HTTP/1.1 200 OK\r\nX-Envoy-Degraded:\r\ncontent-length: 0\r\n\r\n");
    let probe = HttpProbe { degraded_header: Some("x-envoy-degraded".into()), ..get() };
    assert_eq!(find(server.address, probe), (Some(CheckResult::Degraded), None));
    passes(server.address, get());
}

/// A server that counts its connections and keeps them open, or closes each after one answer.
fn counting(keep: bool) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let mine = Arc::clone(&count);
    let server = Server::new(move |mut stream| {
        mine.fetch_add(1, Ordering::SeqCst);
        async move {
            while stream.read(&mut [0; 4_096]).await.is_ok_and(|length| length > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                if !keep {
                    return;
                }
            }
        }
    });
    (server, count)
}

#[test]
fn a_connection_is_kept_if_that_is_wanted() {
    let connections = |keep, reuse_connection| {
        let (server, count) = counting(keep);
        let prober = Prober::start(ProberConfig::default()).unwrap();
        let reports = watch(&prober, target("web", server.address, HttpProbe { reuse_connection, ..get() }));
        for _ in 0..6 {
            assert_eq!(next(&reports).finding.unwrap().result, Some(CheckResult::Pass));
        }
        prober.stop();
        count.load(Ordering::SeqCst)
    };
    assert_eq!(connections(true, true), 1);
    assert!(connections(true, false) >= 6);
    assert!(connections(false, true) >= 6, "a kept connection that the server closed is replaced");
}

async fn ok(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let said = format!("{:?} {}", request.version(), request.uri());
    Ok(Response::new(Full::new(said.into())))
}

fn http2() -> Server {
    Server::new(|stream| async move {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service_fn(ok)).await;
    })
}

#[test]
fn http2_with_prior_knowledge() {
    let server = http2();
    let probe = HttpProbe {
        version: HttpVersion::Http2,
        host: Some("api.example".into()),
        body: Some(BodyMatch::Contains("HTTP/2.0 http://api.example/health".into())),
        ..get()
    };
    passes(server.address, probe.clone());
    passes(server.address, HttpProbe { reuse_connection: true, ..probe.clone() });
    // What is read before the other side hangs up, in the midst of what it does not understand, is a matter of luck.
    for (server, probe) in [(&raw(""), probe.clone()), (&status("200 OK"), probe.clone()), (&server, get())] {
        let (result, reason) = find(server.address, probe);
        assert_eq!(result, Some(CheckResult::Fail));
        let kind = reason.as_ref().map(Reason::kind);
        assert!(matches!(kind, Some("closed" | "reset" | "protocol")), "{reason:?}");
    }
    let soon = HttpProbe { timeout: SOON, ..probe };
    fails(drip("").address, soon, "timed_out");
}

#[test]
fn over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("evenkeel-probe-http-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let address: Address = format!("unix:{}", path.display()).parse().unwrap();
    passes(address, get());
    std::fs::remove_file(&path).unwrap();
}
