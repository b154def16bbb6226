use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Which hosts a rule takes: one name, all names below or before a part, or any.
///
/// | written | matches | not |
/// |---|---|---|
/// | `example.com` | `example.com`, `EXAMPLE.com:443`, `example.com.` | `www.example.com` |
/// | `*.example.com` | `www.example.com`, `a.b.example.com` | `example.com` |
/// | `www.*` | `www.example.com`, `www.example.co.uk` | `www` |
/// | `*` | any, also none | |
///
/// Names are lower-cased when they are parsed; internationalised ones are written in punycode, as on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "String", into = "String")
)]
pub enum HostMatch {
    /// Any host, also a missing one.
    Any,
    /// This name.
    Exact(String),
    /// Names that end in this text, which begins with a dot.
    Suffix(String),
    /// Names that begin with this text, which ends in a dot.
    Prefix(String),
}

impl HostMatch {
    /// Whether it takes `host`, given in lower case, without port and without final dot.
    #[must_use]
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name.as_bytes() == host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_bytes()),
            Self::Prefix(prefix) => host.len() > prefix.len() && host.starts_with(prefix.as_bytes()),
        }
    }
}

impl FromStr for HostMatch {
    type Err = ParseHostError;

    fn from_str(text: &str) -> Result<Self, ParseHostError> {
        if text.len() > LONGEST_NAME {
            return Err(ParseHostError::TooLong(text.len()));
        }
        let name = text.to_ascii_lowercase();
        if name == "*" {
            return Ok(Self::Any);
        }
        let found = if let Some(rest) = name.strip_prefix('*') {
            check(text, rest.strip_prefix('.').unwrap_or(""))?;
            Self::Suffix(rest.to_owned())
        } else if let Some(rest) = name.strip_suffix('*') {
            check(text, rest.strip_suffix('.').unwrap_or(""))?;
            Self::Prefix(rest.to_owned())
        } else {
            check(text, &name)?;
            Self::Exact(name)
        };
        Ok(found)
    }
}

fn check(written: &str, name: &str) -> Result<(), ParseHostError> {
    let is_address = name.starts_with('[') && name.ends_with(']');
    let is_name = !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        });
    if is_name || is_address && name[1..name.len() - 1].parse::<std::net::Ipv6Addr>().is_ok() {
        Ok(())
    } else {
        Err(ParseHostError::NotAHost(written.to_owned()))
    }
}

impl TryFrom<String> for HostMatch {
    type Error = ParseHostError;

    fn try_from(text: String) -> Result<Self, ParseHostError> {
        text.parse()
    }
}

impl From<HostMatch> for String {
    fn from(host: HostMatch) -> Self {
        host.to_string()
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// The text is no host pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseHostError {
    /// Neither a name nor a pattern.
    #[error("{0:?} is not a host: write a name without port, \"*.example.com\", \"www.*\" or \"*\"")]
    NotAHost(String),
    /// Longer than a name can be.
    #[error("host pattern of {0} bytes: at most 255 are allowed")]
    TooLong(usize),
}

/// The host of an authority: without port, without final dot, in lower case; copied into `buffer` only if need be.
pub(crate) fn bare_host<'a>(authority: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    let without_port = match authority.iter().rposition(|&byte| byte == b':') {
        // In an address in brackets the last colon is only a port's if it follows the bracket.
        Some(at) if authority[0] != b'[' || authority[at - 1] == b']' => &authority[..at],
        _ => authority,
    };
    let host = without_port.strip_suffix(b".").unwrap_or(without_port);
    if !host.iter().fold(false, |found, byte| found | byte.is_ascii_uppercase()) {
        return host;
    }
    buffer.clear();
    buffer.extend(host.iter().map(u8::to_ascii_lowercase));
    buffer
}

pub(crate) const LONGEST_NAME: usize = 255;
/// A name, a colon and a port, and a little grace.
pub(crate) const LONGEST_AUTHORITY: usize = 262;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_parsed_and_written() {
        for text in ["*", "a", "a.b-c.d_e", "*.a.b", "www.*", "[::1]", "10.0.0.1"] {
            assert_eq!(text.parse::<HostMatch>().unwrap().to_string(), text);
        }
        for text in
            ["", ".", "a..b", "*a.b", "a.b*", "**", "*.*", "a:80", "a/b", "*.", ".*", "[a]", "é.fr", "[", "]"]
        {
            assert!(text.parse::<HostMatch>().is_err(), "{text}");
        }
        assert_eq!("A.B".parse(), Ok(HostMatch::Exact("a.b".into())));
        assert_eq!("a".repeat(256).parse::<HostMatch>(), Err(ParseHostError::TooLong(256)));
    }

    #[test]
    fn authorities_are_bared() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:443", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
            (":", ""),
            (":80", ""),
            (".", ""),
            ("[", "["),
            ("[:", "[:"),
        ] {
            let mut buffer = Vec::new();
            assert_eq!(bare_host(authority.as_bytes(), &mut buffer), host.as_bytes(), "{authority}");
        }
    }
}
