use std::fmt;
use std::net::IpAddr;

use evenkeel_route::locality::Coordinates;
use evenkeel_route::matching::{self, NoHeaders, Request};

use super::table::Table;
use super::tables::Seat;
use crate::sync::CountedArc;

/// A request as a router sees it: its parts, and what is known besides.
///
/// ```
/// use evenkeel::route::matching::Request;
/// use evenkeel::router::Incoming;
///
/// let headers = [("x-user", "ann")];
/// let request = Request::new("GET", "example.com", "/users/42?page=2").with_headers(&headers);
/// let incoming = Incoming::new(request).from_address("192.0.2.7".parse()?);
/// # let _ = incoming;
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct Incoming<'a, H: ?Sized = NoHeaders> {
    pub(crate) request: Request<'a, H>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) place: Option<Coordinates>,
    may_repeat: Option<bool>,
}

impl<'a, H: ?Sized> Incoming<'a, H> {
    /// A request of which no more is known. Its `hash`, if it is not 0, decides fractions where the router has no key of its own
    /// for them.
    #[must_use]
    pub const fn new(request: Request<'a, H>) -> Self {
        Self { request, source: None, place: None, may_repeat: None }
    }

    /// The same from a client at this address.
    #[must_use]
    pub const fn from_address(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// The same from a client at this place: see [`Request::at_place`](crate::Request::at_place).
    #[must_use]
    pub const fn at_place(mut self, place: Coordinates) -> Self {
        self.place = Some(place);
        self
    }

    /// The same, and whether it may be done twice: its body is kept, and doing it again does no harm. By default `GET`, `HEAD`,
    /// `OPTIONS` and `TRACE` may, which RFC 9110, section 9.2.1, calls safe; `PUT` and `DELETE` may not, since their bodies
    /// are usually gone.
    #[must_use]
    pub const fn repeatable(mut self, may_repeat: bool) -> Self {
        self.may_repeat = Some(may_repeat);
        self
    }

    pub(crate) fn may_repeat(&self) -> bool {
        self.may_repeat.unwrap_or(matches!(self.request.method, "GET" | "HEAD" | "OPTIONS" | "TRACE"))
    }

    /// The request with this hash.
    pub(crate) const fn hashed(&self, hash: u64) -> Request<'a, H> {
        let Request { method, host, path, query, headers, listener, .. } = self.request;
        Request { method, host, path, query, headers, listener, hash }
    }
}

impl<'a, H: ?Sized> From<Request<'a, H>> for Incoming<'a, H> {
    fn from(request: Request<'a, H>) -> Self {
        Self::new(request)
    }
}

/// Room for work, to be kept from request to request. One for each thread, or for each request that is under way.
///
/// It remembers the table that was current at its last request, so that the next one need not ask for it; and so keeps the
/// memory of that table, until it is used again.
pub struct Scratch<T> {
    pub(crate) seat: Option<CountedArc<Seat<Table<T>>>>,
    pub(crate) matching: matching::Scratch,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self { seat: None, matching: matching::Scratch::default() }
    }
}

impl<T> fmt::Debug for Scratch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}
