//! nginx: reading and writing.

mod http;
mod key;
mod listeners;
mod location;
mod order;
mod pass;
mod proxy;
mod proxy_ssl;
mod ssl;
mod stream;
mod tree;
mod units;
mod upstream;
mod variables;
mod write;

pub(crate) use http::{read, unique};
pub(crate) use variables::source_of;
pub(crate) use write::write;
