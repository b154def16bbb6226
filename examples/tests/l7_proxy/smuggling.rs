//! What one side takes for the end of a message and the other does not. Each attempt is sent as raw bytes; what counts is what
//! reached the upstream.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use super::backend::{Backend, until};
use super::client::{Client, get, raw};
use super::{cluster, route, start};

/// The heads that reached the upstream, and the first status that the client got; 0 for none.
fn sent(bytes: &str) -> (Vec<String>, u16) {
    let backend = Backend::named("one");
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let status = raw(address, bytes).map_or(0, |answer| answer.status);
    // What comes after it on the same connection has had its time once another request has been answered.
    assert_eq!(Client::new(address).get("/last").status, 200);
    if status == 100 {
        // Its body is still on its way, and the other one may have overtaken it.
        until("both are seen", || backend.seen().len() == 2);
    }
    let mut heads: Vec<String> = backend.seen().into_iter().map(|seen| seen.head).collect();
    let last = heads.iter().position(|head| head.starts_with("GET /last ")).unwrap();
    heads.remove(last);
    (heads, status)
}

fn is_refused(bytes: &str) {
    let (heads, status) = sent(bytes);
    assert_eq!(heads, Vec::<String>::new(), "{bytes:?}");
    assert!(matches!(status, 400 | 0 | 501), "{bytes:?}: {status}");
}

#[test]
fn messages_of_two_lengths_are_refused() {
    is_refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef");
    is_refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nabcdef");
    is_refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde");
    is_refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n");
    is_refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nabcde");
    is_refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n");
}

/// hyper takes the coding and takes the length off, whichever comes first, as RFC 9112, section 6.3, allows: the upstream sees
/// one framing, which is ours, and as many requests as we saw.
#[test]
fn of_a_length_and_a_coding_only_the_coding_reaches_the_upstream() {
    for framing in [
        "Transfer-Encoding: chunked\r\nContent-Length: 40",
        "Content-Length: 40\r\nTransfer-Encoding: chunked",
        "Content-Length: 40\r\nX: y\r\nTransfer-Encoding: chunked\r\nContent-Length: 40",
    ] {
        let (heads, status) = sent(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n0\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        if status == 400 {
            assert_eq!(heads, Vec::<String>::new());
            continue;
        }
        let first = heads[0].to_ascii_lowercase();
        assert!(!first.contains("content-length") && first.contains("transfer-encoding: chunked"), "{first}");
        assert!(
            heads.len() <= 2 && heads[1..].iter().all(|head| head.starts_with("GET /second ")),
            "{heads:?}"
        );
    }
}

#[test]
fn codings_that_could_be_read_in_two_ways_are_refused() {
    for coding in [
        "gzip, chunked",
        "chunked, identity",
        "identity",
        "xchunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: x",
        "\u{b}chunked",
    ] {
        is_refused(&format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"));
    }
    is_refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    is_refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n");
}

#[test]
fn lines_that_some_read_otherwise_are_refused() {
    is_refused("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n");
    is_refused("GET / HTTP/1.1\r\nHost: a\r\nX\0: 1\r\n\r\n");
    is_refused("GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n");
    is_refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n");
    is_refused("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n");
    is_refused("GET  / HTTP/1.1\r\nHost: a\r\n\r\n");
    is_refused("GET / HTTP/1.7\r\nHost: a\r\n\r\n");
}

#[test]
fn a_request_has_one_host() {
    is_refused("GET / HTTP/1.1\r\n\r\n");
    is_refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    is_refused("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n");
    is_refused("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n");
    is_refused("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n");
    is_refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    is_refused("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    let (heads, status) = sent("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status, 200);
    assert!(heads[0].starts_with("GET /x HTTP/1.1\r\n"), "{heads:?}");
}

#[test]
fn chunks_that_overflow_or_end_oddly_reach_nobody_whole() {
    for body in [
        "ffffffffffffffffff\r\nabc",
        "5\nabcde\r\n0\r\n\r\n",
        "-5\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcdeX0\r\n\r\n",
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let (heads, status) = sent(&bytes);
        assert_eq!((heads.len(), status / 100 == 2), (0, false), "{body:?}: {heads:?} {status}");
    }
}

/// The upstream gets one message with one framing, and nothing that was meant for us.
#[test]
fn what_is_meant_for_one_hop_ends_here() {
    let (heads, status) = sent(
        "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close, X-Private, Content-Length\r\nX-Private: 1\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: secret\r\nTE: trailers, gzip\r\nUpgrade: h2c\r\n\
         X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil\r\nExpect: 100-continue\r\n\
         Content-Length: 3\r\n\r\nabc",
    );
    assert!(matches!(status, 100 | 200), "{status}");
    let head = heads[0].to_ascii_lowercase();
    for gone in [
        "\r\nforwarded:",
        "x-private",
        "keep-alive",
        "proxy-",
        "gzip",
        "upgrade",
        "6.6.6.6",
        "evil",
        "expect",
        "close",
    ] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    for there in [
        "host: a\r\n",
        "content-length: 3\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        // Of our own connection: we take fields after the body too.
        "\r\nte: trailers\r\n",
        "\r\nconnection: te\r\n",
    ] {
        assert!(head.contains(there), "{there} not in {head}");
    }
}

/// An upstream that sends too much poisons nobody: its connection is not used again.
#[test]
fn what_an_upstream_sends_too_much_is_nobodys_answer() {
    let turns = Arc::new(Mutex::new(0));
    let backend = Backend::new(move |stream, _| {
        *turns.lock() += 1;
        let text = format!("turn {}", *turns.lock());
        let length = text.len();
        let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
        // At once: what comes after the next request has been sent looks like its answer, to everybody.
        let all = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}{poison}");
        stream.write_all(all.as_bytes())?;
        Ok(true)
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    for turn in 1..=20 {
        let answer = client.get("/");
        assert_eq!(answer.text(), format!("turn {turn}"));
    }
}

/// A path that says one thing to the rules and another one to the upstream is sent as the rules saw it.
#[test]
fn the_upstream_sees_the_path_that_was_matched() {
    let (heads, status) = sent("GET /a/../b/./c?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status, 200);
    assert!(heads[0].starts_with("GET /b/c?x=1 HTTP/1.1\r\n"), "{heads:?}");
}

/// What the rules decoded is escaped again: it must not become a query, an end or nonsense on its way.
#[test]
fn a_decoded_path_goes_out_as_it_was_understood() {
    let one = Backend::named("one");
    let config = route("") + "[http.path]\npercent = \"all\"\n" + &cluster("all", &[&one], "");
    let (_proxy, address) = start(&config);
    for (asked, sent) in [
        ("/admin%3Fx", "/admin%3Fx"),
        ("/a%23b?q=%20", "/a%23b?q=%20"),
        ("/%41%20b%2Fc", "/A%20b%2Fc"),
        ("/%2541", "/%2541"),
    ] {
        assert_eq!(get(address, asked).status, 200, "{asked}");
        assert_eq!(one.seen().last().unwrap().line(), format!("GET {sent} HTTP/1.1"));
    }
}

/// A body without a length stays one, whatever the method: its bytes are no request.
#[test]
fn a_body_in_chunks_stays_one() {
    for method in ["GET", "DELETE", "POST"] {
        let one = Backend::named("one");
        let (_proxy, address) = start(&(route("") + &cluster("all", &[&one], "")));
        let mut client = Client::new(address);
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ));
        assert_eq!(client.answer().status, 200);
        let seen = one.seen();
        assert_eq!(
            (seen[0].values("transfer-encoding"), &seen[0].body[..]),
            (vec!["chunked"], &b"abc"[..]),
            "{method}"
        );
        assert_eq!(client.get("/next").status, 200);
    }
}

/// The client hears one length only.
#[test]
fn an_answer_with_two_lengths_has_one() {
    let both = Backend::new(|stream, _| {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )?;
        Ok(false)
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&both], "")));
    let mut client = Client::new(address);
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.field("content-length")),
            (200, "abc", None)
        );
    }
}
