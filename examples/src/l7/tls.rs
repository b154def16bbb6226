//! Certificates: those that we show, and those that we ask for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_config::ListenerTls;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificates::Shown;
use super::settings::{UpstreamProtocol, UpstreamTls};

/// What a listener shows.
///
/// # Errors
///
/// Which file is wrong, and how.
pub fn acceptor(tls: &ListenerTls) -> Result<TlsAcceptor, TlsError> {
    let shown = Shown::read(tls)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Settings)?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let provider = Arc::new(ring::default_provider());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(file)?), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::file(file, error))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// How an upstream is asked who it is.
#[derive(Clone)]
pub struct Asking {
    /// The settings of the handshake.
    pub connector: TlsConnector,
    /// The same, for HTTP/1.1 alone.
    pub only_h1: TlsConnector,
    /// The name that the certificate must show.
    pub name: ServerName<'static>,
}

impl Asking {
    /// Reads the roots.
    ///
    /// # Errors
    ///
    /// Which file or name is wrong, and how.
    pub fn new(tls: &UpstreamTls, protocol: UpstreamProtocol) -> Result<Self, TlsError> {
        let roots = match &tls.ca_file {
            Some(file) => roots(file)?,
            None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Settings)?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let only_h1 = TlsConnector::from(Arc::new(config.clone()));
        // A session is resumed with what was agreed in it: each has its own.
        config.resumption = Resumption::default();
        config.alpn_protocols = match protocol {
            UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
            UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
            UpstreamProtocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let name = ServerName::try_from(tls.server_name.clone());
        let name = name.map_err(|error| TlsError::Name { name: tls.server_name.clone(), error })?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), only_h1, name })
    }
}

pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).map_err(|error| TlsError::file(file, error))?;
    let all: Result<Vec<_>, _> = read.collect();
    let all = all.map_err(|error| TlsError::file(file, error))?;
    if all.is_empty() {
        return Err(TlsError::file(file, "there is no certificate in it"));
    }
    Ok(all)
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| TlsError::file(file, error))?;
    }
    Ok(roots)
}

/// Why the certificate of an upstream is not trusted, if that is what ended a handshake.
pub fn certificate_fault(error: &std::io::Error) -> Option<&'static str> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(error) = error else { return None };
    Some(match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "for another name"
        }
        CertificateError::UnknownIssuer => "from an unknown issuer",
        CertificateError::Revoked => "revoked",
        _ => "not valid",
    })
}

/// Whether a handshake ended because nothing of what was offered is spoken on the other side.
pub fn speaks_other(error: &std::io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let alert = AlertDescription::NoApplicationProtocol;
    matches!(error, Some(rustls::Error::NoApplicationProtocol))
        || matches!(error, Some(rustls::Error::AlertReceived(received)) if *received == alert)
}

/// TLS that cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file.
    #[error("{}: {error}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// The name of a server.
    #[error("server_name: {name:?} is no name of a server: {error}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        error: InvalidDnsNameError,
    },
    /// The settings contradict each other.
    #[error("{0}")]
    Settings(rustls::Error),
}

impl TlsError {
    pub(super) fn file(file: &Path, error: impl std::fmt::Display) -> Self {
        Self::File { file: file.to_owned(), error: error.to_string() }
    }
}
