//! How fresh the set of endpoints is, as its sources tell.

use std::fmt;

use evenkeel_registry::{SourceState, SourceStatus};
use evenkeel_types::Timestamp;

/// How fresh the set of endpoints is. A refused pick carries it, since "there is nobody" and "nobody has told us for an hour" need
/// different people to be woken.
///
/// Of several sources that are used, the freshest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Freshness {
    /// The program applies sets by itself: nobody is followed.
    #[default]
    Applied,
    /// A service is followed, and no source of it has answered yet.
    Pending,
    /// A source is connected.
    Live {
        /// When it last said that the set is this, if it said so.
        as_of: Option<Timestamp>,
    },
    /// No source answers: the last set that is known stays in use.
    Stale {
        /// Since when.
        since: Timestamp,
    },
    /// The source says that there is no such service.
    Absent,
}

impl Freshness {
    pub(crate) fn of(sources: &[SourceStatus], whole: SourceState) -> Self {
        let used = sources.iter().filter(|source| source.used).map(Self::of_source);
        used.max_by_key(Self::rank).unwrap_or_else(|| Self::of_state(whole, None))
    }

    fn of_source(source: &SourceStatus) -> Self {
        Self::of_state(source.state, source.as_of)
    }

    const fn of_state(state: SourceState, as_of: Option<Timestamp>) -> Self {
        match state {
            SourceState::Live => Self::Live { as_of },
            SourceState::Stale { since } => Self::Stale { since },
            SourceState::Absent => Self::Absent,
            _ => Self::Pending,
        }
    }

    /// The freshest has the highest.
    fn rank(&self) -> (u8, Option<Timestamp>) {
        match *self {
            Self::Applied => (4, None),
            Self::Live { as_of } => (3, as_of),
            Self::Stale { since } => (2, Some(since)),
            Self::Absent => (1, None),
            Self::Pending => (0, None),
        }
    }
}

/// As the end of a sentence: nothing where nobody is followed.
impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied => Ok(()),
            Self::Pending => f.write_str("; no source has answered yet"),
            Self::Live { .. } => f.write_str("; the source is connected"),
            Self::Stale { since } => {
                let since = std::time::Duration::from_nanos(since.as_nanos());
                write!(f, "; no source has answered since {since:?} of the clock")
            }
            Self::Absent => f.write_str("; the source says that there is no such service"),
        }
    }
}
