//! What clients and servers say before they have heard all: `Expect: 100-continue`, interim and early answers.

use std::io::{Read, Write};

use super::backend::{Backend, answer};
use super::client::Client;
use super::{cluster, route, start};

/// Whoever asks whether to go on is told so as soon as somebody wants the body, and the endpoint is not asked.
#[test]
fn a_client_that_waits_for_a_word_gets_it() {
    for more in ["", "retry = { attempts = 2 }"] {
        let one = Backend::named("one");
        let (_proxy, address) = start(&(route(more) + &cluster("all", &[&one], "")));
        let mut client = Client::new(address);
        for _ in 0..2 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
            assert!(client.head().starts_with("http/1.1 100 "), "{more}");
            client.send("abc");
            assert_eq!(client.answer().text(), "one");
        }
        for seen in one.seen() {
            assert_eq!((&seen.body[..], seen.values("expect").len()), (&b"abc"[..], 0));
        }
    }
}

/// Whoever is refused is not told to go on first, and what it sends all the same is no request.
#[test]
fn a_client_that_is_refused_is_not_told_to_go_on() {
    let one = Backend::named("one");
    let listener =
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nlimits = { body_bytes = 100 }\n";
    let respond = "[[http.routes]]\nname = \"own\"\nmatch = { paths = [{ exact = \"/own\" }] }\naction = { respond = { status = 403, body = \"no\" } }\n";
    let (_proxy, address) =
        start(&(listener.to_owned() + respond + &route("") + &cluster("all", &[&one], "")));
    for (path, length, status) in [("/", 200, "413"), ("/own", 50, "403")] {
        let mut client = Client::new(address);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        ));
        let head = client.head();
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let rest = client.rest();
        assert!(!rest.contains("HTTP/1.1"), "{rest}");
    }
    assert!(one.seen().is_empty());
}

/// Interim answers of an endpoint are not taken for the answer.
#[test]
fn interim_answers_are_not_the_answer() {
    let backend = Backend::new(|stream, _| {
        stream.write_all(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
        )?;
        stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n")?;
        answer(stream, 200, &[], b"final")
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.text().as_str()), (200, "final"));
    }
}

/// An endpoint may answer before it has all, and close: the client hears why, not that something broke.
#[test]
fn an_answer_in_the_middle_of_an_upload_is_passed_on() {
    const LONG: usize = 8 << 20;
    for reads_on in [true, false] {
        let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = backend.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in backend.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut part = [0; 1000];
                    let _ = stream.read(&mut part);
                    let _ = stream.write_all(
                        b"HTTP/1.1 413 Too Long\r\nContent-Length: 5\r\nConnection: close\r\n\r\nthick",
                    );
                    if reads_on {
                        let _ = std::io::copy(&mut stream, &mut std::io::sink());
                    }
                });
            }
        });
        let program = "[program]\nworkers = 1\nreplay_bytes = 0\n";
        let (_proxy, address) = start(&(route("") + &super::cluster_at("all", &[at], "") + program));
        for turn in 0..20 {
            let mut client = Client::new(address);
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LONG}\r\n\r\n"));
            client.send(vec![b'x'; LONG]);
            let answer = client.answer();
            assert_eq!((answer.status, answer.text().as_str()), (413, "thick"), "{reads_on}, turn {turn}");
        }
    }
}

/// A kept connection that is closed as a request comes: what may be done twice is, and what may not is not.
#[test]
fn only_what_may_be_done_twice_is_sent_twice() {
    for (method, is_repeated) in [
        ("GET", true),
        ("HEAD", true),
        ("PUT", true),
        ("DELETE", true),
        ("OPTIONS", true),
        ("POST", false),
        ("PATCH", false),
        ("GETX", false),
    ] {
        // The second request on a connection is read, and the connection closed over it.
        let turns = parking_lot::Mutex::new(0);
        let backend = Backend::new(move |stream, _| {
            let mut turns = turns.lock();
            *turns += 1;
            if *turns == 2 {
                return Ok(false);
            }
            answer(stream, 200, &[], b"")
        });
        let (proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
        let mut client = Client::new(address);
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert!(client.send(&request).head().starts_with("http/1.1 200 "));
        let second = client.send(&request).head();
        assert_eq!(second.starts_with("http/1.1 200 "), is_repeated, "{method}: {second}");
        assert_eq!(second.starts_with("http/1.1 502 "), !is_repeated, "{method}: {second}");
        assert_eq!(backend.seen().len(), 2 + usize::from(is_repeated), "{method}");
        // It was no attempt of a plan for retries.
        assert_eq!(proxy.counts().map(|counts| counts.again.get()).sum::<u64>(), 0);
    }
}

/// A client of HTTP/1.1 that takes nothing is given up, and the endpoint is free.
#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let backend = Backend::new(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
        let part = vec![b'x'; 1 << 20];
        while stream.write_all(&part).is_ok() {}
        Ok(false)
    });
    let listener =
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntimeouts = { idle = \"300ms\" }\n";
    let (proxy, address) = start(&(listener.to_owned() + &route("") + &cluster("all", &[&backend], "")));
    let report = || proxy.running().cluster("all").unwrap().report();
    let mut client = Client::new(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut first = [0; 100];
    client.stream.read_exact(&mut first).unwrap();
    super::backend::until("it is given up", || report().endpoints[0].in_flight == 0);
    assert!(report().endpoints[0].usable);
}
