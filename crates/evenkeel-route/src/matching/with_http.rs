use super::headers::Headers;
use super::request::Request;

impl Headers for http::HeaderMap {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.get_all(name).iter().any(|value| test(value.as_bytes()))
    }
}

impl<'a> Request<'a, http::HeaderMap> {
    /// The parts of a request of the crate `http`.
    ///
    /// The host is that of the URI (HTTP/2, or the absolute form), else the field `host`.
    #[must_use]
    pub fn from_http<B>(request: &'a http::Request<B>) -> Self {
        let uri = request.uri();
        let field = || request.headers().get(http::header::HOST).map_or(&b""[..], |host| host.as_bytes());
        Self {
            method: request.method().as_str(),
            host: uri.authority().map_or_else(field, |authority| authority.as_str().as_bytes()),
            path: uri.path().as_bytes(),
            query: uri.query().unwrap_or_default().as_bytes(),
            headers: request.headers(),
            listener: "",
            hash: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_an_http_request_apart() {
        let request =
            http::Request::get("/a/b?c=d").header("host", "example.com").header("X-A", "1").body(());
        let request = request.unwrap();
        let request = Request::from_http(&request).with_hash(9);
        assert_eq!(
            (request.host, request.path, request.query),
            (&b"example.com"[..], &b"/a/b"[..], &b"c=d"[..])
        );
        assert!(request.headers.any("x-a", &mut |value| value == b"1"));
        let absolute = http::Request::get("http://other/").header("host", "example.com").body(()).unwrap();
        assert_eq!(Request::from_http(&absolute).host, b"other");
    }
}
