//! TLS that ends elsewhere.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use evenkeel_examples::l4::Proxy;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::backend::Backend;
use crate::client::{front, is_over, metric, start};

/// A server with a certificate for `name`, which says that name; and who trusts it.
fn server(name: &'static str) -> (Backend, RootCertStore) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let backend = Backend::start(move |socket| {
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
        let mut said = [0; 4];
        if tls.read_exact(&mut said).is_ok() {
            let _ = tls.write_all(name.as_bytes());
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    (backend, roots)
}

fn client(name: &str, roots: &RootCertStore, alpn: &[&str]) -> ClientConnection {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap()
}

fn proxy(one: &Backend, two: &Backend, special: &Backend) -> Proxy {
    let text = format!(
        "admin = {{ address = \"127.0.0.1:0\" }}\n\
         [[listeners]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tls_passthrough\"\n\
         timeouts = {{ handshake = \"500ms\" }}\nlimits = {{ header_bytes = 2048 }}\n\
         [[stream.routes]]\nname = \"special\"\nmatch = {{ alpn = [\"special\"] }}\naction = {{ cluster = \"special\" }}\n\
         [[stream.routes]]\nname = \"one\"\nmatch = {{ sni = [\"one.example\"] }}\naction = {{ cluster = \"one\" }}\n\
         [[stream.routes]]\nname = \"two\"\nmatch = {{ sni = [\"*.two.example\"] }}\naction = {{ cluster = \"two\" }}\n\
         [[clusters]]\nname = \"one\"\nendpoints = [{{ id = \"1\", address = \"{}\" }}]\n\
         [[clusters]]\nname = \"two\"\nendpoints = [{{ id = \"2\", address = \"{}\" }}]\n\
         [[clusters]]\nname = \"special\"\nendpoints = [{{ id = \"s\", address = \"{}\" }}]\n\
         [program]\nworkers = 1\n",
        one.address, two.address, special.address
    );
    start(&text).unwrap()
}

/// Speaks TLS from end to end, with the handshake written in pieces of `piece` bytes.
fn speak(mut socket: TcpStream, mut tls: ClientConnection, piece: usize) -> String {
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    socket.set_nodelay(true).unwrap();
    for part in hello.chunks(piece) {
        socket.write_all(part).unwrap();
        if piece < hello.len() {
            thread::sleep(Duration::from_micros(200));
        }
    }
    let mut tls = StreamOwned::new(tls, socket);
    tls.write_all(b"name").unwrap();
    let mut said = String::new();
    tls.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn the_server_name_decides_and_nothing_is_decrypted() {
    let ((one, of_one), (two, of_two), special) =
        (server("one.example"), server("a.two.example"), Backend::echo("s"));
    let proxy = proxy(&one, &two, &special);
    for piece in [10_000, 100, 1] {
        assert_eq!(speak(front(&proxy), client("one.example", &of_one, &[]), piece), "one.example");
        assert_eq!(speak(front(&proxy), client("a.two.example", &of_two, &["h2"]), piece), "a.two.example");
    }
    assert_eq!(special.accepted(), 0);
}

#[test]
fn a_handshake_in_many_records_arrives_as_it_was_sent() {
    let ((one, of_one), (two, _), special) =
        (server("one.example"), server("a.two.example"), server("special.example").0);
    let proxy = proxy(&one, &two, &special);
    // The endpoint's TLS puts the records together too, so the bytes must be what the client sent.
    let mut tls = client("one.example", &of_one, &[]);
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let mut socket = front(&proxy);
    for part in hello[5..].chunks(60) {
        let mut record = hello[..3].to_vec();
        record.extend((part.len() as u16).to_be_bytes());
        record.extend(part);
        socket.write_all(&record).unwrap();
    }
    let mut tls = StreamOwned::new(tls, socket);
    tls.write_all(b"name").unwrap();
    let mut said = String::new();
    tls.read_to_string(&mut said).unwrap();
    assert_eq!(said, "one.example");
}

/// Names have no case (RFC 6066, section 3).
#[test]
fn a_name_has_no_case() {
    let ((one, of_one), (two, _), special) =
        (server("one.example"), server("a.two.example"), Backend::echo("s"));
    let proxy = proxy(&one, &two, &special);
    let mut hello = Vec::new();
    client("one.example", &of_one, &[]).write_tls(&mut hello).unwrap();
    let at = hello.windows(11).position(|window| window == b"one.example").unwrap();
    hello[at..at + 11].copy_from_slice(b"ONE.Example");
    let mut socket = front(&proxy);
    socket.write_all(&hello).unwrap();
    // The handshake fails later, since it is not as the client made it; the server answers it all the same.
    socket.read_exact(&mut [0; 1]).unwrap();
    assert_eq!((one.accepted(), two.accepted()), (1, 0));
}

/// The header of a balancer and the handshake behind it may come in one piece, or in as many as there are bytes; the endpoint gets both, and
/// the name.
#[test]
fn a_header_and_a_handshake_come_together() {
    let roots = RootCertStore::empty();
    let (said, says) = std::sync::mpsc::channel();
    let backend = Backend::start(move |mut socket| {
        let mut bytes = vec![0; 16 + 12 + 3 + 11];
        socket.read_exact(&mut bytes).unwrap();
        let mut record = [0; 3];
        socket.read_exact(&mut record).unwrap();
        said.send((bytes, record)).unwrap();
    });
    let text = format!(
        "[[listeners]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tls_passthrough\"\n\
         [[stream.routes]]\nname = \"one\"\nmatch = {{ sni = [\"one.example\"], sources = [\"192.0.2.0/24\"] }}\naction = {{ cluster = \"one\" }}\n\
         [[clusters]]\nname = \"one\"\nendpoints = [{{ id = \"1\", address = \"{}\" }}]\n\
         [program]\nworkers = 1\nlisteners.front.accept_proxy.from = [\"127.0.0.0/8\"]\nclusters.one.send_proxy = \"v2\"\n",
        backend.address
    );
    let proxy = start(&text).unwrap();
    let mut hello = Vec::new();
    client("one.example", &roots, &[]).write_tls(&mut hello).unwrap();
    let all = [&b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n"[..], &hello].concat();
    for piece in [all.len(), 50, 1] {
        let mut socket = front(&proxy);
        socket.set_nodelay(true).unwrap();
        for part in all.chunks(piece) {
            socket.write_all(part).unwrap();
        }
        let (header, record) = says.recv_timeout(crate::wait::LIMIT).unwrap();
        let addresses = b"\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x01\xbb";
        let wanted =
            [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1a"[..], addresses, b"\x02\0\x0bone.example"].concat();
        assert_eq!(
            (header.escape_ascii().to_string(), &record[..]),
            (wanted.escape_ascii().to_string(), &hello[..3])
        );
    }
}

#[test]
fn the_protocol_on_offer_can_decide() {
    let ((one, of_one), (two, _), special) =
        (server("one.example"), server("a.two.example"), Backend::echo("s"));
    let proxy = proxy(&one, &two, &special);
    let mut tls = client("one.example", &of_one, &["h2", "special"]);
    let mut socket = front(&proxy);
    tls.write_tls(&mut socket).unwrap();
    assert_eq!(crate::client::read(&mut socket, 1), "s");
}

#[test]
fn what_is_no_handshake_is_refused() {
    let ((one, of_one), (two, _), special) =
        (server("one.example"), server("a.two.example"), Backend::echo("s"));
    let proxy = proxy(&one, &two, &special);
    // Not TLS; the half of one, then nothing; longer than the limit; a name that no route has.
    let mut hello = Vec::new();
    client("one.example", &of_one, &[]).write_tls(&mut hello).unwrap();
    let mut long = hello[..3].to_vec();
    long.extend([0x0f, 0xff, 1, 0, 0x0f, 0xf0]);
    long.extend([0; 4_000]);
    let mut unknown = Vec::new();
    client("nobody.example", &of_one, &[]).write_tls(&mut unknown).unwrap();
    for (said, counted) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "l4_refused_hello_total"),
        (&hello[..hello.len() - 1], "l4_refused_hello_total"),
        (b"", "l4_refused_hello_total"),
        (&long, "l4_refused_hello_total"),
        (&unknown, "l4_refused_route_total"),
    ] {
        let before = metric(proxy.admin().unwrap(), counted);
        let mut socket = front(&proxy);
        let _ = socket.write_all(said);
        assert!(is_over(&mut socket), "{}", said.escape_ascii());
        assert_eq!(metric(proxy.admin().unwrap(), counted), before + 1);
    }
    assert_eq!(one.accepted() + two.accepted() + special.accepted(), 0);
}
