//! Where an answer ends: answers without a body, answers of another version, and answers that some read otherwise.

use std::io::Write;

use super::backend::{Backend, answer, until};
use super::client::{Client, raw};
use super::{cluster, route, start};

/// A server that sends this, as it stands.
fn says(text: &'static str) -> Backend {
    Backend::new(move |stream, _| {
        stream.write_all(text.as_bytes())?;
        Ok(!text.to_ascii_lowercase().contains("connection: close"))
    })
}

/// Answers that have no body, whatever their head says of one: the next answer begins right after the head.
#[test]
fn an_answer_without_a_body_ends_with_its_head() {
    for (method, text, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some("content-length: 5\r\n")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        // One that sends the body all the same.
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Some("content-length: 5\r\n")),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\nhello", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", None),
        ("POST", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", Some("content-length: 0\r\n")),
    ] {
        let said = format!("{method} {}", text.escape_debug());
        let backend = says(text);
        let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
        let mut client = Client::new(address);
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        for turn in 0..3 {
            client.send(&request).send(&request);
            for _ in 0..2 {
                let head = client.head();
                assert_eq!(&head[..12], &text[..12].to_ascii_lowercase(), "{said}, turn {turn}");
                assert!(!head.contains("transfer-encoding"), "{said}: {head}");
                if let Some(length) = length {
                    assert!(head.contains(length), "{said}: {head}");
                }
                if text.contains(" 204 ") {
                    assert!(!head.contains("content-length"), "{said}: {head}");
                }
            }
        }
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.rest(), "", "{said}");
    }
}

/// A client of HTTP/1.0 gets what it understands: no chunks, and the end of the connection where there is no length.
#[test]
fn a_client_of_http_1_0_gets_no_chunks() {
    let chunked = says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&chunked], "")));
    for fields in ["", "Connection: keep-alive\r\n"] {
        let mut client = Client::new(address);
        client.send(format!("GET / HTTP/1.0\r\nHost: a\r\n{fields}\r\n"));
        let head = client.head();
        assert!(head.starts_with("http/1.") && !head.contains("transfer-encoding"), "{head}");
        assert_eq!(client.rest(), "abc");
    }
    // The upstream is asked in our version, and its connection is kept.
    assert!(chunked.seen().iter().all(|seen| seen.line() == "GET / HTTP/1.1"));
    assert_eq!(chunked.connections.load(std::sync::atomic::Ordering::Relaxed), 1);
    // With a length the connection goes on if the client says so, and is closed if not.
    let plain = Backend::named("one");
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&plain], "")));
    let mut client = Client::new(address);
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("one", Some("keep-alive")));
    }
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "one");
    assert!(client.is_closed());
}

/// A body that ends with its connection gets another end, and none if the connection was reset.
#[test]
fn a_body_without_a_length_gets_an_end() {
    for text in ["HTTP/1.0 200 OK\r\n\r\nhello", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"] {
        let backend = Backend::new(move |stream, _| {
            stream.write_all(text.as_bytes())?;
            Ok(false)
        });
        let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
        let mut client = Client::new(address);
        for _ in 0..3 {
            let answer = client.get("/");
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
            assert_eq!(
                (answer.field("connection"), answer.field("transfer-encoding")),
                (None, Some("chunked"))
            );
        }
    }
}

/// Answers that can be read in two ways reach nobody: neither does the client see one, nor is the connection used again.
#[test]
fn answers_that_some_read_otherwise_are_refused() {
    for head in [
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 4",
        "Content-Length: +3",
        "Content-Length: 3 3",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Content-Length: 3\r\nX: 1\r\n folded",
        "Content-Length : 3",
        "Content-Length: 3\r\nX\0: 1",
        "Content-Length: 3\r\nX: a\rb",
        "Content-Length: 3\r\nno colon",
        // What is not chunked at the end would be passed on without the word for how to read it (nginx refuses it too).
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
    ] {
        let backend = Backend::new(move |stream, seen| {
            if seen.line().contains("/fine") {
                return answer(stream, 200, &[], b"fine");
            }
            write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\nabc\r\n0\r\n\r\n")?;
            Ok(true)
        });
        let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
        let mut client = Client::new(address);
        let answer = client.get("/");
        assert_eq!((answer.status, answer.text().as_str()), (502, "upstream_garbage\n"), "{head:?}");
        assert_eq!(client.get("/fine").text(), "fine", "{head:?}");
    }
}

/// Chunks that break a rule never become a whole answer.
#[test]
fn an_answer_in_bad_chunks_has_no_end() {
    for body in [
        "3\r\nabcX0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc",
        "3\nabc\n0\n\n",
        "3 3\r\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX Y: 1\r\n\r\n",
        "3\r\nabc\r\n",
    ] {
        let backend = Backend::new(move |stream, _| {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")?;
            Ok(false)
        });
        let (proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
        let mut client = Client::new(address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let said = client.rest();
        assert!(said.starts_with("HTTP/1.1 502 ") || !said.ends_with("0\r\n\r\n"), "{body:?}: {said}");
        until("nothing is in flight", || {
            proxy.running().cluster("all").unwrap().report().endpoints[0].in_flight == 0
        });
    }
}

const BREAKER: &str = "[clusters.breaker]\nrules = [{ consecutive = { failures = 1 } }]\n";

/// An endless answer ends when the time of its route is over, also if there is always more of it.
#[test]
fn an_endless_answer_ends_with_the_time_of_its_route() {
    let backend = Backend::new(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        while stream.write_all(&chunk).is_ok() {}
        Ok(false)
    });
    let (proxy, address) = start(&(route("timeout = \"300ms\"") + &cluster("all", &[&backend], BREAKER)));
    let mut client = Client::new(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let begun = std::time::Instant::now();
    let mut part = vec![0; 128 << 10];
    while std::io::Read::read(&mut client.stream, &mut part).is_ok_and(|read| read > 0) {
        assert!(begun.elapsed().as_secs() < 10, "it never ends");
        // Slower than the endpoint, which is never waited for.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    until("it is counted", || proxy.counts().map(|counts| counts.broken.get()).sum::<u64>() == 1);
    assert!(proxy.running().cluster("all").unwrap().report().endpoints[0].usable, "it was not too slow");
}

/// `OPTIONS *` is about the server and not about a path of it (RFC 9110, section 9.3.7).
#[test]
fn a_question_about_the_whole_server_stays_one() {
    let one = Backend::named("one");
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&one], "")));
    let answer = raw(address, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((answer.status, one.seen()[0].line()), (200, "OPTIONS * HTTP/1.1"));
}
