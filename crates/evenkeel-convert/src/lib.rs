//! Reads what nginx, HAProxy and Envoy are told about load balancing into evenkeel's configuration, writes evenkeel's as
//! theirs, and tells line by line what was taken, what differs and what has no equivalent.
//!
//! ```
//! use evenkeel_convert::{Dialect, Options, Verdict, read, write};
//!
//! let nginx = "
//! upstream users {
//!     hash $http_x_user consistent;
//!     server 10.0.0.1:80 weight=3;
//!     server 10.0.0.2:80;
//!     keepalive 16;
//! }";
//! let conversion = read(Dialect::Nginx, nginx, "nginx.conf", &Options::default())?;
//! assert_eq!(conversion.setup.clusters[0].policy.name(), "nginx");
//! assert_eq!(conversion.report.count(Verdict::NoEquivalent), 1, "the connections are the client's");
//!
//! let haproxy = write(Dialect::Haproxy, &conversion.setup);
//! assert!(haproxy.text.contains("server 10.0.0.1:80 10.0.0.1:80 weight 3"), "{}", haproxy.text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Clusters come out in the compatible mode of the program that they came from, so they pick as it does, to the bit, for
//! the keys that a [`KeyRule`] makes. The readers know where everything stands, follow includes below one folder only,
//! guess no variable and drop nothing silently: what they do not know is in the [`Report`].
//!
//! nginx's and HAProxy's syntaxes are read by lexers of our own, for no kept crate reads them with positions; YAML and JSON
//! by `saphyr-parser`.

mod config;
mod conversion;
mod converter;
mod cursor;
mod dialect;
mod envoy;
mod error;
mod files;
mod glob;
mod haproxy;
mod host_groups;
mod key_rule;
mod limits;
mod nginx;
mod on_nothing;
mod own;
mod place;
mod quoted;
mod raw_paths;
mod regex_below;
mod report;
mod setup;
mod tls;
mod unsaid;
mod whole_regex;
mod word;

pub use conversion::{Conversion, Options, Written, read, read_file, write};
pub use converter::Converter;
pub use dialect::{Dialect, UnknownDialect};
pub use error::{ConvertError, Problem};
pub use key_rule::{EnvoyHash, Key, KeyPart, KeyRule, RequestParts};
pub use limits::Limits;
pub use place::Place;
pub use report::{Finding, Report, Verdict};
pub use setup::{CheckSetup, Listener, Serves, Setup};
pub use tls::{Certificate, ClientCertificate, ListenerTls, UpstreamTls};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
