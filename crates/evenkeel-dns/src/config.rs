use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::resolv_conf::MAX_SERVERS;
use crate::wire::{InvalidName, Name};

/// Which name to follow, whom to ask, and how often.
///
/// ```
/// use evenkeel_dns::{Answers, DnsConfig};
/// let mut config = DnsConfig::host("users.example", 8080);
/// config.answers = Answers::Rotating; // the zone has more addresses than an answer
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct DnsConfig {
    /// The name, absolute: `_http._tcp.users.example` for SRV, `users.example` for addresses. No search list is applied.
    pub name: String,
    /// The port of addresses (A and AAAA). The default is `None`: ask for SRV records, which have their own.
    pub port: Option<u16>,
    /// Whom to ask, in this order; at most eight. The default is none: those of [`resolv_conf`](Self::resolv_conf).
    pub servers: Vec<SocketAddr>,
    /// Where name servers are listed, read anew after every failure. The default is `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Which addresses count. The default is [`Families::PreferV4`].
    pub families: Families,
    /// Whether an answer is all there is. The default is [`Answers::Complete`].
    pub answers: Answers,
    /// What several addresses of an SRV target mean. The default is [`TargetAddresses::OneEndpoint`].
    pub target_addresses: TargetAddresses,
    /// The shortest time between two rounds of questions, whatever the time to live. The default is 1 s: Consul answers
    /// with a time to live of 0, which must be no busy loop.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub min_ttl: Duration,
    /// The longest, for answers and for "no". The default is 5 min: a day of time to live, set for mail servers, must not
    /// hide a new endpoint for a day.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_ttl: Duration,
    /// How long to wait after a failure; doubled with each further one, up to [`max_retry`](Self::max_retry), and
    /// shortened by up to half at random. The default is 1 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub retry: Duration,
    /// The longest wait after failures. The default is 30 s, the interval of RFC 8767 for stale answers.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_retry: Duration,
    /// How long to wait for one answer of one server. The default is 1 s; resolvers that must ask others first are asked
    /// again meanwhile.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub timeout: Duration,
    /// How often each server is asked before the round fails. The default is 2. A dead server shows after
    /// `servers × attempts × timeout`.
    pub attempts: u32,
    /// The largest answer, in bytes, 512 to 65 535. The default is 65 535, what TCP can carry: some 2000 SRV records or
    /// 4000 addresses.
    pub max_answer_bytes: usize,
    /// How many SRV targets are looked up. The default is 4096: no answer has more.
    pub max_targets: usize,
    /// Where the draws for retries start. Give each process its own. The default is 0. (What protects against forged
    /// answers comes from the operating system.)
    pub seed: u64,
}

/// Which addresses count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// IPv4, and IPv6 if there is certainly no IPv4: a process with both must not count as two, and its IPv6 may lead
    /// nowhere.
    #[default]
    PreferV4,
    /// All. Without SRV each address is an endpoint.
    Both,
}

/// Whether an answer is all there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Answers {
    /// Who is not in it has left.
    #[default]
    Complete,
    /// It may be a part that rotates, as of Route 53 (eight at random) or Consul over UDP (three): answers are joined, and
    /// who was in none for two times to live leaves.
    Rotating,
}

/// What several addresses of an SRV target mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum TargetAddresses {
    /// One process: one endpoint `target:port` with up to eight addresses, in numeric order.
    #[default]
    OneEndpoint,
    /// As many processes: each an endpoint `address:port`, with the record's weight.
    EachAnEndpoint,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            port: None,
            servers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            families: Families::default(),
            answers: Answers::default(),
            target_addresses: TargetAddresses::default(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            retry: Duration::from_secs(1),
            max_retry: Duration::from_secs(30),
            timeout: Duration::from_secs(1),
            attempts: 2,
            max_answer_bytes: 65_535,
            max_targets: 4096,
            seed: 0,
        }
    }
}

impl DnsConfig {
    /// The defaults, for the SRV records of a name.
    #[must_use]
    pub fn srv(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The defaults, for the addresses of a name, with this port.
    #[must_use]
    pub fn host(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port: Some(port), ..Self::default() }
    }

    /// Whether the settings can stand; gives the name.
    ///
    /// # Errors
    ///
    /// [`DnsError`] with the field.
    pub fn validate(&self) -> Result<Name, DnsError> {
        let name = Name::new(&self.name).map_err(DnsError::Name)?;
        if self.port == Some(0) {
            return Err(DnsError::Port);
        }
        if self.servers.len() > MAX_SERVERS {
            return Err(DnsError::Servers { given: self.servers.len() });
        }
        for (field, given, least, most) in [
            ("min_ttl", self.min_ttl, SHORTEST, LONGEST),
            ("max_ttl", self.max_ttl, self.min_ttl, LONGEST),
            ("retry", self.retry, SHORTEST, LONGEST),
            ("max_retry", self.max_retry, self.retry, LONGEST),
            ("timeout", self.timeout, Duration::from_millis(10), Duration::from_secs(60)),
        ] {
            if given < least || given > most {
                return Err(DnsError::Time { field, given, least, most });
            }
        }
        let numbers = [
            ("attempts", self.attempts as usize, 1, 10),
            ("max_answer_bytes", self.max_answer_bytes, 512, 65_535),
            ("max_targets", self.max_targets, 1, 65_535),
        ];
        match numbers.into_iter().find(|(_, given, least, most)| given < least || given > most) {
            Some((field, given, least, most)) => Err(DnsError::Number { field, given, least, most }),
            None => Ok(name),
        }
    }
}

/// More often than this is a busy loop.
const SHORTEST: Duration = Duration::from_millis(100);
/// What no one waits for.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A name cannot be followed like this.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DnsError {
    /// It is no name.
    #[error("name: {0}")]
    Name(InvalidName),
    /// Nobody listens there.
    #[error("port is 0: give the port of the service, or leave it out to ask for SRV records")]
    Port,
    /// Too many servers.
    #[error("servers has {given} entries: at most 8 are asked")]
    Servers {
        /// How many there are.
        given: usize,
    },
    /// A time out of range.
    #[error("{field} is {given:?}: allowed are {least:?} to {most:?}")]
    Time {
        /// Which.
        field: &'static str,
        /// What was given.
        given: Duration,
        /// The least that is allowed.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// A number out of range.
    #[error("{field} is {given}: allowed are {least} to {most}")]
    Number {
        /// Which.
        field: &'static str,
        /// What was given.
        given: usize,
        /// The least that is allowed.
        least: usize,
        /// The most.
        most: usize,
    },
    /// The thread could not be started.
    #[error("cannot start the thread: {0}")]
    Thread(#[source] std::io::Error),
}
