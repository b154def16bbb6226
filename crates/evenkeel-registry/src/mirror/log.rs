use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_types::{Endpoint, Timestamp};

use crate::Event;

/// One thing that happened to a mirror, as recorded.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LogEntry {
    /// When, as the caller gave it.
    pub at: Timestamp,
    /// What.
    pub what: Logged,
}

/// What happened to a mirror.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Logged {
    /// The source said something.
    Event(Event),
    /// Time passed.
    Tick,
    /// Another adapter took over.
    Reopen,
    /// A set was read from a disk.
    Load {
        /// The set.
        endpoints: Vec<Endpoint>,
        /// How old it was.
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
        age: Duration,
    },
}

#[cfg(feature = "serde")]
impl LogEntry {
    /// One line of JSON, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("names, numbers and lists have a form in JSON")
    }

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// [`LoadError::Corrupt`](crate::LoadError::Corrupt).
    pub fn from_line(line: &str) -> Result<Self, crate::LoadError> {
        serde_json::from_str(line).map_err(|error| crate::LoadError::Corrupt { reason: error.to_string() })
    }
}

/// What was recorded since the last look.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
#[non_exhaustive]
pub struct EventLog {
    /// Oldest first.
    pub entries: Vec<LogEntry>,
    /// How many older ones there was no room for; a replay needs zero.
    pub lost: u64,
}

/// The last entries, if anybody wants them.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    room: usize,
    entries: VecDeque<LogEntry>,
    lost: u64,
}

impl Log {
    pub(super) fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    pub(super) fn resize(&mut self, room: usize) {
        self.room = room;
        while self.entries.len() > room {
            self.entries.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
    }

    pub(super) fn event(&mut self, at: Timestamp, event: &Event) {
        self.push(at, || Logged::Event(event.clone()));
    }

    pub(super) fn tick(&mut self, at: Timestamp) {
        self.push(at, || Logged::Tick);
    }

    pub(super) fn reopen(&mut self, at: Timestamp) {
        self.push(at, || Logged::Reopen);
    }

    pub(super) fn load(&mut self, at: Timestamp, endpoints: &[Endpoint], age: Duration) {
        self.push(at, || Logged::Load { endpoints: endpoints.to_vec(), age });
    }

    pub(super) fn take(&mut self) -> EventLog {
        EventLog { entries: std::mem::take(&mut self.entries).into(), lost: std::mem::take(&mut self.lost) }
    }

    fn push(&mut self, at: Timestamp, what: impl FnOnce() -> Logged) {
        if self.room == 0 {
            return;
        }
        if self.entries.len() >= self.room {
            self.entries.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
        self.entries.push_back(LogEntry { at, what: what() });
    }
}
