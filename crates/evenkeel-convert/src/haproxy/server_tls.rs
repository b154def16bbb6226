//! `ssl`, `verify` and their kin: how a server is spoken to by TLS.

use crate::error::ConvertError;
use crate::report::Report;
use crate::tls::{ClientCertificate, UpstreamTls};
use crate::word::Word;

/// What a `server` line says of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerTls {
    pub(crate) is_on: bool,
    verifies_none: bool,
    ca_file: Option<String>,
    sni: Option<String>,
    verify_host: Option<String>,
    alpn: Vec<String>,
    certificate: Option<String>,
}

impl ServerTls {
    /// Takes a word with its value.
    pub(crate) fn take(&mut self, name: &str, word: &Word, report: &mut Report) -> Result<(), ConvertError> {
        let value = word.text.clone();
        match name {
            "verify" => {
                self.verifies_none = match value.as_str() {
                    "none" => true,
                    "required" => false,
                    _ => return Err(ConvertError::value(&word.place, "verify", value, "none or required")),
                };
            }
            "ca-file" => self.ca_file = Some(value).filter(|file| file != "@system-ca"),
            "crt" => self.certificate = Some(value),
            "alpn" => self.alpn = value.split(',').map(str::to_owned).collect(),
            "verifyhost" => self.verify_host = Some(value),
            _ => match value.strip_prefix("str(").and_then(|rest| rest.strip_suffix(')')) {
                Some(name) if !name.contains(['(', ')']) => self.sni = Some(name.to_owned()),
                _ => {
                    let detail = "a name that is only known when requests come: one for all is needed";
                    report.none(&word.place, format!("sni {value}"), detail);
                }
            },
        }
        Ok(())
    }

    /// How the server is spoken to, if it is by TLS.
    pub(crate) fn upstream(&self) -> Option<UpstreamTls> {
        self.is_on.then(|| UpstreamTls {
            // A name that is only checked is asked for too.
            server_name: self.sni.clone().or_else(|| self.verify_host.clone()),
            ca_file: self.ca_file.clone().filter(|_| !self.verifies_none),
            insecure: self.verifies_none,
            alpn: self.alpn.clone(),
            client: self
                .certificate
                .clone()
                .map(|file| ClientCertificate { cert_file: file.clone(), key_file: file }),
        })
    }

    /// Whose word checks take for who the server is.
    pub(crate) fn roots(&self) -> (bool, Option<&str>) {
        (self.verifies_none, self.ca_file.as_deref())
    }

    /// In what the result differs from what HAProxy does.
    pub(crate) fn detail(&self) -> Option<&'static str> {
        (self.verify_host.is_some() && self.verify_host != self.sni)
            .then_some("one name is asked for (SNI) and checked")
    }
}
