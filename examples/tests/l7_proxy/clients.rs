//! Clients that are slow, large, many, or all of it.

use std::io::{Read, Write};
use std::time::Duration;

use super::backend::{Backend, answer, until};
use super::client::{Client, get, raw};
use super::{cluster, route, start};

fn limited(limits: &str, timeouts: &str) -> String {
    format!(
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nlimits = {{ {limits} }}\ntimeouts = {{ {timeouts} }}\n"
    )
}

#[test]
fn a_slow_loris_is_closed_and_others_are_served() {
    let backend = Backend::named("one");
    let config =
        limited("", "header = \"300ms\", idle = \"60s\"") + &route("") + &cluster("all", &[&backend], "");
    let (_proxy, address) = start(&config);
    let mut others = Client::new(address);
    let slow: Vec<_> = (0..20)
        .map(|i| {
            std::thread::spawn(move || {
                let mut client = Client::new(address);
                // Half of them have been served before.
                if i % 2 == 0 {
                    assert_eq!(client.get("/").status, 200);
                }
                client.send("GET / HTTP/1.1\r\n");
                let mut sent = 0;
                while sent < 600 && client.stream.write_all(b"X: y\r\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(others.get("/").status, 200);
    }
    for one in slow {
        assert!(one.join().unwrap() < 600, "it was never closed");
    }
    assert_eq!(others.get("/").status, 200);
}

#[test]
fn a_connection_that_waits_too_long_is_closed() {
    let backend = Backend::named("one");
    let config = limited("", "idle = \"200ms\"") + &route("") + &cluster("all", &[&backend], "");
    let (_proxy, address) = start(&config);
    let mut client = Client::new(address);
    assert_eq!(client.get("/").status, 200);
    assert!(client.is_closed());
}

#[test]
fn heads_and_bodies_beyond_the_limits_are_refused() {
    let backend = Backend::named("one");
    let config = limited("header_bytes = 8192, header_fields = 20, body_bytes = 100", "")
        + &route("")
        + &cluster("all", &[&backend], "");
    let (_proxy, address) = start(&config);
    let status = |bytes: String| raw(address, bytes).map_or(0, |answer| answer.status);
    let long = "x".repeat(20_000);
    assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")), 431);
    // A line that never ends, either.
    assert!(matches!(status(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), 414 | 431));
    let many: String = (0..30).map(|i| format!("x{i}: 1\r\n")).collect();
    assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), 431);
    let too_many: String = (0..300).map(|i| format!("x{i}: 1\r\n")).collect();
    assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: a\r\n{too_many}\r\n")), 431);
    let body = "y".repeat(200);
    assert_eq!(status(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n{body}")), 413);
    let chunked =
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\n{body}\r\n0\r\n\r\n");
    assert_eq!(status(chunked), 413);
    let seen = backend.seen();
    assert!(seen.is_empty(), "{seen:?}");
    assert_eq!(
        status(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{}", &body[..100])),
        200
    );
}

/// More than are allowed wait in the queue of the listener: none is refused, and those inside are served.
#[test]
fn a_flood_of_connections_waits_outside() {
    let backend = Backend::named("one");
    let config = limited("max_connections = 10", "") + &route("") + &cluster("all", &[&backend], "");
    let (proxy, address) = start(&config);
    let mut inside: Vec<Client> = (0..10).map(|_| Client::new(address)).collect();
    for client in &mut inside {
        assert_eq!(client.get("/").status, 200);
    }
    let mut outside: Vec<Client> = (0..200).map(|_| Client::new(address)).collect();
    for client in &mut outside {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    for client in &mut inside {
        assert_eq!(client.get("/").status, 200);
    }
    let clients: u64 = proxy.counts().map(|counts| counts.clients.get()).sum();
    assert_eq!(clients, 10);
    drop(inside);
    for client in &mut outside {
        assert_eq!(client.answer().status, 200);
    }
}

/// Each worker has a socket, to which the system gives connections as it likes: none of them may hold the room that another needs.
#[test]
fn less_room_than_workers_is_room_for_all() {
    let backend = Backend::named("one");
    let config = limited("max_connections = 1", "")
        + "[program]\nworkers = 4\n"
        + &route("")
        + &cluster("all", &[&backend], "");
    let (proxy, address) = start(&config);
    for _ in 0..40 {
        assert_eq!(get(address, "/").status, 200);
    }
    // Many at a time wait for each other, in whichever queue they are.
    let clients = (0..20).map(|_| std::thread::spawn(move || get(address, "/").status));
    for client in clients.collect::<Vec<_>>() {
        assert_eq!(client.join().unwrap(), 200);
    }
    // Those that wait for room when the proxy drains are served too, wherever they wait.
    let mut inside = Client::new(address);
    assert_eq!(inside.get("/").status, 200);
    let mut outside: Vec<Client> = (0..8).map(|_| Client::new(address)).collect();
    for client in &mut outside {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    assert_eq!(proxy.drain(), 0);
    for client in &mut outside {
        assert_eq!(client.answer().status, 200);
    }
}

/// Whoever is refused while it sends may send on, and then read why: the connection is not reset under it.
#[test]
fn an_upload_that_is_too_long_is_told_so() {
    const LONG: usize = 20 << 20;
    let backend = Backend::named("one");
    let config =
        limited("body_bytes = 100, header_bytes = 8192", "") + &route("") + &cluster("all", &[&backend], "");
    let (_proxy, address) = start(&config);
    let upload = |head: String| {
        let mut client = Client::new(address);
        client.stream.write_all(head.as_bytes()).unwrap();
        client.stream.write_all(&vec![b'x'; LONG]).expect("nothing is reset");
        client.answer().status
    };
    assert_eq!(upload(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LONG}\r\n\r\n")), 413);
    // A head that never ends, either; and in its middle one that cannot be understood.
    assert_eq!(upload("GET / HTTP/1.1\r\nHost: a\r\nX: ".to_owned()), 431);
    assert_eq!(upload("GET / HTTP/1.1\r\nHost : a\r\n".to_owned()), 400);
    assert!(backend.seen().is_empty());
}

/// Bodies stream both ways, with back-pressure: neither is ever in memory as a whole.
#[test]
fn long_bodies_stream_both_ways() {
    const LONG: usize = 32 << 20;
    let backend = Backend::new(|stream, seen| {
        let body = vec![b'z'; seen.body.len()];
        answer(stream, 200, &[], &body)
    });
    let (proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LONG}\r\n\r\n"));
    client.send(vec![b'a'; LONG]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.seen.body.len()), (200, LONG));
    assert_eq!(backend.seen()[0].body.len(), LONG);
    until("bytes are counted", || {
        proxy.counts().map(|counts| counts.bytes.get()).sum::<u64>() == LONG as u64
    });
}

/// A client that leaves in the middle takes nothing with it: the endpoint is not blamed, and nothing stays in flight.
#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let backend = Backend::new(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")?;
        let part = vec![b'x'; 1 << 16];
        while stream.write_all(&part).is_ok() {}
        Ok(false)
    });
    let (proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    for _ in 0..10 {
        let mut client = Client::new(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut first = [0; 100];
        Read::read_exact(&mut client.stream, &mut first).unwrap();
    }
    until("nothing is in flight", || {
        let report = proxy.running().cluster("all").unwrap().report();
        report.endpoints.iter().all(|endpoint| endpoint.in_flight == 0)
    });
    assert_eq!(proxy.counts().map(|counts| counts.broken.get()).sum::<u64>(), 0);
}

#[test]
fn requests_in_a_row_without_waiting_are_answered_in_order() {
    let backend = Backend::new(|stream, seen| {
        let line = seen.line().to_owned();
        answer(stream, 200, &[], line.as_bytes())
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    let all: String = (0..50).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(all);
    for i in 0..50 {
        assert_eq!(client.answer().text(), format!("GET /{i} HTTP/1.1"));
    }
    assert_eq!(get(address, "/end").status, 200);
}

/// A client of HTTP/2 that sends pings only is idle, and is told to go before it is closed.
#[test]
fn an_idle_client_of_http_2_is_told_to_go() {
    let one = Backend::named("one");
    let listener = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntimeouts = { header = \"10ms\", idle = \"300ms\" }\n";
    let (proxy, address) = start(&(listener.to_owned() + &route("") + &cluster("all", &[&one], "")));
    let mut client = Client::new(address);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\0\0\0\0\x0012345678");
    let mut all = Vec::new();
    let _ = client.stream.read_to_end(&mut all);
    let (mut kinds, mut rest) = (Vec::new(), &all[..]);
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        kinds.push(*kind);
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        rest = after.get(length..).unwrap_or_default();
    }
    // PING is 6, GOAWAY 7.
    assert!(kinds.contains(&6) && kinds.contains(&7), "{kinds:?}");
    assert_eq!(proxy.counts().map(|counts| counts.too_slow.get()).sum::<u64>(), 1);
}
