use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_registry::{Backoff, InvalidRegistrarConfig, RegistrarConfig};
use evenkeel_types::EndpointId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Entries, EntryError, Unwritable};

/// How to follow the entries below one path.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZooKeeperConfig {
    /// How to reach the servers.
    pub servers: Servers,
    /// The node whose children are the entries, such as `/services/users`: for Curator the base path and the name of
    /// the service, for ServerSets the path of the set. It need not exist. No default.
    pub path: String,
    /// How entries are written.
    pub entries: Entries,
    /// How often, how long, how many.
    pub bounds: Bounds,
}

impl ZooKeeperConfig {
    /// Everything by default, but where.
    pub fn new<S: Into<String>>(servers: impl IntoIterator<Item = S>, path: impl Into<String>) -> Self {
        Self { servers: Servers::new(servers), path: path.into(), ..Self::default() }
    }

    /// Whether the settings can stand; [`ZooKeeper::start`](crate::ZooKeeper::start) asks.
    ///
    /// # Errors
    ///
    /// [`InvalidZooKeeperConfig`] with the field.
    pub fn validate(&self) -> Result<(), InvalidZooKeeperConfig> {
        self.servers.validate()?;
        check_path(&self.path)?;
        self.entries.validate()?;
        self.bounds.validate()
    }
}

/// Times and bounds of following.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// How often the node is asked about, which shows that the server answers and that no child was missed. The default
    /// is 3 s: with [`Servers::request_timeout`] a server that hangs is known within 8 s, and 5 s sooner in general by
    /// the client's own pings.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[serde(with = "evenkeel_types::human_duration")]
    pub probe_every: Duration,
    /// How often everything is read again, in case a notification was lost; `None` for never. The default is 10 min:
    /// none is known to get lost while the connection stands, and after each new one everything is read anyway.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[serde(with = "evenkeel_types::human_duration::optional")]
    pub resync_every: Option<Duration>,
    /// The most children. With more, the set stays as it is and the source is in trouble (`TooLarge`). The default is
    /// 20 000, twice what a mirror takes by default, and 1 MB of names.
    pub max_entries: usize,
    /// How many nodes are read at a time. The default is 256: ten thousand need 40 round trips then, and a server's
    /// queue for one client (1000) is not filled.
    pub max_in_flight: usize,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// Where the draws start that spread those waits. Give each process its own. The default is 0.
    pub seed: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            probe_every: Duration::from_secs(3),
            resync_every: Some(Duration::from_secs(600)),
            max_entries: 20_000,
            max_in_flight: 256,
            backoff: Backoff::default(),
            seed: 0,
        }
    }
}

impl Bounds {
    fn validate(&self) -> Result<(), InvalidZooKeeperConfig> {
        let zeros = [
            ("bounds.probe_every", self.probe_every.is_zero()),
            ("bounds.resync_every", self.resync_every.is_some_and(|every| every.is_zero())),
            ("bounds.max_entries", self.max_entries == 0),
            ("bounds.max_in_flight", self.max_in_flight == 0),
            ("bounds.backoff.min", self.backoff.min.is_zero()),
        ];
        if let Some(&(field, _)) = zeros.iter().find(|(_, zero)| *zero) {
            return Err(InvalidZooKeeperConfig::Zero { field });
        }
        if self.backoff.min > self.backoff.max {
            let Backoff { min, max } = self.backoff;
            return Err(InvalidZooKeeperConfig::Backoff { min, max });
        }
        Ok(())
    }
}

/// How to reach the servers of an ensemble.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Servers {
    /// `host:port` of each, IPv6 in brackets. One of them is used at a time, another when it fails. No default.
    pub addresses: Vec<String>,
    /// The time of silence after which the server forgets the session; the server may grant another (2 to 20 of its
    /// ticks, 4 to 40 s by default). The default is 10 s, as in Finagle: a connection counts as lost after two fifths
    /// of it, 4 s, and two other servers can be tried in the rest. (Curator's 60 s notice a crash after a minute.)
    /// A registrar asks for its own, which is the time to live.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[serde(with = "evenkeel_types::human_duration")]
    pub session_timeout: Duration,
    /// How long one answer may take. The default is 5 s: more than a pause of the server's garbage collector, less
    /// than a session.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[serde(with = "evenkeel_types::human_duration")]
    pub request_timeout: Duration,
    /// User and password of the scheme `digest`, if nodes are protected.
    pub credentials: Option<Credentials>,
    /// Encryption; `None` for none. Needs the feature `tls`.
    pub tls: Option<Tls>,
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            session_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            credentials: None,
            tls: None,
        }
    }
}

impl Servers {
    /// Everything by default, but where.
    pub fn new<S: Into<String>>(addresses: impl IntoIterator<Item = S>) -> Self {
        Self { addresses: addresses.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    fn validate(&self) -> Result<(), InvalidZooKeeperConfig> {
        if self.addresses.is_empty() {
            return Err(InvalidZooKeeperConfig::NoServer);
        }
        for address in &self.addresses {
            let known = address.parse::<evenkeel_types::Address>();
            if !known.is_ok_and(|address| address.port().is_some_and(|port| port != 0)) {
                return Err(InvalidZooKeeperConfig::Server { given: address.clone() });
            }
        }
        // The protocol counts milliseconds in 31 bits.
        let (least, most) = (Duration::from_secs(1), Duration::from_millis(i32::MAX as u64));
        if !(least..=most).contains(&self.session_timeout) {
            return Err(InvalidZooKeeperConfig::SessionTimeout { given: self.session_timeout });
        }
        if self.request_timeout.is_zero() {
            return Err(InvalidZooKeeperConfig::Zero { field: "servers.request_timeout" });
        }
        if let Some(Credentials { user, .. }) = &self.credentials
            && (user.is_empty() || user.contains(':'))
        {
            return Err(InvalidZooKeeperConfig::User { given: user.clone() });
        }
        self.tls.as_ref().map_or(Ok(()), Tls::validate)
    }
}

/// User and password of the scheme `digest`. They travel as they are: use TLS too.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The user, without a colon.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// A password: not shown by `Debug`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// A password of this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Encryption of the connection. The files are PEM and are read anew for each session, so that they can be exchanged.
/// The name in the server's certificate must be the host of its address.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Who signs the servers' certificates; may hold revocation lists too.
    pub ca_file: PathBuf,
    /// The certificate of this client, if servers want one.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// The key to it.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl Tls {
    fn validate(&self) -> Result<(), InvalidZooKeeperConfig> {
        if !cfg!(feature = "tls") {
            return Err(InvalidZooKeeperConfig::NoTls);
        }
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => Err(InvalidZooKeeperConfig::HalfIdentity { missing: "servers.tls.key_file" }),
            (None, Some(_)) => Err(InvalidZooKeeperConfig::HalfIdentity { missing: "servers.tls.cert_file" }),
            _ => Ok(()),
        }
    }
}

/// How to keep one endpoint below a path.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZooKeeperRegistrarConfig {
    /// How to reach the servers. The session timeout is [`RegistrarConfig::ttl`], not the one given here.
    pub servers: Servers,
    /// The node below which the entry stands; made, with those above it, if it is not there. Its last part is the name
    /// of the service in Curator's entries. No default.
    pub path: String,
    /// How the entry is written.
    pub entries: Entries,
    /// Who may read and change the entry. Nodes above it are open.
    pub acl: Acl,
    /// Time to live, drain, waits.
    pub registrar: RegistrarConfig,
    /// Where the draws start that spread renewals and waits. Give each process its own. The default is 0.
    pub seed: u64,
}

impl ZooKeeperRegistrarConfig {
    /// Everything by default, but where.
    pub fn new<S: Into<String>>(servers: impl IntoIterator<Item = S>, path: impl Into<String>) -> Self {
        Self { servers: Servers::new(servers), path: path.into(), ..Self::default() }
    }

    /// Whether the settings can stand; [`ZooKeeperRegistrar::start`](crate::ZooKeeperRegistrar::start) asks.
    ///
    /// # Errors
    ///
    /// [`InvalidZooKeeperConfig`] with the field.
    pub fn validate(&self) -> Result<(), InvalidZooKeeperConfig> {
        self.servers.validate()?;
        check_path(&self.path)?;
        self.entries.validate()?;
        self.registrar.validate()?;
        if self.registrar.ttl > Duration::from_millis(i32::MAX as u64) {
            return Err(InvalidZooKeeperConfig::SessionTimeout { given: self.registrar.ttl });
        }
        if self.acl != Acl::Open && self.servers.credentials.is_none() {
            return Err(InvalidZooKeeperConfig::AclOfNobody);
        }
        Ok(())
    }
}

/// Who may do what with a registered entry.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Acl {
    /// Everybody everything. The default, as in Curator.
    #[default]
    Open,
    /// The user of the credentials everything, all others may read.
    OthersRead,
    /// The user of the credentials everything, others nothing.
    Private,
}

/// Settings that cannot stand.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidZooKeeperConfig {
    /// Nobody to ask.
    #[error("servers.addresses is empty: give at least one host:port")]
    NoServer,
    /// An address that is none.
    #[error("servers.addresses holds {given:?}: write host:port, as in 10.0.0.1:2181 or [fd00::1]:2181")]
    Server {
        /// What was given.
        given: String,
    },
    /// Out of the range of the protocol.
    #[error(
        "session timeout (servers.session_timeout, registrar.ttl) is {given:?}: 1 s to 24 days are allowed"
    )]
    SessionTimeout {
        /// What was given.
        given: Duration,
    },
    /// A user that the scheme cannot carry.
    #[error("servers.credentials.user is {given:?}: it must not be empty or hold a colon")]
    User {
        /// What was given.
        given: String,
    },
    /// TLS is asked for and not built in.
    #[error("servers.tls is set, and the feature `tls` of evenkeel-zookeeper is off: turn it on")]
    NoTls,
    /// A certificate without its key, or a key without its certificate.
    #[error("{missing} is missing: certificate and key go together")]
    HalfIdentity {
        /// The missing field.
        missing: &'static str,
    },
    /// A path that ZooKeeper does not take.
    #[error("path is {given:?}: {wanted}")]
    Path {
        /// What was given.
        given: String,
        /// What a path must be.
        wanted: &'static str,
    },
    /// A time or bound of zero.
    #[error("{field} is zero: leave it out, or give more")]
    Zero {
        /// Which.
        field: &'static str,
    },
    /// The first wait is longer than the longest.
    #[error("bounds.backoff.min of {min:?} is above bounds.backoff.max, which is {max:?}")]
    Backoff {
        /// The first.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// An entry that only its owner may change has no owner.
    #[error(
        "acl protects the entry for its user, and servers.credentials is missing: give one, or acl = `open`"
    )]
    AclOfNobody,
    /// Of the registrar.
    #[error("registrar.{0}")]
    Registrar(#[from] InvalidRegistrarConfig),
}

/// An adapter did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ZooKeeperError {
    /// Settings.
    #[error(transparent)]
    Config(#[from] InvalidZooKeeperConfig),
    /// The endpoint cannot be written in this format.
    #[error("endpoint cannot be registered: {0}")]
    Endpoint(#[from] Unwritable),
    /// What would be written could not be read back.
    #[error("endpoint would not be readable: {0}")]
    Entry(#[from] EntryError),
    /// A registrar keeps the id that it was started with.
    #[error("this registrar keeps {id}: start another for {given}")]
    OtherId {
        /// The id of the registrar.
        id: EndpointId,
        /// The one that was given.
        given: EndpointId,
    },
    /// The system gives no thread.
    #[error("no thread: {0}")]
    Thread(std::io::Error),
}

/// As the server checks paths (`PathUtils.validatePath` of ZooKeeper).
fn check_path(path: &str) -> Result<(), InvalidZooKeeperConfig> {
    let bad = |wanted| Err(InvalidZooKeeperConfig::Path { given: path.to_owned(), wanted });
    let Some(below) = path.strip_prefix('/') else {
        return bad("it starts with a slash, as in /services/users");
    };
    if below.is_empty() {
        return bad("the root itself cannot be a service");
    }
    if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return bad("no part may be empty, `.` or `..`, and it does not end with a slash");
    }
    if path.chars().any(|c| !crate::entries::is_allowed(c)) {
        return bad("no control, private or unassigned characters");
    }
    Ok(())
}
