use std::fmt;
use std::path::PathBuf;

/// How a check speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct TlsConfig {
    /// Whose word is taken for who the server is. Default: Mozilla's roots.
    pub roots: Roots,
    /// The name that the certificate has to be for, and that is sent (SNI). Default: that of `host` or `authority`
    /// without its port if that is set, else the name or the IP address of the endpoint. A Unix socket needs one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub server_name: Option<String>,
    /// Who we are, if the server wants to know. Default: nobody.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub client: Option<ClientCertificate>,
    /// Take *any* certificate, by anybody and for any name, expired or not. It is then not known who answered. Default
    /// `false`.
    pub insecure: bool,
}

/// The certificate authorities that a check trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Roots {
    /// Mozilla's, as compiled in from the crate `webpki-roots`.
    #[default]
    Webpki,
    /// These and no others, as PEM text.
    Pem(String),
    /// Those in this PEM file and no others. It is read when the target is added or updated.
    PemFile(PathBuf),
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ClientCertificate {
    /// The certificate, followed by what leads to its root.
    pub chain: Pem,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: Pem,
}

/// PEM, given or in a file. The file is read when the target is added or updated. `Debug` never shows the text.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Pem {
    /// The text.
    Pem(String),
    /// A file.
    PemFile(PathBuf),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem(text) => write!(f, "Pem({} bytes)", text.len()),
            Self::PemFile(path) => f.debug_tuple("PemFile").field(path).finish(),
        }
    }
}

#[cfg(all(feature = "tls", feature = "http"))]
pub(crate) use session::Session;

#[cfg(all(feature = "tls", feature = "http"))]
mod session {
    use std::sync::{Arc, LazyLock};

    use evenkeel_types::Address;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::client::{Resumption, WebPkiServerVerifier};
    use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
    use tokio_rustls::TlsConnector;

    use super::{Pem, Roots, TlsConfig};
    use crate::connect::Stream;
    use crate::error::ProbeConfigError;
    use crate::excerpt::Excerpt;
    use crate::reason::Reason;

    /// A checked configuration, ready for handshakes.
    pub(crate) struct Session {
        connector: TlsConnector,
        name: ServerName<'static>,
    }

    impl Session {
        /// `field` is the path of the settings, `host` what the request names, `protocols` what is offered by ALPN.
        pub(crate) fn new(
            config: &TlsConfig,
            field: &'static str,
            host: Option<&str>,
            address: &Address,
            protocols: &[&[u8]],
        ) -> Result<Self, ProbeConfigError> {
            let provider = Arc::new(ring::default_provider());
            let wrong = |part: &str, problem: &dyn ToString| ProbeConfigError::Certificate {
                field: format!("{field}.{part}"),
                problem: problem.to_string(),
            };
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| wrong("roots", &error))?;
            let verifier: Arc<dyn ServerCertVerifier> = if config.insecure {
                Arc::new(Anybody(Arc::clone(&provider)))
            } else {
                let roots = roots(&config.roots).map_err(|problem| wrong("roots", &problem))?;
                WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| wrong("roots", &error))?
            };
            let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
            let mut client = match &config.client {
                None => builder.with_no_client_auth(),
                Some(own) => {
                    let chain = read(&own.chain).map_err(|problem| wrong("client.chain", &problem))?;
                    let chain = certificates(&chain).map_err(|problem| wrong("client.chain", &problem))?;
                    let key = read(&own.key).map_err(|problem| wrong("client.key", &problem))?;
                    let key = PrivateKeyDer::from_pem_slice(&key)
                        .map_err(|error| wrong("client.key", &format!("no private key: {error}")))?;
                    builder.with_client_auth_cert(chain, key).map_err(|error| wrong("client", &error))?
                }
            };
            client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            // Every check does the whole handshake: a resumed session would not look at the certificate.
            client.resumption = Resumption::disabled();
            let name = server_name(config, host, address)?;
            Ok(Self { connector: TlsConnector::from(Arc::new(client)), name })
        }

        /// The encrypted stream, and what ALPN chose.
        pub(crate) async fn handshake(&self, stream: Stream) -> Result<(Stream, Option<Vec<u8>>), Reason> {
            let stream =
                self.connector.connect(self.name.clone(), stream).await.map_err(|error| {
                    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                        Some(tls) => Reason::Tls(Excerpt::shown(tls)),
                        None => Reason::of_io(&error),
                    }
                })?;
            let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            Ok((Box::new(stream), protocol))
        }
    }

    fn server_name(
        config: &TlsConfig,
        host: Option<&str>,
        address: &Address,
    ) -> Result<ServerName<'static>, ProbeConfigError> {
        let named = config.server_name.as_deref().or_else(|| host.map(without_port));
        let text = match (named, address) {
            (Some(name), _) => name.to_owned(),
            (None, Address::Socket(address)) => return Ok(ServerName::IpAddress(address.ip().into())),
            (None, Address::Host(name, _)) => name.as_str().to_owned(),
            (None, _) => String::new(),
        };
        let allowed = "a DNS name or an IP address is needed; a Unix socket has none of its own";
        ServerName::try_from(text.clone())
            .map_err(|_| ProbeConfigError::setting("tls.server_name", text, allowed))
    }

    /// `api.example:8443` without the port, `[fd00::1]:8443` without port and brackets.
    fn without_port(host: &str) -> &str {
        if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return address;
        }
        match host.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                name
            }
            _ => host,
        }
    }

    fn roots(roots: &Roots) -> Result<Arc<RootCertStore>, String> {
        let pem = match roots {
            Roots::Webpki => return Ok(Arc::clone(&MOZILLA)),
            Roots::Pem(text) => text.clone().into_bytes(),
            Roots::PemFile(path) => read(&Pem::PemFile(path.clone()))?,
        };
        let mut store = RootCertStore::empty();
        for certificate in certificates(&pem)? {
            store.add(certificate).map_err(|error| format!("certificate cannot be a root: {error}"))?;
        }
        Ok(Arc::new(store))
    }

    fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match found {
            Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
            Ok(found) => Ok(found),
            Err(error) => Err(format!("not PEM: {error}")),
        }
    }

    fn read(pem: &Pem) -> Result<Vec<u8>, String> {
        match pem {
            Pem::Pem(text) => Ok(text.clone().into_bytes()),
            Pem::PemFile(path) => {
                let size = std::fs::metadata(path).map(|found| found.len());
                match size {
                    Ok(size) if size > MAX_PEM => Err(format!("{}: larger than 4 MiB", path.display())),
                    Ok(_) => std::fs::read(path).map_err(|error| format!("{}: {error}", path.display())),
                    Err(error) => Err(format!("{}: {error}", path.display())),
                }
            }
        }
    }

    /// A bundle of all public roots has some 200 KB.
    const MAX_PEM: u64 = 4 << 20;

    static MOZILLA: LazyLock<Arc<RootCertStore>> =
        LazyLock::new(|| Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }));

    /// Takes every certificate, but not a handshake that is not signed by its key.
    #[derive(Debug)]
    struct Anybody(Arc<CryptoProvider>);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }

    #[cfg(test)]
    mod tests {
        use super::without_port;

        #[test]
        fn the_port_is_no_part_of_the_name() {
            for (host, name) in [
                ("api.example", "api.example"),
                ("api.example:8443", "api.example"),
                ("[fd00::1]:8443", "fd00::1"),
                ("fd00::1", "fd00::1"),
            ] {
                assert_eq!(without_port(host), name);
            }
        }
    }
}
