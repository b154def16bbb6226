//! One line, whatever the format.

use std::fmt;

use super::Record;
use super::dialect::Dialect;
use super::found::Found;
use super::json::Objects;
use super::settings::{FormatConfig, ReplayConfig, ServiceTime, StampOf};
use super::table::Columns;
use crate::error::Invalid;

/// Reads lines of one format.
#[derive(Debug)]
pub struct Parser {
    kind: Kind,
    service: ServiceTime,
    longest: u64,
}

#[derive(Debug)]
enum Kind {
    Template(Box<Dialect>),
    Json(Objects),
    Csv(Box<Columns>),
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// A request.
    Request(Record),
    /// A request that cannot be replayed.
    Skip(Skip),
    /// Nothing: an empty line, or the names of columns.
    Nothing,
}

/// Why a request that could be read is not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// No server had it: a file, a redirect, a cached or refused answer.
    NotSent,
    /// The server did not answer, so nobody knows how long it worked.
    Unanswered,
    /// It took longer than `longest`.
    TooLong,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A text of the format is not there.
    NoText {
        /// The text.
        text: String,
        /// The variable before it; empty at the beginning.
        behind: String,
        /// What is there instead.
        found: String,
    },
    /// The line goes on behind the end of the format.
    MoreText {
        /// With this.
        found: String,
    },
    /// A value is not of its kind.
    Value {
        /// The variable, field or column.
        name: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A field or column is not there.
    Absent {
        /// Which.
        name: String,
    },
    /// It is not JSON, or no object.
    Json(String),
    /// It is longer than 64 KiB.
    TooLong,
}

impl Parser {
    /// # Errors
    ///
    /// [`Invalid`] names the setting.
    pub fn new(config: &ReplayConfig) -> Result<Self, Invalid> {
        config.check()?;
        let key = config.key.as_deref();
        let template = |dialect: Result<Dialect, Invalid>| dialect.map(|own| Kind::Template(Box::new(own)));
        let kind = match &config.format {
            FormatConfig::Nginx { log_format } => template(Dialect::nginx(log_format, key))?,
            FormatConfig::Haproxy { log_format } => template(Dialect::haproxy(log_format, key))?,
            FormatConfig::HaproxyTcp {} => template(Dialect::haproxy(&super::settings::haproxy_tcp(), key))?,
            FormatConfig::Envoy { log_format } => template(Dialect::envoy(log_format, key))?,
            FormatConfig::EnvoyJson {} => Kind::Json(Objects::envoy(key)?),
            FormatConfig::Evenkeel {} => Kind::Json(Objects::evenkeel(key)?),
            FormatConfig::Json { time, stamp, duration, upstream, status, server } => {
                Kind::Json(Objects::new([time, duration, upstream, status, server], *stamp, key)?)
            }
            FormatConfig::Csv { time, stamp, service, status, delimiter } => {
                Kind::Csv(Box::new(Columns::new(time, service, status.as_deref(), *stamp, *delimiter, key)?))
            }
        };
        let longest = config.longest.map_or(u64::MAX, crate::tally::nanos);
        Ok(Self { kind, service: config.service, longest })
    }

    /// Reads a line, which has no line feed at its end. Linear in its length.
    ///
    /// # Errors
    ///
    /// [`Wrong`] says what cannot be read.
    pub fn read(&mut self, line: &[u8]) -> Result<Said, Wrong> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Said::Nothing);
        }
        let found = match &mut self.kind {
            Kind::Template(dialect) => dialect.read(line)?,
            Kind::Json(objects) => objects.read(line)?,
            Kind::Csv(columns) => match columns.read(line)? {
                Some(found) => found,
                None => return Ok(Said::Nothing),
            },
        };
        self.judge(found)
    }

    fn judge(&self, found: Found) -> Result<Said, Wrong> {
        if let Some(skip) = found.skip {
            return Ok(Said::Skip(skip));
        }
        let upstream = found.upstream.filter(|_| self.service == ServiceTime::Upstream);
        let (service, seen, step) = match (upstream, found.total) {
            (Some(upstream), _) => (upstream.last, upstream.all, upstream.step),
            (None, Some(total)) => (total.nanos, total.nanos, total.step),
            (None, None) => return Err(Wrong::Absent { name: "duration".to_owned() }),
        };
        // A line that is written at the end goes back by all of the time.
        if service.max(found.total.as_ref().map_or(0, |total| total.nanos)) > self.longest {
            return Ok(Said::Skip(Skip::TooLong));
        }
        // What took less than a step is written as nothing: the middle of that step is the best guess.
        let rounded = |nanos: u64| if nanos == 0 { (step / 2).max(1) } else { nanos };
        let back = match found.stamp_of {
            StampOf::Start => 0,
            StampOf::End => found.total.map_or(seen, |total| total.nanos),
        };
        // Before 1970 nothing is recorded, so nothing is lost by stopping there.
        let at = found.at.nanos.saturating_add(found.delay).saturating_sub(back);
        Ok(Said::Request(Record {
            at,
            line: 0,
            key: found.key,
            service: rounded(service),
            seen: rounded(seen),
            server: found.server,
            is_error: found.status.is_some_and(|status| status >= 500),
            steps: (found.at.step, step),
        }))
    }
}

impl Wrong {
    pub(super) fn text(text: &[u8], behind: &str, found: &[u8]) -> Self {
        Self::NoText {
            text: String::from_utf8_lossy(text).into_owned(),
            behind: behind.to_owned(),
            found: Self::cut(found),
        }
    }

    pub(super) fn value(name: &str, found: &[u8], expected: &'static str) -> Self {
        Self::Value { name: name.to_owned(), found: Self::cut(found), expected }
    }

    /// The beginning of what is there: enough to recognise it.
    pub(super) fn cut(found: &[u8]) -> String {
        let shown = String::from_utf8_lossy(&found[..found.len().min(SHOWN)]).into_owned();
        if found.len() > SHOWN { shown + "…" } else { shown }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoText { text, behind, found } if behind.is_empty() => {
                write!(f, "no {text:?} where the format has it, in {found:?}")
            }
            Self::NoText { text, behind, found } => write!(f, "no {text:?} behind {behind}, in {found:?}"),
            Self::MoreText { found } => write!(f, "more text than the format has: {found:?}"),
            Self::Value { name, found, expected } => write!(f, "{name} is {found:?}, expected is {expected}"),
            Self::Absent { name } => write!(f, "{name} is absent"),
            Self::Json(error) => f.write_str(error),
            Self::TooLong => write!(f, "it is longer than {} KiB", super::lines::LONGEST / 1024),
        }
    }
}

const SHOWN: usize = 60;
