//! The adapter in front of gateways that misbehave in ways that a real etcd is hard to bring to.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "servers of a test have threads of their own, and it stops where it fails"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use evenkeel_etcd::{Etcd, EtcdConfig, EtcdHandle};
use evenkeel_registry::{MirrorConfig, Registry, SourceState, TroubleKind, Watch};
use evenkeel_types::Timestamp;

/// What a gateway does besides answering.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Watches stand, and say nothing ever after.
    SilentWatch,
    /// Watches are ended as soon as they stand.
    NoWatch,
    /// Pages promise more, without an end.
    EndlessList,
}

struct Gateway {
    url: String,
    entries: Arc<AtomicU32>,
    watches: Arc<AtomicU32>,
}

impl Gateway {
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (entries, watches) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU32::new(0)));
        let (theirs, seen) = (entries.clone(), watches.clone());
        spawn(move || {
            for stream in listener.incoming() {
                let (entries, watches) = (theirs.clone(), seen.clone());
                spawn(move || while serve(stream.as_ref().unwrap(), fault, &entries, &watches).is_some() {});
            }
        });
        Self { url, entries, watches }
    }
}

/// Answers one request; `None` at the end of the connection.
fn serve(mut stream: &TcpStream, fault: Fault, entries: &AtomicU32, watches: &AtomicU32) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    let header = "\"header\":{\"cluster_id\":\"1\",\"revision\":\"9\"}";
    let count = entries.load(Ordering::Relaxed);
    let answer = if first.contains("/v3/watch") {
        watches.fetch_add(1, Ordering::Relaxed);
        let mut lines = format!("{{\"result\":{{{header},\"created\":true}}}}\n");
        if fault == Fault::NoWatch {
            lines.push_str("{\"error\":{\"message\":\"permission denied\"}}\n");
        }
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}{:x}\r\n{lines}\r\n", lines.len()).as_bytes()).ok()?;
        sleep(Duration::from_secs(60));
        return None;
    } else if body.contains("count_only") {
        format!("{{{header},\"count\":\"{count}\"}}")
    } else {
        // A page later than the first starts with other keys.
        let page = u32::try_from(body.len()).unwrap();
        let entry = |n: u32| {
            let key = if fault == Fault::EndlessList {
                format!("s/{}", "z".repeat(page as usize % 90))
            } else {
                format!("s/{n}")
            };
            let (key, value) = (STANDARD.encode(key), STANDARD.encode("10.0.0.1:80"));
            format!("{{\"key\":\"{key}\",\"value\":\"{value}\",\"mod_revision\":\"2\"}}")
        };
        let kvs = (0..count).map(entry).collect::<Vec<_>>().join(",");
        format!("{{{header},\"kvs\":[{kvs}],\"more\":{},\"count\":\"{count}\"}}", fault == Fault::EndlessList)
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
    stream.write_all((head + &answer).as_bytes()).ok()
}

fn follow(url: &str) -> (EtcdHandle, Watch, Registry) {
    let registry = Registry::default();
    let service = "users".parse().unwrap();
    let watch = registry.watch(&service);
    let origin = Instant::now();
    let clock = move || Timestamp::ORIGIN.saturating_add(origin.elapsed());
    let feed = registry.feed(&service, &"etcd".parse().unwrap(), MirrorConfig::default(), clock).unwrap();
    let mut config = EtcdConfig { prefix: "s/".to_owned(), max_entries: 50, ..EtcdConfig::default() };
    config.connection.endpoints = vec![url.to_owned()];
    config.keepalive = Duration::from_millis(100);
    (Etcd::start(feed, config).unwrap(), watch, registry)
}

fn until(what: &str, seen: impl Fn() -> bool) {
    let start = Instant::now();
    while !seen() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(5));
    }
}

fn trouble(watch: &Watch) -> Option<TroubleKind> {
    watch.sources()[0].error.as_ref().map(|error| error.kind)
}

#[test]
fn a_watch_that_hangs_while_its_server_lives_is_opened_again() {
    let gateway = Gateway::start(Fault::SilentWatch);
    let (_adapter, watch, _registry) = follow(&gateway.url);
    until("one entry", || watch.latest().endpoints().len() == 1);
    gateway.entries.store(2, Ordering::Relaxed);
    until("the second entry, which no watch told", || watch.latest().endpoints().len() == 2);
    until("another watch", || gateway.watches.load(Ordering::Relaxed) >= 2);
}

#[test]
fn a_watch_that_is_refused_is_not_tried_without_a_pause() {
    let gateway = Gateway::start(Fault::NoWatch);
    let (_adapter, watch, _registry) = follow(&gateway.url);
    until("trouble", || trouble(&watch) == Some(TroubleKind::Closed));
    sleep(Duration::from_millis(1500));
    let watches = gateway.watches.load(Ordering::Relaxed);
    assert!((2..12).contains(&watches), "{watches} watches in 1.5 s: 250 ms, 500 ms, 1 s … lie between");
    assert_eq!(watch.latest().endpoints().len(), 1, "what the lists say is used");
}

#[test]
fn a_source_that_was_detached_is_not_asked_for_any_more() {
    let (adapter, _watch, registry) = follow("http://127.0.0.1:1");
    assert!(adapter.is_running());
    let (service, source) = ("users".parse().unwrap(), "etcd".parse().unwrap());
    registry.detach(Timestamp::from_secs(1), &service, &source).unwrap();
    until("the end of its thread, though etcd cannot be reached", || !adapter.is_running());
}

#[test]
fn a_list_without_an_end_is_given_up() {
    let gateway = Gateway::start(Fault::EndlessList);
    let (_adapter, watch, _registry) = follow(&gateway.url);
    until("trouble", || trouble(&watch).is_some());
    assert_eq!(watch.latest().state(), SourceState::Pending, "and nothing of it is shown");
}
