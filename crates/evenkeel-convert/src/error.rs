use thiserror::Error;

use crate::dialect::Dialect;
use crate::place::Place;

/// A configuration cannot be read: nothing was converted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {problem}")]
pub struct ConvertError {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file ends inside something: it was cut off, or a brace, a quote or a semicolon is missing.
    #[error("the file ends here, and {open} is still open: it needs {needs}")]
    Ends {
        /// What is open.
        open: String,
        /// What would close it.
        needs: &'static str,
    },
    /// Something that cannot stand here.
    #[error("{found} cannot stand here: {expected}")]
    Unexpected {
        /// What was found.
        found: String,
        /// What can stand here.
        expected: String,
    },
    /// A value that the program itself would refuse.
    #[error("{field} is {value:?}: {allowed}")]
    Value {
        /// The directive, parameter or field.
        field: String,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// Something that is named twice.
    #[error("{what} is there twice: first at {first}")]
    Twice {
        /// What.
        what: String,
        /// Where it stands first.
        first: Place,
    },
    /// The text is that of another program.
    #[error("this looks like the configuration of {looks_like}, not of {wanted}: choose it with --from")]
    Dialect {
        /// Whose it looks like.
        looks_like: Dialect,
        /// Whose was expected.
        wanted: Dialect,
    },
    /// More than the limits allow.
    #[error("{what}: more than {limit} are not read")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A file that cannot be read.
    #[error("cannot read {path:?}: {error}")]
    Unreadable {
        /// Its path.
        path: String,
        /// Why.
        error: String,
    },
    /// A file that an `include` names outside the root folder.
    #[error("{path:?} is outside of {root:?}: allow a wider folder with --root")]
    Outside {
        /// Its path.
        path: String,
        /// The root folder.
        root: String,
    },
    /// What came out is refused by evenkeel.
    #[error("evenkeel would refuse what comes of {what}: {error}")]
    Refused {
        /// The cluster, listener or route.
        what: String,
        /// Why.
        error: String,
    },
    /// Text that does not follow its syntax (YAML, JSON, TOML).
    #[error("{0}")]
    Syntax(String),
}

impl ConvertError {
    pub(crate) fn new(place: &Place, problem: Problem) -> Self {
        Self { place: place.clone(), problem }
    }

    pub(crate) fn value(
        place: &Place,
        field: impl Into<String>,
        value: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        let problem =
            Problem::Value { field: field.into(), value: shortened(&value.into()), allowed: allowed.into() };
        Self::new(place, problem)
    }

    pub(crate) fn unexpected(place: &Place, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(place, Problem::Unexpected { found: shortened(&found.into()), expected: expected.into() })
    }
}

/// The beginning of a text that may be long: messages stay readable.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

const MOST_SHOWN: usize = 120;
