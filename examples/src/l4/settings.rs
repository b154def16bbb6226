use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use evenkeel::route::matching::Cidr;
use evenkeel_config::{Config, ListenerConfig, Protocol};
use evenkeel_types::Address;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What `[program]` holds in the configuration of this proxy; all else there is evenkeel's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Threads, each with sockets and connections of its own, 1 to 256. Default: one for each core. Only read at the start.
    pub workers: Option<NonZeroUsize>,
    /// The longest wait for a connection to an endpoint, 1 ms to 1 h. Default 5 s, as Envoy: three SYNs of Linux (0, 1 and 3 s).
    #[serde(with = "evenkeel_types::human_duration")]
    pub connect_timeout: Duration,
    /// How many endpoints are tried for one connection, 1 to 100. Default 3.
    pub attempts: u32,
    /// Whether streams of bytes go by `splice(2)`, without a copy into this program. Default yes.
    pub splice: bool,
    /// How long the connections of an endpoint go on that was withdrawn (drained, weight zero) or is gone, up to 7 days. Default
    /// 5 min, AWS's deregistration delay.
    #[serde(with = "evenkeel_types::human_duration")]
    pub endpoint_drain: Duration,
    /// Whether the status page and orders, which are not authenticated, are served at an `admin.address` that is no loopback
    /// address too. Default no: only `/healthz` and `/metrics` are. Only read at the start.
    pub admin_open: bool,
    /// More of the listeners, by name.
    pub listeners: BTreeMap<String, ListenerPart>,
    /// More of the clusters, by name.
    pub clusters: BTreeMap<String, ClusterPart>,
}

/// More of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerPart {
    /// Connections begin with a PROXY header, of version 1 or 2. Default: they do not.
    pub accept_proxy: Option<AcceptProxy>,
}

/// Who may say where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptProxy {
    /// The balancers in front. Connections from anywhere else are refused, since whoever may write the header may be anybody.
    pub from: Vec<Cidr>,
}

/// More of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterPart {
    /// Connections to its endpoints begin with a PROXY header of this version. Default: with none. Checks of evenkeel send none.
    pub send_proxy: Option<ProxyVersion>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary. The server name of a TLS handshake goes with it, if it was read.
    V2,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: None,
            connect_timeout: Duration::from_secs(5),
            attempts: 3,
            splice: true,
            endpoint_drain: Duration::from_secs(300),
            admin_open: false,
            listeners: BTreeMap::new(),
            clusters: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Whether they make sense by themselves and with the rest of the file.
    pub(crate) fn check(&self, config: &Config) -> Result<(), SettingsError> {
        self.ranges()?;
        for (name, part) in &self.listeners {
            let listener = config.listeners.iter().find(|listener| listener.name == *name);
            let listener = listener.ok_or_else(|| {
                SettingsError::new(format!("program.listeners.{name}"), "there is no listener of this name")
            })?;
            if let Some(accept) = &part.accept_proxy {
                let field = format!("program.listeners.{name}.accept_proxy");
                if accept.from.is_empty() {
                    return Err(SettingsError::new(
                        field + ".from",
                        "is empty: every connection would be refused",
                    ));
                }
                if listener.protocol == Protocol::Udp {
                    return Err(SettingsError::new(field, "would be ignored: the listener is for udp"));
                }
            }
        }
        for name in self.clusters.keys() {
            if !config.clusters.iter().any(|cluster| cluster.cluster.name == *name) {
                let text = "there is no cluster of this name";
                return Err(SettingsError::new(format!("program.clusters.{name}"), text));
            }
        }
        config.listeners.iter().enumerate().try_for_each(|(i, listener)| served(i, listener, self.threads()))
    }

    /// These, with the clusters of `before` too. Of those in both, who has to send a PROXY header at either time sends it: one too
    /// many is an error that is seen, a missing one is a client that says who it is.
    pub(crate) fn with_clusters_of(&self, before: &Self) -> Self {
        let mut both = self.clone();
        for (name, part) in &before.clusters {
            let known = both.clusters.entry(name.clone()).or_default();
            known.send_proxy = known.send_proxy.or(part.send_proxy);
        }
        both
    }

    fn ranges(&self) -> Result<(), SettingsError> {
        let wrong = |field: &str, text: String| Err(SettingsError::new(format!("program.{field}"), text));
        if let Some(workers) = self.workers.filter(|workers| workers.get() > 256) {
            return wrong("workers", format!("is {workers}: allowed are 1 to 256"));
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(&self.connect_timeout) {
            return wrong("connect_timeout", format!("is {:?}: allowed are 1ms to 1h", self.connect_timeout));
        }
        if !(1..=100).contains(&self.attempts) {
            return wrong("attempts", format!("is {}: allowed are 1 to 100", self.attempts));
        }
        if self.endpoint_drain > Duration::from_secs(7 * 86_400) {
            return wrong("endpoint_drain", format!("is {:?}: allowed are 0s to 7days", self.endpoint_drain));
        }
        Ok(())
    }

    pub(crate) fn threads(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get).min(256);
        self.workers.map_or_else(cores, NonZeroUsize::get)
    }
}

/// Whether this proxy can open such a listener.
fn served(i: usize, listener: &ListenerConfig, threads: usize) -> Result<(), SettingsError> {
    let field = |key: &str| format!("listeners[{i}].{key}");
    if listener.protocol == Protocol::Http {
        let text = "is http: this proxy has tcp, udp and tls_passthrough; l7_proxy has http";
        return Err(SettingsError::new(field("protocol"), text));
    }
    if listener.tls.is_some() {
        let text = "this proxy does not end TLS: use tls_passthrough, or l7_proxy";
        return Err(SettingsError::new(field("tls"), text));
    }
    let room = listener.limits.max_connections;
    if listener.protocol != Protocol::Udp && (room as usize) < threads {
        // Each thread holds room for the next connection while it waits for one.
        let text = format!("is {room}: there are {threads} workers, and each needs room for one");
        return Err(SettingsError::new(field("limits.max_connections"), text));
    }
    if !matches!(listener.address, Address::Socket(_)) {
        let text = "is no IP address with a port: this proxy opens no other sockets";
        return Err(SettingsError::new(field("address"), text));
    }
    Ok(())
}

/// A setting that this proxy cannot use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct SettingsError {
    /// Its path, such as `program.attempts`.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl SettingsError {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_configurations_every_cluster_gets_its_header() {
        let of = |clusters: &[(&str, Option<ProxyVersion>)]| Settings {
            clusters: clusters
                .iter()
                .map(|&(name, send_proxy)| (name.to_owned(), ClusterPart { send_proxy }))
                .collect(),
            ..Settings::default()
        };
        let (v1, v2) = (Some(ProxyVersion::V1), Some(ProxyVersion::V2));
        let before = of(&[("old", v1), ("off", v1), ("on", None), ("other", v1)]);
        let after = of(&[("new", v2), ("off", None), ("on", v2), ("other", v2)]);
        let both = of(&[("new", v2), ("off", v1), ("old", v1), ("on", v2), ("other", v2)]);
        assert_eq!(after.with_clusters_of(&before), both);
    }
}
