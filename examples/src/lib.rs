//! The programs of the examples, as parts that tests can use too.

pub mod admin;
pub mod l4;

/// The example of the page on the status page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/admin.md")]
struct StatusPage;
