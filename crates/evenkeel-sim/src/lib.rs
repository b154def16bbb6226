//! A virtual fleet: runs evenkeel's clusters against simulated servers in virtual time.
//!
//! A scenario is a text ([`Scenario`]; `docs/simulator.md` describes it). [`run`] runs it under some policies and seeds:
//!
//! ```
//! use evenkeel_sim::{Options, run};
//!
//! let text = r#"
//!     name = "a queue"
//!     duration = "20s"
//!     arrivals = { load = 0.5 }
//!     work = { type = "exponential", mean = "10ms" }
//!     servers = [{ count = 10, discipline = "fifo" }]
//! "#;
//! let options = Options { policies: vec!["random".into(), "least_request".into()], ..Options::default() };
//! let report = run(text, &options, &|_, _| ())?;
//! let p99 = |policy: &str| report.cases[0].policy(policy).map_or(0.0, |policy| policy.mean("p99_ms"));
//! assert!(p99("least_request") < p99("random"));
//! # Ok::<(), evenkeel_sim::ScenarioError>(())
//! ```
//!
//! [`scoreboard`] runs the published results again. What arrives may come from elsewhere: [`Arrivals`] and [`run_arrivals`].

mod agenda;
mod arrivals;
mod check;
mod clients;
mod compare;
mod error;
mod fault;
mod foreign;
pub mod html;
pub mod log;
mod named_policy;
pub mod replay;
mod report;
mod runner;
mod scenario;
mod scoreboard;
mod server;
mod signal;
mod site;
mod slots;
mod statistics;
mod streams;
mod tally;
mod trend;
mod work;
mod world;

pub use arrivals::{Arrival, Arrivals, ArrivalsConfig, Process, Shape, Spacing};
pub use check::Case;
pub use compare::{CompareOptions, Comparison, Verdict, compare};
pub use error::{Invalid, ScenarioError};
pub use fault::{ColdConfig, DeployConfig, FaultConfig, FaultKind, ScalingConfig};
pub use report::{
    CaseReport, DifferenceReport, Failures, Point, PolicyReport, Report, RunReport, Series, ServerPoint,
    WindowReport,
};
pub use runner::{Options, Progress, run, run_arrivals, run_cases};
pub use scenario::{
    AntagonistConfig, CapacityConfig, ClientsConfig, Discipline, HedgeEntry, KeysConfig, PolicyEntry,
    PolledConfig, Scenario, ServersConfig, SweepConfig, WindowConfig,
};
pub use scoreboard::{Band, Scoreboard, ScoreboardOptions, scoreboard, short};
pub use statistics::{Interval, student};
pub use streams::{Source, Stream};
pub use work::{PartConfig, Work, WorkConfig};

/// The JSON Schema of scenario files.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Scenario)
}
