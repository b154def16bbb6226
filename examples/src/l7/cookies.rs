//! Cookies of HTTP/2 in one field.

use hyper::Version;
use hyper::header::{self, HeaderMap, HeaderValue};

/// Joins what came over HTTP/2 in several fields, as browsers send it there: outside of HTTP/2 it must be one (RFC 9113, section
/// 8.2.3), and servers of HTTP/1.1 take the first, or the last, or join them by commas.
pub fn join(headers: &mut HeaderMap, version: Version) {
    if version != Version::HTTP_2 {
        return;
    }
    let mut fields = headers.get_all(header::COOKIE).iter();
    let Some(first) = fields.next() else { return };
    let mut joined = first.as_bytes().to_vec();
    let mut is_one = true;
    for field in fields {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(field.as_bytes());
        is_one = false;
    }
    if let (false, Ok(joined)) = (is_one, HeaderValue::from_bytes(&joined)) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(version: Version, cookies: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, HeaderValue::from_static(cookie));
        }
        join(&mut headers, version);
        headers.get_all(header::COOKIE).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn those_of_http_2_become_one() {
        assert_eq!(after(Version::HTTP_2, &[]), Vec::<String>::new());
        assert_eq!(after(Version::HTTP_2, &["a=1"]), ["a=1"]);
        assert_eq!(after(Version::HTTP_2, &["a=1", "b=2; c=3", "d=4"]), ["a=1; b=2; c=3; d=4"]);
        assert_eq!(after(Version::HTTP_11, &["a=1", "b=2"]), ["a=1", "b=2"]);
    }
}
