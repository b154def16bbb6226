//! Which group of endpoints serves a request.

pub mod matching;
