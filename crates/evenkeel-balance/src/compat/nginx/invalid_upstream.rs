use std::time::Duration;

use thiserror::Error;

use super::method::Method;
use super::server::Server;
use crate::compat::ketama::TooManyPoints;

/// Why nginx would not start with such a block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidUpstream {
    /// There is no server that is not a backup.
    #[error("no servers in upstream besides backups")]
    NoServers,
    /// `weight=0`: use `down`.
    #[error("server {server}: weight 0 is not allowed, at least 1 is: mark it `down`")]
    ZeroWeight {
        /// The index of the server.
        server: usize,
    },
    /// A server without a name.
    #[error("server {server}: the name is empty")]
    NoName {
        /// The index of the server.
        server: usize,
    },
    /// A name that resolves to nothing.
    #[error("server {server}: no address, at least 1 is needed")]
    NoAddresses {
        /// The index of the server.
        server: usize,
    },
    /// A `fail_timeout` that is no whole number of seconds.
    #[error("server {server}: fail_timeout {fail_timeout:?} is no whole number of seconds")]
    FailTimeout {
        /// The index of the server.
        server: usize,
        /// Its setting.
        fail_timeout: Duration,
    },
    /// `backup` with a hashing method.
    #[error("server {server}: `backup` is not allowed with {}, only with round robin and least_conn", method.name())]
    Backup {
        /// The index of the server.
        server: usize,
        /// The method.
        method: Method,
    },
    /// Names that resolve to more addresses than can be counted, or weights beyond any memory.
    #[error(transparent)]
    TooManyPoints(#[from] TooManyPoints),
    /// More addresses than a block can sensibly have.
    #[error("{addresses} addresses, more than {MOST_ADDRESSES}")]
    TooManyAddresses {
        /// So many.
        addresses: u64,
    },
}

/// Whether nginx would take this line of a block with this method.
pub(super) fn check(server: usize, line: &Server, method: Method) -> Result<(), InvalidUpstream> {
    if line.name.is_empty() {
        Err(InvalidUpstream::NoName { server })
    } else if line.weight == 0 {
        Err(InvalidUpstream::ZeroWeight { server })
    } else if line.addresses == 0 {
        Err(InvalidUpstream::NoAddresses { server })
    } else if line.fail_timeout.subsec_nanos() != 0 {
        Err(InvalidUpstream::FailTimeout { server, fail_timeout: line.fail_timeout })
    } else if line.backup && !method.allows_backup() {
        Err(InvalidUpstream::Backup { server, method })
    } else {
        Ok(())
    }
}

/// More addresses in a block are a mistake.
pub(super) const MOST_ADDRESSES: u64 = 1 << 20;
