//! What a proxy changes in the head of a message.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::{request, response};
use hyper::{Uri, Version};

/// The head of a request as the backend shall see it.
pub(crate) fn for_backend(head: &mut request::Parts, client: IpAddr) {
    strip_hop_by_hop(&mut head.headers);
    if !head.headers.contains_key(header::HOST)
        && let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(header::HOST, host);
    }
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
    add_to_list(&mut head.headers, X_FORWARDED_FOR, &client.to_string());
    add_to_list(&mut head.headers, header::VIA, VIA);
}

/// The head of an answer as the client shall see it: in the proxy's own version, whatever the backend speaks.
pub(crate) fn for_client(head: &mut response::Parts) {
    strip_hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    add_to_list(&mut head.headers, header::VIA, VIA);
}

/// Removes what is meant for one connection only: RFC 9110, section 7.6.1.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// `http://host/path?query` as a backend expects it: `/path?query`.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

/// Appends to a comma-separated list; what is no text stays alone.
fn add_to_list(headers: &mut HeaderMap, name: HeaderName, item: &str) {
    let earlier: Vec<&str> = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok()).collect();
    let list = earlier.into_iter().chain([item]).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&list) {
        headers.insert(name, value);
    }
}

const VIA: &str = "1.1 evenkeel-demo";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

#[cfg(test)]
mod tests {
    use hyper::{Request, Response};

    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> request::Parts {
        let mut request = Request::builder().uri("http://shop.example:8080/cart?item=7");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn nothing_of_the_connection_is_passed_on() {
        let mut head = head(&[
            ("connection", "keep-alive, X-Private"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("accept", "text/plain"),
        ]);
        for_backend(&mut head, IpAddr::from([10, 0, 0, 9]));
        let left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["accept", "host", "x-forwarded-for", "via"]);
        assert_eq!(head.headers[header::HOST], "shop.example:8080");
        assert_eq!(head.uri, "/cart?item=7");
    }

    #[test]
    fn an_answer_speaks_the_version_of_the_proxy() {
        let answer = Response::builder().version(Version::HTTP_10).header("connection", "close");
        let (mut head, ()) = answer.body(()).unwrap().into_parts();
        for_client(&mut head);
        assert_eq!(head.version, Version::HTTP_11);
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["via"]);
    }

    #[test]
    fn lists_grow_at_the_end() {
        let mut head =
            head(&[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2"), ("via", "1.0 x")]);
        for_backend(&mut head, IpAddr::from([10, 0, 0, 9]));
        assert_eq!(head.headers["x-forwarded-for"], "10.0.0.1, 10.0.0.2, 10.0.0.9");
        assert_eq!(head.headers[header::VIA], "1.0 x, 1.1 evenkeel-demo");
    }
}
