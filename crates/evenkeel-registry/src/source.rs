use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use evenkeel_types::Timestamp;
use smol_str::SmolStr;

use crate::{Held, InvalidServiceName, Revision, ServiceName, SourceState, TroubleKind};

/// The name of one source of a service, such as `etcd-eu`: for operators, and to break ties. Bounds are those of
/// [`ServiceName`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "ServiceName", into = "SmolStr")
)]
pub struct SourceName(SmolStr);

impl SourceName {
    /// The name of the registry's own leases among the sources of a service; no feed may use it.
    pub const LOCAL: &'static str = "local";

    /// A name of this text.
    ///
    /// # Errors
    ///
    /// As [`ServiceName::new`].
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidServiceName> {
        Ok(Self(ServiceName::new(text)?.into()))
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn local() -> Self {
        Self(SmolStr::new_static(Self::LOCAL))
    }
}

impl From<ServiceName> for SourceName {
    fn from(name: ServiceName) -> Self {
        Self(name.into())
    }
}

impl From<SourceName> for SmolStr {
    fn from(name: SourceName) -> Self {
        name.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for SourceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, InvalidServiceName> {
        Self::new(text)
    }
}

/// What one source of a service knows, and how fresh that is.
///
/// Within a [`Snapshot`](crate::Snapshot) it is as it was when the snapshot was made; a source that says every second
/// that nothing has changed makes no snapshots. Ask [`Registry::sources`](crate::Registry::sources) or
/// [`Watch::sources`](crate::Watch::sources) for the present.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SourceStatus {
    /// Which source.
    pub name: SourceName,
    /// What it knows.
    pub state: SourceState,
    /// Whether its set takes part in the service's, by the rule that merges them.
    pub used: bool,
    /// How many endpoints it shows, held ones included.
    pub endpoints: usize,
    /// The position held.
    pub revision: Option<Revision>,
    /// When the source last said that the set is this.
    pub as_of: Option<Timestamp>,
    /// What of the age lies before [`as_of`](Self::as_of), if the set came from a disk and is older than the clock.
    pub(crate) older: Duration,
    /// Whether its age is at or above [`MirrorConfig::max_stale`](crate::MirrorConfig::max_stale).
    pub over_age: bool,
    /// The last error since the source last answered well.
    pub error: Option<SourceError>,
    /// What is shown although the source no longer lists it.
    pub held: Option<Held>,
    /// How many entries were rejected, ever.
    pub rejected: u64,
}

impl SourceStatus {
    /// How old the set is: how long ago the source last confirmed it. `None` if it never did.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        self.as_of.map(|as_of| now.saturating_since(as_of).saturating_add(self.older))
    }
}

/// Why a source is not fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SourceError {
    /// Of what kind.
    pub kind: TroubleKind,
    /// For people.
    pub text: ShortText,
    /// When it was last reported.
    pub at: Timestamp,
    /// When the adapter will try again, if it said so.
    pub retry_at: Option<Timestamp>,
}

/// A short text from outside: at most 256 bytes, cheap to clone.
#[derive(Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct ShortText(SmolStr);

impl ShortText {
    /// The longest text, in bytes; more is cut off, at the border of a character.
    pub const MAX_LEN: usize = 256;

    pub(crate) fn cut(text: &str) -> Self {
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        let end = ends.take_while(|&end| end <= Self::MAX_LEN).last().unwrap_or(0);
        Self(SmolStr::new(&text[..end]))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
