//! HAProxy: reading and writing.

mod acl;
mod answer;
mod backend;
mod balance;
mod frontend;
mod lexer;
mod read;
mod sample;
mod server;
mod server_tls;
mod settings;
mod units;
mod write;

pub(crate) use read::read;
pub(crate) use write::write;
