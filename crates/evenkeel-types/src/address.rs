use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Where an endpoint listens.
///
/// Written `10.0.0.1:80`, `[fd00::1]:80`, `api.example:80` or `unix:/run/api.sock`. evenkeel never resolves a name:
/// that is the caller's business, or a discovery adapter's.
///
/// ```
/// use evenkeel_types::Address;
/// let address: Address = "10.0.0.1:8080".parse()?;
/// assert_eq!(address.socket_addr(), Some(([10, 0, 0, 1], 8080).into()));
/// assert!("10.0.0.1".parse::<Address>().is_err(), "a port is needed");
/// # Ok::<(), evenkeel_types::ParseAddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "String", into = "String")
)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A name that has still to be resolved, and a port.
    Host(HostName, u16),
    /// A Unix domain socket.
    Unix(Arc<Path>),
}

impl Address {
    /// The socket address, unless this is a name or a path.
    #[must_use]
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Host(..) | Self::Unix(_) => None,
        }
    }

    /// The port, unless this is a path.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Socket(address) => Some(address.port()),
            Self::Host(_, port) => Some(*port),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Host(name, port) => write!(f, "{}:{port}", name.as_str()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() || path.contains('\0') {
                Err(ParseAddressError::Path)
            } else {
                Ok(Self::Unix(Path::new(path).into()))
            };
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Socket(address));
        }
        let (name, port) = text.rsplit_once(':').ok_or(ParseAddressError::NoPort)?;
        let port = port.parse().map_err(|_| ParseAddressError::Port)?;
        Ok(Self::Host(HostName::new(name)?, port))
    }
}

impl TryFrom<String> for Address {
    type Error = ParseAddressError;

    fn try_from(text: String) -> Result<Self, ParseAddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// A host name: lower case, 1 to 253 bytes of letters, digits, `-`, `_` and `.`. Cloning never allocates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

impl HostName {
    /// A name, changed to lower case.
    ///
    /// # Errors
    ///
    /// [`ParseAddressError::Host`] if it is empty, longer than 253 bytes, or holds other characters.
    pub fn new(name: &str) -> Result<Self, ParseAddressError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 253 || !name.bytes().all(allowed) {
            return Err(ParseAddressError::Host);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not an address: write `10.0.0.1:80`, `[fd00::1]:80`, `api.example:80` or `unix:/run/api.sock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseAddressError {
    /// There is no port after the host.
    #[error("address has no port: write host:port, as in 10.0.0.1:80 or [fd00::1]:80")]
    NoPort,
    /// The port is not a number from 0 to 65535.
    #[error("port of the address is not a number from 0 to 65535")]
    Port,
    /// The host is neither an IP address nor a name of letters, digits, `-`, `_` and `.`.
    #[error("host of the address is neither an IP address (IPv6 in brackets) nor a name")]
    Host,
    /// The path of a Unix socket is empty or holds a zero byte.
    #[error("path of the unix socket is empty or holds a zero byte")]
    Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_round_trips() {
        for text in ["10.0.0.1:80", "[fd00::1]:80", "api.example:80", "unix:/run/api.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("API.Example:80".parse::<Address>().unwrap().to_string(), "api.example:80");
    }

    #[test]
    fn bad_text_says_what_is_wrong() {
        for (text, error) in [
            ("", ParseAddressError::NoPort),
            ("10.0.0.1", ParseAddressError::NoPort),
            ("10.0.0.1:", ParseAddressError::Port),
            ("10.0.0.1:65536", ParseAddressError::Port),
            (":80", ParseAddressError::Host),
            ("fd00::1:80", ParseAddressError::Host),
            ("a b:80", ParseAddressError::Host),
            ("unix:", ParseAddressError::Path),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
