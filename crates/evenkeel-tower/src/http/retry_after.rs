use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};

/// What `retry-after` asks for (RFC 9110, section 10.2.3): seconds, or a date.
///
/// A date is taken relative to the answer's own `date`, so neither this clock nor how far it is off plays a part. One in the
/// past asks for no wait. What cannot be read, and a date without a `date`, asks for nothing.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that are too many are a long time all the same.
        return (!value.is_empty()).then(|| Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let at = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(until.duration_since(at).unwrap_or(Duration::ZERO))
}

/// What `grpc-retry-pushback-ms` asks for (gRPC proposal A6). A negative or broken number asks not to try again at all: the
/// longest wait.
pub(crate) fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(HeaderName::from_static("grpc-retry-pushback-ms"))?;
    let millis = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    Some(millis.map_or(Duration::MAX, Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(value: &[u8], date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_bytes(value).unwrap());
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_str(date).unwrap());
        }
        retry_after(&headers)
    }

    #[test]
    fn seconds_and_dates() {
        let (noon, later) = ("Sun, 06 Nov 1994 12:00:00 GMT", b"Sun, 06 Nov 1994 12:01:00 GMT");
        for (value, date, expected) in [
            (&b"0"[..], None, Some(Duration::ZERO)),
            (b"120", None, Some(Duration::from_secs(120))),
            (b" 3 ", None, Some(Duration::from_secs(3))),
            (b"99999999999999999999999", None, Some(Duration::from_secs(u64::MAX))),
            (later, Some(noon), Some(Duration::from_secs(60))),
            (later, Some("Sun, 06 Nov 1994 13:00:00 GMT"), Some(Duration::ZERO)),
            (later, None, None),
            (b"", None, None),
            (b"-1", None, None),
            (b"1.5", None, None),
            (b"soon", Some(noon), None),
            (b"\xff", Some(noon), None),
        ] {
            assert_eq!(of(value, date), expected, "{value:?}");
        }
    }

    #[test]
    fn pushback_is_a_wait_or_a_no() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static(value));
            pushback(&headers)
        };
        assert_eq!(of("25"), Some(Duration::from_millis(25)));
        assert_eq!(of("-1"), Some(Duration::MAX));
        assert_eq!(of("what"), Some(Duration::MAX));
        assert_eq!(pushback(&HeaderMap::new()), None);
    }
}
