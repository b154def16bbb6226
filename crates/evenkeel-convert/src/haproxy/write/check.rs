//! Checks as `httpchk`, `tcp-check` and words of servers.

use std::fmt::Write;

use evenkeel::ClusterConfig;
use evenkeel_probe::{BodyMatch, ProbeConfig, Roots};

use super::tls::{is_argument, trusts};
use super::{Writer, quoted};
use crate::haproxy::units::time_text;
use crate::report::Tells;
use crate::setup::CheckSetup;

impl Writer<'_> {
    pub(super) fn check(&mut self, cluster: &ClusterConfig, text: &mut String) {
        let Some(check) = self.setup.checks.get(&cluster.name) else { return };
        let subject = format!("checks.{}", cluster.name);
        match &check.probe {
            ProbeConfig::Tcp(tcp) => {
                let send = tcp.send.as_ref().and_then(|payload| std::str::from_utf8(payload.as_bytes()).ok());
                let expect =
                    tcp.expect.as_ref().and_then(|payload| std::str::from_utf8(payload.as_bytes()).ok());
                if send.is_some() || expect.is_some() {
                    text.push_str("    option tcp-check\n");
                }
                if let Some(send) = send {
                    let _ = writeln!(text, "    tcp-check send {}", quoted(send));
                }
                if let Some(expect) = expect {
                    let _ = writeln!(text, "    tcp-check expect string {}", quoted(expect));
                }
                let _ = writeln!(text, "    timeout check {}", time_text(tcp.timeout));
            }
            ProbeConfig::Http(http) => {
                let _ = writeln!(text, "    option httpchk {} {}", http.method, quoted(&http.path));
                if let Some(host) = &http.host {
                    let _ = writeln!(text, "    http-check send hdr host {}", quoted(host));
                }
                for (name, value) in &http.headers {
                    let _ = writeln!(text, "    http-check send hdr {name} {}", quoted(value));
                }
                let _ = writeln!(
                    text,
                    "    http-check expect status {}",
                    http.expected.to_string().replace(", ", ",")
                );
                if let Some(body) = &http.body {
                    // One expectation for each check.
                    let (way, value) = match body {
                        BodyMatch::Contains(value) => ("string", value),
                        BodyMatch::Regex(value) => ("rstring", value),
                    };
                    self.none(
                        format!("{subject}.probe.body"),
                        &format!("HAProxy expects one thing: write http-check expect {way} {value}"),
                    );
                }
                let _ = writeln!(text, "    timeout check {}", time_text(http.timeout));
            }
            _ => {
                self.differs(subject, "only whether a connection is made is checked");
                return;
            }
        }
        self.taken(subject, "check");
    }

    /// What `server` says of TLS in checks: they are encrypted as the rest is, unless they go to a port of their own.
    pub(super) fn check_tls(&mut self, cluster: &str, check: &CheckSetup) -> String {
        let subject = format!("checks.{cluster}.probe.tls");
        let upstream = self.setup.upstream_tls.get(cluster).filter(|_| check.port.is_none());
        let tls = match &check.probe {
            ProbeConfig::Http(http) => http.tls.as_ref(),
            ProbeConfig::Tcp(_) if upstream.is_some() => {
                self.differs(subject, "checks speak TLS too, as requests do");
                return String::new();
            }
            _ => None,
        };
        let Some(tls) = tls else {
            return if upstream.is_some() { " no-check-ssl".to_owned() } else { String::new() };
        };
        let ca_file = match &tls.roots {
            Roots::Webpki => None,
            Roots::PemFile(file) => Some(file.display().to_string()),
            Roots::Pem(_) => {
                self.none(
                    format!("{subject}.roots"),
                    "write the certificates into a file, and name it as ca-file",
                );
                None
            }
        };
        if tls.client.is_some() {
            self.none(format!("{subject}.client"), "a server has one certificate: name it as crt");
        }
        let mut words = String::new();
        match self.setup.upstream_tls.get(cluster) {
            None => {
                let _ = write!(words, " check-ssl{}", trusts(tls.insecure, ca_file.as_deref()));
            }
            Some(other) => {
                if check.port.is_some() {
                    words.push_str(" check-ssl");
                }
                if (tls.insecure, &ca_file) != (other.insecure, &other.ca_file) {
                    self.differs(subject.clone(), "checks trust whom requests trust");
                }
            }
        }
        if let Some(name) = &tls.server_name {
            if is_argument(name) {
                let _ = write!(words, " check-sni {name}");
            } else {
                self.none(format!("{subject}.server_name"), "no name of a server: write check-sni by hand");
            }
        }
        words
    }
}
