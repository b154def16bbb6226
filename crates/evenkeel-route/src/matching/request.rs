use thiserror::Error;

use super::headers::NoHeaders;
use super::normal::PathError;

/// What rules are matched against, borrowed from wherever the request lies.
///
/// Everything is bytes: nothing need be valid UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, H: ?Sized = NoHeaders> {
    /// The method, `GET` and so on. Case counts.
    pub method: &'a str,
    /// The authority: a host, perhaps with a port, which is ignored.
    pub host: &'a [u8],
    /// The path, without query.
    pub path: &'a [u8],
    /// The query, without its question mark; empty if there is none.
    pub query: &'a [u8],
    /// The header fields.
    pub headers: &'a H,
    /// The name of the listener where it came in; empty if nobody tells.
    pub listener: &'a str,
    /// What fractions are decided by: the hash of a user's key, or a random number.
    pub hash: u64,
}

impl<'a> Request<'a> {
    /// A request without header fields. `target` is a path, perhaps with a query; a fragment is cut off.
    #[must_use]
    pub fn new(
        method: &'a str,
        host: &'a (impl AsRef<[u8]> + ?Sized),
        target: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        let target = target.as_ref();
        let end = target.iter().position(|&byte| byte == b'#').unwrap_or(target.len());
        let target = &target[..end];
        let (path, query) = match target.iter().position(|&byte| byte == b'?') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (target, &b""[..]),
        };
        Self { method, host: host.as_ref(), path, query, headers: &NoHeaders, listener: "", hash: 0 }
    }
}

impl<'a, H: ?Sized> Request<'a, H> {
    /// The same with these header fields.
    #[must_use]
    pub fn with_headers<G: ?Sized>(self, headers: &'a G) -> Request<'a, G> {
        let Self { method, host, path, query, listener, hash, .. } = self;
        Request { method, host, path, query, headers, listener, hash }
    }

    /// The same, come in at the listener of this name.
    #[must_use]
    pub fn at_listener(self, listener: &'a str) -> Self {
        Self { listener, ..self }
    }

    /// The same with this hash.
    #[must_use]
    pub fn with_hash(self, hash: u64) -> Self {
        Self { hash, ..self }
    }
}

/// A request that no rule is asked about: answer with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The path cannot be normalised, or is too long.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The host is longer than any name can be.
    #[error("host of {len} bytes: at most 262 are allowed, port included")]
    HostTooLong {
        /// Its length.
        len: usize,
    },
}
