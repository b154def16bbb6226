//! nginx: the methods of an `upstream` block.
//!
//! [`Upstream`] is one such block with its servers, its method and its memory of failures. The policy
//! `Nginx` does the same in a cluster.

mod chain;
mod method;
mod peer;
mod server;
mod smooth;
mod upstream;

pub use method::Method;
pub use server::Server;
pub use upstream::{Answer, InvalidUpstream, Place, Request, Subject, Then, Upstream};
