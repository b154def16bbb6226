use evenkeel_route::matching::HostMatch;
use serde::{Deserialize, Serialize};

/// How clients speak TLS with a listener. Files are PEM, and named as their program names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTls {
    /// What the listener shows; the first to those who ask for no name, or for none of the others. Default none: the
    /// configuration did not say, and what is written of it does not start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Who signs the certificates that clients must show. Default: clients show none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<String>,
    /// The protocols that are offered, the best first. Default: those of the program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
}

/// A certificate with its key. With HAProxy both lie in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The names (SNI) to which it is shown. Default none: those that are in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostMatch>,
    /// The certificate with its chain.
    pub cert_file: String,
    /// The key to it.
    pub key_file: String,
}

/// How the endpoints of a cluster are spoken to by TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name that is asked for (SNI), and that certificates must be for. Default: no name is asked for, and none is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Who signs the certificates. Default: whom the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Take any certificate, by anybody and for any name: it is then not known who answers. Default no, though it is how nginx
    /// speaks unless it is told otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// The protocols that are offered, the best first. Default: those of the program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// What we show, if we are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// What we show to endpoints that ask who we are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The certificate with its chain.
    pub cert_file: String,
    /// The key to it.
    pub key_file: String,
}

/// Where Debian and its kin keep the certificates of those whom the system trusts.
pub(crate) const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

impl ListenerTls {
    /// Takes a certificate in; one that is there already is shown to more names.
    pub(crate) fn add(&mut self, certificate: Certificate) {
        let is_same = |known: &&mut Certificate| {
            (&known.cert_file, &known.key_file) == (&certificate.cert_file, &certificate.key_file)
        };
        match self.certificates.iter_mut().find(is_same) {
            Some(known) => known.hosts.extend(certificate.hosts),
            None => self.certificates.push(certificate),
        }
    }

    /// The names of a single certificate decide nothing.
    pub(crate) fn settle(&mut self) {
        if let [only] = self.certificates.as_mut_slice() {
            only.hosts.clear();
        }
    }

    /// The number of the certificate that a client sees who asks for this host, or for any that this pattern takes.
    pub(crate) fn shown_to(&self, host: &HostMatch) -> usize {
        let length = |known: &HostMatch| match (known, host) {
            (known, host) if known == host => Some(usize::MAX),
            (HostMatch::Suffix(text) | HostMatch::Prefix(text), HostMatch::Exact(name)) => {
                known.matches(name.as_bytes()).then_some(text.len())
            }
            (HostMatch::Suffix(short), HostMatch::Suffix(long)) => {
                long.ends_with(short.as_str()).then_some(short.len())
            }
            (HostMatch::Prefix(short), HostMatch::Prefix(long)) => {
                long.starts_with(short.as_str()).then_some(short.len())
            }
            _ => None,
        };
        let best = |certificate: &Certificate| certificate.hosts.iter().filter_map(length).max();
        let fitting = self.certificates.iter().enumerate().filter_map(|(i, known)| Some((best(known)?, i)));
        // Of equals the first.
        fitting.max_by_key(|&(length, i)| (length, std::cmp::Reverse(i))).map_or(0, |(_, i)| i)
    }

    /// The certificates that are shown where this one is: of other kinds of keys.
    pub(crate) fn beside(&self, number: usize) -> impl Iterator<Item = &Certificate> {
        let hosts = self.certificates.get(number).map(|certificate| &certificate.hosts);
        self.certificates.iter().filter(move |other| Some(&other.hosts) == hosts)
    }

    /// The names that certificates are for.
    pub(crate) fn hosts(&self) -> Vec<HostMatch> {
        self.certificates.iter().flat_map(|certificate| certificate.hosts.iter().cloned()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn certificate(hosts: &[&str], file: &str) -> Certificate {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        Certificate { hosts, cert_file: file.into(), key_file: file.into() }
    }

    #[test]
    fn the_most_exact_name_chooses_a_certificate() {
        let certificates = vec![
            certificate(&["a.example"], "a"),
            certificate(&["*.example", "b.example"], "b"),
            certificate(&["*.shop.example"], "c"),
        ];
        let tls = ListenerTls { certificates, ..ListenerTls::default() };
        for (host, number) in [
            ("a.example", 0),
            ("b.example", 1),
            ("x.example", 1),
            ("x.shop.example", 2),
            ("*.x.shop.example", 2),
            ("other.test", 0),
            ("www.*", 0),
        ] {
            assert_eq!(tls.shown_to(&host.parse().unwrap()), number, "{host}");
        }
        assert_eq!(tls.beside(1).count(), 1);
        assert_eq!(ListenerTls::default().shown_to(&HostMatch::Any), 0);
    }

    #[test]
    fn one_certificate_needs_no_names() {
        let mut tls = ListenerTls::default();
        tls.add(certificate(&["a.example"], "a"));
        tls.add(certificate(&["b.example"], "a"));
        assert_eq!(tls.hosts().len(), 2);
        tls.settle();
        assert_eq!((tls.certificates.len(), tls.hosts().len()), (1, 0));
    }
}
