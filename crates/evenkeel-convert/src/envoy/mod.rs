//! Envoy: reading and writing.

mod cluster;
mod listener;
mod node;
mod read;
mod routes;
mod table;
mod transport;
mod udp;
mod write;
mod yaml;

pub(crate) use read::read;
pub(crate) use write::write;
