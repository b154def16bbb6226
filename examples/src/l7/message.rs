//! A request as upstreams shall see it: made once, sent as often as need be.

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Uri};

use super::grpc;
use super::request_body::RequestBody;

/// The head of a request as upstreams shall see it.
#[derive(Clone)]
pub struct Message {
    /// The method.
    pub method: Method,
    /// Path and query, in the form in which the route was found.
    pub path: PathAndQuery,
    /// The host.
    pub host: HeaderValue,
    /// All fields, `Host` too.
    pub headers: HeaderMap,
    /// Whether the client takes trailers.
    pub takes_trailers: bool,
}

/// The body of a request, and whether it can be sent again.
pub enum Outgoing {
    /// None, or all of it.
    Kept(Bytes),
    /// As it comes in: it can be sent once.
    Once(Option<RequestBody>),
}

impl Outgoing {
    /// Whether an attempt more has a body to send.
    pub const fn is_there(&self) -> bool {
        matches!(self, Self::Kept(_) | Self::Once(Some(_)))
    }

    /// Whether two attempts can have it.
    pub const fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    /// For an attempt. Ask [`is_there`](Self::is_there) first.
    pub fn take(&mut self) -> RequestBody {
        match self {
            Self::Kept(bytes) if bytes.is_empty() => RequestBody::Empty,
            Self::Kept(bytes) => RequestBody::Kept(bytes.clone()),
            Self::Once(body) => body.take().unwrap_or(RequestBody::Empty),
        }
    }

    /// What could not be sent comes back.
    pub fn put_back(&mut self, body: RequestBody) {
        if let Self::Once(place) = self {
            *place = Some(body);
        }
    }
}

impl Message {
    /// Whether it is a call of gRPC.
    pub fn is_call(&self) -> bool {
        self.headers.get(header::CONTENT_TYPE).is_some_and(|kind| grpc::is_grpc(kind.as_bytes()))
    }

    /// The request for a connection. The fields are copied: a kept connection may turn out to be closed.
    pub fn request(&self, body: RequestBody, is_h2: bool, is_tls: bool) -> Request<RequestBody> {
        // hyper takes a body of unknown length for none if the method is GET, and the upstream would miss it.
        let is_chunked = !is_h2 && !body.is_end_stream() && body.size_hint().exact().is_none();
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        if is_h2 {
            let headers = request.headers_mut();
            headers.remove(header::HOST);
            // HTTP/2 knows neither: the wish for another protocol is not passed on (RFC 9110, section 7.8).
            headers.remove(header::CONNECTION);
            headers.remove(header::UPGRADE);
            if self.takes_trailers {
                headers.insert(header::TE, HeaderValue::from_static("trailers"));
            }
            *request.uri_mut() = self.absolute(is_tls);
        } else {
            *request.uri_mut() = Uri::from(self.path.clone());
            if self.takes_trailers && !self.headers.contains_key(header::CONNECTION) {
                // For this connection, as it was for that of the client (RFC 9110, section 10.1.4).
                let headers = request.headers_mut();
                headers.insert(header::TE, HeaderValue::from_static("trailers"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
            }
            if is_chunked && !self.headers.contains_key(header::CONTENT_LENGTH) {
                let chunked = HeaderValue::from_static("chunked");
                request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
            }
        }
        request
    }

    fn absolute(&self, is_tls: bool) -> Uri {
        let mut parts = hyper::http::uri::Parts::default();
        parts.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Authority::try_from(self.host.as_bytes()).ok();
        if parts.authority.is_none() {
            parts.scheme = None;
        }
        parts.path_and_query = Some(self.path.clone());
        Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(self.path.clone()))
    }
}
