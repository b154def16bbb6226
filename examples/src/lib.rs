//! What the programs of this package share, and the proxies as parts that tests can use too.

pub mod admin;
mod descriptors;
pub mod l4;
pub mod l7;

pub use descriptors::allow_all_descriptors;

/// The example of the page on the status page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/admin.md")]
struct StatusPage;
