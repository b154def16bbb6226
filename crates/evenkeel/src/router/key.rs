use std::hash::Hasher;
use std::net::IpAddr;

use evenkeel_route::matching::{Headers, Request, any_cookie, any_parameter, is_token};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::error::{RouterError, RouterProblem};

/// Where the key of a request is found: what stands for its user. An empty value counts as none.
///
/// In a file `"source"`, `{ header = "x-user" }` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum KeySource {
    /// The first value of this header field; case does not count in the name.
    Header(String),
    /// The first cookie of this name.
    Cookie(String),
    /// The first query parameter of this name, decoded.
    Query(String),
    /// The address of the client, without its port.
    Source,
    /// The path, as it was matched.
    Path,
    /// The host, as the client wrote it.
    Host,
}

/// 64 bytes lie inline: a UUID as text has 36, a SHA-256 in hexadecimal 64.
pub(crate) type KeyBytes = SmallVec<[u8; 64]>;

/// Where keys are looked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'r, 'a, H: ?Sized> {
    pub(crate) request: &'r Request<'a, H>,
    pub(crate) source: Option<IpAddr>,
    /// As it was matched, or as it came if nothing was matched yet.
    pub(crate) path: &'r [u8],
}

impl<H: Headers + ?Sized> Asked<'_, '_, H> {
    /// The first key that the request has.
    pub(crate) fn key(&self, sources: &[KeySource]) -> Option<KeyBytes> {
        sources.iter().map(|source| self.value(source)).find(|key| !key.is_empty())
    }

    fn value(&self, source: &KeySource) -> KeyBytes {
        let mut found = KeyBytes::new();
        let mut take = |value: &[u8]| {
            found.extend_from_slice(value);
            !value.is_empty()
        };
        match source {
            KeySource::Header(name) => {
                self.request.headers.any(name, &mut take);
            }
            KeySource::Cookie(name) => {
                self.request.headers.any("cookie", &mut |field| any_cookie(field, name, &mut take));
            }
            KeySource::Query(name) => {
                any_parameter(self.request.query, name, &mut Vec::new(), take);
            }
            KeySource::Source => match self.source.map(|source| source.to_canonical()) {
                Some(IpAddr::V4(ip)) => found.extend_from_slice(&ip.octets()),
                Some(IpAddr::V6(ip)) => found.extend_from_slice(&ip.octets()),
                None => {}
            },
            KeySource::Path => found.extend_from_slice(self.path),
            KeySource::Host => found.extend_from_slice(self.request.host),
        }
        found
    }
}

/// The same in a fleet of one seed, and for ever: users' arms depend on it.
pub(crate) fn key_hash(seed: u64, key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, !seed);
    hasher.write(key);
    hasher.finish()
}

/// Checks names, and brings those of headers into lower case.
pub(crate) fn checked(sources: &[KeySource], field: &str) -> Result<Box<[KeySource]>, RouterError> {
    let check = |(i, source): (usize, &KeySource)| {
        let (name, is_good) = match source {
            KeySource::Header(name) | KeySource::Cookie(name) => (name.as_str(), is_token(name)),
            KeySource::Query(name) => (name.as_str(), !name.is_empty()),
            KeySource::Source | KeySource::Path | KeySource::Host => ("", true),
        };
        if !is_good {
            return Err(RouterError::new(format!("{field}[{i}]"), RouterProblem::Name(name.to_owned())));
        }
        Ok(match source {
            KeySource::Header(name) => KeySource::Header(name.to_ascii_lowercase()),
            other => other.clone(),
        })
    };
    sources.iter().enumerate().map(check).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_that_is_there_counts() {
        let headers = [("X-User", ""), ("x-user", "ann"), ("cookie", "a=; sid=\"42\"")];
        let request = Request::new("GET", "example.com", "/a?u=J%C3%BC").with_headers(&headers);
        let source = "::ffff:10.0.0.1".parse().ok();
        let asked = Asked { request: &request, source, path: b"/a" };
        let key = |sources: &[KeySource]| asked.key(sources).map(|key| key.to_vec());
        assert_eq!(key(&[]), None);
        assert_eq!(key(&[KeySource::Header("x-none".into())]), None);
        assert_eq!(
            key(&[KeySource::Cookie("a".into()), KeySource::Header("x-user".into())]),
            Some(b"ann".to_vec())
        );
        assert_eq!(key(&[KeySource::Cookie("sid".into())]), Some(b"42".to_vec()));
        assert_eq!(key(&[KeySource::Query("u".into())]), Some("Jü".into()));
        assert_eq!(key(&[KeySource::Source]), Some(vec![10, 0, 0, 1]), "an IPv4 client by either way is one");
        assert_eq!(key(&[KeySource::Path]), Some(b"/a".to_vec()));
        assert_eq!(key(&[KeySource::Host]), Some(b"example.com".to_vec()));
    }

    #[test]
    fn names_are_checked() {
        let error = checked(&[KeySource::Source, KeySource::Header("a b".into())], "routes[0].key");
        assert_eq!(error.unwrap_err().field, "routes[0].key[1]");
    }
}
