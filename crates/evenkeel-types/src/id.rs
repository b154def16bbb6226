use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;
use thiserror::Error;

use crate::name::{NameFault, check_name};

/// The name by which a source knows an endpoint; unique in its cluster, stable while the process behind it lives.
///
/// 1 to 256 bytes without control characters. Where a source has names of its own (a pod's uid, a Consul service id, an
/// etcd key), this is that name and holds neither address nor weight, so that a new weight keeps the old health. Only
/// where there is no name (DNS, xDS, a plain list) it is the address as given.
///
/// Cloning never allocates: up to 23 bytes lie inline, longer names are shared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "SmolStr", into = "SmolStr")
)]
pub struct EndpointId(SmolStr);

impl EndpointId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 256;

    /// An id of this text.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpointId`] if it is empty, longer than 256 bytes, or holds a control character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidEndpointId> {
        let text = text.as_ref();
        validate(text)?;
        Ok(Self(SmolStr::new(text)))
    }

    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for EndpointId {
    type Err = InvalidEndpointId;

    fn from_str(text: &str) -> Result<Self, InvalidEndpointId> {
        Self::new(text)
    }
}

impl TryFrom<SmolStr> for EndpointId {
    type Error = InvalidEndpointId;

    fn try_from(text: SmolStr) -> Result<Self, InvalidEndpointId> {
        validate(&text)?;
        Ok(Self(text))
    }
}

impl From<EndpointId> for SmolStr {
    fn from(id: EndpointId) -> Self {
        id.0
    }
}

impl AsRef<str> for EndpointId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// The text cannot name an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidEndpointId {
    /// The id is empty: give every endpoint a name, or use its address.
    #[error("endpoint id is empty: give every endpoint a name, or use its address")]
    Empty,
    /// The id is longer than 256 bytes: use a shorter stable name, such as a uid.
    #[error("endpoint id of {len} bytes is too long: at most 256 are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The id holds a control character, which would spoil logs and headers.
    #[error("endpoint id holds a control character at byte {at}")]
    ControlCharacter {
        /// Where it stands, in bytes from the start.
        at: usize,
    },
}

fn validate(text: &str) -> Result<(), InvalidEndpointId> {
    check_name(text, EndpointId::MAX_LEN).map_err(|fault| match fault {
        NameFault::Empty => InvalidEndpointId::Empty,
        NameFault::TooLong { len } => InvalidEndpointId::TooLong { len },
        NameFault::ControlCharacter { at } => InvalidEndpointId::ControlCharacter { at },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked() {
        assert_eq!(EndpointId::new(""), Err(InvalidEndpointId::Empty));
        assert_eq!(EndpointId::new("a\nb"), Err(InvalidEndpointId::ControlCharacter { at: 1 }));
        assert_eq!(EndpointId::new("x".repeat(257)), Err(InvalidEndpointId::TooLong { len: 257 }));
        assert!(EndpointId::new("x".repeat(256)).is_ok());
    }
}
