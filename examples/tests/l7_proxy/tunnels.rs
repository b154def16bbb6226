//! Tunnels: who speaks first, who ends first, and who was not asked.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use super::backend::{Backend, answer, until};
use super::client::Client;
use super::{cluster, route, start};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// What comes in one packet with the head belongs to the tunnel, from either side.
#[test]
fn what_comes_with_the_head_is_not_lost() {
    let backend = Backend::new(|stream, _| {
        stream.write_all(format!("{AGREED}hello from the server").as_bytes())?;
        let mut said = [0; 21];
        stream.read_exact(&mut said)?;
        stream.write_all(&said)?;
        Ok(false)
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    for _ in 0..5 {
        let mut client = Client::new(address);
        client.send(format!("{ASK}hello from the client"));
        assert!(client.head().starts_with("http/1.1 101 "));
        assert_eq!(client.rest(), "hello from the serverhello from the client");
    }
}

/// Each side may end first and still hear the other.
#[test]
fn either_side_may_end_first() {
    let backend = Backend::new(|stream, _| {
        stream.write_all(AGREED.as_bytes())?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        stream.write_all(format!("{said} was all").as_bytes())?;
        Ok(false)
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    client.send(ASK);
    assert!(client.head().starts_with("http/1.1 101 "));
    client.send("this");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), "this was all");
    // The other way round.
    let (heard, hears) = std::sync::mpsc::channel();
    let backend = Backend::new(move |stream, _| {
        stream.write_all(format!("{AGREED}bye").as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        let _ = heard.send(said);
        Ok(false)
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    client.send(ASK);
    assert!(client.head().starts_with("http/1.1 101 "));
    assert_eq!(client.rest(), "bye");
    client.send("and this");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hears.recv_timeout(Duration::from_secs(60)).unwrap(), "and this");
}

/// An endpoint that does not want to is an answer like any other, and the connection goes on.
#[test]
fn whoever_does_not_change_answers() {
    let backend = Backend::new(|stream, seen| match seen.line().contains("/ws") {
        true => answer(stream, 426, &[("upgrade", "other")], b"not this one"),
        false => answer(stream, 200, &[], b"plain"),
    });
    let (proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    for _ in 0..3 {
        let answer = client.send(ASK).answer();
        assert_eq!((answer.status, answer.text().as_str()), (426, "not this one"));
        assert_eq!(client.get("/").text(), "plain");
    }
    assert!(proxy.running().cluster("all").unwrap().report().endpoints[0].usable);
}

/// A change that nobody asked for, or to something else, opens no way past the rules.
#[test]
fn a_change_that_was_not_asked_for_is_none() {
    for (ask, agreed) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", AGREED),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", AGREED),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", AGREED),
        ("GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", AGREED),
        (ASK, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
        (ASK, "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ] {
        let backend = Backend::new(move |stream, _| {
            stream.write_all(agreed.as_bytes())?;
            let mut part = [0; 1000];
            while stream.read(&mut part)? > 0 {}
            Ok(false)
        });
        let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
        let mut client = Client::new(address);
        let head = client.send(ask).head();
        assert!(head.contains(" 502 "), "{ask:?} {agreed:?}: {head}");
    }
}

/// A tunnel outlives a drain until the deadline, and counts as cut then.
#[test]
fn a_tunnel_lasts_until_the_end_of_a_drain() {
    let backend = Backend::new(|stream, _| {
        stream.write_all(AGREED.as_bytes())?;
        let mut part = [0; 1000];
        loop {
            let read = stream.read(&mut part)?;
            if read == 0 {
                return Ok(false);
            }
            stream.write_all(&part[..read])?;
        }
    });
    let listener =
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntimeouts = { drain = \"1s\" }\n";
    let (proxy, address) = start(&(listener.to_owned() + &route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    assert!(client.send(ASK).head().starts_with("http/1.1 101 "));
    let counts = || proxy.counts().map(|counts| counts.tunnels.get()).sum::<u64>();
    until("it is open", || counts() == 1);
    let draining = std::thread::spawn(move || proxy.drain());
    for _ in 0..10 {
        client.stream.write_all(b"ping").unwrap();
        let mut pong = [0; 4];
        client.stream.read_exact(&mut pong).unwrap();
        assert_eq!(&pong, b"ping");
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(draining.join().unwrap(), 1);
    assert!(client.is_closed());
}
