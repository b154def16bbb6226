use std::borrow::Cow;
use std::net::IpAddr;

use evenkeel::Request;

/// What ties a request to an endpoint: nothing, a key, the client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key<'a> {
    kind: Kind<'a>,
    source: Option<IpAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Kind<'a> {
    #[default]
    None,
    Bytes(Cow<'a, [u8]>),
    Hash(u64),
}

impl<'a> Key<'a> {
    /// None: any endpoint does.
    #[must_use]
    pub const fn none() -> Self {
        Self { kind: Kind::None, source: None }
    }

    /// These bytes, which the cluster hashes under its seed if its policy goes by keys.
    #[must_use]
    pub fn bytes(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { kind: Kind::Bytes(Cow::Borrowed(bytes.as_ref())), source: None }
    }

    /// The same for bytes that were made for it.
    #[must_use]
    pub fn owned(bytes: impl Into<Vec<u8>>) -> Self {
        Self { kind: Kind::Bytes(Cow::Owned(bytes.into())), source: None }
    }

    /// A key that was hashed already.
    #[must_use]
    pub const fn hash(hash: u64) -> Self {
        Self { kind: Kind::Hash(hash), source: None }
    }

    /// The same from a client at this address, for policies that go by it.
    #[must_use]
    pub fn from_address(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// As the cluster takes it.
    pub(crate) fn request(&self) -> Request<'_> {
        let request = match &self.kind {
            Kind::None => Request::new(),
            Kind::Bytes(bytes) => Request::with_key(&**bytes),
            Kind::Hash(hash) => Request::with_hash(*hash),
        };
        match self.source {
            Some(source) => request.from_address(source),
            None => request,
        }
    }
}

/// Finds the key of a request.
pub trait Keys<Req> {
    /// The key.
    fn key<'a>(&self, request: &'a Req) -> Key<'a>;
}

/// Requests have no keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKeys;

impl<Req> Keys<Req> for NoKeys {
    #[inline]
    fn key<'a>(&self, _: &'a Req) -> Key<'a> {
        Key::none()
    }
}

/// Keys by a function: what [`Balance::keyed_by`](crate::Balance::keyed_by) takes.
#[derive(Clone, Copy, Debug)]
pub struct KeyBy<F>(pub F);

impl<Req, F> Keys<Req> for KeyBy<F>
where
    F: for<'a> Fn(&'a Req) -> Key<'a>,
{
    #[inline]
    fn key<'a>(&self, request: &'a Req) -> Key<'a> {
        (self.0)(request)
    }
}
