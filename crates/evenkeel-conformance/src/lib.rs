//! Replays recorded answers of real load balancers on evenkeel's compatible modes.

pub mod programs;
mod tally;
mod vector;

pub use tally::Tally;
pub use vector::{Case, Unreadable, Vector};
