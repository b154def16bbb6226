//! The client against servers that misbehave, on the loopback.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "servers of a test have threads of their own, and it stops where it fails"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use evenkeel_adapter::{BaseUrl, Call, Client, ClientSettings, Method, TlsConfig};
use evenkeel_registry::TroubleKind;

/// A server that treats each connection so, after it has read a request.
fn server(treat: fn(TcpStream)) -> BaseUrl {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            std::thread::spawn(move || treat(stream));
        }
    });
    base
}

fn client(timeout: Duration) -> Client {
    let settings = ClientSettings {
        connect_timeout: Duration::from_secs(2),
        request_timeout: timeout,
        max_answer_bytes: 1000,
        tls: &TlsConfig::default(),
    };
    Client::new(&settings).unwrap()
}

fn get() -> Call {
    Call { method: Method::Get, path: "/x".to_owned(), body: String::new() }
}

fn kind(treat: fn(TcpStream)) -> TroubleKind {
    let base = server(treat);
    let error = client(Duration::from_millis(700)).call(&base, &get(), &[], Duration::ZERO).unwrap_err();
    assert!(error.text.contains(base.as_str()), "{error}: names the store");
    error.kind
}

#[test]
fn what_goes_wrong_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed: BaseUrl = format!("http://{closed}").parse().unwrap();
    let error = client(Duration::from_secs(2)).call(&closed, &get(), &[], Duration::ZERO).unwrap_err();
    assert_eq!(error.kind, TroubleKind::Unreachable);
    assert_eq!(kind(drop), TroubleKind::Closed);
    assert_eq!(kind(std::mem::forget), TroubleKind::Timeout);
    let nonsense = |mut stream: TcpStream| _ = stream.write_all(b"\0\0nonsense\r\n\r\n");
    assert_eq!(kind(nonsense), TroubleKind::Malformed);
    let endless = |mut stream: TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while stream.write_all(b"64\r\n").and_then(|()| stream.write_all(&[b'x'; 102])).is_ok() {}
    };
    assert!(matches!(kind(endless), TroubleKind::TooLarge | TroubleKind::Closed | TroubleKind::Malformed));
    let long = |mut stream: TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n");
        let _ = stream.write_all(&[b'x'; 5000]);
    };
    assert_eq!(kind(long), TroubleKind::TooLarge);
    let cut = |mut stream: TcpStream| {
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nabc");
    };
    assert_eq!(kind(cut), TroubleKind::Closed);
}

#[test]
fn statuses_are_answers_and_redirects_are_not_followed() {
    let denied = |mut stream: TcpStream| {
        _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nx-a: b\r\n\r\nno");
    };
    let answer = client(Duration::from_secs(2)).call(&server(denied), &get(), &[], Duration::ZERO).unwrap();
    assert_eq!((answer.status, answer.header("X-A"), answer.body.as_slice()), (403, Some("b"), &b"no"[..]));
    assert_eq!(answer.trouble().kind, TroubleKind::Denied);
    let elsewhere = |mut stream: TcpStream| {
        let head = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        _ = stream.write_all(head);
    };
    let answer =
        client(Duration::from_secs(2)).call(&server(elsewhere), &get(), &[], Duration::ZERO).unwrap();
    assert_eq!(answer.status, 302);
}

#[test]
fn a_silent_stream_can_be_read_on() {
    let slow = |mut stream: TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n");
        std::thread::sleep(Duration::from_millis(700));
        let _ = stream.write_all(b"8\r\ntwo\nthre\r\n2\r\ne\n\r\n");
        std::thread::sleep(Duration::from_secs(60));
    };
    let mut lines =
        client(Duration::from_secs(2)).open(&server(slow), &get(), &[], Duration::from_millis(200)).unwrap();
    let (mut seen, mut silences) = (Vec::new(), 0);
    while seen.len() < 3 {
        match lines.read().unwrap() {
            Some(line) => seen.push(line.to_vec()),
            None => silences += 1,
        }
    }
    assert_eq!(seen, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    assert!(silences > 0, "the pause was longer than the silence allowed");
}

#[test]
fn timeouts_without_end_are_survived() {
    let good = |mut stream: TcpStream| _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let settings = ClientSettings {
        connect_timeout: Duration::MAX,
        request_timeout: Duration::MAX,
        max_answer_bytes: usize::MAX,
        tls: &TlsConfig::default(),
    };
    let client = Client::new(&settings).unwrap();
    assert_eq!(client.call(&server(good), &get(), &[], Duration::MAX).unwrap().status, 200);
    assert!(client.open(&server(good), &get(), &[], Duration::MAX).is_ok());
}

#[test]
fn stopping_ends_what_is_waited_for() {
    let base = server(std::mem::forget);
    let client = client(Duration::from_secs(600));
    let (asked, theirs) = (client.clone(), base.clone());
    let waiting = std::thread::spawn(move || asked.call(&theirs, &get(), &[], Duration::ZERO));
    std::thread::sleep(Duration::from_millis(200));
    client.stop();
    assert_eq!(waiting.join().unwrap().unwrap_err().kind, TroubleKind::Closed);
    assert_eq!(client.call(&base, &get(), &[], Duration::ZERO).unwrap_err().kind, TroubleKind::Closed);
}
