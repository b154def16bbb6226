//! `ssl_certificate` and its kin: how clients speak TLS with a server.

use super::key::has_variables;
use super::tree::Directive;
use crate::error::ConvertError;
use crate::report::Report;
use crate::tls::Certificate;

/// What a block says of the certificates of its servers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ssl {
    certificates: Vec<String>,
    keys: Vec<String>,
    client_ca_file: Option<String>,
    asks_clients: bool,
}

impl Ssl {
    /// Whether `within` takes a directive.
    pub(crate) fn knows(name: &str) -> bool {
        ["ssl_certificate", "ssl_certificate_key", "ssl_client_certificate", "ssl_verify_client"]
            .contains(&name)
    }

    /// The settings inside a block that holds these directives.
    pub(crate) fn within(&self, block: &[Directive], report: &mut Report) -> Result<Self, ConvertError> {
        let mut inner = self.clone();
        let has = |name: &str| block.iter().any(|directive| directive.name.is(name));
        // Lists are inherited only where none is written.
        if has("ssl_certificate") {
            inner.certificates.clear();
        }
        if has("ssl_certificate_key") {
            inner.keys.clear();
        }
        for directive in block.iter().filter(|directive| Self::knows(&directive.name.text)) {
            inner.take(directive, report)?;
        }
        Ok(inner)
    }

    fn take(&mut self, directive: &Directive, report: &mut Report) -> Result<(), ConvertError> {
        let (place, subject) = (directive.place(), directive.text());
        let value = &directive.only()?.text;
        if has_variables(value) || value.starts_with("data:") || value.starts_with("engine:") {
            let detail = "which certificate this is is only known when clients come: name its file";
            report.none(place, subject, detail);
            return Ok(());
        }
        match directive.name.text.as_str() {
            "ssl_certificate" => self.certificates.push(value.clone()),
            "ssl_certificate_key" => self.keys.push(value.clone()),
            "ssl_client_certificate" => self.client_ca_file = Some(value.clone()),
            _ => match value.as_str() {
                "on" => self.asks_clients = true,
                "off" => self.asks_clients = false,
                _ => {
                    let detail = "clients must show a certificate, or none is asked for: here none is";
                    report.none(place, subject, detail);
                    return Ok(());
                }
            },
        }
        report.taken(place, subject, "tls of the listener");
        Ok(())
    }

    /// The certificates, with their keys, in the order in which they stand.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = Certificate> {
        self.certificates.iter().zip(&self.keys).map(|(cert_file, key_file)| Certificate {
            hosts: Vec::new(),
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        })
    }

    /// Who signs what clients must show.
    pub(crate) fn client_ca_file(&self) -> Option<String> {
        self.client_ca_file.clone().filter(|_| self.asks_clients)
    }
}
