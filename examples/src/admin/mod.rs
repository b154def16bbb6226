//! A status page and an API for operators, over clusters and routers that are in use.
//!
//! [`Admin::answer`] is synchronous and opens nothing: any proxy can serve it. [`Listener`] serves it on loopback for
//! programs without a server of their own.
//!
//! ```
//! use evenkeel::{Cluster, Endpoint};
//! use evenkeel_examples::admin::{Admin, AdminSettings};
//!
//! let users = Cluster::<()>::builder("users").build()?;
//! users.apply([Endpoint::new("users-1".parse()?, "10.0.0.1:8080".parse()?)])?;
//! let admin = Admin::new(AdminSettings::default())?.with_cluster(&users);
//!
//! let answer = admin.answer("GET", "/api/clusters/users", &[("host", "localhost:9901")], b"");
//! assert_eq!((answer.status, answer.content_type), (200, "application/json"));
//!
//! let headers = [("host", "localhost:9901"), ("content-type", "application/json")];
//! let answer = admin.answer("POST", "/api/clusters/users/endpoints/users-1/drain", &headers, b"{}");
//! assert_eq!(answer.status, 200);
//! assert_eq!(users.usable(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The paths, the fields and the protection are described in `docs/admin.md`.

mod act;
mod answer;
mod asked;
mod expected;
mod explain;
mod guard;
mod listener;
mod log;
mod meter;
mod metrics;
mod over_hyper;
mod page;
mod service;
mod settings;
mod view;
mod world;

pub use answer::Answer;
pub use listener::{Exposure, Listener, ListenerError};
pub use meter::Meter;
pub use metrics::Metrics;
pub use service::Admin;
pub use settings::{AdminSettings, AdminSettingsError, Serves};
pub use world::MeterOf;
