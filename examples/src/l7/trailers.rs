//! Fields after a body. Whoever gets them may put them among those of the head, so that nothing comes in there that the rules for the
//! head would have taken off: RFC 9110, section 6.5.1.

use hyper::header::{self, HeaderMap, HeaderName};

use super::hop_by_hop;

/// Takes off what must not come after a body: what frames a message, routes it or says how to read it, who somebody is or where a
/// request comes from, and what belongs to one connection, which HTTP/2 does not even know.
pub fn clean(fields: &mut HeaderMap) {
    let wrong: Vec<HeaderName> = fields.keys().filter(|name| belongs_in_a_head(name)).cloned().collect();
    for name in &wrong {
        fields.remove(name);
    }
}

fn belongs_in_a_head(name: &HeaderName) -> bool {
    IN_A_HEAD.contains(name) || hop_by_hop::is_of_a_hop(name) || name.as_str().starts_with("x-forwarded-")
}

const IN_A_HEAD: [HeaderName; 16] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::FORWARDED,
    header::HOST,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::SET_COOKIE,
    header::TRAILER,
    header::VARY,
    header::VIA,
    HeaderName::from_static("x-real-ip"),
];

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn only_what_may_come_late_is_left() {
        let mut fields = HeaderMap::new();
        for name in [
            "grpc-status",
            "server-timing",
            "digest",
            "content-length",
            "host",
            "te",
            "connection",
            "keep-alive",
            "upgrade",
            "transfer-encoding",
            "x-forwarded-for",
            "x-forwarded-port",
            "forwarded",
            "via",
            "cookie",
            "x-real-ip",
        ] {
            fields.append(name, HeaderValue::from_static("1"));
            fields.append(name, HeaderValue::from_static("2"));
        }
        clean(&mut fields);
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!((left, fields.len()), (vec!["digest", "grpc-status", "server-timing"], 6));
    }
}
