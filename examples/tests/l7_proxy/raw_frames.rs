//! Clients of HTTP/2 of which nothing is there but frames: what no library would send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::backend::{Backend, answer, until};
use super::client::{Client, get};
use super::frames::{ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS, frame};
use super::{cluster, route, start};

const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

struct Framed {
    stream: TcpStream,
}

/// A frame as it came: kind, flags, stream, payload.
type Came = (u8, u8, u32, Vec<u8>);

impl Framed {
    fn new(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Self { stream }
    }

    /// Whether it could be written.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// None when the connection has ended.
    fn next(&mut self) -> Option<Came> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if head[3] == SETTINGS {
                if head[4] & ACK == 0 {
                    self.send(&frame(SETTINGS, ACK, 0, &[]));
                }
                continue;
            }
            return Some((head[3], head[4], stream, payload));
        }
    }

    /// How a stream goes on: the first frame of it, or of the end of the connection; none if that is over.
    fn said(&mut self, stream: u32) -> Option<Came> {
        loop {
            let came = self.next()?;
            if came.2 == stream && matches!(came.0, HEADERS | RST_STREAM) || came.0 == GOAWAY {
                return Some(came);
            }
        }
    }
}

/// Fields without compression (RFC 7541, section 6.2.2).
fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    all.iter().fold(Vec::new(), |mut bytes, (name, value)| {
        bytes.extend([0, name.len() as u8]);
        bytes.extend(name.as_bytes());
        bytes.push(value.len() as u8);
        bytes.extend(value.as_bytes());
        bytes
    })
}

fn get_with(more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    fields(&[&usual, more].concat())
}

/// What RFC 9113, sections 8.2 and 8.3, calls malformed reaches nobody, and the connection goes on if it is only about a stream.
#[test]
fn malformed_requests_reach_nobody() {
    let one = Backend::named("one");
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&one], "")));
    for block in [
        get_with(&[("connection", "close")]),
        get_with(&[("transfer-encoding", "chunked")]),
        get_with(&[("keep-alive", "5")]),
        get_with(&[("upgrade", "websocket")]),
        get_with(&[("proxy-connection", "close")]),
        get_with(&[("te", "gzip")]),
        get_with(&[("X-Upper", "1")]),
        get_with(&[("x y", "1")]),
        get_with(&[("x", "a\r\nb: c")]),
        get_with(&[("x", "a\nb")]),
        get_with(&[("x", "a\0b")]),
        get_with(&[("x:y", "1")]),
        get_with(&[("", "1")]),
        get_with(&[(":path", "/other")]),
        get_with(&[(":status", "200")]),
        get_with(&[(":made-up", "1")]),
        get_with(&[("host", "b")]),
        get_with(&[("host", "a"), ("host", "a")]),
        get_with(&[("content-length", "5")]),
        get_with(&[("content-length", "0"), ("content-length", "1")]),
        get_with(&[("content-length", "+0")]),
        fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), ("x", "1"), (":path", "/")]),
        fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
        fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")]),
        fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "x")]),
        fields(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/ HTTP/1.1\r\nx: y"),
        ]),
        fields(&[
            (":method", "GET / HTTP/1.1\r\nx: y"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ]),
        fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "u@a"), (":path", "/")]),
        fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a b"), (":path", "/")]),
        fields(&[(":method", "GET"), (":authority", "a"), (":path", "/")]),
        fields(&[(":scheme", "http"), (":authority", "a"), (":path", "/")]),
        fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]),
        fields(&[(":method", "CONNECT"), (":authority", "a:80")]),
        fields(&[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ]),
    ] {
        let mut client = Framed::new(address);
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        let said = client.said(1);
        let is_fine =
            said.as_ref().is_some_and(|(kind, _, _, block)| *kind == HEADERS && block.first() == Some(&0x88));
        assert!(!is_fine, "{}", block.escape_ascii());
        let seen = one.seen();
        assert!(seen.is_empty(), "{}: {seen:?}", block.escape_ascii());
    }
    let mut client = Framed::new(address);
    client.send(&frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &get_with(&[("te", "trailers"), ("host", "a")]),
    ));
    assert!(matches!(client.said(1), Some((HEADERS, _, 1, _))));
    assert_eq!(one.seen().len(), 1);
}

/// A body of another length than was said is none: the endpoint gets no whole request.
#[test]
fn a_body_of_another_length_reaches_nobody_whole() {
    let one = Backend::named("one");
    let (proxy, address) = start(&(route("") + &cluster("all", &[&one], "")));
    for (length, body) in [("5", &b"abc"[..]), ("3", b"abcdef"), ("0", b"abc")] {
        let post = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
            ("content-length", length),
        ];
        let mut client = Framed::new(address);
        client.send(&frame(HEADERS, END_HEADERS, 1, &fields(&post)));
        client.send(&frame(DATA, END_STREAM, 1, body));
        let said = client.said(1);
        let is_fine =
            said.as_ref().is_some_and(|(kind, _, _, block)| *kind == HEADERS && block.first() == Some(&0x88));
        assert!(!is_fine, "{length}: {said:?}");
        until("nothing is in flight", || {
            proxy.running().cluster("all").unwrap().report().endpoints[0].in_flight == 0
        });
    }
    let seen = one.seen();
    assert!(seen.is_empty(), "{seen:?}");
    assert!(proxy.running().cluster("all").unwrap().report().endpoints[0].usable);
}

/// An answer without a body is one frame: clients of gRPC take a status for one only in the frame that ends the stream.
#[test]
fn an_answer_without_a_body_is_one_frame() {
    let none = Backend::new(|stream, _| {
        answer(stream, 200, &[("content-type", "application/grpc"), ("grpc-status", "7")], b"")
    });
    let text = route("match = { paths = [{ prefix = \"/\" }] }") + &cluster("all", &[&none], "");
    let (_proxy, address) = start(&text);
    let mut client = Framed::new(address);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_with(&[])));
    let (kind, flags, ..) = client.said(1).unwrap();
    assert_eq!((kind, flags & END_STREAM), (HEADERS, END_STREAM));
    // Our own refusal of a call, too.
    let nobody = cluster("all", &[&none], "").replace("address", "weight = 0, address");
    let (_proxy, address) = start(&(route("") + &nobody));
    let mut client = Framed::new(address);
    client.send(&frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &get_with(&[("content-type", "application/grpc")]),
    ));
    let (kind, flags, ..) = client.said(1).unwrap();
    assert_eq!((kind, flags & END_STREAM), (HEADERS, END_STREAM));
}

/// Requests that are taken back at once, thousands of them (CVE-2023-44487): the client is sent away, others are served, and nothing
/// stays.
#[test]
fn requests_that_are_taken_back_harm_nobody() {
    let one = Backend::new(|stream, _| {
        std::thread::sleep(Duration::from_millis(5));
        answer(stream, 200, &[], b"one")
    });
    let (proxy, address) = start(&(route("") + &cluster("all", &[&one], "")));
    let mut client = Framed::new(address);
    let (begun, mut sent) = (Instant::now(), 0_u32);
    let block = get_with(&[]);
    while sent < 20_000 {
        let stream = 2 * sent + 1;
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        if !client.send(&both) {
            break;
        }
        sent += 1;
    }
    let ended = loop {
        match client.next() {
            Some((GOAWAY, ..)) | None => break true,
            Some(_) if begun.elapsed() > Duration::from_secs(60) => break false,
            Some(_) => {}
        }
    };
    assert!(ended, "it may go on for ever: {sent}");
    assert_eq!(get(address, "/").status, 200);
    until("nothing is in flight", || {
        proxy.running().cluster("all").unwrap().report().endpoints[0].in_flight == 0
    });
    let opened = one.connections.load(Ordering::Relaxed);
    assert!(opened < 2_000, "{opened} connections for one client");
}

/// Frames that cost the sender nothing are bounded: the connection ends, and others are served.
#[test]
fn floods_of_frames_harm_nobody() {
    let one = Backend::named("one");
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&one], "")));
    // A head that never ends (CVE-2024-27316).
    let mut client = Framed::new(address);
    client.send(&frame(HEADERS, END_STREAM, 1, &get_with(&[])));
    let part =
        frame(CONTINUATION, 0, 1, &fields(&[("x", "0123456789012345678901234567890123456789")]).repeat(100));
    let mut sent = 0;
    while sent < 50_000 && client.send(&part) {
        sent += 1;
    }
    assert!(sent < 50_000, "a head of any length is taken");
    // Questions whose answers nobody reads.
    let mut client = Framed::new(address);
    let ping = frame(PING, 0, 0, &[1; 8]).repeat(1_000);
    client.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut sent = 0;
    while sent < 5_000 && client.send(&ping) {
        sent += 1;
    }
    assert!(sent < 5_000, "answers are kept without end");
    let mut other = Client::new(address);
    for _ in 0..5 {
        assert_eq!(other.get("/").status, 200);
    }
    assert!(one.seen().iter().all(|seen| seen.values("x").is_empty()));
}

/// A head of HTTP/2 of which only a part comes is waited for as long as a client may do nothing.
#[test]
fn half_a_head_is_not_waited_for_for_ever() {
    let one = Backend::named("one");
    let listener = "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntimeouts = { idle = \"300ms\", header = \"300ms\" }\n";
    let (_proxy, address) = start(&(listener.to_owned() + &route("") + &cluster("all", &[&one], "")));
    let mut client = Framed::new(address);
    client.send(&frame(HEADERS, END_STREAM, 1, &get_with(&[])));
    while client.next().is_some() {}
    // Nor is half a preface.
    let mut client = Client::new(address);
    client.send("PRI * HTTP/2.0\r\n\r\nSM");
    assert!(client.is_closed());
    assert!(one.seen().is_empty());
}
