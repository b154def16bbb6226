//! What all formats are brought to.

use super::parser::{Skip, Wrong};
use super::quantity::Nanos;
use super::settings::StampOf;

/// What one line says of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) at: Nanos,
    pub(crate) stamp_of: StampOf,
    /// How long after its start it was sent on, in nanoseconds.
    pub(crate) delay: u64,
    pub(crate) total: Option<Nanos>,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) status: Option<u16>,
    pub(crate) key: Option<u64>,
    pub(crate) server: Option<u64>,
    pub(crate) skip: Option<Skip>,
}

/// The time of servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream {
    /// Of the last one that was tried.
    pub(crate) last: u64,
    /// Of all, one after the other, with the proxy's queue.
    pub(crate) all: u64,
    pub(crate) step: u64,
}

impl Found {
    pub(crate) const fn new(at: Nanos, stamp_of: StampOf) -> Self {
        Self {
            at,
            stamp_of,
            delay: 0,
            total: None,
            upstream: None,
            status: None,
            key: None,
            server: None,
            skip: None,
        }
    }
}

impl Upstream {
    pub(crate) const fn one(time: Nanos) -> Self {
        Self { last: time.nanos, all: time.nanos, step: time.step }
    }
}

/// A status of HTTP. `-` and 0 stand for none.
pub(crate) fn status(name: &str, text: &[u8]) -> Result<Option<u16>, Wrong> {
    match text {
        b"-" | b"" | b"0" | b"-1" | b"000" => Ok(None),
        [a, b, c] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()) && *a != b'0' => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            Ok(Some(digit(a) * 100 + digit(b) * 10 + digit(c)))
        }
        _ => Err(Wrong::value(name, text, "a status of three digits")),
    }
}

/// The path of `GET /path?query HTTP/1.1`, or of `/path?query`.
pub(crate) fn path(request: &[u8]) -> &[u8] {
    let mut words = request.split(|&byte| byte == b' ');
    let target = match words.clone().count() {
        0 | 1 => request,
        _ => words.nth(1).unwrap_or(request),
    };
    target.split(|&byte| byte == b'?').next().unwrap_or(target)
}

/// The same key has the same hash in every run and on every machine.
pub(crate) fn hash(text: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(text, 0)
}
