//! What the programs of this package share, and the layer 7 proxy as parts that tests can use too.

pub mod admin;
pub mod l7;

/// The example of the page on the status page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/admin.md")]
struct StatusPage;
