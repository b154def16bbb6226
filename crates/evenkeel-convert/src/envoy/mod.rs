//! Envoy: reading and writing.

mod cluster;
mod node;
mod read;
mod routes;
mod table;
mod write;
mod yaml;

pub(crate) use read::read;
pub(crate) use write::write;
