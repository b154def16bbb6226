//! What the blocking discovery adapters of evenkeel over HTTP have in common.
//!
//! - [`Client`]: calls with a bound on time and size, streams of lines ([`Lines`]), TLS and credentials; errors are
//!   [`CallError`]s in the words of the registry ([`TroubleKind`](evenkeel_registry::TroubleKind)).
//! - [`Worker`]: the one thread of an adapter, which stops and joins at once, also while it waits for a store that hangs.
//! - [`RegistrarHandle`]: the thread that carries out what a [`Registrar`](evenkeel_registry::Registrar) orders, by way
//!   of what a store can do ([`LeaseStore`]).
//! - [`InvalidSetting`]: the checks of settings that all of them have.
//! - [`deliver`]: sends an event, and waits if the feed has no room for it.
//!
//! Nothing here knows a store. To use etcd or Consul, take `evenkeel-etcd` or `evenkeel-consul`.
//!
//! # Features
//!
//! `tls` (on by default): HTTPS by rustls. `serde`: settings can be written and read.

mod base_url;
mod client;
mod deliver;
mod lines;
mod registrar_handle;
mod secret;
mod settings;
mod tls;
mod worker;

pub use base_url::{BaseUrl, InvalidUrl};
pub use client::{Answer, Call, CallError, Client, ClientSettings, Method};
pub use deliver::{Undelivered, deliver};
pub use lines::Lines;
pub use registrar_handle::{LeaseStore, NotGone, RegistrarHandle, SpawnError};
pub use secret::Secret;
pub use settings::InvalidSetting;
pub use tls::{InvalidTls, TlsConfig};
pub use worker::{Clock, Stop, Worker};
