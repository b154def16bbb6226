//! Servers that refuse, hang and talk nonsense: told within bounds, and no reason not to stop.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]
#![allow(clippy::disallowed_methods, reason = "a real thread and real sockets are tested")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use evenkeel_registry::{MirrorConfig, RegistrarState, Registry, ServiceName, SourceName, SourceState};
use evenkeel_types::{Endpoint, Timestamp};
use evenkeel_zookeeper::{ZooKeeper, ZooKeeperConfig, ZooKeeperRegistrar, ZooKeeperRegistrarConfig};

fn follow(address: &str) -> (Registry, ServiceName, evenkeel_zookeeper::ZooKeeperHandle) {
    let (registry, users) = (Registry::default(), ServiceName::new("users").unwrap());
    let start = Instant::now();
    let clock = move || Timestamp::ORIGIN.saturating_add(start.elapsed());
    let feed =
        registry.feed(&users, &SourceName::new("zk").unwrap(), MirrorConfig::default(), clock).unwrap();
    let mut config = ZooKeeperConfig::new([address], "/services/users");
    config.servers.session_timeout = Duration::from_secs(1);
    let handle = ZooKeeper::start(feed, config).unwrap();
    (registry, users, handle)
}

/// Waits for trouble, which is bound to come; then stops, at once.
fn trouble_then_stop(address: &str) {
    let (registry, users, handle) = follow(address);
    let error = loop {
        if let Some(error) = registry.sources(&users).first().and_then(|source| source.error.clone()) {
            break error;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(error.retry_at.is_some(), "{error:?}");
    assert_eq!(registry.snapshot(&users).state(), SourceState::Pending, "unknown is not empty");
    let before = Instant::now();
    handle.stop();
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    trouble_then_stop(&format!("127.0.0.1:{port}"));
}

#[test]
fn nobody_answers() {
    // The system takes connections for a listener that never accepts.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    trouble_then_stop(&address);
    // Also while it is still waiting for its first answer.
    let (.., handle) = follow(&address);
    let before = Instant::now();
    drop(handle);
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[test]
fn somebody_talks_nonsense() {
    for nonsense in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0, 0, 0, 4, 1, 2, 3, 4], &[0xff; 64]] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // Ends with the test's process.
        std::thread::Builder::new()
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    let mut stream = stream;
                    let _ = stream.read(&mut [0; 64]);
                    let _ = stream.write_all(nonsense);
                }
            })
            .unwrap();
        trouble_then_stop(&address);
    }
}

#[test]
fn a_registrar_without_a_server_waits_and_stops() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = Endpoint::new("a".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
    let config = ZooKeeperRegistrarConfig::new([format!("127.0.0.1:{port}")], "/services/users");
    let handle = ZooKeeperRegistrar::start(endpoint.clone(), config).unwrap();
    assert_eq!(handle.status().state, RegistrarState::Waiting);
    handle.ready(true);
    assert!(handle.wait_for(RegistrarState::Granting, Duration::from_secs(5)));
    let other = Endpoint::new("b".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
    assert!(handle.update(other).is_err());
    handle.leave(Duration::from_secs(5)).unwrap();
    let before = Instant::now();
    drop(handle);
    assert!(before.elapsed() < Duration::from_secs(1));
}
