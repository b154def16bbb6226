use std::path::PathBuf;

use thiserror::Error;

/// How a store's certificate is checked, and how the adapter shows its own.
///
/// ```
/// use evenkeel_adapter::TlsConfig;
/// let tls = TlsConfig { ca_file: Some("/etc/etcd/ca.pem".into()), ..TlsConfig::default() };
/// assert!(tls.cert_file.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct TlsConfig {
    /// The authorities to trust, PEM. The default is those that Mozilla trusts; stores as a rule have an authority of
    /// their own, so give it. All three files are read at the start and again after every trouble with the store, so
    /// that certificates can be replaced while the adapter runs; if they cannot be read then, those read last are kept.
    pub ca_file: Option<PathBuf>,
    /// The adapter's certificate with its chain, PEM, for stores that ask for one.
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate, PEM, not encrypted.
    pub key_file: Option<PathBuf>,
}

/// TLS settings that cannot stand.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidTls {
    /// A file cannot be read.
    #[error("{field}: {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The field.
        field: &'static str,
        /// What was given.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A file holds no PEM of the kind needed.
    #[error("{field}: {} holds no {wanted} in PEM", path.display())]
    Nothing {
        /// The field.
        field: &'static str,
        /// What was given.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
    },
    /// One of certificate and key is missing.
    #[error("{missing} is missing: tls.cert_file and tls.key_file go together")]
    Half {
        /// The field.
        missing: &'static str,
    },
    /// The settings are there and the feature is not.
    #[error("tls is set, and the feature `tls` is off")]
    FeatureOff,
}

#[cfg(not(feature = "tls"))]
impl TlsConfig {
    pub(crate) fn check(&self) -> Result<(), InvalidTls> {
        if *self == Self::default() { Ok(()) } else { Err(InvalidTls::FeatureOff) }
    }
}

#[cfg(feature = "tls")]
impl TlsConfig {
    pub(crate) fn load(&self) -> Result<ureq::tls::TlsConfig, InvalidTls> {
        use ureq::tls::{ClientCert, RootCerts};
        let mut tls = ureq::tls::TlsConfig::builder();
        if let Some(path) = &self.ca_file {
            let certs = certificates("tls.ca_file", path)?;
            tls = tls.root_certs(RootCerts::new_with_certs(&certs));
        }
        match (&self.cert_file, &self.key_file) {
            (None, None) => {}
            (Some(_), None) => return Err(InvalidTls::Half { missing: "tls.key_file" }),
            (None, Some(_)) => return Err(InvalidTls::Half { missing: "tls.cert_file" }),
            (Some(cert), Some(key)) => {
                let certs = certificates("tls.cert_file", cert)?;
                tls = tls
                    .client_cert(Some(ClientCert::new_with_certs(&certs, private_key("tls.key_file", key)?)));
            }
        }
        Ok(tls.build())
    }
}

#[cfg(feature = "tls")]
fn certificates(
    field: &'static str,
    path: &std::path::Path,
) -> Result<Vec<ureq::tls::Certificate<'static>>, InvalidTls> {
    use ureq::tls::PemItem;
    let pem = read(field, path)?;
    let item = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = ureq::tls::parse_pem(&pem).filter_map(item).collect();
    let nothing = InvalidTls::Nothing { field, path: path.into(), wanted: "certificate" };
    if found.is_empty() { Err(nothing) } else { Ok(found) }
}

#[cfg(feature = "tls")]
fn private_key(
    field: &'static str,
    path: &std::path::Path,
) -> Result<ureq::tls::PrivateKey<'static>, InvalidTls> {
    let pem = read(field, path)?;
    let nothing = || InvalidTls::Nothing { field, path: path.into(), wanted: "private key" };
    ureq::tls::PrivateKey::from_pem(&pem).map_err(|_| nothing())
}

#[cfg(feature = "tls")]
fn read(field: &'static str, path: &std::path::Path) -> Result<Vec<u8>, InvalidTls> {
    std::fs::read(path).map_err(|error| InvalidTls::Unreadable {
        field,
        path: path.into(),
        why: error.to_string(),
    })
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn bad_files_are_named() {
        let missing = TlsConfig { ca_file: Some("/nowhere/ca.pem".into()), ..TlsConfig::default() };
        assert!(matches!(missing.load(), Err(InvalidTls::Unreadable { field: "tls.ca_file", .. })));
        let no_pem = TlsConfig { ca_file: Some("/dev/null".into()), ..TlsConfig::default() };
        assert!(matches!(no_pem.load(), Err(InvalidTls::Nothing { field: "tls.ca_file", .. })));
        let half = TlsConfig { key_file: Some("/dev/null".into()), ..TlsConfig::default() };
        assert_eq!(half.load().unwrap_err(), InvalidTls::Half { missing: "tls.cert_file" });
    }
}
