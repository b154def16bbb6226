//! `l4_proxy`: a load balancer for connections and datagrams, built from evenkeel's public API.
//!
//! Each thread (`worker`) has a runtime, sockets (`SO_REUSEPORT`) and connections of its own. A connection
//! (`connection`) is admitted (`prelude`: PROXY header, ClientHello), routed, connected (`upstream`), and carried both
//! ways (`relay`, `way`) under its pick. What is not on the path of connections (reloads, drains, operators) has one thread
//! besides (`aside`).

mod accept;
mod admin;
mod aside;
mod backend;
mod connection;
mod counters;
mod gate;
mod hello;
mod listener;
mod metrics;
mod pipe;
mod prelude;
mod proxy;
mod proxy_header;
mod relay;
mod settings;
mod shared;
mod tools;
mod udp;
mod upstream;
mod way;
mod worker;

pub use listener::ListenError;
pub use proxy::{Proxy, ProxyError, Stopped};
pub use settings::{AcceptProxy, ClusterPart, ListenerPart, ProxyVersion, Settings, SettingsError};
