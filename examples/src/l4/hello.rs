use rustls::server::Acceptor;

/// What a TLS handshake says before it is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The server name, or nothing.
    pub(crate) sni: String,
    /// The protocols on offer.
    pub(crate) alpn: Vec<Vec<u8>>,
}

/// Reads the ClientHello out of bytes that come in pieces: split inside a record, over several records, as clients with
/// post-quantum keys do. `rustls` puts it together, and nothing is answered: the bytes go on as they came.
pub(crate) struct HelloReader {
    acceptor: Acceptor,
    /// How much of what came it has seen.
    seen: usize,
}

/// It is no handshake of TLS 1.2 or 1.3.
#[derive(Debug)]
pub(crate) struct NoHello;

impl HelloReader {
    pub(crate) fn new() -> Self {
        Self { acceptor: Acceptor::default(), seen: 0 }
    }

    /// Looks at all that came so far; `None` if more is needed.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Option<Hello>, NoHello> {
        loop {
            let mut rest = bytes.get(self.seen..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(None);
            }
            let taken = self.acceptor.read_tls(&mut rest).map_err(|_| NoHello)?;
            self.seen += taken;
            match self.acceptor.accept() {
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let alpn = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
                    return Ok(Some(Hello { sni: hello.server_name().unwrap_or_default().to_owned(), alpn }));
                }
                Ok(None) if taken == 0 => return Ok(None),
                Ok(None) => {}
                Err(_) => return Err(NoHello),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a real client sends first.
    pub(crate) fn client_hello(name: &str, alpn: &[&str]) -> Vec<u8> {
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut client =
            ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same handshake message in records of `size` bytes.
    fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
        hello[5..].chunks(size).fold(Vec::new(), |mut records, part| {
            records.extend([hello[0], hello[1], hello[2]]);
            records.extend((part.len() as u16).to_be_bytes());
            records.extend(part);
            records
        })
    }

    fn wanted() -> Hello {
        Hello { sni: "api.example.com".into(), alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()] }
    }

    proptest! {
        /// However it is cut into records and reads, the answer is the same, and never early.
        #[test]
        fn any_cut_gives_the_same(size in 1_usize..400, cuts in prop::collection::vec(1_usize..300, 1..40)) {
            let bytes = in_records(&client_hello("api.example.com", &["h2", "http/1.1"]), size);
            let (mut reader, mut end, mut cuts) = (HelloReader::new(), 0, cuts.into_iter().cycle());
            let found = loop {
                end = (end + cuts.next().unwrap()).min(bytes.len());
                if let Some(hello) = reader.read(&bytes[..end]).unwrap() {
                    break hello;
                }
                prop_assert!(end < bytes.len(), "all is there");
            };
            prop_assert_eq!(found, wanted());
        }

        /// Whatever comes, it ends with an answer.
        #[test]
        fn garbage_is_refused_or_waited_for(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = HelloReader::new().read(&bytes);
        }
    }

    #[test]
    fn a_server_name_is_not_needed() {
        let hello = HelloReader::new().read(&client_hello("192.0.2.1", &[])).unwrap();
        assert_eq!(hello, Some(Hello::default()));
    }

    #[test]
    fn http_is_refused_at_once() {
        assert!(HelloReader::new().read(b"GET / HTTP/1.1\r\n\r\n").is_err());
    }
}
