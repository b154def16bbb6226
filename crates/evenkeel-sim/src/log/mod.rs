//! Access logs as a source of arrivals: when each request came, what its key was, and how long a server had it.
//!
//! A log is read as a stream: a line at a time, through a window that puts requests in the order in which they began
//! (proxies write a line when a request *ends*). Memory depends on the window, never on the length of the log. What cannot
//! be read is counted and told with its line number, up to a bound; what can be read and not replayed is counted by
//! reason.

mod dialect;
mod error;
mod found;
mod json;
mod lines;
mod parser;
mod quantity;
mod records;
mod replayed;
mod scan;
mod settings;
mod stamp;
mod table;
mod template;
mod window;

pub use error::{LogError, Malformed};
pub use parser::{Parser, Said, Skip, Wrong};
pub use records::{Counts, Records};
pub use replayed::Replayed;
pub use scan::Scan;
pub use settings::{FormatConfig, ReplayConfig, ServiceTime, StampOf};

/// One request of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// When it was sent to a server, in nanoseconds since 1970.
    pub at: u64,
    /// The number of its line, from 1.
    pub line: u64,
    /// The hash of its key, if the log has keys.
    pub key: Option<u64>,
    /// How long a server had it, in nanoseconds: its work, and whatever it waited for there.
    pub service: u64,
    /// How long the proxy saw it take, retries and the proxy's own queue included, where the log tells them.
    pub seen: u64,
    /// The hash of who served it, if the log says so.
    pub server: Option<u64>,
    /// Whether the answer was an error of the server: a status of 500 or more.
    pub is_error: bool,
    /// The steps in which the log gives times and durations, in nanoseconds.
    pub steps: (u64, u64),
}
