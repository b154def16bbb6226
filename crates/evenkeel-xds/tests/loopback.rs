//! The adapter against servers on the loopback that are encrypted, want credentials, or misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test with real sockets, that stops where it fails"
)]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use evenkeel_registry::{MirrorConfig, Registry, TroubleKind};
use evenkeel_types::Timestamp;
use evenkeel_xds::{Backoff, Follow, Frames, Secret, TlsConfig, Variant, Xds, XdsConfig, XdsHandle};
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use support::plane::{Plane, Stream};
use support::{encoded, simple};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

/// How a server treats a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As it should.
    Serve,
    /// Ends the connection: too many pings.
    Calm,
    /// An answer of HTTP with this status.
    Http(u16),
    /// An answer that ends with this status of gRPC.
    Grpc(&'static str),
    /// A message that is none.
    Garbage,
    /// The head of a message that is larger than it may be.
    Huge,
    /// A message that says to be compressed.
    Compressed,
    /// HTML.
    Page,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<HeaderMap>>>);

fn server(manner: Manner, tls: Option<ServerConfig>) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let calls = seen.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
            while let Ok((tcp, _)) = listener.accept().await {
                let (calls, acceptor) = (calls.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => connection(tcp, manner, calls).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(tcp).await else { return };
                            connection(stream, manner, calls).await;
                        }
                    }
                });
            }
        });
    });
    (address, seen)
}

async fn connection<T: AsyncRead + AsyncWrite + Unpin>(io: T, manner: Manner, seen: Seen) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        seen.0.lock().unwrap().push(request.headers().clone());
        if manner == Manner::Calm {
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            continue;
        }
        tokio::spawn(call(request.into_body(), respond, manner));
    }
}

async fn call(mut body: h2::RecvStream, mut respond: SendResponse<Bytes>, manner: Manner) {
    let (status, content) = match manner {
        Manner::Http(status) => (status, "text/plain"),
        Manner::Page => (200, "text/html"),
        _ => (200, "application/grpc"),
    };
    let head = Response::builder().status(status).header("content-type", content).body(()).unwrap();
    let mut send = respond.send_response(head, false).unwrap();
    let message: &[u8] = match manner {
        Manner::Garbage => &[0, 0, 0, 0, 2, 0xff, 0xff],
        Manner::Huge => &[0, 0xff, 0xff, 0xff, 0xff],
        Manner::Compressed => &[1, 0, 0, 0, 0],
        Manner::Grpc(status) => {
            let trailers = [(http::HeaderName::from_static("grpc-status"), status.parse().unwrap())];
            send.send_trailers(trailers.into_iter().collect()).unwrap();
            return;
        }
        _ => &[],
    };
    send.send_data(Bytes::from_static(message), false).unwrap();
    let mut plane = Plane::default();
    plane.endpoints.set("1", &[("users".to_owned(), encoded(&simple("users", &[1, 2])))].into());
    let (mut stream, mut frames) = (Stream::new(false), Frames::new(1 << 20));
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        frames.push(&data);
        while let Some(request) = frames.next_message().unwrap() {
            for response in stream.request(&plane, &request).1 {
                send.send_data(Frames::framed(&response), false).unwrap();
            }
        }
    }
}

struct Under {
    registry: Registry,
    xds: XdsHandle,
}

impl Under {
    fn start(url: String, change: impl FnOnce(&mut XdsConfig)) -> Self {
        let registry = Registry::default();
        let origin = Instant::now();
        let clock = move || Timestamp::ORIGIN.saturating_add(origin.elapsed());
        let service = "users".parse().unwrap();
        let feed = registry.feed(&service, &"xds".parse().unwrap(), MirrorConfig::default(), clock).unwrap();
        let mut config = XdsConfig::new([url], "node");
        config.backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_millis(100) };
        change(&mut config);
        let xds = Xds::start(config).unwrap();
        xds.follow(Follow::Endpoints("users".to_owned()), feed).unwrap();
        Self { registry, xds }
    }

    fn trouble(&self) -> Option<(TroubleKind, String)> {
        let sources = self.registry.sources(&"users".parse().unwrap());
        sources[0].error.as_ref().map(|error| (error.kind, error.text.to_string()))
    }

    fn until(&self, what: &str, seen: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !seen(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}: {:?}", self.trouble());
            sleep(Duration::from_millis(2));
        }
    }

    fn is_served(&self) -> bool {
        self.registry.snapshot(&"users".parse().unwrap()).endpoints().len() == 2
    }
}

#[test]
fn what_servers_answer_is_told_in_our_words() {
    for (manner, kind, part) in [
        (Manner::Calm, TroubleKind::Overloaded, ""),
        (Manner::Http(401), TroubleKind::Denied, "HTTP status 401"),
        (Manner::Http(503), TroubleKind::Server, "HTTP status 503"),
        (Manner::Http(404), TroubleKind::Malformed, "HTTP status 404"),
        (Manner::Grpc("16"), TroubleKind::Denied, "gRPC status 16"),
        (Manner::Grpc("12"), TroubleKind::Server, "try the other"),
        (Manner::Grpc("14"), TroubleKind::Closed, "gRPC status 14"),
        (Manner::Garbage, TroubleKind::Malformed, "cannot be read"),
        (Manner::Huge, TroubleKind::TooLarge, "at most"),
        (Manner::Compressed, TroubleKind::Malformed, "compressed"),
        (Manner::Page, TroubleKind::Malformed, "not application/grpc"),
    ] {
        let (address, _) = server(manner, None);
        let under = Under::start(format!("http://{address}"), |_| {});
        let told =
            |under: &Under| under.trouble().is_some_and(|(is, text)| is == kind && text.contains(part));
        under.until(&format!("{manner:?}"), told);
        let start = Instant::now();
        under.xds.stop();
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn headers_and_tokens_are_sent_and_tokens_read_anew() {
    let dir = std::env::temp_dir().join(format!("evenkeel-xds-token-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let token = dir.join("token");
    fs::write(&token, "first\n").unwrap();
    let (address, seen) = server(Manner::Grpc("14"), None);
    let under = Under::start(format!("http://{address}"), |config| {
        config.connection.headers.insert("x-tenant".to_owned(), Secret::new("shop"));
        config.connection.token_file = Some(token.clone());
        config.variant = Variant::Delta;
    });
    let last = |name: &str| {
        let seen = seen.0.lock().unwrap();
        seen.last().and_then(|headers| Some(headers.get(name)?.to_str().unwrap().to_owned()))
    };
    under.until("a call", |_| last("authorization").as_deref() == Some("Bearer first"));
    assert_eq!((last("x-tenant").as_deref(), last("te").as_deref()), (Some("shop"), Some("trailers")));
    fs::write(&token, "second").unwrap();
    under.until("another token", |_| last("authorization").as_deref() == Some("Bearer second"));
    fs::remove_dir_all(&dir).unwrap();
    let denied =
        |under: &Under| under.trouble().is_some_and(|(_, text)| text.contains("connection.token_file"));
    under.until("no token", denied);
}

#[test]
fn encrypted_with_certificates_on_both_sides() {
    let dir = std::env::temp_dir().join(format!("evenkeel-xds-tls-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let der: CertificateDer<'static> = made.cert.der().clone();
        (cert, key, der, PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap())
    };
    let (ca_file, _, server_cert, server_key) = pair("plane.example");
    let (client_cert, client_key, client_der, _) = pair("client.example");
    let provider = Arc::new(crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(client_der).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server_cert], server_key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let (address, _) = server(Manner::Serve, Some(tls));
    let good = TlsConfig { ca_file: Some(ca_file), cert_file: Some(client_cert), key_file: Some(client_key) };
    let start = |tls: TlsConfig, name: Option<&str>| {
        let name = name.map(str::to_owned);
        Under::start(format!("https://{address}"), |config| {
            config.connection.tls = tls;
            config.connection.server_name = name;
        })
    };
    start(good.clone(), Some("plane.example")).until("served", Under::is_served);
    let refused = |under: &Under| under.trouble().is_some();
    start(good.clone(), None).until("another name", refused);
    let nobody = TlsConfig { cert_file: None, key_file: None, ..good };
    start(nobody, Some("plane.example")).until("no certificate", refused);
    start(TlsConfig::default(), Some("plane.example")).until("an unknown authority", |under| {
        under.trouble().is_some_and(|(kind, _)| kind == TroubleKind::Denied)
    });
    fs::remove_dir_all(&dir).unwrap();
}
