//! A virtual fleet: runs evenkeel's clusters against simulated servers in virtual time.

mod agenda;
mod arrivals;
mod check;
mod clients;
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
mod work;
mod world;

pub use arrivals::{Arrival, Arrivals, ArrivalsConfig, Process, Shape, Spacing};
pub use check::Case;
pub use error::{Invalid, ScenarioError};
pub use fault::{ColdConfig, DeployConfig, FaultConfig, FaultKind, ScalingConfig};
pub use report::{
    CaseReport, DifferenceReport, Failures, Point, PolicyReport, Report, RunReport, Series, ServerPoint,
    WindowReport,
};
pub use runner::{Options, Progress, run, run_cases};
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
