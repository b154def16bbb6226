//! What can be written down.

mod admin;
mod check;
mod cluster;
mod config;
mod discovery;
mod listener;

pub use admin::AdminConfig;
pub use check::CheckSettings;
pub use cluster::ClusterSettings;
pub use config::Config;
pub use discovery::{DiscoveryConfig, Kind};
#[cfg(feature = "xds")]
pub use discovery::{XdsResource, XdsSettings};
pub use listener::{
    ListenerConfig, ListenerLimits, ListenerTimeouts, ListenerTls, NamedCertificate, Protocol,
};
