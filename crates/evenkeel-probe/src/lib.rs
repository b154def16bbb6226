//! Active health checks, done for real.
//!
//! A [`Prober`] owns one thread. It connects to endpoints when their [`ActiveCheck`](evenkeel_health::ActiveCheck) says
//! so, tells the result to that machine, and tells you when the verdict changes. All of its interface is synchronous: no
//! runtime is needed to use it.
//!
//! ```
//! use std::sync::mpsc;
//!
//! use evenkeel_probe::{Prober, ProberConfig, Report, Target, TcpProbe};
//!
//! let server = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let address = server.local_addr()?;
//!
//! let prober = Prober::start(ProberConfig::default())?;
//! let (tell, told) = mpsc::channel();
//! let mut target = Target::new("web-1".parse()?, address.into(), TcpProbe::default());
//! target.check.interval = std::time::Duration::from_millis(50);
//! prober.add(target, move |report: Report| tell.send(report.state).unwrap_or(()))?;
//!
//! assert_eq!(told.recv()?, evenkeel_health::CheckState::Up);
//! prober.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | kind | settings | feature |
//! |---|---|---|
//! | TCP: connect, perhaps send and expect | [`TcpProbe`] | – |
//! | HAProxy's agent check | [`AgentProbe`] | – |
//! | HTTP/1.1 and HTTP/2 | [`HttpProbe`] | `http` |
//! | HTTPS, gRPC over TLS | [`TlsConfig`] in those | `tls` |
//! | gRPC health protocol | [`GrpcProbe`] | `grpc` |
//! | a program | [`CommandProbe`] | `command` (Unix) |
//!
//! Settings exist without their feature too, so a feature never changes a type; a prober that was built without it refuses
//! them with [`ProbeConfigError::FeatureOff`]. All features are on by default but `serde` (configuration is read, reports
//! are written) and `tracing` (results and changes become events).

mod advice;
mod agent;
mod answer;
#[cfg(feature = "http")]
mod body;
mod clock;
mod command;
mod connect;
#[cfg(feature = "http")]
mod connection;
mod counts;
mod error;
mod evidence;
mod excerpt;
mod grpc;
mod http;
mod limits;
mod lookup;
mod payload;
mod probe;
mod prober;
#[cfg(all(feature = "command", unix))]
mod reaper;
mod reason;
mod report;
mod run;
mod schedule;
mod search;
mod sink;
#[cfg(all(feature = "command", unix))]
mod starter;
mod statuses;
mod target;
mod tcp;
mod tls;

pub use advice::Advice;
pub use agent::{AgentAnswer, AgentProbe};
pub use command::CommandProbe;
pub use counts::Counts;
pub use error::{ProbeConfigError, ProbeError};
pub use evidence::Evidence;
pub use excerpt::Excerpt;
pub use grpc::GrpcProbe;
pub use http::{BodyMatch, HttpProbe, HttpVersion};
pub use payload::{InvalidPayload, Payload};
pub use probe::ProbeConfig;
pub use prober::{Prober, ProberConfig};
pub use reason::{Phase, Reason};
pub use report::{LastResult, ProberReport, TargetReport};
pub use sink::{Finding, Report, Sink};
pub use statuses::{InvalidStatuses, Statuses};
pub use target::{Notify, Target};
pub use tcp::TcpProbe;
pub use tls::{ClientCertificate, Pem, Roots, TlsConfig};

#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;
