//! Replays recorded answers of real load balancers on evenkeel's compatible modes.
//!
//! A *vector file* is JSON lines: what a released program was configured with, and which server it then picked. The
//! format is told in `vectors/README.md`. [`run`] reads every file below a folder, hands it to the module of its program
//! and counts the answers that our mode of that program reproduces.

pub mod programs;
mod recorded;
mod report;
mod runner;
mod tally;
mod vector;

pub use programs::{Program, UnknownFile};
pub use report::{FileReport, Report, Verdict};
pub use runner::{NothingToRun, files_below, run};
pub use tally::Tally;
pub use vector::{Case, Unreadable, Vector};
