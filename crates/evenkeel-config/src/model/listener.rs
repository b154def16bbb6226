use std::path::PathBuf;
use std::time::Duration;

use evenkeel::route::matching::HostMatch;
use evenkeel_types::Address;
use serde::{Deserialize, Serialize};

/// Where connections come in: plain data for a proxy, which opens the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListenerConfig {
    /// Its name, each once: `stream.routes` ask for it.
    pub name: String,
    /// An IP address and a port, or `unix:` and a path. Each once, but for UDP beside TCP.
    pub address: Address,
    /// What is spoken there. Default `http`.
    #[serde(default)]
    pub protocol: Protocol,
    /// Its certificate, if connections are encrypted and end here. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// What one client may cost.
    #[serde(default)]
    pub limits: ListenerLimits,
    /// How long a client is waited for.
    #[serde(default)]
    pub timeouts: ListenerTimeouts,
}

/// What is spoken at a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2: requests are routed by `http`.
    #[default]
    Http,
    /// TCP, decrypted if there is `tls`: connections are routed by `stream`.
    Tcp,
    /// UDP: by `stream`, each source address together.
    Udp,
    /// TLS that ends elsewhere: by `stream`, which may ask for the server name.
    #[serde(alias = "tls-passthrough")]
    TlsPassthrough,
}

/// The certificates of a listener. The files are PEM; whoever opens the listener reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListenerTls {
    /// The certificate with its chain: for clients that ask for no name, or for one that none of `by_name` is for.
    pub cert_file: PathBuf,
    /// The key to it, not encrypted.
    pub key_file: PathBuf,
    /// Who signs the certificates that clients must show. Default: clients show none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Further certificates, for clients that ask for their names (SNI). Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_name: Vec<NamedCertificate>,
}

/// A certificate for some names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NamedCertificate {
    /// The names for which it is shown: `www.example.com`, `*.example.com`, `www.*`; each once in a listener. Default: those that stand in
    /// it, where no other certificate has been given the name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<HostMatch>,
    /// The certificate with its chain.
    pub cert_file: PathBuf,
    /// The key to it, not encrypted.
    pub key_file: PathBuf,
}

impl ListenerTls {
    /// Which of `by_name` is shown to a client that asks for `name`: that of the exact name, or of the longest suffix, or of the longest
    /// prefix; else the first that was given no names and in which the name stands, by `stands_in` and its number. `None` means the
    /// listener's own certificate. O(names), for whoever ends TLS.
    ///
    /// ```
    /// use evenkeel_config::{Loaded, Syntax};
    ///
    /// let loaded = Loaded::parse(r#"
    ///     [[listeners]]
    ///     name = "web"
    ///     address = "127.0.0.1:443"
    ///     [listeners.tls]
    ///     cert_file = "main.pem"
    ///     key_file = "main.key"
    ///     by_name = [{ names = ["*.example.com"], cert_file = "example.pem", key_file = "example.key" }]
    /// "#, Syntax::Toml)?;
    /// let tls = loaded.config().listeners[0].tls.as_ref().expect("it stands there");
    /// assert_eq!(tls.certificate_for("WWW.example.com", |_| false), Some(0));
    /// assert_eq!(tls.certificate_for("example.org", |_| false), None);
    /// # Ok::<(), evenkeel_config::ConfigErrors>(())
    /// ```
    #[must_use]
    pub fn certificate_for(&self, name: &str, stands_in: impl Fn(usize) -> bool) -> Option<usize> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let rank = |host: &HostMatch| match host {
            HostMatch::Exact(text) => (3, text.len()),
            HostMatch::Suffix(text) => (2, text.len()),
            HostMatch::Prefix(text) => (1, text.len()),
            _ => (0, 0),
        };
        let pairs =
            self.by_name.iter().enumerate().flat_map(|(i, one)| one.names.iter().map(move |host| (i, host)));
        let given =
            pairs.filter(|(_, host)| host.matches(name.as_bytes())).max_by_key(|(_, host)| rank(host));
        let own = || (0..self.by_name.len()).find(|&i| self.by_name[i].names.is_empty() && stands_in(i));
        given.map(|(i, _)| i).or_else(own)
    }
}

/// What one client may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListenerLimits {
    /// Connections at a time, at least 1. Default 10,000: below the usual 20,000 ephemeral ports to the other side.
    pub max_connections: u32,
    /// The head of a request in bytes, or what comes before the bytes of a connection (a PROXY header, the hello of TLS), 1 KiB to
    /// 1 MiB. Not for UDP. Default 64 KiB, as Envoy and most servers allow.
    pub header_bytes: u32,
    /// The fields of a head, 1 to 10,000; for http only. Default 100, as Envoy.
    pub header_fields: u32,
    /// The body of a request in bytes. Default: as long as it likes, since it streams through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { max_connections: 10_000, header_bytes: 64 << 10, header_fields: 100, body_bytes: None }
    }
}

/// How long a client is waited for. Each is 1 ms to 1 day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListenerTimeouts {
    /// For the TLS handshake, or the hello and the PROXY header of a connection. Default 10 s: a phone on a bad line needs three
    /// round trips.
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub handshake: Duration,
    /// For the head of a request; for http only. Default 10 s, against clients that send a byte now and then.
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub header: Duration,
    /// For the next request, or for the next byte of a connection. Default 75 s, as nginx: longer than the 60 s of most
    /// balancers in front, so that it is not we who close.
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub idle: Duration,
    /// For what is under way when the listener is closed. Default 30 s, the grace period of Kubernetes.
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub drain: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_found_by_name() {
        let named = |names: &[&str]| NamedCertificate {
            names: names.iter().map(|name| name.parse().expect("a pattern")).collect(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
        };
        let tls = ListenerTls {
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: None,
            by_name: vec![
                named(&["www.*"]),
                named(&["*.example.com"]),
                named(&["*.shop.example.com", "example.org"]),
                named(&["www.example.com"]),
                named(&[]),
                named(&[]),
            ],
        };
        for (name, found) in [
            ("www.example.com", Some(3)),
            ("WWW.Example.COM.", Some(3)),
            ("a.example.com", Some(1)),
            ("a.shop.example.com", Some(2)),
            ("example.org", Some(2)),
            ("www.example.net", Some(0)),
            ("inside.test", Some(5)),
            ("example.net", None),
            ("", None),
        ] {
            let stands_in = |i| name == "inside.test" && i == 5 || name.ends_with("example.com");
            assert_eq!(tls.certificate_for(name, stands_in), found, "{name}");
        }
    }
}
