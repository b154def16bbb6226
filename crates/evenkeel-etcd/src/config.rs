use std::time::Duration;

use evenkeel_adapter::{BaseUrl, InvalidSetting, InvalidTls, InvalidUrl, Secret, SpawnError, TlsConfig};
use evenkeel_registry::{Backoff, RegistrarConfig};
use thiserror::Error;

use crate::entry::Format;

/// How a cluster of etcd is reached.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EtcdConnection {
    /// The members, `http://host:port` or `https://host:port`. One is used at a time, the next after a failure; where
    /// to begin is drawn from the seed. There is no default.
    pub endpoints: Vec<String>,
    /// The user, if etcd asks for one (`etcdctl auth enable`).
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<Secret>,
    /// Certificates, for `https://`.
    pub tls: TlsConfig,
    /// The longest wait for a name and a connection, TLS included. The default is 2 s, which leaves room for one lost
    /// packet (SYN is sent again after 1 s).
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub connect_timeout: Duration,
    /// The longest wait for an answer. The default is 3 s: a leader is elected within 1 to 2 s by default, and a member
    /// that does not answer for longer is not worth waiting for.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub request_timeout: Duration,
    /// The largest answer and the largest batch of a watch, in bytes. The default is 16 MiB: etcd's values have at most
    /// 1.5 MiB each, and a page of 500 usual entries a quarter of a MiB.
    pub max_answer_bytes: usize,
}

impl Default for EtcdConnection {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            user: None,
            password: None,
            tls: TlsConfig::default(),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(3),
            max_answer_bytes: 16 << 20,
        }
    }
}

/// How a prefix of etcd is followed.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EtcdConfig {
    /// How etcd is reached.
    pub connection: EtcdConnection,
    /// What the keys of the service start with, as `services/users/`; the rest of a key is the id of its endpoint. End
    /// it with a slash, or `users` has the entries of `users-old` too. There is no default.
    pub prefix: String,
    /// How many entries to list at a time. The default is 500, as Kubernetes' clients do: a page stays well below a
    /// megabyte.
    pub page_size: u32,
    /// The most entries of the prefix; above it the list is refused as too large. The default is 100 000, ten times
    /// what the registry takes by default, so that the prefix of something else is noticed and costs no memory.
    pub max_entries: usize,
    /// After how long a silence of the watch to ask whether etcd is there. Silence that nobody answers is seen after
    /// this and `request_timeout`. The default is 5 s: 8 s in all, and one tiny request in 5 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub keepalive: Duration,
    /// How often to list everything again and open a new watch, even if all seems well: against a watch that hangs
    /// while its server lives. Up to a tenth shorter, by the seed. The default is 10 min.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub relist_every: Duration,
    /// How long to wait after all members have failed.
    pub backoff: Backoff,
    /// Where the draws start that spread waits and members. Give each process its own, so that a fleet does not come
    /// back in step. The default is 0.
    pub seed: u64,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            connection: EtcdConnection::default(),
            prefix: String::new(),
            page_size: 500,
            max_entries: 100_000,
            keepalive: Duration::from_secs(5),
            relist_every: Duration::from_secs(600),
            backoff: Backoff { min: Duration::from_millis(250), max: Duration::from_secs(15) },
            seed: 0,
        }
    }
}

/// How an endpoint is kept in etcd.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EtcdRegistrarConfig {
    /// How etcd is reached.
    pub connection: EtcdConnection,
    /// What the key starts with; the id of the endpoint follows. There is no default.
    pub prefix: String,
    /// How the value is written. The default is our own form, which keeps everything that is known of an endpoint.
    pub format: Format,
    /// Times. `ttl` is 2 s at least, since etcd grants no less (1.5 election timeouts).
    pub registrar: RegistrarConfig,
    /// Where the draws start that spread renewals. Give each process its own. The default is 0.
    pub seed: u64,
}

/// An adapter or registrar cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// Nobody to ask.
    #[error("connection.endpoints is empty: give the members of the cluster, such as http://10.0.0.1:2379")]
    NoEndpoints,
    /// A member that is no URL.
    #[error("connection.endpoints[{at}]: {error}")]
    Endpoint {
        /// Which, from 0.
        at: usize,
        /// What is wrong.
        error: InvalidUrl,
    },
    /// A user without password, or the other way round.
    #[error("{missing} is missing: connection.user and connection.password go together")]
    HalfLogin {
        /// The field.
        missing: &'static str,
    },
    /// Certificates.
    #[error("connection.{0}")]
    Tls(InvalidTls),
    /// No prefix, or one that is too long.
    #[error("prefix has {len} bytes: 1 to 1024 are allowed, such as services/users/")]
    Prefix {
        /// Its length.
        len: usize,
    },
    /// A size, a time or a wait.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// etcd grants no lease so short.
    #[error("registrar.ttl is {given:?}: etcd grants 2 s at least")]
    Ttl {
        /// What was given.
        given: Duration,
    },
    /// Other settings of the registrar, or no thread.
    #[error("{0}")]
    Spawn(SpawnError),
    /// The system gives no thread.
    #[error("thread cannot be started: {0}")]
    Thread(String),
}

impl EtcdConnection {
    pub(crate) fn validate(&self) -> Result<Vec<BaseUrl>, EtcdError> {
        if self.endpoints.is_empty() {
            return Err(EtcdError::NoEndpoints);
        }
        let parse =
            |(at, text): (usize, &String)| text.parse().map_err(|error| EtcdError::Endpoint { at, error });
        let endpoints = self.endpoints.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        match (&self.user, &self.password) {
            (Some(_), None) => return Err(EtcdError::HalfLogin { missing: "connection.password" }),
            (None, Some(_)) => return Err(EtcdError::HalfLogin { missing: "connection.user" }),
            _ => {}
        }
        InvalidSetting::check_timeout("connection.connect_timeout", self.connect_timeout)?;
        InvalidSetting::check_timeout("connection.request_timeout", self.request_timeout)?;
        InvalidSetting::check_count("connection.max_answer_bytes", self.max_answer_bytes)?;
        Ok(endpoints)
    }
}

impl EtcdConfig {
    /// Whether the settings can stand, files apart; [`Etcd::start`](crate::Etcd::start) asks.
    ///
    /// # Errors
    ///
    /// [`EtcdError`] with the field.
    pub fn validate(&self) -> Result<(), EtcdError> {
        self.connection.validate()?;
        check_prefix(&self.prefix)?;
        InvalidSetting::check_count("page_size", self.page_size as usize)?;
        InvalidSetting::check_count("max_entries", self.max_entries)?;
        InvalidSetting::check_timeout("keepalive", self.keepalive)?;
        InvalidSetting::check_time("relist_every", self.relist_every)?;
        InvalidSetting::check_backoff(&self.backoff)?;
        Ok(())
    }
}

impl EtcdRegistrarConfig {
    /// Whether the settings can stand, files apart; [`EtcdRegistrar::start`](crate::EtcdRegistrar::start) asks.
    ///
    /// # Errors
    ///
    /// [`EtcdError`] with the field.
    pub fn validate(&self) -> Result<(), EtcdError> {
        self.connection.validate()?;
        check_prefix(&self.prefix)?;
        if self.registrar.ttl < MIN_TTL {
            return Err(EtcdError::Ttl { given: self.registrar.ttl });
        }
        self.registrar.validate().map_err(|error| EtcdError::Spawn(SpawnError::Config(error)))
    }
}

fn check_prefix(prefix: &str) -> Result<(), EtcdError> {
    let len = prefix.len();
    if (1..=1024).contains(&len) { Ok(()) } else { Err(EtcdError::Prefix { len }) }
}

/// ⌈1.5 × 1 s⌉, the election timeout by default: `minLeaseTTL` in etcd's `server/lease/lessor.go`.
const MIN_TTL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> EtcdConfig {
        let mut config = EtcdConfig { prefix: "a/".to_owned(), ..EtcdConfig::default() };
        config.connection.endpoints = vec!["http://127.0.0.1:2379".to_owned()];
        config
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(good().validate(), Ok(()));
        let check = |change: fn(&mut EtcdConfig), wanted: &str| {
            let mut config = good();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        check(|c| c.connection.endpoints.clear(), "connection.endpoints is empty");
        check(|c| c.connection.endpoints.push("10.0.0.1".to_owned()), "connection.endpoints[1]");
        check(|c| c.connection.user = Some("u".to_owned()), "connection.password is missing");
        check(|c| c.prefix.clear(), "prefix has 0 bytes");
        check(|c| c.page_size = 0, "page_size is zero");
        check(|c| c.keepalive = Duration::ZERO, "keepalive is zero");
        check(|c| c.keepalive = Duration::MAX, "keepalive is");
        check(|c| c.backoff.max = Duration::ZERO, "backoff.min");
    }

    #[test]
    fn a_lease_has_two_seconds_at_least() {
        let mut config = EtcdRegistrarConfig {
            connection: good().connection,
            prefix: "a/".to_owned(),
            ..EtcdRegistrarConfig::default()
        };
        assert_eq!(config.validate(), Ok(()));
        config.registrar.ttl = Duration::from_millis(1999);
        assert_eq!(config.validate(), Err(EtcdError::Ttl { given: Duration::from_millis(1999) }));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn settings_read_from_a_file() {
        let config: EtcdConfig = toml::from_str(
            "prefix = 'users/'\nkeepalive = '2s'\n[connection]\nendpoints = ['https://etcd:2379']\npassword = 'x'\n",
        )
        .unwrap();
        assert_eq!(config.keepalive, Duration::from_secs(2));
        assert!(format!("{config:?}").contains("***"), "a password is not shown");
        assert!(toml::from_str::<EtcdConfig>("prefx = 'a'").is_err());
    }
}
