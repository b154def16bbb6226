use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_adapter::{BaseUrl, ClientSettings, InvalidTls, InvalidUrl, Secret, TlsConfig};
use evenkeel_registry::Backoff;
use evenkeel_types::Locality;
use hyper::header::{HeaderName, HeaderValue};
use thiserror::Error;

use crate::proto;

/// How to follow a control plane.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct XdsConfig {
    /// How it is reached.
    pub connection: XdsConnection,
    /// Who we are.
    pub node: NodeConfig,
    /// Which protocol to speak. The default is the state of the world, which every control plane knows.
    pub variant: Variant,
    /// How long to wait for a resource that was asked for and never told of, while the stream stands; `None` for ever.
    /// The default is 15 s, as in Envoy and gRPC.
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    pub resource_timeout: Option<Duration>,
    /// What it means when that has passed. The default is trouble.
    pub on_timeout: OnTimeout,
    /// What to do about deletions. The default is to believe them.
    pub deletions: Deletions,
    /// The most clusters; an answer with more is refused. The default is 10 000, several times what Istio sends to one
    /// proxy by default.
    pub max_clusters: usize,
    /// How long to wait before the stream is opened again after a failure, and between refusals (NACK) that follow one
    /// another. The default is 250 ms to 15 s; Envoy's is 500 ms to 30 s, for far more proxies per control plane.
    pub backoff: Backoff,
    /// Where the draws start that spread waits, and which server comes first. Give each process its own, so that a
    /// fleet does not come back in step. The default is 0.
    pub seed: u64,
}

impl Default for XdsConfig {
    fn default() -> Self {
        Self {
            connection: XdsConnection::default(),
            node: NodeConfig::default(),
            variant: Variant::default(),
            resource_timeout: Some(Duration::from_secs(15)),
            on_timeout: OnTimeout::default(),
            deletions: Deletions::default(),
            max_clusters: 10_000,
            backoff: Backoff { min: Duration::from_millis(250), max: Duration::from_secs(15) },
            seed: 0,
        }
    }
}

/// How a control plane is reached.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct XdsConnection {
    /// The servers, `http://host:port` or `https://host:port`. One is used at a time, the next after a failure; where to
    /// begin is drawn from the seed. There is no default.
    pub servers: Vec<String>,
    /// Certificates, for `https://`.
    pub tls: TlsConfig,
    /// The name that the server's certificate has to be for, if not the host of its URL.
    pub server_name: Option<String>,
    /// Metadata of the call, such as `authorization`; not shown by `Debug`.
    pub headers: BTreeMap<String, Secret>,
    /// A file with a token, sent as `authorization: Bearer …`. It is read anew for each stream, since such tokens are
    /// exchanged (Kubernetes' service accounts hourly).
    pub token_file: Option<PathBuf>,
    /// The longest wait for a name and a connection, TLS included. The default is 3 s, which leaves room for one lost
    /// packet (SYN is sent again after 1 s).
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub connect_timeout: Duration,
    /// After how long a silence to ask the server for a sign of life (an HTTP/2 ping). The default is 30 s: the servers
    /// of gRPC for Go, in which most control planes are written, end connections that ping more often than their
    /// `MinTime` allows, and Istio's and go-control-plane's examples allow that much. A server that says so
    /// (`ENHANCE_YOUR_CALM`) is asked half as often from then on.
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub keepalive: Duration,
    /// How long to wait for that sign. The default is 10 s: a server that hangs is seen after 40 s in all.
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub keepalive_timeout: Duration,
    /// The largest response, in bytes. The default is 32 MiB: ten thousand endpoints have about one.
    pub max_answer_bytes: usize,
}

impl Default for XdsConnection {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            tls: TlsConfig::default(),
            server_name: None,
            headers: BTreeMap::new(),
            token_file: None,
            connect_timeout: Duration::from_secs(3),
            keepalive: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_answer_bytes: 32 << 20,
        }
    }
}

/// Who we are to the control plane, which may answer accordingly. `envoy.config.core.v3.Node`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "XdsNode"))]
pub struct NodeConfig {
    /// The name of this process. There is no default: control planes keep what they send by it.
    pub id: String,
    /// The name of the service that this process is part of.
    pub cluster: String,
    /// Where it runs.
    pub locality: Locality,
    /// What else the control plane wants to know, as texts.
    pub metadata: BTreeMap<String, String>,
}

impl NodeConfig {
    pub(crate) fn message(&self) -> proto::Node {
        let text = |text: &String| proto::Value { kind: Some(proto::Kind::Text(text.clone())) };
        let fields = self.metadata.iter().map(|(key, value)| (key.clone(), text(value))).collect();
        proto::Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: (!self.metadata.is_empty()).then_some(proto::Struct { fields }),
            locality: (!self.locality.is_empty()).then(|| proto::Locality {
                region: self.locality.region().to_owned(),
                zone: self.locality.zone().to_owned(),
                sub_zone: self.locality.sub_zone().to_owned(),
            }),
            user_agent_name: "evenkeel".to_owned(),
            user_agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            // As gRPC says it: resources of a state of the world may come in envelopes.
            client_features: vec!["xds.config.resource-in-sotw".to_owned()],
        }
    }
}

/// The two protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "XdsVariant"))]
pub enum Variant {
    /// `StreamAggregatedResources`.
    #[default]
    StateOfTheWorld,
    /// `DeltaAggregatedResources`: only what has changed is sent, and what does not exist is said to.
    Delta,
}

/// What it means that a resource was not told of in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnTimeout {
    /// Nobody knows: `Trouble`, and a set that was loaded from a disk stays. The default, since such timers have as a
    /// rule been slow control planes (gRFC A88, whose `resource_timer_is_transient_error` this is).
    #[default]
    Trouble,
    /// It does not exist: `Absent`, as the protocol documents it and Envoy does it.
    Absence,
}

/// What to do when the control plane deletes a resource. (Whether to keep a set for a resource that turns *invalid* is
/// no setting: it is kept, as by gRFC A88 without `fail_on_data_errors`.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Deletions {
    /// It is gone: `Absent`. The default: a control plane that deletes has said so in as many words, and whoever never
    /// believes it keeps the dead for ever.
    #[default]
    Believe,
    /// The last set stays, and its source is in trouble (gRFC A53, `ignore_resource_deletion`): for control planes that
    /// forget things when they start.
    Ignore,
}

/// An adapter cannot be started, or not follow what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum XdsError {
    /// Nobody to ask.
    #[error("connection.servers is empty: give the control plane, such as http://127.0.0.1:18000")]
    NoServer,
    /// A server that is no URL.
    #[error("connection.servers[{at}]: {error}")]
    Server {
        /// Which, from 0.
        at: usize,
        /// What is wrong.
        error: InvalidUrl,
    },
    /// HTTPS is asked for and not built in.
    #[error("connection.servers[{at}] is https, and the feature `tls` of evenkeel-xds is off: turn it on")]
    NoTls {
        /// Which, from 0.
        at: usize,
    },
    /// Certificates.
    #[error("connection.{0}")]
    Tls(InvalidTls),
    /// A name that no certificate can be for.
    #[error("connection.server_name is {given:?}: a DNS name or an IP address is needed")]
    ServerName {
        /// What was given.
        given: String,
    },
    /// A header that HTTP or gRPC does not allow.
    #[error("connection.headers.{name} {why}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// No node id.
    #[error("node.id is empty: give this process a name")]
    NoNode,
    /// A field that must not be zero.
    #[error("{field} is zero: give more")]
    Zero {
        /// Which.
        field: &'static str,
    },
    /// A timeout that is none.
    #[error("{field} is {given:?}: at most 1 h is allowed")]
    TooLong {
        /// Which.
        field: &'static str,
        /// What was given.
        given: Duration,
    },
    /// The first wait is longer than the longest.
    #[error("backoff.min of {min:?} is above backoff.max, which is {max:?}")]
    Backoff {
        /// The first.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A resource without a name.
    #[error("the name of a resource is empty")]
    NoName,
    /// The adapter was stopped.
    #[error("the adapter was stopped")]
    Stopped,
    /// The system gives no thread.
    #[error("thread cannot be started: {0}")]
    Thread(String),
}

impl XdsConfig {
    /// Everything by default, but where, and who we are.
    pub fn new<S: Into<String>>(servers: impl IntoIterator<Item = S>, node: impl Into<String>) -> Self {
        let mut config = Self::default();
        config.connection.servers = servers.into_iter().map(Into::into).collect();
        config.node.id = node.into();
        config
    }

    /// Whether the settings can stand, files apart; [`Xds::start`](crate::Xds::start) asks.
    ///
    /// # Errors
    ///
    /// [`XdsError`] with the field.
    pub fn validate(&self) -> Result<(), XdsError> {
        self.connection.validate()?;
        if self.node.id.is_empty() {
            return Err(XdsError::NoNode);
        }
        zero("resource_timeout", self.resource_timeout.is_some_and(|timeout| timeout.is_zero()))?;
        zero("max_clusters", self.max_clusters == 0)?;
        zero("backoff.min", self.backoff.min.is_zero())?;
        if self.backoff.min > self.backoff.max {
            return Err(XdsError::Backoff { min: self.backoff.min, max: self.backoff.max });
        }
        Ok(())
    }
}

impl XdsConnection {
    pub(crate) fn validate(&self) -> Result<Vec<BaseUrl>, XdsError> {
        if self.servers.is_empty() {
            return Err(XdsError::NoServer);
        }
        let parse = |(at, text): (usize, &String)| {
            let url: BaseUrl = text.parse().map_err(|error| XdsError::Server { at, error })?;
            if url.is_secure() && cfg!(not(feature = "tls")) { Err(XdsError::NoTls { at }) } else { Ok(url) }
        };
        let servers = self.servers.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        self.headers()?;
        for (field, given) in [
            ("connection.connect_timeout", self.connect_timeout),
            ("connection.keepalive", self.keepalive),
            ("connection.keepalive_timeout", self.keepalive_timeout),
        ] {
            zero(field, given.is_zero())?;
            if given > ClientSettings::MAX_TIMEOUT {
                return Err(XdsError::TooLong { field, given });
            }
        }
        zero("connection.max_answer_bytes", self.max_answer_bytes == 0)?;
        Ok(servers)
    }

    pub(crate) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, XdsError> {
        let header = |(name, value): (&String, &Secret)| {
            let bad = |why| XdsError::Header { name: name.clone(), why };
            let known =
                HeaderName::try_from(name.as_str()).map_err(|_| bad("is not the name of a header"))?;
            let text = known.as_str();
            if text.starts_with("grpc-") || OURS.contains(&text) {
                return Err(bad("is set by gRPC itself"));
            }
            if text.ends_with("-bin") {
                return Err(bad("is binary, which is not supported"));
            }
            let mut value = HeaderValue::from_str(value.reveal())
                .map_err(|_| bad("has a value that no header can have"))?;
            value.set_sensitive(true);
            Ok((known, value))
        };
        self.headers.iter().map(header).collect()
    }
}

fn zero(field: &'static str, zero: bool) -> Result<(), XdsError> {
    if zero { Err(XdsError::Zero { field }) } else { Ok(()) }
}

const OURS: [&str; 6] = ["content-type", "te", "host", "user-agent", "connection", "transfer-encoding"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        let good = || XdsConfig::new(["http://127.0.0.1:18000"], "n");
        assert_eq!(good().validate(), Ok(()));
        let check = |change: fn(&mut XdsConfig), wanted: &str| {
            let mut config = good();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        check(|c| c.connection.servers.clear(), "connection.servers is empty");
        check(|c| c.connection.servers.push("10.0.0.1".to_owned()), "connection.servers[1]");
        check(|c| c.node.id.clear(), "node.id is empty");
        check(|c| c.connection.keepalive = Duration::ZERO, "connection.keepalive is zero");
        check(|c| c.connection.keepalive_timeout = Duration::MAX, "connection.keepalive_timeout is");
        check(|c| c.connection.connect_timeout = Duration::ZERO, "connection.connect_timeout is zero");
        check(|c| c.connection.max_answer_bytes = 0, "connection.max_answer_bytes is zero");
        check(|c| c.resource_timeout = Some(Duration::ZERO), "resource_timeout is zero");
        check(|c| c.max_clusters = 0, "max_clusters is zero");
        check(|c| c.backoff.max = Duration::ZERO, "backoff.min");
        check(|c| _ = c.connection.headers.insert("a b".into(), Secret::new("x")), "connection.headers.a b");
        check(|c| _ = c.connection.headers.insert("te".into(), Secret::new("x")), "set by gRPC");
        check(|c| _ = c.connection.headers.insert("x-a".into(), Secret::new("a\nb")), "no header can have");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn settings_read_from_a_file() {
        let config: XdsConfig = toml::from_str(
            "variant = 'delta'\nresource_timeout = '5s'\n[connection]\nservers = ['https://cp:443']\n\
             [connection.headers]\nauthorization = 'hunter2'\n[node]\nid = 'a'\nlocality = { zone = 'z' }\n",
        )
        .unwrap();
        assert_eq!((config.variant, config.node.locality.zone()), (Variant::Delta, "z"));
        assert!(!format!("{config:?}").contains("hunter2"), "a token is not shown");
        assert!(toml::from_str::<XdsConfig>("varient = 'delta'").is_err());
    }
}
