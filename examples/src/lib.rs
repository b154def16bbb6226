//! What the programs of this package share, and the proxies as parts that tests can use too.

pub mod admin;
pub mod l4;
pub mod l7;

/// The example of the page on the status page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/admin.md")]
struct StatusPage;
