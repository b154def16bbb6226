//! What is wrong with a log as a whole.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::error::Invalid;

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A log cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LogError {
    /// A setting is impossible.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The file cannot be opened or read on.
    #[error("{path}: {error}, after {lines} lines")]
    Read {
        /// The file.
        path: String,
        /// Lines that were read before.
        lines: u64,
        /// What the system says.
        error: String,
    },
    /// Too many lines cannot be read: as a rule the format is another one.
    #[error(
        "{malformed} of {lines} lines cannot be read, and max_malformed allows {allowed}; look at the format{}",
        listed(first)
    )]
    Malformed {
        /// How many.
        malformed: u64,
        /// Of how many that were read by then.
        lines: u64,
        /// The largest share, from 0 to 1, as text.
        allowed: String,
        /// The first ones.
        first: Vec<Malformed>,
    },
    /// A request began before one that the replay has already let go: the window is too short for the longest request, or
    /// lines are out of order, or the log before had a wrong time.
    #[error(
        "line {line}: it began {behind:?} before line {newest}, and the window is {window:?}; raise `window` above the \
         longest request, or leave long ones out with `longest`"
    )]
    Late {
        /// The line.
        line: u64,
        /// How far before.
        behind: Duration,
        /// The line of the latest beginning so far.
        newest: u64,
        /// The window.
        window: Duration,
    },
    /// More requests lie in one window than are kept.
    #[error("line {line}: more than {most} requests within the window of {window:?}; lower `window`")]
    Crowded {
        /// The line.
        line: u64,
        /// How many are kept.
        most: usize,
        /// The window.
        window: Duration,
    },
    /// There is no request in it.
    #[error(
        "no request to replay in {lines} lines ({skipped} could be read, and were not sent to a server or not answered){}",
        listed(first)
    )]
    Empty {
        /// Lines that were read.
        lines: u64,
        /// Requests that were left out.
        skipped: u64,
        /// The first lines that could not be read.
        first: Vec<Malformed>,
    },
    /// The file is not the one that was looked through before.
    #[error("the log has changed while it was replayed: {now} requests, {before} before")]
    Changed {
        /// Requests now.
        now: u64,
        /// Requests before.
        before: u64,
    },
}

fn listed(first: &[Malformed]) -> String {
    first.iter().map(|one| format!("\n  {one}")).collect()
}
