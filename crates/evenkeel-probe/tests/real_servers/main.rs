//! Checks of real nginx and HAProxy processes, and ten thousand endpoints on one prober. `tests/real_servers/run` runs it.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests against real sockets and processes, which take real time"
)]

mod fleet;
mod process;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::mpsc::Receiver;

use evenkeel_health::CheckState;
use evenkeel_probe::{
    BodyMatch, HttpProbe, Phase, Prober, ProberConfig, Reason, Report, Roots, TcpProbe, TlsConfig,
};
use process::{Haproxy, Nginx, ports};
use support::{LATE, SOON, fails, fails_at_once, find, next, passes, target, watch};

fn get(path: &str) -> HttpProbe {
    HttpProbe { timeout: LATE, ..HttpProbe::path(path) }
}

/// Waits for a report with this state.
fn until(reports: &Receiver<Report>, state: CheckState) -> Report {
    loop {
        let report = next(reports);
        if report.state == state {
            return report;
        }
    }
}

#[test]
fn nginx_up_down_slow_wrong_and_reset() {
    let [port, slow] = ports();
    let nginx = Nginx::start(
        port,
        "location /health { return 200 'all is well'; }
         location /busy { return 503; }
         location /moved { return 302 /health; }
         location /cut { return 444; }
         location /degraded { add_header x-envoy-degraded 1; return 200 'slowly'; }
         location /agent { return 200 $http_user_agent; }
         location /large { limit_rate 10k; }",
    );
    std::fs::write(nginx.file("large"), vec![b'x'; 200_000]).unwrap();
    let address = nginx.address;
    passes(address, TcpProbe::default());
    passes(address, get("/health"));
    let holds = |text: &str| HttpProbe { body: Some(BodyMatch::Contains(text.into())), ..get("/health") };
    passes(address, holds("is well"));
    let reason = fails_at_once(address, holds("is ill"), "wrong_body");
    assert_eq!(reason.to_string(), r#"wrong answer: "all is well""#);
    passes(address, HttpProbe { body: Some(BodyMatch::Regex("^evenkeel-probe$".into())), ..get("/agent") });
    assert_eq!(fails_at_once(address, get("/busy"), "wrong_status"), Reason::WrongStatus(503));
    fails(address, HttpProbe { retriable: "503".parse().unwrap(), ..get("/busy") }, "wrong_status");
    fails_at_once(address, get("/moved"), "wrong_status");
    fails_at_once(address, get("/nowhere"), "wrong_status");
    assert_eq!(fails(address, get("/cut"), "closed"), Reason::Closed);
    let degraded = HttpProbe { degraded_header: Some("x-envoy-degraded".into()), ..get("/degraded") };
    assert_eq!(find(address, degraded).0, Some(evenkeel_health::CheckResult::Degraded));
    // 64 KiB at 10 KB/s: out of time in the midst of the body, though the head was fine.
    let large = HttpProbe { timeout: SOON, body: Some(BodyMatch::Contains("y".into())), ..get("/large") };
    assert_eq!(fails(address, large, "timed_out"), Reason::TimedOut(Phase::Answer));
    passes(address, get("/large"));
    let kept = HttpProbe { reuse_connection: true, ..get("/health") };
    passes(address, kept);
    let ping = TcpProbe {
        send: Some("GET /health HTTP/1.0\r\n\r\n".into()),
        expect: Some("all is well".into()),
        timeout: LATE,
        ..TcpProbe::default()
    };
    passes(address, ping);
    assert_eq!(fails(SocketAddr::from(([127, 0, 0, 1], slow)), get("/"), "refused"), Reason::Refused);
}

#[test]
fn nginx_stopped_continued_reloaded_and_ended() {
    let [port] = ports();
    let mut nginx = Nginx::start(port, "location / { return 200 first; }");
    let prober = Prober::start(ProberConfig::default()).unwrap();
    let probe = HttpProbe { timeout: SOON, ..HttpProbe::default() };
    let reports = watch(&prober, target("nginx", nginx.address, probe));
    let fresh = HttpProbe { timeout: LATE, body: Some(BodyMatch::Contains("second".into())), ..get("/") };
    let content = watch(&prober, target("content", nginx.address, fresh));
    let kept = HttpProbe { reuse_connection: true, ..get("/") };
    let reused = watch(&prober, target("kept", nginx.address, kept));
    until(&reports, CheckState::Up);
    until(&content, CheckState::Down);
    until(&reused, CheckState::Up);

    // The kernel still accepts for a process that is stopped, and nobody answers.
    nginx.signal("STOP");
    let down = until(&reports, CheckState::Down);
    assert_eq!(down.finding.unwrap().reason, Some(Reason::TimedOut(Phase::Answer)));
    nginx.signal("CONT");
    until(&reports, CheckState::Up);

    let failed = || prober.target(&"kept".parse().unwrap()).unwrap().counts.failed;
    let (before, passed) = (failed(), until(&reused, CheckState::Up).finding.unwrap().result);
    assert!(passed.is_some());
    nginx.reload("location / { return 200 second; }");
    until(&content, CheckState::Up);
    for _ in 0..5 {
        until(&reused, CheckState::Up);
    }
    assert_eq!(failed(), before, "a reload closes kept connections, which is no failure");

    nginx.end();
    let down = until(&reports, CheckState::Down);
    let reason = down.finding.unwrap().reason.unwrap();
    assert!(matches!(reason.kind(), "refused" | "reset" | "closed"), "{reason}");
    nginx.again();
    until(&reports, CheckState::Up);
}

#[test]
fn nginx_with_good_and_bad_certificates() {
    let [good, expired, other] = ports();
    let authority = process::Authority::new();
    let tls = |port, name, old| {
        let home = process::Home::new();
        authority.issue(name, old, &home);
        Nginx::with(home, port, "ssl http2", "location / { return 200 $server_protocol; }")
    };
    let (good, expired, other) =
        (tls(good, "api.example", false), tls(expired, "api.example", true), tls(other, "x.example", false));
    let trusting = TlsConfig {
        roots: Roots::Pem(authority.pem()),
        server_name: Some("api.example".into()),
        ..TlsConfig::default()
    };
    let https = |tls: &TlsConfig| HttpProbe { tls: Some(tls.clone()), ..get("/") };
    passes(good.address, https(&trusting));
    let second = HttpProbe {
        version: evenkeel_probe::HttpVersion::Http2,
        body: Some(BodyMatch::Contains("HTTP/2.0".into())),
        ..https(&trusting)
    };
    passes(good.address, second.clone());
    passes(good.address, HttpProbe { reuse_connection: true, ..second });
    let says = |nginx: &Nginx, tls: &TlsConfig, text: &str| {
        let reason = fails(nginx.address, https(tls), "tls").to_string();
        assert!(reason.contains(text), "{reason}");
    };
    says(&good, &TlsConfig { roots: Roots::Webpki, ..trusting.clone() }, "UnknownIssuer");
    says(&expired, &trusting, "expired");
    says(&other, &trusting, "not valid for name");
    passes(expired.address, https(&TlsConfig { insecure: true, ..trusting }));
    // Plain HTTP to a port that wants TLS is answered by 400.
    assert_eq!(fails_at_once(good.address, get("/"), "wrong_status"), Reason::WrongStatus(400));
}

#[test]
fn haproxy_before_nginx_and_its_own_answers() {
    let [behind, front, monitor, second, silent] = ports();
    let mut nginx = Nginx::start(behind, "location / { return 200 well; }");
    let haproxy = Haproxy::start(&format!(
        "frontend front
           bind 127.0.0.1:{front}
           default_backend servers
         frontend monitor
           bind 127.0.0.1:{monitor}
           monitor-uri /alive
           http-request silent-drop if {{ path /drop }}
           http-request deny deny_status 429
         frontend second
           bind 127.0.0.1:{second} proto h2
           http-request return status 200 content-type text/plain string well
         frontend rejects
           mode tcp
           bind 127.0.0.1:{silent}
           tcp-request connection reject
         backend servers
           server one 127.0.0.1:{behind}",
    ));
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    passes(at(front), get("/"));
    passes(at(monitor), get("/alive"));
    assert_eq!(fails_at_once(at(monitor), get("/"), "wrong_status"), Reason::WrongStatus(429));
    let drop = HttpProbe { timeout: SOON, ..get("/drop") };
    let (result, reason) = find(at(monitor), drop);
    assert_eq!(result, Some(evenkeel_health::CheckResult::Fail), "{reason:?}");
    let http2 = HttpProbe { version: evenkeel_probe::HttpVersion::Http2, ..get("/") };
    passes(at(second), http2);
    // HAProxy accepts and resets: a connection is no answer. A check that only connects may see the reset or be done before.
    let (result, reason) = find(at(silent), TcpProbe::default());
    match result {
        Some(evenkeel_health::CheckResult::Pass) => assert_eq!(reason, None),
        _ => assert_eq!(reason.as_ref().map(Reason::kind), Some("reset")),
    }
    let (result, reason) = find(at(silent), get("/"));
    assert_eq!(result, Some(evenkeel_health::CheckResult::Fail));
    assert!(matches!(reason.as_ref().map(Reason::kind), Some("reset" | "closed")), "{reason:?}");

    // What stands behind is gone: the proxy says so itself, and is believed at once.
    nginx.end();
    assert_eq!(fails_at_once(at(front), get("/"), "wrong_status"), Reason::WrongStatus(503));
    haproxy.is_running();
}
