use std::fmt;
use std::str::FromStr;

use evenkeel_types::{NameFault, check_name};
use smol_str::SmolStr;
use thiserror::Error;

/// The name of a service: what clients ask for.
///
/// 1 to 256 bytes without control characters, compared byte by byte. Cloning never allocates: up to 23 bytes lie
/// inline, longer names are shared.
///
/// ```
/// use evenkeel_registry::ServiceName;
/// let users: ServiceName = "users".parse()?;
/// assert_eq!(users.as_str(), "users");
/// # Ok::<(), evenkeel_registry::InvalidServiceName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "SmolStr", into = "SmolStr")
)]
pub struct ServiceName(SmolStr);

impl ServiceName {
    /// The longest name, in bytes: room for a DNS name (253 bytes), and for the key of an index.
    pub const MAX_LEN: usize = 256;

    /// A name of this text.
    ///
    /// # Errors
    ///
    /// [`InvalidServiceName`] if it is empty, longer than 256 bytes, or holds a control character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidServiceName> {
        let text = text.as_ref();
        validate(text)?;
        Ok(Self(SmolStr::new(text)))
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, InvalidServiceName> {
        Self::new(text)
    }
}

impl TryFrom<SmolStr> for ServiceName {
    type Error = InvalidServiceName;

    fn try_from(text: SmolStr) -> Result<Self, InvalidServiceName> {
        validate(&text)?;
        Ok(Self(text))
    }
}

impl From<ServiceName> for SmolStr {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl AsRef<str> for ServiceName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// The text cannot name a service.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidServiceName {
    /// The name is empty.
    #[error("service name is empty")]
    Empty,
    /// The name is longer than 256 bytes.
    #[error("service name of {len} bytes is too long: at most 256 are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The name holds a control character, which would spoil logs and headers.
    #[error("service name holds a control character at byte {at}")]
    ControlCharacter {
        /// Where it stands, in bytes from the start.
        at: usize,
    },
}

fn validate(text: &str) -> Result<(), InvalidServiceName> {
    check_name(text, ServiceName::MAX_LEN).map_err(|fault| match fault {
        NameFault::Empty => InvalidServiceName::Empty,
        NameFault::TooLong { len } => InvalidServiceName::TooLong { len },
        NameFault::ControlCharacter { at } => InvalidServiceName::ControlCharacter { at },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked() {
        assert_eq!(ServiceName::new(""), Err(InvalidServiceName::Empty));
        assert_eq!(ServiceName::new("a\tb"), Err(InvalidServiceName::ControlCharacter { at: 1 }));
        assert_eq!(ServiceName::new("x".repeat(257)), Err(InvalidServiceName::TooLong { len: 257 }));
        assert!(ServiceName::new("x".repeat(256)).is_ok());
    }

    #[cfg(feature = "serde")]
    #[test]
    fn json_is_validated() {
        assert_eq!(serde_json::from_str::<ServiceName>(r#""users""#).unwrap().as_str(), "users");
        assert!(serde_json::from_str::<ServiceName>(r#""""#).unwrap_err().to_string().contains("empty"));
    }
}
