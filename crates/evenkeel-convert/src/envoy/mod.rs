//! Envoy: reading and writing.

mod checks;
mod cluster;
mod common;
mod endpoints;
mod forward;
mod limits;
mod listener;
mod matching;
mod node;
mod policy;
mod read;
mod routes;
mod settings;
mod table;
mod transport;
mod udp;
mod write;
mod yaml;

pub(crate) use read::read;
pub(crate) use write::write;
