//! The layer 7 proxy, end to end: real sockets on loopback, servers and clients that do what programs in the wild do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod answers;
mod backend;
mod client;
mod clients;
mod combinations;
mod expectations;
mod failures;
mod features;
mod frames;
mod lifecycle;
mod protocols;
mod raw_frames;
mod smuggling;
mod through_tls;
mod trailers;
mod tunnels;

use std::net::SocketAddr;

use evenkeel_config::{Loaded, Syntax};
use evenkeel_examples::l7::Proxy;

use backend::Backend;

/// One listener `web`, one worker, and the routes and clusters of `rest`.
pub(crate) fn start(rest: &str) -> (Proxy, SocketAddr) {
    let text = if rest.contains("[[listeners]]") {
        rest.to_owned()
    } else {
        format!("[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{rest}")
    };
    let text = if text.contains("[program]") { text } else { format!("program.workers = 1\n{text}") };
    let loaded = Loaded::parse(&text, Syntax::Toml).unwrap_or_else(|errors| panic!("{errors}"));
    let proxy = Proxy::start(&loaded).unwrap_or_else(|error| panic!("{error}"));
    let address = proxy.address("web").unwrap();
    (proxy, address)
}

/// A cluster of these backends.
pub(crate) fn cluster(name: &str, backends: &[&Backend], more: &str) -> String {
    let addresses: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    cluster_at(name, &addresses, more)
}

pub(crate) fn cluster_at(name: &str, addresses: &[SocketAddr], more: &str) -> String {
    let endpoints = addresses.iter().enumerate();
    let endpoints: Vec<String> = endpoints
        .map(|(i, address)| format!("{{ id = \"{name}-{}\", address = \"{address}\" }}", i + 1))
        .collect();
    format!("[[clusters]]\nname = \"{name}\"\nendpoints = [{}]\n{more}\n", endpoints.join(", "))
}

/// A route for everything, to the cluster `all`.
pub(crate) fn route(more: &str) -> String {
    format!("[[http.routes]]\nname = \"all\"\naction = {{ cluster = \"all\" }}\n{more}\n")
}
