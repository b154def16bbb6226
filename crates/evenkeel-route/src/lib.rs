//! Which group of endpoints serves a request.

pub mod locality;
pub mod matching;
pub mod split;
pub mod failover;
mod text_hash;
