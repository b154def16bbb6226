//! Active checks: when to check an endpoint next, what its results mean, and when they mean nothing any more.

mod active;
mod config;
mod error_run;
mod observe;
mod probe;
mod result;
mod schedule;
mod startup;

pub use active::ActiveCheck;
pub use config::{CheckConfig, CheckConfigError};
pub use error_run::ErrorRun;
pub use observe::{ObserveConfig, OnError};
pub use probe::Probe;
pub use result::{CheckChange, CheckResult};
pub use schedule::StartOffset;
pub use startup::StartupConfig;
