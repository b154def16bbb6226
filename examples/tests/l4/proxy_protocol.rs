//! PROXY headers, in and out.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use crate::backend::Backend;
use crate::client::{Setup, front, is_over, metric, read};

const TRUSTED: &str = "workers = 1\nlisteners.front.accept_proxy.from = [\"127.0.0.0/8\"]\n";

/// Sends back the first line that it gets, and what follows.
fn first_line() -> Backend {
    Backend::start(|mut socket| {
        let mut said = Vec::new();
        let mut byte = [0; 1];
        while !said.ends_with(b"\n") && socket.read_exact(&mut byte).is_ok() {
            said.extend(byte);
        }
        let _ = socket.write_all(&said);
        let _ = socket.read(&mut byte);
    })
}

#[test]
fn who_the_client_is_goes_on_to_the_endpoint() {
    let backend = first_line();
    let program = format!("{TRUSTED}clusters.backs.send_proxy = \"v1\"");
    let proxy = Setup { program, ..Setup::of([backend.address]) }.start();
    let wanted = "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n";
    for header in [
        wanted.as_bytes(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x01\xbb\x04\0\0",
    ] {
        // Byte by byte, with what follows at once.
        let mut client = front(&proxy);
        for byte in header {
            client.write_all(&[*byte]).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        client.write_all(b"hello\n").unwrap();
        assert_eq!(read(&mut client, wanted.len()), wanted);
    }
}

#[test]
fn routes_see_the_client_behind_the_balancer() {
    let (office, others) = (Backend::echo("o"), Backend::echo("x"));
    let text = format!(
        "[[listeners]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n\
         [[stream.routes]]\nname = \"office\"\nmatch = {{ sources = [\"10.0.0.0/8\"] }}\naction = {{ cluster = \"office\" }}\n\
         [[stream.routes]]\nname = \"others\"\naction = {{ cluster = \"others\" }}\n\
         [[clusters]]\nname = \"office\"\nendpoints = [{{ id = \"o\", address = \"{}\" }}]\n\
         [[clusters]]\nname = \"others\"\nendpoints = [{{ id = \"x\", address = \"{}\" }}]\n\
         [program]\n{TRUSTED}",
        office.address, others.address
    );
    let proxy = crate::client::start(&text).unwrap();
    for (header, wanted) in [
        ("PROXY TCP4 10.1.2.3 198.51.100.1 40000 443\r\n", "o"),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", "x"),
        // The balancer speaks for itself.
        ("PROXY UNKNOWN\r\n", "x"),
    ] {
        let mut client = front(&proxy);
        client.write_all(header.as_bytes()).unwrap();
        assert_eq!(read(&mut client, 1), wanted, "{header}");
    }
}

#[test]
fn our_own_word_is_sent_in_both_versions() {
    for version in ["v1", "v2"] {
        let (said, says) = std::sync::mpsc::channel();
        let length = if version == "v1" { None } else { Some(28) };
        let backend = Backend::start(move |mut socket| {
            let mut bytes = vec![0; length.unwrap_or(107)];
            match length {
                Some(_) => socket.read_exact(&mut bytes).unwrap(),
                None => {
                    let count = socket.read(&mut bytes).unwrap();
                    bytes.truncate(count);
                }
            }
            said.send(bytes).unwrap();
        });
        let program = format!("workers = 1\nclusters.backs.send_proxy = \"{version}\"");
        let proxy = Setup { program, ..Setup::of([backend.address]) }.start();
        let client = front(&proxy);
        let (from, to) = (client.local_addr().unwrap().port(), proxy.address("front").unwrap().port());
        let wanted = match version {
            "v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n").into_bytes(),
            _ => [
                &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01"[..],
                &from.to_be_bytes(),
                &to.to_be_bytes(),
            ]
            .concat(),
        };
        assert_eq!(says.recv_timeout(crate::wait::LIMIT).unwrap(), wanted, "{version}");
    }
}

/// What a balancer says for itself, over a Unix socket or of families that nobody knows names no client: the connection is its own.
#[test]
fn a_header_without_a_client_is_of_the_balancer() {
    let backend = first_line();
    let program = format!("{TRUSTED}clusters.backs.send_proxy = \"v1\"");
    let proxy = Setup { program, ..Setup::of([backend.address]) }.start();
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let unix = [&b"\x21\x31\0\xd8"[..], &[b'x'; 216]].concat();
    for (name, header) in [
        ("v1 unknown", b"PROXY UNKNOWN\r\n".to_vec()),
        ("v1 unknown with words", b"PROXY UNKNOWN ::1 ::1 1 2\r\n".to_vec()),
        ("v2 local", [V2, b"\x20\x00\0\0"].concat()),
        (
            "v2 local with addresses",
            [V2, b"\x20\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x01\xbb"].concat(),
        ),
        ("v2 local with notes", [V2, b"\x20\x00\0\x04\x04\0\x01x"].concat()),
        ("v2 unspec", [V2, b"\x21\x00\0\0"].concat()),
        ("v2 unspec with more", [V2, b"\x21\x00\0\x03abc"].concat()),
        ("v2 unix", [V2, &unix].concat()),
    ] {
        for piece in [header.len(), 1] {
            let mut client = front(&proxy);
            client.set_nodelay(true).unwrap();
            for part in header.chunks(piece) {
                client.write_all(part).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
            client.write_all(b"hello\n").unwrap();
            let own = client.local_addr().unwrap().port();
            let to = proxy.address("front").unwrap().port();
            let wanted = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {to}\r\n");
            assert_eq!(read(&mut client, wanted.len()), wanted, "{name} in pieces of {piece}");
        }
    }
}

/// A client that ends in the middle of its header, or sends one that lies about its length, is refused and nobody hears of it.
#[test]
fn a_header_that_breaks_off_is_refused() {
    let backend = Backend::echo("a");
    let listener = "timeouts = { handshake = \"300ms\" }\nlimits = { header_bytes = 2048 }".to_owned();
    let proxy = Setup { listener, program: TRUSTED.to_owned(), ..Setup::of([backend.address]) }.start();
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let said: [(&str, Vec<u8>); 9] = [
        ("half a line", b"PROXY TCP4 1.2.3.4 5.6".to_vec()),
        ("a line without its end", b"PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r".to_vec()),
        ("half a mark", V2[..7].to_vec()),
        ("a mark alone", V2.to_vec()),
        ("addresses missing", [V2, b"\x21\x11\0\x0c\x0a\0\0\x01"].concat()),
        ("notes missing", [V2, b"\x21\x11\0\x1c\x0a\0\0\x01\x0a\0\0\x02\xc3\x50\x01\xbb"].concat()),
        ("longer than the limit", [V2, b"\x21\x11\x0f\xff\x0a\0\0\x01\x0a\0\0\x02\xc3\x50\x01\xbb"].concat()),
        ("no such command", [V2, b"\x22\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\xc3\x50\x01\xbb"].concat()),
        (
            "one after the other",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 80 443\nPROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n".to_vec(),
        ),
    ];
    for (at, (name, bytes)) in said.iter().enumerate() {
        let mut client = front(&proxy);
        let _ = client.write_all(bytes);
        let _ = client.shutdown(std::net::Shutdown::Write);
        assert!(is_over(&mut client), "{name}");
        assert_eq!(metric(proxy.admin().unwrap(), "l4_refused_header_total"), at as u64 + 1, "{name}");
    }
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn whoever_is_not_trusted_is_refused() {
    let backend = Backend::echo("a");
    let program = "workers = 1\nlisteners.front.accept_proxy.from = [\"10.0.0.0/8\"]".to_owned();
    let proxy = Setup { program, ..Setup::of([backend.address]) }.start();
    let mut client = front(&proxy);
    let _ = client.write_all(b"PROXY TCP4 10.1.2.3 198.51.100.1 40000 443\r\n");
    assert!(is_over(&mut client));
    assert_eq!(metric(proxy.admin().unwrap(), "l4_refused_untrusted_total"), 1);
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn no_header_a_wrong_one_or_a_late_one_is_refused() {
    let backend = Backend::echo("a");
    let listener = "timeouts = { handshake = \"300ms\" }".to_owned();
    let proxy = Setup { listener, program: TRUSTED.to_owned(), ..Setup::of([backend.address]) }.start();
    for said in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 1.2.3.4 5.6.7.8 080 443\r\n",
        b"PROXY TCP4 1.2.3",
        b"",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        let mut client = front(&proxy);
        let _ = client.write_all(said);
        assert!(is_over(&mut client), "{}", said.escape_ascii());
    }
    assert_eq!(metric(proxy.admin().unwrap(), "l4_refused_header_total"), 5);
    assert_eq!(backend.accepted(), 0);
}
