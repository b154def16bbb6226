use evenkeel::Live;
use http::uri::{self, PathAndQuery, Scheme};
use http::{Request, Uri};

use crate::error::BoxError;
use crate::via::Aim;

/// Addresses HTTP requests: scheme and authority of the URI become the endpoint's, path and query stay.
///
/// The field `host` stays too, if there is one; clients set it from the URI if there is none. An endpoint at a Unix socket
/// has no authority, so requests to it fail.
#[derive(Clone, Debug)]
pub struct Authority(Scheme);

impl Authority {
    /// With `http` in front.
    #[must_use]
    pub const fn http() -> Self {
        Self(Scheme::HTTP)
    }

    /// With `https` in front. Certificates are then checked against the *address* of the endpoint, as a client has no other
    /// name for it; where they hold names, let endpoints have those as addresses.
    #[must_use]
    pub const fn https() -> Self {
        Self(Scheme::HTTPS)
    }
}

impl<T, B> Aim<T, Request<B>> for Authority {
    fn aim(&self, endpoint: &Live<T>, request: &mut Request<B>) -> Result<(), BoxError> {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(self.0.clone());
        parts.authority = Some(endpoint.address().to_string().try_into()?);
        let path = request.uri().path_and_query().cloned();
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts)?;
        Ok(())
    }
}
