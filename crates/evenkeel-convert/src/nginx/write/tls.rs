//! Certificates, those that servers show and those that they ask for.

use std::fmt::Write;

use super::{Writer, quoted};
use crate::report::Tells;
use crate::tls::{ListenerTls, SYSTEM_ROOTS, UpstreamTls};

/// What `listen` says of TLS.
pub(super) fn flags(tls: Option<&ListenerTls>) -> &'static str {
    match tls {
        None => "",
        Some(tls) if tls.alpn.iter().any(|name| name == "h2") => " ssl http2",
        Some(_) => " ssl",
    }
}

/// The certificates of a server: the one of this number, and those beside it.
pub(super) fn certificates(tls: &ListenerTls, number: usize, text: &mut String) {
    for certificate in tls.beside(number) {
        let _ = writeln!(text, "        ssl_certificate {};", quoted(&certificate.cert_file));
        let _ = writeln!(text, "        ssl_certificate_key {};", quoted(&certificate.key_file));
    }
    if let Some(file) = &tls.client_ca_file {
        let _ = writeln!(text, "        ssl_client_certificate {};", quoted(file));
        text.push_str("        ssl_verify_client on;\n");
    }
}

impl Writer<'_> {
    /// Tells what becomes of a listener's TLS.
    pub(super) fn listener_tls(&mut self, name: &str, tls: &ListenerTls) {
        let subject = format!("listeners.{name}.tls");
        if tls.certificates.is_empty() {
            // Without its certificate nginx does not start, so nothing goes out in the open.
            let detail =
                "its certificates are not known: add ssl_certificate and ssl_certificate_key to the server";
            self.none(subject.clone(), detail);
        } else {
            self.taken(subject.clone(), "ssl_certificate");
        }
        let are_beside = (0..tls.certificates.len()).any(|number| tls.beside(number).count() > 1);
        if are_beside {
            let detail = "nginx shows one for each kind of key (RSA, ECDSA) to the same names: say which hosts each is for";
            self.differs(format!("{subject}.certificates"), detail);
        }
        let others: Vec<&str> =
            tls.alpn.iter().map(String::as_str).filter(|name| !["h2", "http/1.1"].contains(name)).collect();
        if !others.is_empty() {
            self.none(format!("{subject}.alpn"), &format!("nginx does not offer {}", others.join(", ")));
        }
    }

    /// Writes how the servers of these clusters are spoken to, and gives the scheme.
    pub(super) fn servers_tls(
        &mut self,
        clusters: &[String],
        indent: &str,
        text: &mut String,
    ) -> &'static str {
        let setup = self.setup;
        let of = |name: &String| setup.upstream_tls.get(name);
        let Some((name, tls)) = clusters.iter().find_map(|name| Some((name, of(name)?))) else {
            return "http";
        };
        if clusters.iter().any(|name| of(name) != Some(tls)) {
            let detail = "one location speaks to all its servers in one way: as to this cluster";
            self.none(format!("upstream_tls.{name}"), detail);
        }
        self.server_tls(name, tls);
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{indent}proxy_ssl_{name} {};", quoted(value));
        };
        if let Some(name) = &tls.server_name {
            line("name", name);
            line("server_name", "on");
        }
        if !tls.insecure {
            line("verify", "on");
            line("trusted_certificate", tls.ca_file.as_deref().unwrap_or(SYSTEM_ROOTS));
        }
        if let Some(client) = &tls.client {
            line("certificate", &client.cert_file);
            line("certificate_key", &client.key_file);
        }
        "https"
    }

    fn server_tls(&mut self, cluster: &str, tls: &UpstreamTls) {
        let subject = format!("upstream_tls.{cluster}");
        if !tls.insecure && tls.ca_file.is_none() {
            let detail = format!(
                "proxy_ssl_trusted_certificate {SYSTEM_ROOTS}: put right where the system keeps its roots"
            );
            self.differs(format!("{subject}.ca_file"), &detail);
        }
        if !tls.insecure && tls.server_name.is_none() {
            let detail = "nginx checks a name in any case, that of the upstream: set proxy_ssl_name";
            self.differs(format!("{subject}.server_name"), detail);
        }
        if tls.alpn.iter().any(|name| name != "http/1.1") {
            let detail =
                "nginx offers its servers no protocol, and speaks HTTP/1.1: write grpc_pass for gRPC";
            self.none(format!("{subject}.alpn"), detail);
        }
        self.taken(subject, "proxy_ssl_verify and its kin");
    }
}
