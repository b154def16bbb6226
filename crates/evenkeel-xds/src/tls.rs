use std::path::Path;
use std::sync::Arc;

use evenkeel_adapter::{InvalidTls, TlsConfig};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Reads the files. What is offered by ALPN is h2 alone.
pub(crate) fn connector(config: &TlsConfig) -> Result<TlsConnector, InvalidTls> {
    let mut roots = RootCertStore::empty();
    match &config.ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let (added, _) = roots.add_parsable_certificates(certificates("tls.ca_file", path)?);
            if added == 0 {
                return Err(nothing("tls.ca_file", path, "certificate of an authority"));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
        .with_root_certificates(roots);
    let mut client = match (&config.cert_file, &config.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(InvalidTls::Half { missing: "tls.key_file" }),
        (None, Some(_)) => return Err(InvalidTls::Half { missing: "tls.cert_file" }),
        (Some(cert), Some(key)) => {
            let chain = certificates("tls.cert_file", cert)?;
            let pem = read("tls.key_file", key)?;
            let private = PrivateKeyDer::from_pem_slice(&pem);
            let private = private.map_err(|_| nothing("tls.key_file", key, "private key"))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|_| nothing("tls.key_file", key, "private key of the certificate"))?
        }
    };
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(client)))
}

fn certificates(field: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let pem = read(field, path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    if found.is_empty() { Err(nothing(field, path, "certificate")) } else { Ok(found) }
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, InvalidTls> {
    std::fs::read(path).map_err(|error| InvalidTls::Unreadable {
        field,
        path: path.into(),
        why: error.to_string(),
    })
}

fn nothing(field: &'static str, path: &Path, wanted: &'static str) -> InvalidTls {
    InvalidTls::Nothing { field, path: path.into(), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_are_named() {
        let missing = TlsConfig { ca_file: Some("/nowhere/ca.pem".into()), ..TlsConfig::default() };
        assert!(matches!(connector(&missing), Err(InvalidTls::Unreadable { field: "tls.ca_file", .. })));
        let no_pem = TlsConfig { ca_file: Some("/dev/null".into()), ..TlsConfig::default() };
        assert!(matches!(connector(&no_pem), Err(InvalidTls::Nothing { field: "tls.ca_file", .. })));
        let half = TlsConfig { key_file: Some("/dev/null".into()), ..TlsConfig::default() };
        assert!(matches!(connector(&half), Err(InvalidTls::Half { missing: "tls.cert_file" })));
        assert!(connector(&TlsConfig::default()).is_ok());
    }
}
