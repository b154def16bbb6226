//! Commands of the program that have files of their own.

pub(crate) mod progress;
pub(crate) mod replay;
