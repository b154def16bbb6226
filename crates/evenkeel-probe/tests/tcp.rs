//! TCP and agent checks against peers of every shape.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests against real sockets and processes, which take real time"
)]

mod support;

use std::sync::mpsc;
use std::time::Duration;

use evenkeel_health::{AdminState, CheckResult, CheckState};
use evenkeel_probe::{Advice, AgentProbe, Phase, Prober, ProberConfig, Reason, Report, TcpProbe};
use evenkeel_types::Address;
use support::{
    LATE, PATIENCE, SOON, Server, fails, fails_at_once, find, next, nobody, passes, target, watch,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn connect() -> TcpProbe {
    TcpProbe { timeout: LATE, ..TcpProbe::default() }
}

fn expect(text: &str) -> TcpProbe {
    TcpProbe { send: Some("PING\r\n".into()), expect: Some(text.into()), ..connect() }
}

/// A server that reads something, answers with the pieces, one at a time, and then keeps quiet.
fn answering(pieces: &'static [&'static str]) -> Server {
    Server::new(move |mut stream| async move {
        let _ = stream.read(&mut [0; 64]).await;
        for piece in pieces {
            if stream.write_all(piece.as_bytes()).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    })
}

#[test]
fn a_connection_is_enough_unless_an_answer_is_expected() {
    let silent = answering(&[]);
    passes(silent.address, connect());
    passes(silent.address, TcpProbe { close_gently: true, ..connect() });
    let reason = fails(silent.address, TcpProbe { timeout: SOON, ..expect("PONG") }, "timed_out");
    assert_eq!(reason, Reason::TimedOut(Phase::Answer));
}

#[test]
fn nobody_there() {
    assert_eq!(fails(nobody(), connect(), "refused"), Reason::Refused);
    let path: Address = "unix:/nonexistent/evenkeel.sock".parse().unwrap();
    fails(path, connect(), "io");
    let name: Address = "no-such-host.invalid:80".parse().unwrap();
    fails(name, connect(), "resolve");
}

#[test]
fn a_host_that_does_not_answer_at_all() {
    // A listener whose queue is full drops further handshakes: nobody accepts, and the queue holds two.
    let full = full_listener();
    let limit = TcpProbe { connect_timeout: Some(SOON), ..connect() };
    assert_eq!(fails(full.1, limit, "timed_out"), Reason::TimedOut(Phase::Connect));
    let total = TcpProbe { timeout: SOON, ..connect() };
    assert_eq!(fails(full.1, total, "timed_out"), Reason::TimedOut(Phase::Connect));
}

fn full_listener() -> ((Vec<std::net::TcpStream>, std::net::TcpListener), std::net::SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(1).unwrap().into_std().unwrap()
    });
    let address = listener.local_addr().unwrap();
    let short = Duration::from_millis(100);
    let held = (0..8).map_while(|_| std::net::TcpStream::connect_timeout(&address, short).ok()).collect();
    ((held, listener), address)
}

#[test]
fn names_and_unix_sockets_are_addresses() {
    let server = answering(&["PONG"]);
    let name: Address = format!("localhost:{}", server.address.port()).parse().unwrap();
    passes(name, expect("PONG"));

    let path = std::env::temp_dir().join(format!("evenkeel-probe-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let address: Address = format!("unix:{}", path.display()).parse().unwrap();
    passes(address, connect());
    drop(listener);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn an_answer_in_drops_or_behind_other_text_is_found() {
    passes(answering(&["P", "O", "N", "G"]).address, expect("PONG"));
    passes(answering(&["+OK banner\r\n", "+PO", "NG\r\n"]).address, expect("PONG"));
}

#[test]
fn wrong_endless_and_missing_answers_fail() {
    let reason = fails(closing_after("-ERR busy\r\n").address, expect("PONG"), "wrong_body");
    assert_eq!(reason.to_string(), r#"wrong answer: "-ERR busy""#);
    assert_eq!(fails(closing_after("").address, expect("PONG"), "closed"), Reason::Closed);

    let endless = Server::new(|mut stream| async move {
        let _ = stream.read(&mut [0; 64]).await;
        while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
    });
    fails(endless.address, expect("PONG"), "wrong_body");
}

fn closing_after(text: &'static str) -> Server {
    Server::new(move |mut stream| async move {
        let _ = stream.read(&mut [0; 64]).await;
        let _ = stream.write_all(text.as_bytes()).await;
    })
}

#[test]
fn a_reset_is_told_from_a_close() {
    let server = Server::new(|mut stream| async move {
        let _ = stream.read(&mut [0; 64]).await;
        stream.set_zero_linger().unwrap();
    });
    assert_eq!(fails(server.address, expect("PONG"), "reset"), Reason::Reset);
}

#[test]
fn an_agent_advises_and_only_up_and_down_are_verdicts() {
    let probe = AgentProbe { timeout: LATE, ..AgentProbe::default() };
    passes(closing_after("up\n").address, AgentProbe { send: Some("x\n".into()), ..probe.clone() });
    let down = AgentProbe { send: Some("x\n".into()), ..probe.clone() };
    let reason = fails_at_once(closing_after("down # disk full\r\n").address, down.clone(), "agent_down");
    assert_eq!(reason.to_string(), "agent says down: disk full");

    assert_eq!(find(closing_after("75%\n").address, down.clone()), (None, None));
    assert_eq!(find(nobody(), probe.clone()), (None, Some(Reason::Refused)));
    let silent = AgentProbe { timeout: SOON, ..probe.clone() };
    assert_eq!(find(answering(&[]).address, silent), (None, Some(Reason::TimedOut(Phase::Answer))));

    let endless =
        Server::new(|mut stream| async move { while stream.write_all(&[b'x'; 512]).await.is_ok() {} });
    let (result, reason) = find(endless.address, probe.clone());
    assert_eq!((result, reason.unwrap().kind()), (None, "protocol"));
}

#[test]
fn advice_reaches_the_sink_once() {
    let server = closing_after("50% drain maxconn:20\n");
    let prober = Prober::start(ProberConfig::default()).unwrap();
    let (tell, told) = mpsc::channel();
    let probe = AgentProbe { timeout: LATE, send: Some("x\n".into()), ..AgentProbe::default() };
    let agent = target("agent", server.address, probe);
    prober.add(agent, move |report: Report| drop(tell.send(report))).unwrap();
    let report = told.recv_timeout(PATIENCE).unwrap();
    let advice =
        Advice { weight_percent: Some(50), admin: Some(AdminState::Drain), max_connections: Some(20) };
    assert_eq!((report.advice, report.state, report.change), (advice, CheckState::Unknown, None));
    while prober.report().counts.inconclusive < 5 {
        std::thread::yield_now();
    }
    prober.stop();
    assert_eq!(told.try_recv().ok(), None, "the same advice is no news");
}

#[test]
fn an_endpoint_goes_and_comes_back() {
    let prober = Prober::start(ProberConfig::default()).unwrap();
    let (tell, told) = mpsc::channel();
    let address = nobody();
    prober.add(target("web", address, connect()), move |report: Report| drop(tell.send(report))).unwrap();
    let report = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(report.state, CheckState::Down);
    assert_eq!(report.finding.unwrap().result, Some(CheckResult::Fail));

    let _listener = std::net::TcpListener::bind(address).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().state, CheckState::Up);
    let described = prober.target(&"web".parse().unwrap()).unwrap();
    assert_eq!(described.state, CheckState::Up);
    assert!(described.counts.failed > 0 && described.counts.passed >= 2, "{described:?}");
}

#[test]
fn an_update_leads_elsewhere_and_gives_up_what_runs() {
    let prober = Prober::start(ProberConfig::default()).unwrap();
    let silent = answering(&[]);
    let mut slow =
        target("web", silent.address, TcpProbe { timeout: Duration::from_secs(600), ..expect("PONG") });
    slow.notify = evenkeel_probe::Notify::Results;
    let reports = watch(&prober, slow);
    while !prober.targets()[0].running {
        std::thread::yield_now();
    }
    let server = answering(&["PONG"]);
    prober.update(target("web", server.address, expect("PONG"))).unwrap();
    // The update has set `notify` to changes: the first report is the change to up.
    let report = next(&reports);
    assert_eq!(report.state, CheckState::Up);
    assert_eq!(prober.report().counts.cancelled, 1);
    assert_eq!(prober.targets()[0].address, server.address.into());
}

#[test]
fn a_sink_may_call_the_prober_and_may_panic() {
    let prober = std::sync::Arc::new(Prober::start(ProberConfig::default()).unwrap());
    let server = answering(&[]);
    let weak = std::sync::Arc::downgrade(&prober);
    let (tell, told) = mpsc::channel();
    prober
        .add(target("a", server.address, connect()), move |report: Report| {
            let prober = weak.upgrade().unwrap();
            assert!(prober.remove(&report.id).is_some());
            tell.send(prober.report()).unwrap();
            drop(prober);
            panic!("a sink of the user's panics, as this test wants");
        })
        .unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().targets, 0);
    passes(server.address, connect());
    while prober.report().sink_panics == 0 {
        std::thread::yield_now();
    }
    let reports = watch(&prober, target("b", server.address, connect()));
    assert_eq!(next(&reports).state, CheckState::Up, "and the prober goes on");
}

#[test]
fn a_sink_may_stop_the_prober() {
    let prober = std::sync::Arc::new(Prober::start(ProberConfig::default()).unwrap());
    let server = answering(&[]);
    let (tell, told) = mpsc::channel();
    let theirs = std::sync::Arc::clone(&prober);
    let stop = move |_: Report| {
        theirs.stop();
        tell.send(()).unwrap();
    };
    prober.add(target("a", server.address, connect()), stop).unwrap();
    told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        prober.add(target("b", server.address, connect()), |_: Report| ()),
        Err(evenkeel_probe::ProbeError::Stopped)
    );
    prober.stop();
}
