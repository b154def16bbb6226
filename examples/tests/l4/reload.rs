//! Configurations that replace each other.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::backend::Backend;
use crate::child::Child;
use crate::client::{Setup, connect, front, is_over, load, read};
use crate::wait::until;

#[test]
fn a_reload_under_load_loses_nothing() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let proxy = Setup::of([a.address]).start();
    let address = proxy.address("front").unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, served) = (Arc::clone(&over), Arc::clone(&served));
            thread::spawn(move || {
                while !over.load(Ordering::Acquire) {
                    let mut client = connect(address);
                    client.write_all(b"ping").unwrap();
                    assert!(["aping", "bping"].contains(&read(&mut client, 5).as_str()));
                    served.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    for round in 0..30 {
        let more = served.load(Ordering::Acquire) + 20;
        until("it is under load", || served.load(Ordering::Acquire) > more);
        let backends = if round % 2 == 0 { vec![b.address] } else { vec![a.address, b.address] };
        proxy.apply(load(&Setup::of(backends).text())).unwrap();
    }
    over.store(true, Ordering::Release);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!(b.accepted() > 0);
}

#[test]
fn listeners_come_and_go() {
    let backend = Backend::echo("a");
    let setup = Setup::of([backend.address]);
    let proxy = setup.start();
    let mut old = front(&proxy);
    assert_eq!(read(&mut old, 1), "a");
    let address = proxy.address("front").unwrap();
    // Another name, a short drain: the old one has the time that it was told when it began.
    let text = setup.text().replace("\"front\"", "\"other\"");
    proxy.apply(load(&text)).unwrap();
    assert_eq!(proxy.address("front"), None);
    until("the old one is closed", || TcpStream::connect(address).is_err());
    assert_eq!(read(&mut connect(proxy.address("other").unwrap()), 1), "a");
    old.write_all(b"?").unwrap();
    assert_eq!(read(&mut old, 1), "?");
}

#[test]
fn a_removed_listener_ends_what_it_has_at_its_deadline() {
    let backend = Backend::echo("a");
    let listener = "timeouts = { drain = \"200ms\" }".to_owned();
    let setup = Setup { listener, ..Setup::of([backend.address]) };
    let proxy = setup.start();
    let mut old = front(&proxy);
    assert_eq!(read(&mut old, 1), "a");
    proxy.apply(load(&setup.text().replace("\"front\"", "\"other\""))).unwrap();
    assert!(is_over(&mut old));
}

/// Limits of a listener change without its port being closed.
#[test]
fn a_listener_changes_in_place() {
    let backend = Backend::echo("a");
    let setup = Setup::of([backend.address]);
    // A port of its own, since 0 would mean another one.
    let port = crate::backend::nobody();
    let text = setup.text().replace(
        "name = \"front\"\naddress = \"127.0.0.1:0\"",
        &format!("name = \"front\"\naddress = \"{port}\""),
    );
    let proxy = crate::client::start(&text).unwrap();
    for limit in [5, 50, 500] {
        proxy
            .apply(load(&text.replace(
                "protocol = \"tcp\"",
                &format!("protocol = \"tcp\"\nlimits = {{ max_connections = {limit} }}"),
            )))
            .unwrap();
        assert_eq!(proxy.address("front"), Some(port));
        for _ in 0..20 {
            assert_eq!(read(&mut front(&proxy), 1), "a");
        }
    }
}

#[test]
fn a_wrong_configuration_changes_nothing() {
    let backend = Backend::echo("a");
    let setup = Setup::of([backend.address]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = setup.start();
    for (from, to, says) in [
        ("round_robin", "round_robbin", "round_robbin"),
        ("workers = 2", "worker = 2", "program.worker"),
        ("workers = 2", "attempts = 0", "program.attempts: is 0: allowed are 1 to 100"),
        (
            "workers = 2",
            "listeners.fornt.accept_proxy.from = [\"::/0\"]",
            "program.listeners.fornt: there is no listener",
        ),
        ("protocol = \"tcp\"", "protocol = \"http\"", "listeners[0].protocol: is http"),
        (
            "name = \"front\"\naddress = \"127.0.0.1:0\"",
            &format!("name = \"front\"\naddress = \"{}\"", taken.local_addr().unwrap()),
            "cannot be opened",
        ),
    ] {
        let text = setup.text().replacen(from, to, 1);
        let error = evenkeel_config::Loaded::parse(&text, evenkeel_config::Syntax::Toml)
            .map_err(Into::into)
            .and_then(|loaded| proxy.apply(loaded))
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(read(&mut front(&proxy), 1), "a");
    }
}

#[test]
fn the_file_is_followed() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let mut child = Child::start(&Setup::of([a.address]).text());
    assert_eq!(read(&mut connect(child.front), 1), "a");
    child.write(&Setup::of([b.address]).text());
    assert_eq!(child.line(), "reloaded: cluster backs: endpoints changed, in place");
    assert_eq!(read(&mut connect(child.front), 1), "b");
    child.write("nonsense");
    assert!(child.line().starts_with("not reloaded: "));
    assert_eq!(read(&mut connect(child.front), 1), "b");
}
