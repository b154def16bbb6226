//! The program as a process: signals, leaks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::backend::{Backend, nobody};
use crate::child::Child;
use crate::client::{Setup, connect, is_over, metric, read};
use crate::wait::until;

#[test]
fn a_drain_lets_connections_end() {
    let backend = Backend::echo("a");
    let mut child = Child::start(&Setup::of([backend.address]).text());
    let mut client = connect(child.front);
    assert_eq!(read(&mut client, 1), "a");
    child.terminate();
    assert_eq!(child.line(), "draining 1 connections");
    until("nobody else is taken", || TcpStream::connect(child.front).is_err());
    client.write_all(b"still here").unwrap();
    assert_eq!(read(&mut client, 10), "still here");
    drop(client);
    assert_eq!(child.line(), "stopped, 0 connections cut off");
    assert_eq!(child.wait(), Some(0));
}

#[test]
fn a_drain_has_an_end() {
    let backend = Backend::echo("a");
    let listener = "timeouts = { drain = \"300ms\" }".to_owned();
    let mut child = Child::start(&Setup { listener, ..Setup::of([backend.address]) }.text());
    let mut client = connect(child.front);
    assert_eq!(read(&mut client, 1), "a");
    child.terminate();
    assert!(is_over(&mut client));
    child.line();
    assert_eq!(child.line(), "stopped, 1 connections cut off");
    assert_eq!(child.wait(), Some(0));
}

/// Whoever got through to the proxy is served to the end; whoever comes later is refused by the kernel.
#[test]
fn a_drain_under_load_cuts_nothing() {
    let backend = Backend::echo("a");
    let mut child = Child::start(&Setup::of([backend.address]).text());
    let (served, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (served, lost, over) = (Arc::clone(&served), Arc::clone(&lost), Arc::clone(&over));
            let front = child.front;
            thread::spawn(move || {
                while !over.load(Ordering::Acquire) {
                    let Ok(mut socket) = TcpStream::connect(front) else { return };
                    let mut said = [0; 5];
                    let whole = socket.write_all(b"ping").and_then(|()| socket.read_exact(&mut said));
                    match whole {
                        Ok(()) => served.fetch_add(1, Ordering::AcqRel),
                        Err(_) => lost.fetch_add(1, Ordering::AcqRel),
                    };
                }
            })
        })
        .collect();
    until("it is under load", || served.load(Ordering::Acquire) > 200);
    child.terminate();
    assert_eq!(child.wait(), Some(0));
    over.store(true, Ordering::Release);
    clients.into_iter().for_each(|client| client.join().unwrap());
    // The kernel resets those whose handshake ends while a socket of the group is being closed: one for each thread that
    // connects, at the very most.
    let lost = lost.load(Ordering::Acquire);
    assert!(lost <= 8, "{lost} lost of {}", served.load(Ordering::Acquire));
    while let Ok(line) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| child.line())) {
        if let Some(cut) = line.strip_prefix("stopped, ") {
            assert_eq!(cut, "0 connections cut off");
            return;
        }
    }
    panic!("it did not say how it stopped");
}

/// A stopped process still completes handshakes: only a check that wants an answer tells.
#[test]
fn a_stopped_endpoint_is_left() {
    let script = "import socket, threading\n\
        s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(64)\n\
        print(s.getsockname()[1], flush=True)\n\
        def serve(c):\n  c.sendall(b's')\n  while True:\n    d = c.recv(100)\n    if not d: return\n    c.sendall(d)\n\
        while True:\n  c, _ = s.accept()\n  threading.Thread(target=serve, args=(c,), daemon=True).start()\n";
    let mut stopped = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut byte = [0; 1];
    let output = stopped.stdout.as_mut().unwrap();
    while output.read_exact(&mut byte).is_ok() && byte != *b"\n" {
        said.push(char::from(byte[0]));
    }
    let living = Backend::echo("l");
    let setup = Setup {
        cluster: "policy = \"round_robin\"\n\
            check = { probe = { tcp = { send = \"?\", expect = \"?\", timeout = \"200ms\" } }, schedule = { interval = \"300ms\" } }"
            .to_owned(),
        ..Setup::of([format!("127.0.0.1:{said}").parse().unwrap(), living.address])
    };
    let child = Child::start(&setup.text());
    let name = || read(&mut connect(child.front), 1);
    until("both serve", || {
        let names: std::collections::BTreeSet<String> = (0..8).map(|_| name()).collect();
        names.len() == 2
    });
    let pid = Pid::from_child(&stopped);
    kill_process(pid, Signal::STOP).unwrap();
    let is_down =
        || !crate::client::get(child.admin, "/metrics").contains("membership_healthy{cluster=\"backs\"} 2");
    until("the check tells", is_down);
    for _ in 0..20 {
        assert_eq!(name(), "l");
    }
    kill_process(pid, Signal::CONT).unwrap();
    until("it is back", || name() == "s");
    stopped.kill().unwrap();
    stopped.wait().unwrap();
}

#[test]
fn nothing_is_left_of_thousands_of_connections() {
    let backend = Backend::echo("a");
    // With an endpoint that refuses, so that retries leave nothing either.
    let child = Child::start(&Setup::of([backend.address, nobody()]).text());
    let run = |connections: usize| {
        let clients: Vec<_> = (0..8)
            .map(|thread| {
                let front = child.front;
                thread::spawn(move || {
                    for i in 0..connections / 8 {
                        let mut client = connect(front);
                        // Some end well, some do not, some carry more than a buffer.
                        if i % 50 == thread {
                            let sent = vec![1; 300_000];
                            let mut writer = client.try_clone().unwrap();
                            let sending = thread::spawn(move || writer.write_all(&sent));
                            let mut got = vec![0; 300_001];
                            client.read_exact(&mut got).unwrap();
                            sending.join().unwrap().unwrap();
                            continue;
                        }
                        match i % 3 {
                            0 => assert_eq!(read(&mut client, 1), "a"),
                            1 => crate::backend::reset(client),
                            _ => drop(client),
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        until("all have ended", || metric(child.admin, "l4_connections_active") == 0);
    };
    run(800);
    thread::sleep(Duration::from_millis(300));
    let (descriptors, memory) = (child.descriptors(), child.memory());
    run(4_000);
    until("all sockets are closed", || child.descriptors() <= descriptors);
    let grown = child.memory().saturating_sub(memory);
    assert!(grown < 2 << 20, "{grown} bytes");
}

#[test]
fn idle_connections_cost_little() {
    let backend = Backend::start(|mut socket| drop(socket.read(&mut [0; 1])));
    let child = Child::start(&Setup::of([backend.address]).text());
    drop(connect(child.front));
    let before = child.memory();
    let clients: Vec<_> = (0..400).map(|_| connect(child.front)).collect();
    until("all are there", || backend.accepted() > 400);
    // Bytes have moved once.
    let each = child.memory().saturating_sub(before) / clients.len();
    assert!(each <= 16 << 10, "{each} bytes a connection");
}

#[test]
fn orders_are_taken_on_this_machine_only_unless_it_is_meant() {
    let text = Setup::of([nobody()]).text().replacen("127.0.0.1:0", "0.0.0.0:0", 1);
    let open = text.replace("[program]", "[program]\nadmin_open = true");
    for (text, status) in [(text, "403"), (open, "200")] {
        let proxy = crate::client::start(&text).unwrap();
        let admin = std::net::SocketAddr::from(([127, 0, 0, 1], proxy.admin().unwrap().port()));
        for (path, status) in
            [("/metrics", "200"), ("/healthz", "200"), ("/", status), ("/api/clusters", status)]
        {
            let answer = crate::client::get(admin, path);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        }
    }
}

#[test]
fn operators_are_answered() {
    let backend = Backend::echo("a");
    let child = Child::start(&Setup::of([backend.address]).text());
    assert!(crate::client::get(child.admin, "/healthz").ends_with("ok\n"));
    assert!(crate::client::get(child.admin, "/nothing").starts_with("HTTP/1.1 404"));
    assert!(crate::client::get(child.admin, "/api/clusters/backs").contains("\"endpoints\""));
    assert_eq!(read(&mut connect(child.front), 1), "a");
    let metrics = crate::client::get(child.admin, "/metrics");
    assert!(metrics.contains("\nl4_connections_total 1\n"), "{metrics}");
    assert!(metrics.contains("evenkeel_cluster_membership_healthy{cluster=\"backs\"} 1"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
}
