//! The file of `evenkeel-config`, which programs start from: one router for all listeners, clusters with their checks.

mod keys;
mod read;
mod upstream;
mod write;

pub(crate) use read::read;
pub(crate) use write::write;
