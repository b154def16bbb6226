//! Which certificate a client sees.

use std::path::Path;
use std::sync::Arc;

use evenkeel_config::ListenerTls;
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::tls::{TlsError, certificates};

/// The certificates of a listener, by the name for which a client asks.
#[derive(Debug)]
pub struct Shown {
    tls: ListenerTls,
    own: Arc<CertifiedKey>,
    by_name: Vec<Arc<CertifiedKey>>,
}

impl Shown {
    /// Reads them all.
    ///
    /// # Errors
    ///
    /// Which file is wrong, and how.
    pub fn read(tls: &ListenerTls) -> Result<Self, TlsError> {
        let others = tls.by_name.iter().map(|other| certified(&other.cert_file, &other.key_file));
        Ok(Self {
            own: certified(&tls.cert_file, &tls.key_file)?,
            by_name: others.collect::<Result<_, _>>()?,
            tls: tls.clone(),
        })
    }

    fn of(&self, name: &str) -> &Arc<CertifiedKey> {
        let found = self.tls.certificate_for(name, |i| is_for(&self.by_name[i], name));
        found.map_or(&self.own, |i| &self.by_name[i])
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(hello.server_name().map_or(&self.own, |name| self.of(name))))
    }
}

fn certified(cert_file: &Path, key_file: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| TlsError::file(key_file, error))?;
    let both = CertifiedKey::from_der(chain, key, &ring::default_provider());
    both.map(Arc::new).map_err(|error| TlsError::file(cert_file, error))
}

/// Whether the name stands in the certificate.
fn is_for(certified: &CertifiedKey, name: &str) -> bool {
    let Some(first) = certified.cert.first() else { return false };
    let Ok(name) = ServerName::try_from(name) else { return false };
    ParsedCertificate::try_from(first).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "helpers of tests")]

    use evenkeel_config::NamedCertificate;

    use super::*;

    #[test]
    fn each_name_sees_its_certificate() {
        let folder = std::env::temp_dir().join(format!("evenkeel-certificates-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let make = |file: &str, name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            let (cert, key) = (folder.join(format!("{file}.pem")), folder.join(format!("{file}.key")));
            std::fs::write(&cert, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            (cert, key)
        };
        let named = |names: &[&str], (cert_file, key_file)| NamedCertificate {
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            cert_file,
            key_file,
        };
        let (cert_file, key_file) = make("own", "own.test");
        let by_name = vec![
            named(&["*.example.com"], make("given", "given.test")),
            named(&[], make("inside", "inside.test")),
        ];
        let tls = ListenerTls { cert_file, key_file, client_ca_file: None, by_name };
        let shown = Shown::read(&tls).unwrap();
        for (name, file) in [
            ("www.example.com", "given.pem"),
            ("inside.test", "inside.pem"),
            ("given.test", "own.pem"),
            ("own.test", "own.pem"),
        ] {
            let chain = certificates(&folder.join(file)).unwrap();
            assert_eq!(shown.of(name).cert, chain, "{name}");
        }
        // A key that does not fit its certificate.
        let mut wrong = tls;
        wrong.by_name[0].key_file = folder.join("own.key");
        let error = Shown::read(&wrong).unwrap_err().to_string();
        assert!(error.contains("given.pem"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
