use http::{Method, Request};

use super::kept::{self, Kept};
use crate::again::Copies;

/// HTTP requests whose bodies can be cloned (`Full`, `Empty`, `String`), or were kept whole ([`Kept`]), are copied.
///
/// What the method calls idempotent (RFC 9110, section 9.2.2) may be done twice. The rest is sent again only if no endpoint
/// has seen it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Idempotent;

impl<B: Clone> Copies<Request<B>> for Idempotent {
    fn copy(&self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }

    fn may_repeat(&self, request: &Request<B>) -> bool {
        is_idempotent(request.method())
    }
}

impl<B> Copies<Request<Kept<B>>> for Idempotent {
    fn copy(&self, request: &Request<Kept<B>>) -> Option<Request<Kept<B>>> {
        kept::copy(request)
    }

    fn may_repeat(&self, request: &Request<Kept<B>>) -> bool {
        is_idempotent(request.method())
    }
}

fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(method)
}
