//! What is meant for one connection only, and so ends here: RFC 9110, section 7.6.1.

use hyper::header::{self, HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::head::{Field, Seen};

/// Takes off what the next one must not see, of a head that was looked through. `TE: trailers` is put back by whoever sends over
/// HTTP/2.
pub fn strip(headers: &mut HeaderMap, seen: &Seen) {
    if seen.has(Field::Connection) {
        strip_named(headers);
    }
    for (field, name) in &HOP_BY_HOP {
        if seen.has(*field) {
            headers.remove(name);
        }
    }
}

/// Whether a field of this name is meant for one connection only.
pub fn is_of_a_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.iter().any(|(_, one)| one == name)
}

/// Takes off what `Connection` names.
fn strip_named(headers: &mut HeaderMap) {
    let mut named: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for value in headers.get_all(header::CONNECTION) {
        let tokens = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let tokens = tokens.filter(|token| !is_no_name(token));
        // Whoever names these would take off what the upstream relies on.
        let names = tokens.filter_map(|token| HeaderName::from_bytes(token).ok());
        named.extend(names.filter(|name| !PROTECTED.contains(name)));
    }
    for name in &named {
        headers.remove(name);
    }
}

/// What nearly every `Connection` says, which names no field that is not taken off anyway. To make a name of it would allocate.
fn is_no_name(token: &[u8]) -> bool {
    let known = |word: &[u8]| token.eq_ignore_ascii_case(word);
    known(b"keep-alive") || known(b"close") || known(b"upgrade")
}

/// Whether one of the values of `name` holds `token`.
pub fn has_token(headers: &HeaderMap, name: HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
    })
}

const HOP_BY_HOP: [(Field, HeaderName); 10] = [
    (Field::Connection, header::CONNECTION),
    (Field::ProxyAuthenticate, header::PROXY_AUTHENTICATE),
    (Field::ProxyAuthorization, header::PROXY_AUTHORIZATION),
    (Field::Te, header::TE),
    (Field::TransferEncoding, header::TRANSFER_ENCODING),
    (Field::Upgrade, header::UPGRADE),
    (Field::Expect, header::EXPECT),
    (Field::KeepAlive, HeaderName::from_static("keep-alive")),
    (Field::ProxyConnection, HeaderName::from_static("proxy-connection")),
    (Field::Http2Settings, HeaderName::from_static("http2-settings")),
];

/// A client that says `Connection: content-length` shall not have its way with the framing, nor hide where it comes from.
const PROTECTED: [HeaderName; 9] = [
    header::CONTENT_LENGTH,
    header::HOST,
    header::FORWARDED,
    header::AUTHORIZATION,
    header::COOKIE,
    header::TRAILER,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
];

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nothing_of_the_connection_is_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Private,, content-length, host"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("transfer-encoding", "chunked"),
            ("proxy-connection", "close"),
            ("proxy-authorization", "secret"),
            ("expect", "100-continue"),
            ("content-length", "5"),
            ("host", "a"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let seen = Seen::of(&headers);
        strip(&mut headers, &seen);
        // A map has no order.
        let left: BTreeSet<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, BTreeSet::from(["accept", "content-length", "host"]));
    }
}
