//! What a machine tells about itself.

use std::fmt;
use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::time::duration;

/// The value of a fact. Durations and moments are numbers of seconds, ratios are numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// It has no value now: `retry_at=none`.
    None,
    /// It holds, or does not: a bare word.
    Is(bool),
    /// A count, a ratio, seconds.
    Number(f64),
    /// A name.
    Text(String),
}

impl Fact {
    /// The fact, or [`Fact::None`].
    #[must_use]
    pub fn optional<F: Into<Self>>(fact: Option<F>) -> Self {
        fact.map_or(Self::None, Into::into)
    }

    /// Reads the right side of an expectation in the kind of this value.
    pub(crate) fn read(text: &str) -> Self {
        if text == "none" {
            return Self::None;
        }
        number(text).map_or_else(|| Self::Text(text.to_owned()), Self::Number)
    }
}

/// A number, a percentage or a duration in seconds.
fn number(text: &str) -> Option<f64> {
    if let Ok(time) = duration(text) {
        return Some(time.as_secs_f64());
    }
    match text.strip_suffix('%') {
        Some(percent) => finite(percent).map(|percent| percent / 100.0),
        None => finite(text),
    }
}

fn finite(text: &str) -> Option<f64> {
    let first = text.bytes().next()?;
    let looks_like_one = first.is_ascii_digit() || first == b'-';
    text.parse().ok().filter(|number: &f64| looks_like_one && number.is_finite())
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Is(holds) => write!(f, "{holds}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<bool> for Fact {
    fn from(holds: bool) -> Self {
        Self::Is(holds)
    }
}

impl From<f64> for Fact {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Fact {
    fn from(number: u32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<usize> for Fact {
    fn from(number: usize) -> Self {
        Self::Number(number as f64)
    }
}

impl From<Duration> for Fact {
    fn from(time: Duration) -> Self {
        Self::Number(time.as_secs_f64())
    }
}

impl From<Timestamp> for Fact {
    fn from(time: Timestamp) -> Self {
        Self::Number(Duration::from_nanos(time.as_nanos()).as_secs_f64())
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
