use std::time::{Duration, SystemTime};

use evenkeel_types::Endpoint;
use thiserror::Error;

use crate::{ServiceName, SourceName};

/// The set of one source, to be kept on a disk for a start while the store is down (apache/dubbo#15873,
/// micro/go-micro#526).
///
/// What is loaded is [`Stale`](crate::SourceState::Stale) until the store answers, never
/// [`Live`](crate::SourceState::Live), and the first answer is compared with it: a store that comes back empty does not
/// empty the service.
///
/// The time is that of the wall, since no other clock outlives a process; the caller reads it. With the feature `serde`
/// the form is stable: it carries a version, and a change of the form raises it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Saved {
    version: u32,
    service: ServiceName,
    source: SourceName,
    /// Milliseconds since 1970.
    saved_at: u64,
    /// How long before that the source last confirmed the set, in milliseconds.
    age: u64,
    endpoints: Vec<Endpoint>,
}

impl Saved {
    /// The version of the form that is written, and the only one that is read.
    pub const VERSION: u32 = 1;

    pub(crate) fn new(
        service: ServiceName,
        source: SourceName,
        saved_at: SystemTime,
        age: Duration,
        endpoints: Vec<Endpoint>,
    ) -> Self {
        let saved_at = saved_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            version: Self::VERSION,
            service,
            source,
            saved_at: millis(saved_at),
            age: millis(age),
            endpoints,
        }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The source that said this.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// When it was saved.
    #[must_use]
    pub fn saved_at(&self) -> SystemTime {
        let since = Duration::from_millis(self.saved_at);
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The endpoints, sorted by id as they were saved.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// How old the set is at `wall`: since the source last confirmed it. A wall clock that was set back makes it younger
    /// than it is, though not younger than it was when it was saved.
    #[must_use]
    pub fn age(&self, wall: SystemTime) -> Duration {
        let since = wall.duration_since(self.saved_at()).unwrap_or_default();
        since.saturating_add(Duration::from_millis(self.age))
    }

    /// Whether this can be loaded as a set of `service`.
    pub(crate) fn check(&self, service: &ServiceName) -> Result<(), LoadError> {
        if self.version != Self::VERSION {
            return Err(LoadError::Version { found: self.version });
        }
        if self.service != *service {
            return Err(LoadError::OtherService { found: self.service.clone() });
        }
        Ok(())
    }

    /// The form for a file.
    #[cfg(feature = "serde")]
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names, numbers and lists have a form in JSON")
    }

    /// Reads the form from a file.
    ///
    /// # Errors
    ///
    /// [`LoadError::Corrupt`] or [`LoadError::Version`].
    #[cfg(feature = "serde")]
    pub fn from_json(bytes: &[u8]) -> Result<Self, LoadError> {
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[derive(serde::Deserialize)]
        struct OnlyVersion {
            version: u32,
        }
        let corrupt = |error: serde_json::Error| LoadError::Corrupt { reason: error.to_string() };
        // A later form need not parse as this one: its version is looked at first.
        let OnlyVersion { version } = serde_json::from_slice(bytes).map_err(corrupt)?;
        if version != Self::VERSION {
            return Err(LoadError::Version { found: version });
        }
        serde_json::from_slice(bytes).map_err(corrupt)
    }
}

/// The saved set was not loaded: start without it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be read.
    #[error("saved set cannot be read: {reason}")]
    Corrupt {
        /// Where and why.
        reason: String,
    },
    /// It was written by another version of this library.
    #[error("saved set has the form {found}, and only {} is read", Saved::VERSION)]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// It is that of another service.
    #[error("saved set is of the service {found}")]
    OtherService {
        /// Of which.
        found: ServiceName,
    },
    /// There is no such source of the service any more.
    #[error("source is detached from the registry")]
    Detached,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
