use std::time::Duration;

use evenkeel_adapter::{
    BaseUrl, Client, ClientSettings, InvalidSetting, InvalidTls, InvalidUrl, Secret, SpawnError, TlsConfig,
};
use evenkeel_registry::{Backoff, RegistrarConfig};
use thiserror::Error;

use crate::InvalidRegistration;

/// How an agent of Consul is reached.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ConsulConnection {
    /// The agent. The default is that of this machine, `http://127.0.0.1:8500`, as Consul means it: the agent knows the
    /// servers and fails over between them.
    pub address: String,
    /// The ACL token, sent as `X-Consul-Token`.
    pub token: Option<Secret>,
    /// Certificates, for `https://`.
    pub tls: TlsConfig,
    /// The longest wait for a name and a connection, TLS included. The default is 2 s: as a rule it is the loopback.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub connect_timeout: Duration,
    /// The longest wait for an answer, beyond the time that Consul was asked to wait. The default is 3 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub request_timeout: Duration,
    /// The largest answer in bytes. The default is 64 MiB: an instance takes 1 to 3 KiB with its checks, and the
    /// registry takes 10 000 of them by default.
    pub max_answer_bytes: usize,
}

impl Default for ConsulConnection {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:8500".to_owned(),
            token: None,
            tls: TlsConfig::default(),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(3),
            max_answer_bytes: 64 << 20,
        }
    }
}

/// Whom Consul may ask for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Consistency {
    /// The leader, which may have been deposed a moment ago. The default, as Consul's.
    #[default]
    Default,
    /// Any server: scales, and answers without a leader. How far behind it is shows as the age of the set, and above
    /// [`max_behind`](ConsulConfig::max_behind) it counts as trouble.
    Stale,
    /// The leader, after it has made sure that it is one.
    Consistent,
}

/// How a service of Consul is followed.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ConsulConfig {
    /// How Consul is reached.
    pub connection: ConsulConnection,
    /// The name of the service. There is no default.
    pub service: String,
    /// The datacentre; the agent's own if not given.
    pub datacenter: Option<String>,
    /// Only instances with all of these tags.
    pub tags: Vec<String>,
    /// Whom Consul may ask.
    pub consistency: Consistency,
    /// How old a stale answer may be; above it the answer counts as trouble, and the set stays. The default is 30 s: in
    /// it a follower that is merely slow has caught up.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_behind: Duration,
    /// How long Consul is asked to wait for a change; it adds a sixteenth. The default is 5 s and not Consul's 5 min,
    /// because a partition is seen only by an answer that does not come: after 1.07 × this and `request_timeout`. It
    /// costs one small query in 5 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub wait: Duration,
    /// How many answers may be asked for at once before they are spaced. The default is 10.
    pub burst: u32,
    /// The space between queries beyond the burst. The default is 500 ms: a service that churns all the time costs two
    /// queries per second.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub refill: Duration,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// Where the draws start that spread waits. Give each process its own. The default is 0.
    pub seed: u64,
}

impl Default for ConsulConfig {
    fn default() -> Self {
        Self {
            connection: ConsulConnection::default(),
            service: String::new(),
            datacenter: None,
            tags: Vec::new(),
            consistency: Consistency::Default,
            max_behind: Duration::from_secs(30),
            wait: Duration::from_secs(5),
            burst: 10,
            refill: Duration::from_millis(500),
            backoff: Backoff { min: Duration::from_millis(250), max: Duration::from_secs(15) },
            seed: 0,
        }
    }
}

/// How an endpoint is kept at an agent.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ConsulRegistrarConfig {
    /// How the agent is reached: the one of this machine, since it is the agent that vouches for the endpoint.
    pub connection: ConsulConnection,
    /// The name of the service. There is no default.
    pub service: String,
    /// Tags of the instance.
    pub tags: Vec<String>,
    /// After how long in a critical state Consul removes the entry; it looks every 30 s. The default is 1 min, the least
    /// that Consul takes; `None` never, so that crashed instances stay listed as critical.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub deregister_critical_after: Option<Duration>,
    /// Times. `ttl` is that of the check.
    pub registrar: RegistrarConfig,
    /// Where the draws start that spread heartbeats. Give each process its own. The default is 0.
    pub seed: u64,
}

impl Default for ConsulRegistrarConfig {
    fn default() -> Self {
        Self {
            connection: ConsulConnection::default(),
            service: String::new(),
            tags: Vec::new(),
            deregister_critical_after: Some(Duration::from_secs(60)),
            registrar: RegistrarConfig::default(),
            seed: 0,
        }
    }
}

/// An adapter or registrar cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConsulError {
    /// The agent is no URL.
    #[error("connection.address: {0}")]
    Address(InvalidUrl),
    /// A token that cannot be sent.
    #[error("connection.token holds a character that no header may have")]
    Token,
    /// Certificates.
    #[error("connection.{0}")]
    Tls(InvalidTls),
    /// No service.
    #[error("service is empty: give the name under which Consul lists it")]
    NoService,
    /// A size, a time or a wait.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Consul cuts it.
    #[error("wait is {given:?}: Consul waits 10 min at most")]
    Wait {
        /// What was given.
        given: Duration,
    },
    /// Consul raises it.
    #[error("deregister_critical_after is {given:?}: Consul takes 1 min at least")]
    DeregisterAfter {
        /// What was given.
        given: Duration,
    },
    /// The endpoint cannot be registered in Consul.
    #[error("endpoint: {0}")]
    Endpoint(InvalidRegistration),
    /// Settings of the registrar, or no thread.
    #[error("{0}")]
    Spawn(SpawnError),
    /// The system gives no thread.
    #[error("thread cannot be started: {0}")]
    Thread(String),
}

impl ConsulConnection {
    pub(crate) fn connect(&self) -> Result<(Client, BaseUrl), ConsulError> {
        let base = self.validate()?;
        let settings = ClientSettings {
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            max_answer_bytes: self.max_answer_bytes,
            tls: &self.tls,
        };
        Ok((Client::new(&settings).map_err(ConsulError::Tls)?, base))
    }

    /// What goes with every call.
    pub(crate) fn headers(&self) -> Vec<(&str, &str)> {
        self.token.iter().map(|token| ("x-consul-token", token.reveal())).collect()
    }

    fn validate(&self) -> Result<BaseUrl, ConsulError> {
        let base = self.address.parse().map_err(ConsulError::Address)?;
        let printable = |token: &Secret| token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        if !self.token.as_ref().is_none_or(printable) {
            return Err(ConsulError::Token);
        }
        InvalidSetting::check_timeout("connection.connect_timeout", self.connect_timeout)?;
        InvalidSetting::check_timeout("connection.request_timeout", self.request_timeout)?;
        InvalidSetting::check_count("connection.max_answer_bytes", self.max_answer_bytes)?;
        Ok(base)
    }
}

impl ConsulConfig {
    /// Whether the settings can stand, files apart; [`Consul::start`](crate::Consul::start) asks.
    ///
    /// # Errors
    ///
    /// [`ConsulError`] with the field.
    pub fn validate(&self) -> Result<(), ConsulError> {
        self.connection.validate()?;
        if self.service.is_empty() {
            return Err(ConsulError::NoService);
        }
        InvalidSetting::check_time("wait", self.wait)?;
        if self.wait > MAX_WAIT {
            return Err(ConsulError::Wait { given: self.wait });
        }
        InvalidSetting::check_count("burst", self.burst as usize)?;
        InvalidSetting::check_time("refill", self.refill)?;
        InvalidSetting::check_backoff(&self.backoff)?;
        Ok(())
    }
}

impl ConsulRegistrarConfig {
    /// Whether the settings can stand, files apart; [`ConsulRegistrar::start`](crate::ConsulRegistrar::start) asks.
    ///
    /// # Errors
    ///
    /// [`ConsulError`] with the field.
    pub fn validate(&self) -> Result<(), ConsulError> {
        self.connection.validate()?;
        if self.service.is_empty() {
            return Err(ConsulError::NoService);
        }
        if let Some(given) = self.deregister_critical_after.filter(|given| *given < MIN_DEREGISTER) {
            return Err(ConsulError::DeregisterAfter { given });
        }
        self.registrar.validate().map_err(|error| ConsulError::Spawn(SpawnError::Config(error)))
    }
}

/// `maxQueryTime` in Consul's `agent/consul/rpc.go`.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// Consul's API documentation, "Register Check": shorter times are raised to it.
const MIN_DEREGISTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        let check = |change: fn(&mut ConsulConfig), wanted: &str| {
            let mut config = ConsulConfig { service: "users".to_owned(), ..ConsulConfig::default() };
            assert_eq!(config.validate(), Ok(()));
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        check(|c| c.service.clear(), "service is empty");
        check(|c| c.connection.address = "localhost".to_owned(), "connection.address");
        check(|c| c.connection.token = Some(Secret::new("a\nb")), "connection.token");
        check(|c| c.wait = Duration::ZERO, "wait is zero");
        check(|c| c.wait = Duration::from_secs(601), "10 min");
        check(|c| c.connection.request_timeout = Duration::MAX, "connection.request_timeout is");
        check(|c| c.burst = 0, "burst is zero");
        check(|c| c.backoff.max = Duration::ZERO, "backoff.min");
        let mut registrar =
            ConsulRegistrarConfig { service: "u".to_owned(), ..ConsulRegistrarConfig::default() };
        assert_eq!(registrar.validate(), Ok(()));
        registrar.deregister_critical_after = Some(Duration::from_secs(59));
        assert!(registrar.validate().unwrap_err().to_string().contains("1 min"));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn settings_read_from_a_file() {
        let config: ConsulConfig = toml::from_str(
            "service = 'users'\nconsistency = 'stale'\nwait = '2s'\n[connection]\ntoken = 'secret-token'\n",
        )
        .unwrap();
        assert_eq!((config.consistency, config.wait), (Consistency::Stale, Duration::from_secs(2)));
        assert!(!format!("{config:?}").contains("secret-token"));
        assert!(toml::from_str::<ConsulConfig>("servce = 'a'").is_err());
    }
}
