//! `proxy_ssl_verify` and its kin: how servers are spoken to by TLS.

use std::collections::BTreeSet;

use super::key::has_variables;
use super::tree::Directive;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::place::Place;
use crate::report::Report;
use crate::tls::{ClientCertificate, UpstreamTls};

/// What a block says of TLS to servers.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxySsl {
    verifies: bool,
    ca_file: Option<String>,
    name: Option<String>,
    sends_name: bool,
    certificate: Option<String>,
    key: Option<String>,
}

impl ProxySsl {
    /// Whether `take` takes a directive, named without `proxy_` or `grpc_`.
    pub(crate) fn knows(rest: &str) -> bool {
        [
            "ssl_verify",
            "ssl_trusted_certificate",
            "ssl_name",
            "ssl_server_name",
            "ssl_certificate",
            "ssl_certificate_key",
        ]
        .contains(&rest)
    }

    pub(crate) fn take(&mut self, directive: &Directive, report: &mut Report) -> Result<(), ConvertError> {
        let (place, subject) = (directive.place(), directive.text());
        let word = directive.only()?;
        let value = &word.text;
        if has_variables(value) {
            report.none(
                place,
                subject,
                "a value that is only known when requests come: one name for all is needed",
            );
            return Ok(());
        }
        let rest = directive.name.text.split_once('_').map_or("", |(_, rest)| rest);
        let is_on = || match value.as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(ConvertError::value(&word.place, &directive.name.text, value.clone(), "on or off")),
        };
        match rest {
            "ssl_verify" => self.verifies = is_on()?,
            "ssl_server_name" => self.sends_name = is_on()?,
            "ssl_trusted_certificate" => self.ca_file = Some(value.clone()),
            "ssl_name" => self.name = Some(value.clone()),
            "ssl_certificate" => self.certificate = Some(value.clone()),
            _ => self.key = Some(value.clone()),
        }
        report.taken(place, subject, "upstream_tls of the cluster");
        Ok(())
    }

    /// How servers behind this name are spoken to.
    pub(crate) fn of(&self, target: &str, offers: &[&str]) -> UpstreamTls {
        let bare = target.rsplit_once(':').map_or(target, |(host, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { target }
        });
        // nginx checks the name in any case, and sends it if it is told to.
        let name =
            (self.verifies || self.sends_name).then(|| self.name.clone().unwrap_or_else(|| bare.to_owned()));
        let client = self.certificate.clone().zip(self.key.clone());
        UpstreamTls {
            server_name: name,
            ca_file: self.ca_file.clone().filter(|_| self.verifies),
            insecure: !self.verifies,
            alpn: offers.iter().map(|&name| name.to_owned()).collect(),
            client: client.map(|(cert_file, key_file)| ClientCertificate { cert_file, key_file }),
        }
    }

    /// In what the result differs from what nginx does.
    pub(crate) fn detail(&self) -> Option<&'static str> {
        (self.verifies && !self.sends_name)
            .then_some("upstream_tls: the name that is checked is asked for too (SNI)")
    }
}

/// Clusters that something is passed to.
#[derive(Debug, Default)]
pub(crate) struct Passed(BTreeSet<String>);

impl Passed {
    /// Notes how the servers of a cluster are spoken to: what is encrypted once does not become open by another line.
    pub(crate) fn note(
        &mut self,
        name: &str,
        tls: Option<UpstreamTls>,
        differs: Option<&str>,
        (place, subject): (&Place, String),
        conversion: &mut Conversion,
    ) {
        let is_known = !self.0.insert(name.to_owned());
        if is_known && conversion.setup.upstream_tls.get(name) != tls.as_ref() {
            let detail = "one cluster is spoken to in one way: as where it is first encrypted";
            conversion.report.none(place, subject, detail);
        } else if let (Some(_), Some(detail)) = (&tls, differs) {
            conversion.report.differs(place, subject, detail);
        } else if tls.is_some() {
            conversion.report.taken(place, subject, format!("upstream_tls.{name}"));
        }
        if let Some(tls) = tls {
            conversion.setup.upstream_tls.entry(name.to_owned()).or_insert(tls);
        }
    }
}
