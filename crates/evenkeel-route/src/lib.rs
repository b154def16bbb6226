//! Which group of endpoints serves a request.

pub mod locality;
pub mod matching;
pub mod retry;
pub mod split;
pub mod affinity;
pub mod failover;
mod text_hash;
