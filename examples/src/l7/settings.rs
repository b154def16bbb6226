//! What the proxy itself can be told: the part `[program]` of the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_config::Config;
use serde::Deserialize;
use thiserror::Error;

use super::forwarded::ForwardedSettings;
use super::via;

/// What the proxy itself can be told. Everything else (listeners, routes, clusters, checks) stands in the same file, in the words
/// of `evenkeel-config`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxySettings {
    /// Threads, each with listeners, connections and pools of its own: 1 to 256. Default: one for each core. Read at the start
    /// only.
    pub workers: usize,
    /// The path at which every `http` listener says that the proxy lives, before any route is asked. Default: none.
    pub healthz: Option<String>,
    /// Where the access log goes: a file, or `-` for the standard output. Default: nowhere. Read at the start only.
    pub access_log: Option<PathBuf>,
    /// Bodies up to this length, 0 to 16 MiB, are kept where a route may need them again: for retries, hedges and copies.
    /// Default 64 KiB.
    pub replay_bytes: u64,
    /// What upstreams are told of the client.
    pub forwarded: ForwardedSettings,
    /// The name of this proxy in `Via`, which RFC 9110 (section 7.6.3) wants in each request; one that has come by this name before is
    /// refused as a loop. Give proxies in a row different names. Default: none and no `Via`, as nginx, HAProxy, Envoy and Apache do
    /// without one, since servers take it for a sign of an old cache: nginx does not compress such answers (`gzip_proxied`).
    pub via: Option<String>,
    /// Other protocols that clients may change to, as they are called in `Upgrade`. Default `["websocket"]`. What is not here is not
    /// passed on: the rules cannot see what goes through a tunnel.
    pub upgrades: Vec<String>,
    /// How long upstreams are waited for.
    pub timeouts: UpstreamTimeouts,
    /// Connections that wait for the next request.
    pub pool: PoolSettings,
    /// Whether the status page and orders, which are not authenticated, are served at an `admin.address` that is no loopback
    /// address too. Default no: only `/healthz` and `/metrics` are. Read at the start only.
    pub admin_open: bool,
    /// How each cluster is spoken to, by its name. Default: HTTP/1.1 without TLS.
    pub upstream: BTreeMap<String, UpstreamSettings>,
    /// A Unix socket at which the next process gets the listening sockets of this one. Default: none. Read at the start only.
    pub handover: Option<PathBuf>,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(256),
            healthz: None,
            access_log: None,
            replay_bytes: 64 << 10,
            forwarded: ForwardedSettings::default(),
            via: None,
            upgrades: vec!["websocket".to_owned()],
            timeouts: UpstreamTimeouts::default(),
            pool: PoolSettings::default(),
            admin_open: false,
            upstream: BTreeMap::new(),
            handover: None,
        }
    }
}

/// How long upstreams are waited for; each 1 ms to 1 day.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTimeouts {
    /// For a connection, its TLS handshake included. Default 2 s: two lost packets of a handshake (1 s the first, RFC 6298).
    #[serde(with = "evenkeel_types::human_duration")]
    pub connect: Duration,
    /// For the head of an answer. Default 60 s, as nginx's `proxy_read_timeout`; a route's own `timeout` may end it sooner.
    #[serde(with = "evenkeel_types::human_duration")]
    pub response: Duration,
    /// For the next bytes of an answer. Default 60 s, as the same setting.
    #[serde(with = "evenkeel_types::human_duration")]
    pub idle: Duration,
    /// For the next bytes of a tunnel (WebSocket), in either direction. Default 1 h: pings are rare.
    #[serde(with = "evenkeel_types::human_duration")]
    pub tunnel: Duration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            tunnel: Duration::from_secs(3600),
        }
    }
}

/// Connections that wait for the next request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSettings {
    /// How many, for each endpoint and worker, 0 to 10,000. Default 64.
    pub idle: usize,
    /// For how long. Default 50 s: below the 60 s after which most servers close, so that it is rarely they who do.
    #[serde(with = "evenkeel_types::human_duration")]
    pub idle_time: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { idle: 64, idle_time: Duration::from_secs(50) }
    }
}

/// How a cluster is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamSettings {
    /// What is spoken. Default `http1`.
    pub protocol: UpstreamProtocol,
    /// Whether and how it is encrypted. Default: not.
    pub tls: Option<UpstreamTls>,
}

/// What is spoken to a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1, one request at a time on each connection.
    #[default]
    Http1,
    /// HTTP/2: requests of a worker share a connection, and go over another one where a server takes no more on the first; without TLS by
    /// prior knowledge, as gRPC servers want it.
    Http2,
    /// What the server chooses in its TLS handshake.
    Auto,
}

/// How a cluster proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name that its certificates must show.
    pub server_name: String,
    /// Who signs them, in PEM. Default: the roots of Mozilla.
    pub ca_file: Option<PathBuf>,
}

impl ProxySettings {
    /// Looks at ranges, and at names against the configuration around it.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self, config: &Config) -> Result<(), SettingsError> {
        in_range("workers", self.workers as u64, 1, 256)?;
        in_range("replay_bytes", self.replay_bytes, 0, 16 << 20)?;
        in_range("pool.idle", self.pool.idle as u64, 0, 10_000)?;
        for (field, given) in [
            ("timeouts.connect", self.timeouts.connect),
            ("timeouts.response", self.timeouts.response),
            ("timeouts.idle", self.timeouts.idle),
            ("timeouts.tunnel", self.timeouts.tunnel),
            ("pool.idle_time", self.pool.idle_time),
        ] {
            if !(Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&given) {
                return Err(SettingsError::Time { field, given });
            }
        }
        if let Some(path) = self.healthz.as_ref().filter(|path| !path.starts_with('/')) {
            return Err(SettingsError::Path { given: path.clone() });
        }
        if let Some(given) = self.via.as_ref().filter(|name| !via::is_pseudonym(name)) {
            return Err(SettingsError::Via { given: given.clone() });
        }
        for given in &self.upgrades {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte);
            // Within a connection that has begun, `h2c` would be HTTP again, past the rules.
            let is_http = ["h2c", "h2"].iter().any(|http| given.eq_ignore_ascii_case(http));
            if given.is_empty() || is_http || !given.bytes().all(is_token) {
                return Err(SettingsError::Upgrade { given: given.clone() });
            }
        }
        for (name, upstream) in &self.upstream {
            if !config.clusters.iter().any(|cluster| cluster.cluster.name == *name) {
                return Err(SettingsError::UnknownCluster { name: name.clone() });
            }
            if upstream.protocol == UpstreamProtocol::Auto && upstream.tls.is_none() {
                return Err(SettingsError::AutoWithoutTls { name: name.clone() });
            }
        }
        Ok(())
    }
}

fn in_range(field: &'static str, given: u64, least: u64, most: u64) -> Result<(), SettingsError> {
    match (least..=most).contains(&given) {
        true => Ok(()),
        false => Err(SettingsError::Number { field, given, least, most }),
    }
}

/// What is wrong in the part `[program]`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// A number is out of range.
    #[error("program.{field}: is {given}: allowed are {least} to {most}")]
    Number {
        /// The setting.
        field: &'static str,
        /// What was given.
        given: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A time is out of range.
    #[error("program.{field}: is {given:?}: allowed are 1ms to 1day")]
    Time {
        /// The setting.
        field: &'static str,
        /// What was given.
        given: Duration,
    },
    /// No path.
    #[error("program.healthz: is {given:?}: a path begins with a slash")]
    Path {
        /// What was given.
        given: String,
    },
    /// No name for `Via`.
    #[error(
        "program.via: is {given:?}: allowed are names of letters, digits and signs such as - and ., without spaces"
    )]
    Via {
        /// What was given.
        given: String,
    },
    /// No protocol that can be passed on.
    #[error(
        "program.upgrades: is {given:?}: allowed are names of protocols such as websocket, but not h2 and h2c"
    )]
    Upgrade {
        /// What was given.
        given: String,
    },
    /// No cluster has this name.
    #[error("program.upstream.{name}: no cluster has this name")]
    UnknownCluster {
        /// The name.
        name: String,
    },
    /// Without TLS nobody chooses.
    #[error("program.upstream.{name}.protocol: is auto: without tls nobody chooses, write http1 or http2")]
    AutoWithoutTls {
        /// The cluster.
        name: String,
    },
}
