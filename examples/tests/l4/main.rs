//! `l4_proxy` over real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod backend;
mod child;
mod client;
mod endings;
mod process;
mod proxy_protocol;
mod reload;
mod settings;
mod streams;
mod tls;
mod udp;
mod wait;
