//! Fields after a body: what passes, and what must not be smuggled in that way.

use std::io::Write;

use super::backend::Backend;
use super::client::Client;
use super::{cluster, route, start};

/// Over HTTP/1.1 on both sides, in both directions, where the sender has said that they come and the receiver that it takes them.
#[test]
fn fields_after_a_body_pass_both_ways() {
    let backend = Backend::new(|stream, seen| {
        let sum = seen.values("x-sum").concat();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\nX-Te: {}\r\n\r\n2\r\nok\r\n0\r\nX-Back: {sum}\r\n\r\n",
            seen.values("te").concat()
        )?;
        Ok(true)
    });
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let mut client = Client::new(address);
    for turn in 0..3 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Sum: {turn}\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!((answer.text().as_str(), answer.field("x-te")), ("ok", Some("trailers")));
        assert_eq!(answer.field("x-back"), Some(turn.to_string().as_str()));
    }
    // Whoever has not said so gets none, and the endpoint is not told otherwise.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.text().as_str(), answer.field("x-te"), answer.field("x-back")),
        ("ok", Some(""), None)
    );
}

/// Servers that put them among the others would believe them: nothing that frames a message, says where it comes from or belongs
/// to one connection passes after a body (RFC 9110, section 6.5.1).
#[test]
fn what_belongs_in_a_head_does_not_pass_after_a_body() {
    let forbidden = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "Via",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Authorization",
        "Cookie",
        "Proxy-Authorization",
        "Expect",
        "Proxy-Connection",
    ];
    let backend = Backend::named("one");
    let (_proxy, address) = start(&(route("") + &cluster("all", &[&backend], "")));
    let fields: String = forbidden.iter().map(|name| format!("{name}: 6.6.6.6\r\n")).collect();
    let mut client = Client::new(address);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Fine, {}\r\n\r\n3\r\nabc\r\n0\r\nX-Fine: 1\r\n{fields}\r\n",
        forbidden.join(", ")
    ));
    assert_eq!(client.answer().status, 200);
    let seen = &backend.seen()[0];
    assert_eq!((seen.values("x-fine"), &seen.body[..]), (vec!["1"], &b"abc"[..]));
    assert!(!seen.head.contains("6.6.6.6"), "{}", seen.head);
    assert_eq!(client.get("/next").status, 200);
}
