use regex_automata::meta::Regex;

use super::error::{RuleProblem, RulesError};
use super::regexes::compile_one;

/// What the value of a header field, a query parameter or a cookie must be.
///
/// Case counts; `{ regex = "(?i)yes" }` ignores it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum ValueMatch {
    /// There is one, whatever it is.
    Present,
    /// There is none.
    Absent,
    /// This text.
    Exact(String),
    /// It begins with this text.
    Prefix(String),
    /// It ends in this text.
    Suffix(String),
    /// It holds this text.
    Contains(String),
    /// The whole of it matches this regular expression.
    Regex(String),
    /// It is a whole number in decimal, at least `from` and below `to`, as Envoy's range match.
    Range {
        /// The first number.
        from: i64,
        /// The number after the last.
        to: i64,
    },
}

/// The same, ready to use.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Present,
    Absent,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<[u8]>),
    Regex(Box<Regex>),
    Range(i64, i64),
}

impl Value {
    pub(crate) fn new(
        value: &ValueMatch,
        field: &str,
        regex_size: usize,
        longest: usize,
    ) -> Result<Self, RulesError> {
        let text = |text: &str| -> Result<Box<[u8]>, RulesError> {
            if text.len() > longest {
                return Err(RulesError::new(field, RuleProblem::TooLong { len: text.len(), limit: longest }));
            }
            Ok(text.as_bytes().into())
        };
        Ok(match value {
            ValueMatch::Present => Self::Present,
            ValueMatch::Absent => Self::Absent,
            ValueMatch::Exact(wanted) => Self::Exact(text(wanted)?),
            ValueMatch::Prefix(wanted) => Self::Prefix(text(wanted)?),
            ValueMatch::Suffix(wanted) => Self::Suffix(text(wanted)?),
            ValueMatch::Contains(wanted) => Self::Contains(text(wanted)?),
            ValueMatch::Regex(pattern) => {
                text(pattern)?;
                Self::Regex(Box::new(
                    compile_one(pattern, false, regex_size)
                        .map_err(|problem| RulesError::new(field, problem))?,
                ))
            }
            &ValueMatch::Range { from, to } => {
                if from >= to {
                    return Err(RulesError::new(field, RuleProblem::EmptyRange { from, to }));
                }
                Self::Range(from, to)
            }
        })
    }

    /// Whether a value that is there will do.
    pub(crate) fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Present | Self::Absent => true,
            Self::Exact(text) => **text == *value,
            Self::Prefix(text) => value.starts_with(text),
            Self::Suffix(text) => value.ends_with(text),
            Self::Contains(text) => text.is_empty() || value.windows(text.len()).any(|part| *part == **text),
            Self::Regex(regex) => regex.is_match(value),
            Self::Range(from, to) => {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
                number.is_some_and(|number| (*from..*to).contains(&number))
            }
        }
    }

    /// What it means that no value was found that will do, or that one was.
    pub(crate) const fn judge(&self, found: bool) -> bool {
        if matches!(self, Self::Absent) { !found } else { found }
    }
}
