//! Which requests are looked at further: the rules against smuggling (RFC 9112, sections 3.2 and 6.3), and the limits.
//!
//! hyper refuses by itself: control characters and spaces in names, folded lines, lengths that are no numbers or differ,
//! codings that do not end in `chunked`, chunk sizes that overflow. Beside a coding it takes a length off, and nothing here can see
//! that there was one; the upstream gets our own framing. What else it lets through is refused here.

use evenkeel_config::ListenerLimits;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Version};

use super::cause::Cause;
use super::head::{Seen, is_only_chunked};

/// Looks at a head, and gives the host that it asks for.
///
/// # Errors
///
/// Why it is answered at once.
pub fn check(head: &Parts, seen: &Seen, limits: &ListenerLimits) -> Result<HeaderValue, Cause> {
    if head.method == Method::CONNECT {
        return Err(Cause::NoConnect);
    }
    if head.headers.len() > limits.header_fields as usize {
        return Err(Cause::HeadTooLarge);
    }
    framing(head, seen)?;
    if let Some(most) = limits.body_bytes
        && content_length(head, seen).is_some_and(|length| length > most)
    {
        return Err(Cause::BodyTooLarge);
    }
    host(head, seen)
}

/// The length that the head states. hyper has seen to it that there is at most one.
pub fn content_length(head: &Parts, seen: &Seen) -> Option<u64> {
    if seen.lengths == 0 {
        return None;
    }
    head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn framing(head: &Parts, seen: &Seen) -> Result<(), Cause> {
    let is_coded = seen.codings > 0;
    if is_coded && seen.lengths > 0 {
        return Err(Cause::BadRequest("both Content-Length and Transfer-Encoding"));
    }
    if is_coded {
        if !is_only_chunked(&head.headers) {
            return Err(Cause::BadRequest("a Transfer-Encoding other than chunked"));
        }
        if head.version == Version::HTTP_10 {
            return Err(Cause::BadRequest("Transfer-Encoding in HTTP/1.0"));
        }
    }
    if seen.lengths > 0
        && let Some(length) = head.headers.get(header::CONTENT_LENGTH)
        && (seen.lengths > 1 || !length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Err(Cause::BadRequest("more than one Content-Length"));
    }
    Ok(())
}

/// One host, and the same in an absolute form.
fn host(head: &Parts, seen: &Seen) -> Result<HeaderValue, Cause> {
    if seen.hosts > 1 {
        return Err(Cause::BadRequest("more than one Host"));
    }
    let given = if seen.hosts == 0 { None } else { head.headers.get(header::HOST) };
    match (head.uri.authority(), given) {
        (Some(authority), Some(host))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            Err(Cause::BadRequest("Host differs from the address"))
        }
        (Some(authority), None) if head.version < Version::HTTP_2 && head.version > Version::HTTP_10 => {
            let _ = authority;
            Err(Cause::BadRequest("no Host"))
        }
        (Some(authority), _) if authority.as_str().contains('@') => {
            Err(Cause::BadRequest("user information in the address"))
        }
        (_, Some(host)) => match is_host(host.as_bytes()) {
            true => Ok(host.clone()),
            false => Err(Cause::BadRequest("Host is no host")),
        },
        (Some(authority), None) if !is_host(authority.as_str().as_bytes()) => {
            Err(Cause::BadRequest("Host is no host"))
        }
        (Some(authority), None) => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| Cause::BadRequest("Host is no host"))
        }
        (None, None) if head.version == Version::HTTP_10 => Ok(HeaderValue::from_static("")),
        (None, None) => Err(Cause::BadRequest("no Host")),
    }
}

/// A name or an address, and a port perhaps (RFC 9110, section 7.2; RFC 3986, section 3.2.2); nothing at all, too.
///
/// What is none cannot be said over HTTP/2: an endpoint would be asked without the host by which the route was found.
fn is_host(host: &[u8]) -> bool {
    let (is_name, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|&byte| byte == b']').unwrap_or(rest.len());
            let (address, rest) = rest.split_at(end);
            (is_v6(address), rest.strip_prefix(b"]").unwrap_or(b"?"))
        }
        None => {
            let end = host.iter().position(|&byte| byte == b':').unwrap_or(host.len());
            let (name, port) = host.split_at(end);
            (is_name(name) && (port.is_empty() || !name.is_empty()), port)
        }
    };
    is_name && is_port(port)
}

/// Without escapes: DNS has none, and HTTP/2 could not say them here.
fn is_name(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte))
}

fn is_v6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Nothing, or a colon and perhaps a number after it.
fn is_port(port: &[u8]) -> bool {
    let Some(number) = port.strip_prefix(b":") else { return port.is_empty() };
    number.len() <= 5
        && number.iter().all(u8::is_ascii_digit)
        && number.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn said(version: Version, uri: &str, headers: &[(&str, &str)]) -> Result<HeaderValue, Cause> {
        let mut request = Request::builder().uri(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        check(&head, &Seen::of(&head.headers), &ListenerLimits::default())
    }

    #[test]
    fn hosts_are_names_or_addresses_and_ports() {
        for right in
            ["", "a", "a:", "a:80", "a.example:65535", "127.0.0.1:1", "[::1]", "[::1]:443", "a_b", "a,b"]
        {
            assert!(is_host(right.as_bytes()), "{right}");
        }
        for wrong in [
            "[", "[]", "]a[", "[::1", "[::1]x", "[::1]:x", "[a]", "a:b:c", "a:65536", "a:000080", "a:+1",
            ":80", ":", "a%zz", "a%2", "a%2Db", "a/b", "a@b", "a b", "a\"b", "a?b", "a#b", "a\\b",
        ] {
            assert!(!is_host(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn one_host_and_one_length() {
        let v11 = Version::HTTP_11;
        assert_eq!(said(v11, "/", &[("host", "a:80")]).unwrap(), "a:80");
        assert_eq!(said(v11, "http://a/x", &[("host", "A")]).unwrap(), "A");
        assert_eq!(said(Version::HTTP_2, "http://a/x", &[]).unwrap(), "a");
        assert_eq!(said(Version::HTTP_10, "/", &[]).unwrap(), "");
        for (uri, headers) in [
            ("/", &[][..]),
            ("/", &[("host", "a"), ("host", "b")]),
            ("http://a/", &[("host", "b")]),
            ("http://a/", &[]),
            ("/", &[("host", "a/b")]),
            ("/", &[("host", "a b")]),
            ("http://u@a/", &[("host", "u@a")]),
            ("/", &[("host", "a"), ("content-length", "1"), ("transfer-encoding", "chunked")]),
            ("/", &[("host", "a"), ("content-length", "1"), ("content-length", "1")]),
            ("/", &[("host", "a"), ("content-length", "+1")]),
            ("/", &[("host", "a"), ("transfer-encoding", "gzip, chunked")]),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
        ] {
            assert!(matches!(said(v11, uri, headers), Err(Cause::BadRequest(_))), "{uri} {headers:?}");
        }
        let coded = &[("transfer-encoding", "chunked")];
        assert!(matches!(said(Version::HTTP_10, "/", coded), Err(Cause::BadRequest(_))));
    }
}
