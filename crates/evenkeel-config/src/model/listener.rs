use std::path::PathBuf;
use std::time::Duration;

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

/// The certificate of a listener. The files are PEM; whoever opens the listener reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListenerTls {
    /// The certificate with its chain.
    pub cert_file: PathBuf,
    /// The key to it, not encrypted.
    pub key_file: PathBuf,
    /// Who signs the certificates that clients must show. Default: clients show none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
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
