//! What the programs of this package share.

pub mod admin;

/// The example of the page on the status page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/admin.md")]
struct StatusPage;
