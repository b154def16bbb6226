use std::path::PathBuf;
use std::time::Duration;

use evenkeel_registry::Backoff;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Mapping, PortChoice};

/// How to follow one service.
///
/// ```
/// use evenkeel_kube::{KubeConfig, PortChoice};
/// let mut config = KubeConfig::new("users");
/// config.namespace = Some("shop".into());
/// config.endpoints.port = PortChoice::Named("http".into());
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct KubeConfig {
    /// Where the API server is, and who we are to it.
    pub access: Access,
    /// The namespace of the service. The default is that of the context or, in a pod, the pod's own.
    pub namespace: Option<String>,
    /// The name of the Service: slices with the label `kubernetes.io/service-name` of this value are followed. No default.
    pub service: String,
    /// How entries of slices become endpoints.
    pub endpoints: Mapping,
    /// How long, how often, how many.
    pub bounds: Bounds,
}

impl KubeConfig {
    /// Everything by default, but which.
    pub fn new(service: impl Into<String>) -> Self {
        Self { service: service.into(), ..Self::default() }
    }

    /// Whether the settings can stand; [`Kube::start`](crate::Kube::start) asks.
    ///
    /// # Errors
    ///
    /// [`InvalidKubeConfig`] with the field.
    pub fn validate(&self) -> Result<(), InvalidKubeConfig> {
        check_name("service", &self.service)?;
        if let Some(namespace) = &self.namespace {
            check_name("namespace", namespace)?;
        }
        match &self.endpoints.port {
            PortChoice::Number(0) => return Err(InvalidKubeConfig::Port),
            PortChoice::Named(name) if name.len() > MAX_NAME => {
                return Err(InvalidKubeConfig::PortName { given: name.chars().take(MAX_NAME).collect() });
            }
            _ => {}
        }
        self.access.validate()?;
        self.bounds.validate()
    }
}

/// Where the API server is, and who we are to it. All files are read again for each new connection: after each failure
/// and each [`Bounds::resync_every`]. Token files are moreover read again once a minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "KubeAccess"))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Access {
    /// As `kubectl` does: `$KUBECONFIG` or `~/.kube/config` with its present context; without such a file the service
    /// account of the pod. The default.
    #[default]
    Infer,
    /// The service account of the pod.
    InCluster,
    /// A kubeconfig.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// A context of it; `None` for the present one.
        #[serde(default)]
        context: Option<String>,
    },
    /// A server, without a kubeconfig.
    Server(Server),
}

/// A server, without a kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "KubeServer"))]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// `https://host:port`, or `http://` for `kubectl proxy`.
    pub url: String,
    /// Who signs the server's certificate, PEM. The default is whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// A file with the bearer token.
    pub token_file: Option<PathBuf>,
    /// A client certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// The key to it.
    pub key_file: Option<PathBuf>,
}

impl Access {
    fn validate(&self) -> Result<(), InvalidKubeConfig> {
        let Self::Server(server) = self else { return Ok(()) };
        let uri = server.url.parse::<http::Uri>().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        {
            return Err(InvalidKubeConfig::Url { given: server.url.chars().take(200).collect() });
        }
        match (&server.cert_file, &server.key_file) {
            (Some(_), None) => Err(InvalidKubeConfig::HalfIdentity { missing: "access.server.key_file" }),
            (None, Some(_)) => Err(InvalidKubeConfig::HalfIdentity { missing: "access.server.cert_file" }),
            _ => Ok(()),
        }
    }
}

/// Times and bounds of following.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "KubeBounds"))]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// For how long the server is asked to keep one watch, in whole seconds. Its end and the start of the next show that
    /// the server answers: together with `answer_timeout` this is the bound within which a silent server is noticed. The
    /// default is 30 s, one request in 30 s; between watches nothing is lost. (Others ask for 5 to 10 minutes and notice
    /// a silent partition after as long. Bookmarks come once a minute.)
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub watch_for: Duration,
    /// How long the beginning of an answer may take, and by how much a watch may outlast its time. The default is 10 s.
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub answer_timeout: Duration,
    /// How long a whole list may take. The default is 60 s, the API server's own bound for a request.
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub list_timeout: Duration,
    /// How long a connection may take, TLS not included. The default is 5 s.
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub connect_timeout: Duration,
    /// How often everything is listed again, in case something was missed; `None` for never. The default is 10 min. What
    /// it is for: an API server restored from a backup says nothing of it to a watch from a position it has not reached.
    #[serde(with = "evenkeel_types::human_duration::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    pub resync_every: Option<Duration>,
    /// For how long an endpoint that vanishes from its slice without terminating is kept, because a move between two
    /// slices is two writes. The default is 500 ms: the controller makes both within one round, in milliseconds.
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub linger: Duration,
    /// How many slices a page of a list has. The default is 100, with 100 endpoints each about 4 MB. (The usual 500 are
    /// meant for smaller objects.)
    pub page_size: u32,
    /// The largest page of a list. The default is 64 MiB: 100 slices of the 1000 endpoints that Kubernetes allows.
    pub max_answer_bytes: usize,
    /// The largest line of a watch, which is one slice. The default is 4 MiB: etcd keeps objects up to 1.5 MiB.
    pub max_line_bytes: usize,
    /// The most endpoints, and the most slices. With more the set stays as it is, and the source is in trouble
    /// (`TooLarge`). The default is 20 000, twice what a mirror takes by default.
    pub max_endpoints: usize,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// Where the draws start that spread those waits. Give each process its own. The default is 0.
    pub seed: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            watch_for: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(10),
            list_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            resync_every: Some(Duration::from_secs(600)),
            linger: Duration::from_millis(500),
            page_size: 100,
            max_answer_bytes: 64 << 20,
            max_line_bytes: 4 << 20,
            max_endpoints: 20_000,
            backoff: Backoff::default(),
            seed: 0,
        }
    }
}

impl Bounds {
    /// The longest silence of the server that is not trouble.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.watch_for.saturating_add(self.answer_timeout)
    }

    fn validate(&self) -> Result<(), InvalidKubeConfig> {
        let whole = self.watch_for.subsec_nanos() == 0;
        if !whole || !(1..=MAX_WATCH).contains(&self.watch_for.as_secs()) {
            return Err(InvalidKubeConfig::WatchFor { given: self.watch_for });
        }
        let zeros = [
            ("bounds.answer_timeout", self.answer_timeout.is_zero()),
            ("bounds.list_timeout", self.list_timeout.is_zero()),
            ("bounds.connect_timeout", self.connect_timeout.is_zero()),
            ("bounds.resync_every", self.resync_every.is_some_and(|every| every.is_zero())),
            ("bounds.page_size", self.page_size == 0),
            ("bounds.max_answer_bytes", self.max_answer_bytes == 0),
            ("bounds.max_line_bytes", self.max_line_bytes == 0),
            ("bounds.max_endpoints", self.max_endpoints == 0),
            ("bounds.backoff.min", self.backoff.min.is_zero()),
        ];
        if let Some(&(field, _)) = zeros.iter().find(|(_, zero)| *zero) {
            return Err(InvalidKubeConfig::Zero { field });
        }
        let times = [
            ("bounds.answer_timeout", self.answer_timeout),
            ("bounds.list_timeout", self.list_timeout),
            ("bounds.connect_timeout", self.connect_timeout),
            ("bounds.linger", self.linger),
        ];
        if let Some(&(field, given)) = times.iter().find(|(_, given)| *given > MAX_TIME) {
            return Err(InvalidKubeConfig::TooLong { field, given });
        }
        if self.backoff.min > self.backoff.max {
            return Err(InvalidKubeConfig::Backoff { min: self.backoff.min, max: self.backoff.max });
        }
        Ok(())
    }
}

/// Settings that cannot stand.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidKubeConfig {
    /// A name that Kubernetes does not know.
    #[error(
        "{field} is {given:?}: 1 to 63 lower-case letters, digits and hyphens, a letter or digit at both ends"
    )]
    Name {
        /// Which.
        field: &'static str,
        /// What was given.
        given: String,
    },
    /// A port of zero.
    #[error("endpoints.port is 0: give 1 to 65535")]
    Port,
    /// A port name that Kubernetes does not know.
    #[error("endpoints.port is named {given:?}…: names of ports have 63 bytes at most")]
    PortName {
        /// What was given, cut.
        given: String,
    },
    /// No URL of a server.
    #[error("access.server.url is {given:?}: write https://host:port or http://host:port")]
    Url {
        /// What was given.
        given: String,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("{missing} is missing: certificate and key go together")]
    HalfIdentity {
        /// The missing field.
        missing: &'static str,
    },
    /// A time that the API does not take.
    #[error("bounds.watch_for is {given:?}: whole seconds from 1 s to 290 s")]
    WatchFor {
        /// What was given.
        given: Duration,
    },
    /// A time or bound of zero.
    #[error("{field} is zero: leave it out, or give more")]
    Zero {
        /// Which.
        field: &'static str,
    },
    /// What waits for longer is no timeout.
    #[error("{field} is {given:?}: an hour at most")]
    TooLong {
        /// Which.
        field: &'static str,
        /// What was given.
        given: Duration,
    },
    /// The first wait is longer than the longest.
    #[error("bounds.backoff.min of {min:?} is above bounds.backoff.max, which is {max:?}")]
    Backoff {
        /// The first.
        min: Duration,
        /// The longest.
        max: Duration,
    },
}

/// An adapter did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KubeError {
    /// Settings.
    #[error(transparent)]
    Config(#[from] InvalidKubeConfig),
    /// There is no kubeconfig or service account, it cannot be read, or has no such context.
    #[error("access: {why}")]
    Access {
        /// What is wrong.
        why: String,
    },
    /// The system gives no thread.
    #[error("no thread: {0}")]
    Thread(std::io::Error),
}

/// As RFC 1123 has labels, which names of namespaces and services are.
fn check_name(field: &'static str, given: &str) -> Result<(), InvalidKubeConfig> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = given.bytes().next().is_some_and(inner) && given.bytes().next_back().is_some_and(inner);
    if ends && given.len() <= MAX_NAME && given.bytes().all(|byte| inner(byte) || byte == b'-') {
        return Ok(());
    }
    Err(InvalidKubeConfig::Name { field, given: given.chars().take(MAX_NAME).collect() })
}

const MAX_NAME: usize = 63;
/// Below the 295 s that the client library allows.
const MAX_WATCH: u64 = 290;
const MAX_TIME: Duration = Duration::from_secs(3600);
