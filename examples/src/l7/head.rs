//! What a head says that the proxy looks at, gathered in one pass: a map hashes the name for each question that it is asked.

use hyper::header::{self, HeaderMap, HeaderValue};

use super::grpc;

/// What a head says that the proxy looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    fields: u32,
    /// How many `Host` there are.
    pub hosts: u32,
    /// How many `Content-Length` there are.
    pub lengths: u32,
    /// How many `Transfer-Encoding` there are.
    pub codings: u32,
    /// Whether it is a message of gRPC.
    pub is_grpc: bool,
    /// Whether its body is one of server-sent events.
    pub is_events: bool,
}

/// A field that the proxy looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Field {
    /// `Connection`.
    Connection,
    /// `Proxy-Authenticate`.
    ProxyAuthenticate,
    /// `Proxy-Authorization`.
    ProxyAuthorization,
    /// `TE`.
    Te,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Upgrade`.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `Keep-Alive`.
    KeepAlive,
    /// `Proxy-Connection`.
    ProxyConnection,
    /// `HTTP2-Settings`.
    Http2Settings,
    /// `Forwarded`.
    Forwarded,
    /// `Retry-After`.
    RetryAfter,
    /// `Content-Type`.
    ContentType,
    /// `endpoint-load-metrics`, in either form.
    LoadReport,
}

impl Seen {
    /// Looks through a head. O(fields).
    pub fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            seen.add(name.as_str(), value);
        }
        seen
    }

    /// Whether there is such a field.
    pub const fn has(&self, field: Field) -> bool {
        self.fields & (1 << field as u32) != 0
    }

    fn add(&mut self, name: &str, value: &HeaderValue) {
        let field = match (name.len(), name) {
            (2, "te") => Field::Te,
            (4, "host") => {
                self.hosts += 1;
                return;
            }
            (6, "expect") => Field::Expect,
            (7, "upgrade") => Field::Upgrade,
            (9, "forwarded") => Field::Forwarded,
            (10, "connection") => Field::Connection,
            (10, "keep-alive") => Field::KeepAlive,
            (11, "retry-after") => Field::RetryAfter,
            (12, "content-type") => {
                self.content_type(value.as_bytes());
                Field::ContentType
            }
            (14, "content-length") => {
                self.lengths += 1;
                return;
            }
            (14, "http2-settings") => Field::Http2Settings,
            (16, "proxy-connection") => Field::ProxyConnection,
            (17, "transfer-encoding") => {
                self.codings += 1;
                Field::TransferEncoding
            }
            (18, "proxy-authenticate") => Field::ProxyAuthenticate,
            (19, "proxy-authorization") => Field::ProxyAuthorization,
            (21, evenkeel_orca::HEADER) | (25, evenkeel_orca::HEADER_BIN) => Field::LoadReport,
            _ => return,
        };
        self.fields |= 1 << field as u32;
    }

    /// The first one counts.
    fn content_type(&mut self, value: &[u8]) {
        if !self.has(Field::ContentType) {
            self.is_grpc = grpc::is_grpc(value);
            let kind = value.split(|&byte| byte == b';').next().unwrap_or_default();
            self.is_events = kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream");
        }
    }
}

/// Whether the one coding of a message is `chunked`. Others could be understood differently by the next one, and nobody uses them.
pub fn is_only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    is_chunked && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_finds_them_all() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a"),
            ("host", "b"),
            ("Content-Length", "1"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/event-stream; charset=utf-8"),
            ("content-type", "application/grpc"),
            ("keep-alive", "timeout=5"),
            ("retry-afterx", "1"),
            ("endpoint-load-metrics-bin", "AAAA"),
        ] {
            headers.append(name.parse::<header::HeaderName>().unwrap(), HeaderValue::from_static(value));
        }
        let seen = Seen::of(&headers);
        assert_eq!((seen.hosts, seen.lengths, seen.codings), (2, 1, 1));
        assert_eq!((seen.is_grpc, seen.is_events), (false, true));
        for (field, expected) in [
            (Field::KeepAlive, true),
            (Field::TransferEncoding, true),
            (Field::ContentType, true),
            (Field::LoadReport, true),
            (Field::Connection, false),
            (Field::RetryAfter, false),
        ] {
            assert_eq!(seen.has(field), expected, "{field:?}");
        }
        assert_eq!(Seen::of(&HeaderMap::new()), Seen::default());
    }
}
