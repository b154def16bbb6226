//! HTTPS against certificates of every kind, made by the test.

#![cfg(all(feature = "http", feature = "tls"))]
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests against real sockets and processes, which take real time"
)]

mod support;

use std::sync::Arc;

use evenkeel_probe::{
    ClientCertificate, HttpProbe, HttpVersion, Pem, Phase, ProbeConfigError, ProbeError, Prober,
    ProberConfig, Reason, Roots, TlsConfig,
};
use evenkeel_types::Address;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use support::{LATE, SOON, Server, fails, find, passes, target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// A certificate authority of this test's own.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "the authority of this test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Made {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Made {
    fn by(
        authority: Option<&CertifiedIssuer<'_, KeyPair>>,
        name: &str,
        edit: fn(&mut CertificateParams),
    ) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        edit(&mut params);
        let certificate = match authority {
            Some(authority) => params.signed_by(&key, authority).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Self { certificate, key }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

fn serve(made: &Made, clients: Option<&CertifiedIssuer<'_, KeyPair>>, protocols: &[&str]) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(vec![made.certificate.der().clone()], made.key()).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::new(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let service = hyper::service::service_fn(|_| async {
                    Ok::<_, std::convert::Infallible>(hyper::Response::new(String::new()))
                });
                let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
                return;
            }
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    })
}

fn https(tls: TlsConfig) -> HttpProbe {
    HttpProbe { timeout: LATE, tls: Some(tls), ..HttpProbe::default() }
}

fn trusting(authority: &CertifiedIssuer<'_, KeyPair>) -> TlsConfig {
    TlsConfig {
        roots: Roots::Pem(authority.pem()),
        server_name: Some("api.example".into()),
        ..TlsConfig::default()
    }
}

#[test]
fn good_certificates_pass_and_bad_ones_say_what_is_wrong() {
    let authority = authority();
    let tls = || https(trusting(&authority));
    let good = serve(&Made::by(Some(&authority), "api.example", |_| ()), None, &[]);
    passes(good.address, tls());
    let file = std::env::temp_dir().join(format!("evenkeel-probe-{}.pem", std::process::id()));
    std::fs::write(&file, authority.pem()).unwrap();
    passes(good.address, https(TlsConfig { roots: Roots::PemFile(file.clone()), ..trusting(&authority) }));
    std::fs::remove_file(&file).unwrap();

    let says = |server: &Server, probe: HttpProbe, text: &str| {
        let reason = fails(server.address, probe.clone(), "tls");
        assert!(reason.to_string().contains(text), "{reason}");
        // Whoever asks for it gets it.
        let insecure = TlsConfig { insecure: true, ..probe.tls.clone().unwrap() };
        passes(server.address, HttpProbe { tls: Some(insecure), ..probe });
    };
    let unknown = "UnknownIssuer";
    says(&good, https(TlsConfig { roots: Roots::Webpki, ..trusting(&authority) }), unknown);
    says(&serve(&Made::by(None, "api.example", |_| ()), None, &[]), tls(), unknown);
    let other = serve(&Made::by(Some(&authority), "other.example", |_| ()), None, &[]);
    says(&other, tls(), "not valid for name");
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    says(&serve(&Made::by(Some(&authority), "api.example", expired), None, &[]), tls(), "expired");
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(4090, 1, 1);
    says(&serve(&Made::by(Some(&authority), "api.example", early), None, &[]), tls(), "not valid yet");
}

#[test]
fn the_name_is_that_of_the_host_or_of_the_endpoint() {
    let authority = authority();
    let tls = || Some(TlsConfig { server_name: None, ..trusting(&authority) });
    let named = serve(&Made::by(Some(&authority), "api.example", |_| ()), None, &[]);
    let host = Some("api.example:8443".to_owned());
    passes(named.address, HttpProbe { host, tls: tls(), timeout: LATE, ..HttpProbe::default() });
    let numbered = serve(&Made::by(Some(&authority), "127.0.0.1", |_| ()), None, &[]);
    passes(numbered.address, https(tls().unwrap()));
    let local = serve(&Made::by(Some(&authority), "localhost", |_| ()), None, &[]);
    let address: Address = format!("localhost:{}", local.address.port()).parse().unwrap();
    passes(address, https(tls().unwrap()));
}

#[test]
fn a_server_that_wants_to_know_us_is_told() {
    let authority = authority();
    let server = serve(&Made::by(Some(&authority), "api.example", |_| ()), Some(&authority), &[]);
    let ours = Made::by(Some(&authority), "probe.example", |_| ());
    let client = ClientCertificate {
        chain: Pem::Pem(ours.certificate.pem()),
        key: Pem::Pem(ours.key.serialize_pem()),
    };
    passes(server.address, https(TlsConfig { client: Some(client), ..trusting(&authority) }));
    let (result, reason) = find(server.address, https(trusting(&authority)));
    assert_eq!(result, Some(evenkeel_health::CheckResult::Fail));
    assert_eq!(reason.unwrap().kind(), "tls");
}

#[test]
fn versions_are_chosen_by_alpn() {
    let authority = authority();
    let made = Made::by(Some(&authority), "api.example", |_| ());
    let probe = |version| HttpProbe { version, ..https(trusting(&authority)) };
    let both = serve(&made, None, &["h2", "http/1.1"]);
    let (first, none) = (serve(&made, None, &["http/1.1"]), serve(&made, None, &[]));
    for version in [HttpVersion::Http1, HttpVersion::Http2, HttpVersion::Negotiated] {
        passes(both.address, probe(version));
    }
    passes(first.address, probe(HttpVersion::Negotiated));
    passes(none.address, probe(HttpVersion::Negotiated));
    fails(none.address, probe(HttpVersion::Http2), "protocol");
    fails(first.address, probe(HttpVersion::Http2), "tls");
}

#[test]
fn peers_that_do_not_speak_tls() {
    let tls = https(TlsConfig { server_name: Some("api.example".into()), ..TlsConfig::default() });
    let plain = Server::new(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 4_096]).await;
    });
    fails(plain.address, tls.clone(), "tls");
    let silent = Server::new(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let soon = HttpProbe { timeout: SOON, ..tls.clone() };
    assert_eq!(fails(silent.address, soon, "timed_out"), Reason::TimedOut(Phase::Tls));
    let closing = Server::new(|mut stream| async move {
        let _ = stream.read(&mut [0; 4_096]).await;
    });
    assert_eq!(fails(closing.address, tls, "closed"), Reason::Closed);
}

#[test]
fn certificates_that_cannot_be_used_are_refused_at_the_start() {
    let authority = authority();
    let prober = Prober::start(ProberConfig::default()).unwrap();
    let refused = |tls: TlsConfig| {
        let address: Address = "127.0.0.1:1".parse().unwrap();
        let Err(ProbeError::Config(error)) = prober.add(target("it", address, https(tls)), |_| ()) else {
            panic!("it was taken")
        };
        error
    };
    let field = |tls: TlsConfig| match refused(tls) {
        ProbeConfigError::Certificate { field, .. } => field,
        other => panic!("{other}"),
    };
    let roots = |text: &str| TlsConfig { roots: Roots::Pem(text.to_owned()), ..TlsConfig::default() };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", "no PEM at all", broken, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"]
    {
        assert_eq!(field(roots(text)), "http.tls.roots", "{text}");
    }
    assert_eq!(field(roots(&authority.key().serialize_pem())), "http.tls.roots");
    let missing = TlsConfig { roots: Roots::PemFile("/nonexistent.pem".into()), ..TlsConfig::default() };
    assert_eq!(field(missing), "http.tls.roots");

    let ours = Made::by(Some(&authority), "probe.example", |_| ());
    let another = KeyPair::generate().unwrap().serialize_pem();
    let client = |chain: &str, key: &str| {
        let client = ClientCertificate { chain: Pem::Pem(chain.into()), key: Pem::Pem(key.into()) };
        assert!(!format!("{client:?}").contains("BEGIN"), "a key is never shown");
        TlsConfig { client: Some(client), ..TlsConfig::default() }
    };
    assert_eq!(field(client("", &another)), "http.tls.client.chain");
    assert_eq!(field(client(&ours.certificate.pem(), "x")), "http.tls.client.key");
    assert_eq!(field(client(&ours.certificate.pem(), &another)), "http.tls.client");

    let name = TlsConfig { server_name: Some("a b".into()), ..TlsConfig::default() };
    assert!(matches!(refused(name), ProbeConfigError::Setting { field: "tls.server_name", .. }));
    assert_eq!(prober.report().targets, 0);
}
