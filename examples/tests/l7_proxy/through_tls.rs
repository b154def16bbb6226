//! Certificates, on both sides.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use evenkeel_examples::l7::Proxy;

use super::backend::{Backend, until};
use super::client::{Client, get};
use super::{cluster, cluster_at, route, start};

/// An authority, and a folder with what it signs.
struct Authority {
    folder: PathBuf,
    own: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("evenkeel-l7-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
        let own = params.self_signed(&key).unwrap();
        std::fs::write(folder.join("ca.pem"), own.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { folder, own, issuer }
    }

    /// A certificate for `name`, as files.
    fn sign(&self, file: &str, name: &str, is_expired: bool) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if is_expired {
            let long_ago = SystemTime::now() - Duration::from_secs(86_400 * 100);
            params.not_before = long_ago.into();
            params.not_after = (long_ago + Duration::from_secs(86_400)).into();
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, private) =
            (self.folder.join(format!("{file}.crt")), self.folder.join(format!("{file}.key")));
        std::fs::write(&cert, certificate.pem()).unwrap();
        std::fs::write(&private, key.serialize_pem()).unwrap();
        (cert, private)
    }

    fn ca(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A server of HTTPS that answers `encrypted` to everything.
fn server(runtime: &tokio::runtime::Runtime, files: &(PathBuf, PathBuf)) -> SocketAddr {
    let (chain, key) = read(files);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut part = [0; 4096];
                while stream.read(&mut part).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nencrypted").await;
                    let _ = stream.flush().await;
                }
            });
        }
    });
    address
}

fn read(files: &(PathBuf, PathBuf)) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_file_iter(&files.0).unwrap().map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_file(&files.1).unwrap())
}

/// The status, the body, and the cause's detail in the log.
fn through(address: SocketAddr, name: &str, ca: &str, log: &Path) -> (u16, String, String) {
    let program = format!(
        "[program]\nworkers = 1\naccess_log = {:?}\nupstream.all = {{ tls = {{ server_name = {name:?}, ca_file = {ca:?} }} }}\n",
        log.display().to_string()
    );
    let (proxy, at) = start(&(route("") + &cluster_at("all", &[address], "") + &program));
    let answer = get(at, "/");
    drop(proxy);
    let line = std::fs::read_to_string(log).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    (answer.status, answer.text().trim().to_owned(), line["detail"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn certificates_of_upstreams_are_verified() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (authority, stranger) = (Authority::new("own"), Authority::new("stranger"));
    let log = authority.folder.join("log");
    let good = server(&runtime, &authority.sign("good", "backend.test", false));
    let expired = server(&runtime, &authority.sign("expired", "backend.test", true));
    let bad = |detail: &str| (502, "upstream_bad_certificate".to_owned(), detail.to_owned());
    let through = |address, name: &str, ca: &str| through(address, name, ca, &log);
    assert_eq!(through(good, "backend.test", &authority.ca()), (200, "encrypted".to_owned(), String::new()));
    assert_eq!(through(good, "other.test", &authority.ca()), bad("for another name"));
    assert_eq!(through(expired, "backend.test", &authority.ca()), bad("expired"));
    assert_eq!(through(good, "backend.test", &stranger.ca()), bad("from an unknown issuer"));
    // One that speaks no TLS at all.
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in plain.incoming() {
            let _ = std::io::Write::write_all(&mut stream.unwrap(), b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    assert_eq!(through(at, "backend.test", &authority.ca()).1, "upstream_tls_failed");
    assert!(!authority.own.pem().is_empty());
}

#[test]
fn a_listener_ends_tls_and_speaks_what_is_asked_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let authority = Authority::new("listener");
    let (cert, key) = authority.sign("web", "web.test", false);
    let one = Backend::named("one");
    let listener = format!(
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntls = {{ cert_file = {:?}, key_file = {:?} }}\n",
        cert.display().to_string(),
        key.display().to_string()
    );
    let (_proxy, address) = start(&(listener + &route("") + &cluster("all", &[&one], "")));
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.own.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("web.test").unwrap();
            let stream = connector.connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
            let body = if protocol == b"h2" {
                let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
                let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                let request = Request::get("https://web.test/").body(Full::<Bytes>::default()).unwrap();
                sender.send_request(request).await.unwrap().into_body()
            } else {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                let request =
                    Request::get("/").header("host", "web.test").body(Full::<Bytes>::default()).unwrap();
                sender.send_request(request).await.unwrap().into_body()
            };
            assert_eq!(body.collect().await.unwrap().to_bytes(), "one");
        });
    }
    assert!(one.seen().iter().all(|seen| seen.values("x-forwarded-proto") == ["https"]));
}

/// Whether a client that trusts `authority` gets through to a listener.
fn is_trusted(runtime: &tokio::runtime::Runtime, address: SocketAddr, authority: &Authority) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.own.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        connector.connect(ServerName::try_from("web.test").unwrap(), stream).await.is_ok()
    })
}

/// A certificate that is renewed under its old name is shown without a reload, and an authority is believed; nothing else changes.
#[test]
fn renewed_certificates_are_read_again() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let (cert, key) = before.sign("web", "web.test", false);
    let (next_cert, next_key) = after.sign("web", "web.test", false);
    let ca = before.folder.join("upstream.pem");
    std::fs::copy(before.ca(), &ca).unwrap();
    let backend = server(&runtime, &after.sign("backend", "backend.test", false));
    let text = format!(
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntls = {{ cert_file = {:?}, key_file = {:?} }}\n[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.2:0\"\n",
        cert.display().to_string(),
        key.display().to_string()
    ) + &route("")
        + &cluster_at("all", &[backend], "")
        + &format!(
            "[program]\nworkers = 1\nupstream.all = {{ tls = {{ server_name = \"backend.test\", ca_file = {:?} }} }}\n",
            ca.display().to_string()
        );
    let file = before.folder.join("l7.toml");
    std::fs::write(&file, text).unwrap();
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    let proxy = Proxy::start_file(&file, move |told| hears.lock().push(told.to_owned())).unwrap();
    let (address, plain) = (proxy.address("web").unwrap(), proxy.address("plain").unwrap());
    assert!(is_trusted(&runtime, address, &before) && !is_trusted(&runtime, address, &after));
    assert_eq!(get(plain, "/").status, 502);
    // One that cannot be used changes nothing.
    let replace = |from: &Path, to: &Path| {
        std::fs::copy(from, before.folder.join("new")).unwrap();
        std::fs::rename(before.folder.join("new"), to).unwrap();
    };
    replace(&next_key, &key);
    until("it is told", || told.lock().len() == 1);
    assert!(told.lock()[0].starts_with("certificates not read again: listener web: "), "{:?}", told.lock());
    assert!(is_trusted(&runtime, address, &before));
    replace(&next_cert, &cert);
    until("it is told", || told.lock().len() == 2);
    assert_eq!(told.lock()[1], "listener web: certificates read again");
    assert!(is_trusted(&runtime, address, &after) && !is_trusted(&runtime, address, &before));
    replace(Path::new(&after.ca()), &ca);
    until("it is told", || told.lock().len() == 3);
    assert_eq!(told.lock()[2], "program.upstream.all: certificates read again");
    assert_eq!(get(plain, "/").text(), "encrypted");
}

/// A server that speaks what `offers` says: over HTTP/1.1 it changes to another protocol, over HTTP/2 it answers `ordinary`.
fn choosing(runtime: &tokio::runtime::Runtime, files: &(PathBuf, PathBuf), offers: &[&[u8]]) -> SocketAddr {
    let (chain, key) = read(files);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let service = hyper::service::service_fn(|_| async {
                        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("ordinary")))
                    });
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    return;
                }
                let mut part = [0; 4096];
                let _ = stream.read(&mut part).await;
                let head =
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                let _ = stream.write_all(head).await;
                let _ = stream.flush().await;
                let _ = stream.read(&mut part).await;
            });
        }
    });
    address
}

/// Where the server chooses, a wish for another protocol is made over HTTP/1.1; where it only speaks HTTP/2, it is ignored.
#[test]
fn a_wish_for_another_protocol_goes_over_http_1() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let authority = Authority::new("upgrade");
    let files = authority.sign("good", "backend.test", false);
    for (offers, status) in [(&[&b"h2"[..], b"http/1.1"][..], 101), (&[b"h2"], 200)] {
        let program = format!(
            "[program]\nworkers = 1\nupstream.all = {{ protocol = \"auto\", tls = {{ server_name = \"backend.test\", ca_file = {:?} }} }}\n",
            authority.ca()
        );
        let breaker = "[clusters.breaker]\nrules = [{ consecutive = { failures = 1 } }]\n";
        let server = choosing(&runtime, &files, offers);
        let (proxy, address) = start(&(route("") + &cluster_at("all", &[server], breaker) + &program));
        // Once with no connection there, once beside the shared one.
        for turn in 0..2 {
            let mut client = Client::new(address);
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            assert_eq!(client.answer().status, status, "turn {turn}");
            assert_eq!(get(address, "/").text(), "ordinary");
        }
        assert!(proxy.running().cluster("all").unwrap().report().endpoints[0].usable);
    }
}
