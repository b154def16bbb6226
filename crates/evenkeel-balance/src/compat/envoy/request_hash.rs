use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::ip_text;
use crate::hash::xxh64;

/// What of a request is hashed: one entry of a route's `hash_policy`.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    /// What it looks at.
    pub source: HashSource,
    /// Whether the policies after it are left out once there is a hash.
    pub terminal: bool,
}

/// What a [`HashPolicy`] looks at.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HashSource {
    /// The values of a header, each rewritten first if there is a rule.
    Header {
        /// Its name.
        name: String,
        /// The rule.
        rewrite: Option<Rewrite>,
    },
    /// The first query parameter of this name, as it stands in the target.
    QueryParameter(String),
    /// The first cookie of this name.
    Cookie(String),
    /// The client's address without its port.
    SourceIp,
}

impl HashSource {
    /// The values of a header, as they are.
    #[must_use]
    pub fn header(name: &str) -> Self {
        Self::Header { name: name.to_owned(), rewrite: None }
    }
}

/// How a value is rewritten before it is hashed: `regex_rewrite`, without a regular expression of our own.
#[derive(Clone)]
pub struct Rewrite(Arc<Rule>);

type Rule = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

impl Rewrite {
    /// This rule.
    #[must_use]
    pub fn new(rule: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rewrite")
    }
}

/// What the policies look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Names and values in the order in which they came.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Path and query.
    pub target: &'a [u8],
    /// Where the request comes from.
    pub source: Option<IpAddr>,
}

impl<'a> Request<'a> {
    /// The values of a header, without the blanks around them.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let is_it = move |header: &&(&str, &[u8])| header.0.eq_ignore_ascii_case(name);
        self.headers.iter().filter(is_it).map(|&(_, value)| trim(value, b" \t"))
    }

    fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        let mark = self.target.iter().position(|&byte| byte == b'?')?;
        let mut pairs = self.target[mark + 1..].split(|&byte| byte == b'&');
        pairs.find_map(|pair| {
            let (key, value) = split_at_byte(pair, b'=').unwrap_or((pair, b""));
            (key == name.as_bytes() && !pair.is_empty()).then_some(value)
        })
    }

    fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        let mut cookies = self.values("cookie").flat_map(|value| value.split(|&byte| byte == b';'));
        cookies.find_map(|cookie| {
            let (key, value) = split_at_byte(cookie, b'=')?;
            (trim_start(key, b" ") == name.as_bytes()).then(|| without_quotes(value))
        })
    }
}

/// The hash of a request under the policies of its route, or `None` if none of them finds anything: Envoy then draws a
/// host at random.
///
/// Each hash is xxHash64 with seed 0. Two are combined by turning the older one by a bit and `xor`. A header that comes
/// several times is hashed value by value, sorted, each under the hash of the one before it as seed; so the order in which
/// the values came does not matter.
///
/// ```
/// use evenkeel_balance::compat::envoy::{HashPolicy, HashSource, Request, request_hash};
/// use evenkeel_balance::hash::xxh64;
///
/// let by_user = [HashPolicy { source: HashSource::header("x-user"), terminal: false }];
/// let request = Request { headers: &[("X-User", b"ann")], ..Request::default() };
/// assert_eq!(request_hash(&by_user, &request), Some(xxh64(b"ann", 0)));
/// assert_eq!(request_hash(&by_user, &Request::default()), None);
/// ```
#[must_use]
pub fn request_hash(policies: &[HashPolicy], request: &Request<'_>) -> Option<u64> {
    let mut hash: Option<u64> = None;
    for policy in policies {
        if let Some(new) = hash_of(&policy.source, request) {
            hash = Some(hash.map_or(0, |old| old.rotate_left(1)) ^ new);
        }
        if policy.terminal && hash.is_some() {
            break;
        }
    }
    hash
}

fn hash_of(source: &HashSource, request: &Request<'_>) -> Option<u64> {
    match source {
        HashSource::Header { name, rewrite } => match rewrite {
            None => chained(request.values(name).collect()),
            Some(rewrite) => chained(request.values(name).map(|value| rewrite.0(value)).collect()),
        },
        HashSource::QueryParameter(name) => request.parameter(name).map(|value| xxh64(value, 0)),
        HashSource::Cookie(name) => {
            request.cookie(name).filter(|value| !value.is_empty()).map(|value| xxh64(value, 0))
        }
        HashSource::SourceIp => request.source.map(|address| xxh64(ip_text(address).as_bytes(), 0)),
    }
}

fn chained<T: AsRef<[u8]> + Ord>(mut values: Vec<T>) -> Option<u64> {
    values.sort_unstable();
    let mut values = values.iter();
    let first = xxh64(values.next()?.as_ref(), 0);
    Some(values.fold(first, |seed, value| xxh64(value.as_ref(), seed)))
}

fn split_at_byte(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn trim<'a>(bytes: &'a [u8], blanks: &[u8]) -> &'a [u8] {
    let bytes = trim_start(bytes, blanks);
    let end = bytes.iter().rposition(|byte| !blanks.contains(byte)).map_or(0, |last| last + 1);
    &bytes[..end]
}

fn trim_start<'a>(bytes: &'a [u8], blanks: &[u8]) -> &'a [u8] {
    let start = bytes.iter().position(|byte| !blanks.contains(byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

fn without_quotes(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(sources: &[HashSource], headers: &[(&str, &[u8])], target: &[u8]) -> Option<u64> {
        let policies: Vec<HashPolicy> =
            sources.iter().map(|source| HashPolicy { source: source.clone(), terminal: false }).collect();
        let source = Some("2001:DB8::0:1".parse().unwrap());
        request_hash(&policies, &Request { headers, target, source })
    }

    fn of(value: &[u8]) -> Option<u64> {
        Some(xxh64(value, 0))
    }

    #[test]
    fn each_source_hashes_its_value() {
        let header = [HashSource::header("x-key")];
        assert_eq!(hash(&header, &[("X-Key", b" \ta b\t ")], b"/"), of(b"a b"));
        assert_eq!(hash(&header, &[("x-key", b"")], b"/"), of(b""));
        assert_eq!(hash(&header, &[("x-other", b"a")], b"/"), None);
        let query = [HashSource::QueryParameter("k".to_owned())];
        for (target, value) in [
            (&b"/?a=1&k=2&k=3"[..], of(b"2")),
            (b"/?k=a%20b", of(b"a%20b")),
            (b"/?k", of(b"")),
            (b"/?k=a=b", of(b"a=b")),
            (b"/k=2", None),
            (b"/?kk=2", None),
        ] {
            assert_eq!(hash(&query, &[], target), value, "{}", target.escape_ascii());
        }
        let cookie = [HashSource::Cookie("k".to_owned())];
        for (value, expected) in [
            (&b"a=1; k=2; k=3"[..], of(b"2")),
            (b"  k=\"2\"", of(b"2")),
            (b"k", None),
            (b"k=", None),
            (b"kk=2", None),
        ] {
            assert_eq!(hash(&cookie, &[("Cookie", value)], b"/"), expected, "{}", value.escape_ascii());
        }
        assert_eq!(hash(&[HashSource::SourceIp], &[], b"/"), of(b"2001:db8::1"));
    }

    #[test]
    fn several_values_are_sorted_and_chained() {
        let header = [HashSource::header("k")];
        let chained = Some(xxh64(b"b", xxh64(b"a", 0)));
        assert_eq!(hash(&header, &[("k", b"a"), ("k", b"b")], b""), chained);
        assert_eq!(hash(&header, &[("k", b"b"), ("x", b"c"), ("K", b"a")], b""), chained);
    }

    #[test]
    fn hashes_are_turned_and_combined_and_terminal_ends_it() {
        let policy = |name: &str, terminal| HashPolicy { source: HashSource::header(name), terminal };
        let request = Request { headers: &[("a", b"1"), ("b", b"1")], ..Request::default() };
        let one = xxh64(b"1", 0);
        for (policies, expected) in [
            (vec![policy("a", false), policy("b", false)], Some(one.rotate_left(1) ^ one)),
            (vec![policy("a", true), policy("b", false)], Some(one)),
            (vec![policy("none", true), policy("b", false)], Some(one)),
            (vec![policy("a", false), policy("none", true), policy("b", false)], Some(one)),
            (vec![], None),
        ] {
            assert_eq!(request_hash(&policies, &request), expected);
        }
    }

    #[test]
    fn a_value_is_rewritten_before_it_is_hashed() {
        let rewrite = Rewrite::new(<[u8]>::to_ascii_lowercase);
        let header = [HashSource::Header { name: "k".to_owned(), rewrite: Some(rewrite) }];
        assert_eq!(hash(&header, &[("k", b"AB")], b""), of(b"ab"));
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(target: Vec<u8>, value: Vec<u8>) {
            let sources =
                [HashSource::QueryParameter(String::new()), HashSource::Cookie(String::new()), HashSource::header("cookie")];
            hash(&sources, &[("cookie", &value)], &target);
        }
    }
}
