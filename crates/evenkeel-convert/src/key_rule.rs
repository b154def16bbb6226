use std::net::IpAddr;

use evenkeel::Request;
use evenkeel_balance::compat::envoy;
use evenkeel_balance::compat::haproxy::{
    UriKey, domain_only, header_key, header_values, normalized_target, url_param,
};
use serde::{Deserialize, Serialize};

use crate::converter::Converter;

/// What of a request is its key, exactly as the program makes it from which the configuration came.
///
/// A policy in a compatible mode picks as its program does for the same key. [`of`](Self::of) makes that key.
///
/// ```
/// use evenkeel_convert::{Key, KeyRule, RequestParts};
///
/// let rule = KeyRule::Source;
/// let request = RequestParts { source: Some([10, 0, 0, 7].into()), ..RequestParts::default() };
/// assert_eq!(rule.of(&request), Some(Key::Source([10, 0, 0, 7].into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyRule {
    /// The address of the client: `ip_hash`, `balance source`.
    Source,
    /// Texts one after the other, as nginx makes a key of variables. An empty text is no key.
    Text(Vec<KeyPart>),
    /// `balance uri` of HAProxy.
    Uri(UriKey),
    /// `balance url_param` of HAProxy.
    UrlParam(String),
    /// `balance hdr` of HAProxy.
    Header {
        /// The name of the field.
        name: String,
        /// `use_domain_only`.
        #[serde(default)]
        domain_only: bool,
    },
    /// `balance hash` of HAProxy: this sample.
    Sample(KeyPart),
    /// The same, with converters behind it.
    Converted {
        /// The sample.
        of: KeyPart,
        /// What is done to it, one after the other.
        by: Vec<Converter>,
    },
    /// The `hash_policy` of an Envoy route.
    Envoy(Vec<EnvoyHash>),
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyPart {
    /// This text.
    Literal(String),
    /// The first value of a header field.
    Header(String),
    /// The last item of a header field that is a list, as HAProxy's `req.hdr`: items end at commas outside double quotes.
    Item(String),
    /// The first query parameter of this name, not decoded.
    Query(String),
    /// The first cookie of this name.
    Cookie(String),
    /// The address of the client as text.
    Source,
    /// The target as the client wrote it: path and query.
    Target,
    /// The path as the client wrote it.
    Path,
    /// The query, without its question mark.
    QueryString,
    /// The host, without its port, in lower case.
    Host,
    /// The method.
    Method,
}

/// One entry of Envoy's `hash_policy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvoyHash {
    /// What it looks at: a header, a query parameter, a cookie, or the source.
    pub of: KeyPart,
    /// Whether later entries are left out once there is a hash.
    #[serde(default)]
    pub terminal: bool,
}

/// What keys are made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestParts<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query, as the client wrote them.
    pub target: &'a [u8],
    /// Names and values, in the order in which they came.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The address of the client.
    pub source: Option<IpAddr>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A hash that has been made already.
    Hash(u64),
    /// An address.
    Source(IpAddr),
}

impl Key {
    /// A request with this key, to pick for.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        match self {
            Self::Bytes(bytes) => Request::with_key(bytes),
            Self::Hash(hash) => Request::with_hash(*hash),
            Self::Source(address) => Request::new().from_address(*address),
        }
    }
}

impl KeyRule {
    /// The key of a request; none if it has none, and then the policy does as its program does without a key.
    #[must_use]
    pub fn of(&self, request: &RequestParts<'_>) -> Option<Key> {
        match self {
            Self::Source => request.source.map(Key::Source),
            Self::Text(parts) => {
                let key: Vec<u8> = parts.iter().filter_map(|part| part.of(request)).flatten().collect();
                (!key.is_empty()).then_some(Key::Bytes(key))
            }
            Self::Uri(key) => Some(Key::Bytes(key.of(&normalized_target(request.target)).to_vec())),
            Self::UrlParam(name) => {
                url_param(request.target, name.as_bytes()).map(|value| Key::Bytes(value.to_vec()))
            }
            Self::Header { name, domain_only: only } => {
                let value = header_key(request.header(name)?)?;
                Some(Key::Bytes(if *only { domain_only(value) } else { value }.to_vec()))
            }
            Self::Sample(part) => part.sample(request).map(Key::Bytes),
            Self::Converted { of, by } => {
                let sample = of.sample(request)?;
                by.iter().try_fold(sample, |sample, step| step.apply(sample)).map(Key::Bytes)
            }
            Self::Envoy(policies) => {
                let policies: Vec<envoy::HashPolicy> =
                    policies.iter().filter_map(EnvoyHash::policy).collect();
                let parts = envoy::Request {
                    headers: request.headers,
                    target: request.target,
                    source: request.source,
                };
                envoy::request_hash(&policies, &parts).map(Key::Hash)
            }
        }
    }
}

impl EnvoyHash {
    /// None for parts that no policy of Envoy looks at.
    fn policy(&self) -> Option<envoy::HashPolicy> {
        let source = match &self.of {
            KeyPart::Header(name) => envoy::HashSource::header(name),
            KeyPart::Query(name) => envoy::HashSource::QueryParameter(name.clone()),
            KeyPart::Cookie(name) => envoy::HashSource::Cookie(name.clone()),
            KeyPart::Source => envoy::HashSource::SourceIp,
            _ => return None,
        };
        Some(envoy::HashPolicy { source, terminal: self.terminal })
    }
}

impl KeyPart {
    /// As a sample of HAProxy: without a question mark there is no query, and one with nothing behind it is an empty one; of what
    /// follows the first question mark, parameters end at `;` and further ones too.
    fn sample(&self, request: &RequestParts<'_>) -> Option<Vec<u8>> {
        match self {
            Self::QueryString if !request.target.contains(&b'?') => None,
            Self::Query(name) => {
                let mut pairs = request.split().1.split(|byte| b"&;?".contains(byte));
                let value = pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
                value.map(<[u8]>::to_vec)
            }
            _ => self.of(request),
        }
    }

    fn of(&self, request: &RequestParts<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Literal(text) => Some(text.clone().into_bytes()),
            Self::Header(name) => request.header(name).map(<[u8]>::to_vec),
            Self::Item(name) => Some(header_values(request.header(name)?).last()?.to_vec()),
            Self::Query(name) => request.parameter(name).map(<[u8]>::to_vec),
            Self::Cookie(name) => request.cookie(name).map(<[u8]>::to_vec),
            Self::Source => request.source.map(|address| address.to_string().into_bytes()),
            Self::Target => Some(request.target.to_vec()),
            Self::Path => Some(request.split().0.to_vec()),
            Self::QueryString => Some(request.split().1.to_vec()),
            Self::Host => {
                let host = request.header("host")?.to_ascii_lowercase();
                let end = match host.iter().rposition(|&byte| byte == b':') {
                    Some(colon)
                        if host.first() != Some(&b'[') || host.get(colon.wrapping_sub(1)) == Some(&b']') =>
                    {
                        colon
                    }
                    _ => host.len(),
                };
                Some(host[..end].to_vec())
            }
            Self::Method => Some(request.method.as_bytes().to_vec()),
        }
    }
}

impl<'a> RequestParts<'a> {
    fn header(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|&(_, value)| value.trim_ascii())
    }

    fn split(&self) -> (&'a [u8], &'a [u8]) {
        match self.target.iter().position(|&byte| byte == b'?') {
            Some(mark) => (&self.target[..mark], &self.target[mark + 1..]),
            None => (self.target, &[]),
        }
    }

    fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        let mut pairs = self.split().1.split(|&byte| byte == b'&');
        pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        let mut cookies = self.header("cookie")?.split(|&byte| byte == b';');
        cookies.find_map(|cookie| cookie.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}
