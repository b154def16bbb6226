//! `evenkeel-conformance DIR`: replays every vector file below DIR.

fn main() {}
