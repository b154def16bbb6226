//! Upstreams that die, stop, hang, break off or talk nonsense.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::backend::{Backend, answer, until};
use super::client::{Client, get};
use super::{cluster, cluster_at, route, start};

const RETRY: &str = "retry = { attempts = 2 }\n";

/// Nobody notices that one of two dies, while requests go on: neither those on new connections nor those on kept ones.
#[test]
fn a_backend_is_killed_and_nobody_notices() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let (_proxy, address) =
        start(&(route(RETRY) + &cluster("all", &[&one, &two], "policy = \"round_robin\"")));
    let mut client = Client::new(address);
    for turn in 0..200 {
        if turn == 100 {
            one.kill();
        }
        assert_eq!(client.get("/").status, 200, "turn {turn}");
    }
    assert!(!one.seen().is_empty() && two.seen().len() > one.seen().len());
}

/// A connection that was kept and is closed by the upstream costs no request and no attempt.
#[test]
fn a_kept_connection_that_was_closed_is_replaced() {
    let backend = Backend::new(|stream, _| {
        answer(stream, 200, &[], b"once")?;
        Ok(false)
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    for turn in 0..50 {
        assert_eq!(client.get("/").status, 200, "turn {turn}");
    }
}

/// Not a test by itself: the process that is stopped.
#[test]
fn a_process_that_serves() {
    if std::env::var_os("L7_TEST_BACKEND").is_none() {
        return;
    }
    let backend = Backend::named("child");
    println!("\nat {}", backend.address);
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_is_stopped_is_given_up_and_others_serve() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "failures::a_process_that_serves", "--nocapture"])
        .env("L7_TEST_BACKEND", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Stopped(child);
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let at = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("at ").map(str::to_owned)).unwrap();
    let at: SocketAddr = at.parse().unwrap();
    let other = Backend::named("other");
    let retry =
        "timeout = \"20s\"\nretry = { attempts = 2, per_try_timeout = \"1s\", on = { timed_out = true } }\n";
    let config = route(retry) + &cluster_at("all", &[at, other.address], "policy = \"round_robin\"");
    let (_proxy, address) = start(&config);
    let mut client = Client::new(address);
    for _ in 0..4 {
        assert_eq!(client.get("/").status, 200);
    }
    kill_process(Pid::from_child(&child.0), Signal::STOP).unwrap();
    // Its kernel still accepts connections and takes requests: only the time limit tells.
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "other");
    }
    kill_process(Pid::from_child(&child.0), Signal::CONT).unwrap();
    until("it serves again", || get(address, "/").text() == "child");
}

/// The status, and the word in the body.
fn said(more_route: &str, more_program: &str, backend: &Backend) -> (u16, String) {
    let program = format!("[program]\nworkers = 1\n{more_program}\n");
    let (_proxy, address) = start(&(route(more_route) + &cluster("all", &[backend], "") + &program));
    let answer = get(address, "/");
    (answer.status, answer.text().trim().to_owned())
}

#[test]
fn each_failure_has_its_status_and_its_word() {
    let slow = Backend::new(|_, _| {
        std::thread::sleep(Duration::from_secs(120));
        Ok(false)
    });
    let word = |status: u16, word: &str| (status, word.to_owned());
    assert_eq!(said("timeout = \"100ms\"", "", &slow), word(504, "upstream_timeout"));
    assert_eq!(said("", "timeouts = { response = \"100ms\" }", &slow), word(504, "upstream_timeout"));
    // The time of an attempt ends the making of its connection too, here a handshake that nobody answers.
    let never = "timeouts = { connect = \"1h\" }\nupstream.all = { tls = { server_name = \"a\" } }";
    assert_eq!(said("timeout = \"100ms\"", never, &slow), word(504, "upstream_connect_timeout"));
    let silent = Backend::new(|_, _| Ok(false));
    assert_eq!(said("", "", &silent), word(502, "upstream_reset"));
    let garbage = Backend::new(|stream, _| {
        stream.write_all(b"220 mail.example ESMTP\r\n\r\n")?;
        Ok(false)
    });
    assert_eq!(said("", "", &garbage), word(502, "upstream_garbage"));
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_proxy, address) = start(&(route("") + &cluster_at("all", &[gone], "")));
    assert_eq!((get(address, "/").status, get(address, "/").text()), word(502, "upstream_connect_failed\n"));
    let (_proxy, address) =
        start(&(route("") + &cluster_at("all", &[gone], "").replace("address", "weight = 0, address")));
    assert_eq!((get(address, "/").status, get(address, "/").text()), word(503, "no_endpoint\n"));
}

/// The client sees that something is missing, and the endpoint is blamed for it.
#[test]
fn an_answer_that_breaks_off_is_seen_as_broken() {
    let backend = Backend::new(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it")?;
        Ok(false)
    });
    let (proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!matches!(client.try_answer(), Ok(Some(_))), "half an answer is none");
    until("it is counted", || proxy.counts().map(|counts| counts.broken.get()).sum::<u64>() == 1);
    // The next connection is a new one.
    assert_eq!(backend.connections.load(std::sync::atomic::Ordering::Relaxed), 1);
}

/// A stream of events that is quiet for too long is ended, but nobody is blamed; another body that stops is a failure.
#[test]
fn a_quiet_stream_of_events_is_no_failure() {
    for (kind, is_usable) in [("text/event-stream; charset=utf-8", true), ("text/plain", false)] {
        let backend = Backend::new(move |stream, _| {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 100\r\n\r\ndata: 1\n\n"
            )?;
            std::thread::sleep(Duration::from_secs(120));
            Ok(false)
        });
        let more = "[clusters.breaker]\nrules = [{ consecutive = { failures = 1 } }]\n";
        let program = "[program]\nworkers = 1\ntimeouts = { idle = \"100ms\" }\n";
        let (proxy, address) = start(&(route("") + &cluster("all", &[&backend], more) + program));
        let mut client = Client::new(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(!matches!(client.try_answer(), Ok(Some(_))));
        let report = || proxy.running().cluster("all").unwrap().report();
        until("it has ended", || report().endpoints[0].in_flight == 0);
        assert_eq!(report().endpoints[0].usable, is_usable, "{kind}");
    }
}

/// What has been sent cannot be taken back: a body that was streamed is sent once.
#[test]
fn a_body_is_sent_again_only_if_it_was_kept() {
    let fails = Backend::new(|stream, _| answer(stream, 503, &[], b"no"));
    let works = Backend::named("works");
    let retry = route("retry = { attempts = 2 }");
    let config = retry
        + &cluster("all", &[&fails, &works], "policy = \"round_robin\"")
        + "[program]\nworkers = 1\nreplay_bytes = 10\n";
    let (_proxy, address) = start(&config);
    let put = |body: &str| {
        let mut client = Client::new(address);
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        client.answer().status
    };
    for _ in 0..4 {
        assert_eq!(put("short"), 200);
    }
    assert!(works.seen().iter().all(|seen| seen.body == b"short"));
    let statuses: Vec<u16> = (0..8).map(|_| put("longer than ten bytes")).collect();
    assert!(statuses.contains(&503) && statuses.contains(&200), "{statuses:?}");
}

/// The time of the endpoint does not run while the client is waited for.
#[test]
fn a_slow_upload_is_not_the_fault_of_the_endpoint() {
    let one = Backend::named("one");
    let start_with = |more: &str| {
        let breaker = "[clusters.breaker]\nrules = [{ consecutive = { failures = 1 } }]\n";
        let program = "[program]\nworkers = 1\nreplay_bytes = 0\ntimeouts = { response = \"500ms\" }\n";
        start(&(route(more) + &cluster("all", &[&one], breaker) + program))
    };
    let (_proxy, address) = start_with("");
    let mut client = Client::new(address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(client.send("cd").answer().status, 200);
    // The time of the route does run.
    let (proxy, address) = start_with("timeout = \"200ms\"");
    let mut client = Client::new(address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (408, "client_timeout\n"));
    assert!(proxy.running().cluster("all").unwrap().report().endpoints[0].usable);
}

/// A body that is kept for a second attempt is waited for as long as the route allows, and nobody is asked before it is whole.
#[test]
fn a_slow_upload_that_is_kept_is_not_the_fault_of_the_endpoint() {
    let one = Backend::named("one");
    let breaker = "[clusters.breaker]\nrules = [{ consecutive = { failures = 1 } }]\n";
    let more = "timeout = \"200ms\"\nretry = { attempts = 2 }";
    let (proxy, address) =
        start(&(route(more) + &cluster("all", &[&one], breaker) + "[program]\nworkers = 1\n"));
    assert_eq!(get(address, "/").status, 200);
    let mut client = Client::new(address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (408, "client_timeout\n"));
    assert_eq!(one.seen().len(), 1, "the POST was sent on");
    assert!(proxy.running().cluster("all").unwrap().report().endpoints[0].usable);
}

/// Several connections may have been kept of which the other side has closed all: none of them is an answer to a POST.
#[test]
fn all_kept_connections_that_were_closed_are_replaced() {
    let one = Backend::new(|stream, seen| {
        if seen.line().contains("/slow") {
            std::thread::sleep(Duration::from_millis(200));
        }
        answer(stream, 200, &[], b"one")
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&one], "") + "[program]\nworkers = 1\n"));
    let slow = || std::thread::spawn(move || get(address, "/slow").status);
    for thread in [slow(), slow(), slow()] {
        assert_eq!(thread.join().unwrap(), 200);
    }
    one.close_all();
    std::thread::sleep(Duration::from_millis(50));
    let mut client = Client::new(address);
    let answer = client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "one"));
}

/// Settings that say `tls` are never taken for less.
#[test]
fn a_unix_socket_with_tls_is_refused() {
    let path = std::env::temp_dir().join(format!("evenkeel-l7-unix-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let _listening = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let config = route("")
        + &format!(
            "[[clusters]]\nname = \"all\"\nendpoints = [{{ id = \"1\", address = \"unix:{}\" }}]\n",
            path.display()
        )
        + "[program]\nworkers = 1\nupstream.all = { tls = { server_name = \"a\" } }\n";
    let (_proxy, address) = start(&config);
    let answer = get(address, "/");
    assert_eq!((answer.status, answer.text().as_str()), (502, "upstream_tls_failed\n"));
    let _ = std::fs::remove_file(&path);
}
