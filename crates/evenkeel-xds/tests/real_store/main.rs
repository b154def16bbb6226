//! Against a control plane in a process of its own, beside Envoy; `tests/stores/xds.sh` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test that needs the real world, and stops where it fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod envoy;
mod faults;
mod hub;
mod latency;
mod raw;
mod server;
mod suite;
