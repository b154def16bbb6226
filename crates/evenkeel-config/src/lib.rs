//! One configuration for everything: listeners, routes, clusters, checks, limits and discovery, in TOML, YAML or JSON.
//!
//! [`Loaded`] reads it and knows where every value stands; [`Loaded::check`] says what is wrong with it, with file, line,
//! field and what was probably meant; [`Running`] builds what it describes, and goes over to another one without losing a
//! request.
//!
//! ```
//! use evenkeel_config::{Loaded, Running, Syntax};
//!
//! let text = r#"
//!     [[http.routes]]
//!     name = "everything"
//!     action = { cluster = "users" }
//!
//!     [[clusters]]
//!     name = "users"
//!     endpoints = [{ id = "users-1", address = "10.0.0.1:8080" }]
//! "#;
//! let running = Running::<()>::start(Loaded::parse(text, Syntax::Toml)?)?;
//! let users = running.cluster("users").expect("it is configured");
//! assert_eq!(users.len(), 1);
//!
//! let more = text.replace("10.0.0.1", "10.0.0.2");
//! let diff = running.apply(Loaded::parse(&more, Syntax::Toml)?)?;
//! assert_eq!(diff.to_string(), "cluster users: endpoints changed, in place");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `consul`, `dns`, `etcd`, `xds`, `zookeeper` | yes | discovery of that kind; files and lists are always there |
//! | `kube` | no | discovery from Kubernetes; the program must choose a version of `k8s-openapi` |
//! | `schema` | no | `schema()`, the JSON Schema of the configuration |
//! | `cli` | no | the program `evenkeel-config` |

mod check;
mod document;
mod error;
mod loaded;
mod model;
mod read;
mod running;
#[cfg(feature = "schema")]
mod schema;
mod suggest;
mod watch;

pub use document::Bounds;
pub use error::{ConfigError, ConfigErrors, Problem, Warning};
pub use evenkeel_file::Syntax;
pub use loaded::Loaded;
pub use model::{
    AdminConfig, CheckSettings, ClusterSettings, Config, DiscoveryConfig, Kind, ListenerConfig,
    ListenerLimits, ListenerTimeouts, ListenerTls, NamedCertificate, Protocol,
};
#[cfg(feature = "xds")]
pub use model::{XdsResource, XdsSettings};
pub use running::{Diff, Difference, Running, RunningReport, SourceReport};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use watch::{Reload, Watching, watch_changes, watch_file, watch_file_with};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
