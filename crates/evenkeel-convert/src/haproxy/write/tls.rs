//! Certificates, those that listeners show and those that servers are asked for.

use std::fmt::Write;

use super::{Writer, quoted};
use crate::report::Tells;
use crate::tls::{ListenerTls, UpstreamTls};

impl Writer<'_> {
    /// What `bind` says of a listener's TLS.
    pub(super) fn bind_tls(&mut self, name: &str, tls: &ListenerTls) -> String {
        let subject = format!("listeners.{name}.tls");
        let mut words = String::from(" ssl");
        if tls.certificates.is_empty() {
            // Without its certificate HAProxy does not start, so nothing goes out in the open.
            self.none(subject.clone(), "its certificates are not known: add crt to the bind lines");
        }
        for certificate in &tls.certificates {
            let file = self.one_file(&subject, &certificate.cert_file, &certificate.key_file);
            let _ = write!(words, " crt {}", quoted(&file));
            if !certificate.hosts.is_empty() {
                let hosts: Vec<String> = certificate.hosts.iter().map(ToString::to_string).collect();
                let detail = "HAProxy shows a certificate to those who ask for a name that is in it";
                self.differs(format!("{subject}: {} for {}", certificate.cert_file, hosts.join(" ")), detail);
            }
        }
        if let Some(file) = &tls.client_ca_file {
            let _ = write!(words, " ca-file {} verify required", quoted(file));
        }
        self.alpn(&subject, &tls.alpn, &mut words);
        if !tls.certificates.is_empty() {
            self.taken(subject, "bind ssl");
        }
        words
    }

    /// What `server` says of TLS.
    pub(super) fn server_tls(&mut self, cluster: &str, tls: &UpstreamTls) -> String {
        let subject = format!("upstream_tls.{cluster}");
        let mut words = String::from(" ssl");
        words.push_str(&trusts(tls.insecure, tls.ca_file.as_deref()));
        if let Some(name) = &tls.server_name {
            if is_argument(name) {
                let _ = write!(words, " sni str({name})");
            } else {
                self.none(format!("{subject}.server_name"), "no name of a server: write sni by hand");
            }
        }
        self.alpn(&subject, &tls.alpn, &mut words);
        if let Some(client) = &tls.client {
            let file = self.one_file(&subject, &client.cert_file, &client.key_file);
            let _ = write!(words, " crt {}", quoted(&file));
        }
        self.taken(subject, "server ssl");
        words
    }

    fn alpn(&mut self, subject: &str, names: &[String], words: &mut String) {
        let is_plain =
            |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic() && !b",\"'\\#$".contains(&byte));
        if !names.iter().all(is_plain) {
            self.none(format!("{subject}.alpn"), "names that HAProxy cannot write: left out");
        } else if !names.is_empty() {
            let _ = write!(words, " alpn {}", names.join(","));
        }
    }

    /// The file that holds a certificate and its key, as HAProxy wants it.
    fn one_file(&mut self, subject: &str, cert: &str, key: &str) -> String {
        // It looks for the key beside the certificate too.
        if cert == key || key.strip_suffix(".key") == Some(cert) {
            return cert.to_owned();
        }
        let both = format!("{cert}.both");
        let [from, with, to] = [cert, key, &both].map(in_shell);
        let detail = format!("HAProxy wants both in one file: cat {from} {with} > {to}");
        self.differs(format!("{subject}: {cert}"), &detail);
        both
    }
}

/// Whose word is taken for who a server is.
pub(super) fn trusts(insecure: bool, ca_file: Option<&str>) -> String {
    if insecure {
        return " verify none".to_owned();
    }
    format!(" verify required ca-file {}", quoted(ca_file.unwrap_or("@system-ca")))
}

/// Whether a text can stand between parentheses.
pub(super) fn is_argument(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

/// A word for a shell.
fn in_shell(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
