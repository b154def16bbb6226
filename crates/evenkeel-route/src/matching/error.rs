use thiserror::Error;

use super::cidr::ParseCidrError;
use super::host::ParseHostError;
use super::path::ParsePathError;

/// A rule cannot be used; nothing was compiled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct RulesError {
    /// The field, such as `rules[3].headers[0].test`.
    pub field: String,
    /// What is wrong with it.
    pub problem: RuleProblem,
}

impl RulesError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<RuleProblem>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuleProblem {
    /// More rules than the limit: raise it, or split the table.
    #[error("{count} rules, more than the limit of {limit}")]
    TooManyRules {
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The host pattern is none.
    #[error(transparent)]
    Host(#[from] ParseHostError),
    /// The path pattern is none.
    #[error(transparent)]
    Path(#[from] ParsePathError),
    /// The address range is none.
    #[error(transparent)]
    Cidr(#[from] ParseCidrError),
    /// The path pattern is not in the form to which requests are brought, so it would never match.
    #[error("{written:?} never matches, because requests are normalised first: write {normal:?}")]
    NotNormal {
        /// What was written.
        written: String,
        /// What to write.
        normal: String,
    },
    /// The regular expression cannot be compiled, or is larger than the limit.
    #[error("regular expression {pattern:?}: {reason}")]
    Regex {
        /// The expression.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// More regular expressions for paths than the limit.
    #[error("more than {0} regular expressions for paths: use templates, which cost less")]
    TooManyRegexes(usize),
    /// The name is empty or not a token of HTTP.
    #[error("{0:?} is not a name: letters, digits and !#$%&'*+-.^_`|~ are allowed")]
    Name(String),
    /// The name of a listener is empty or too long.
    #[error("{0:?} names no listener: it takes 1 to 255 bytes")]
    Listener(String),
    /// The rules together name more methods than fit.
    #[error("{0:?} is one method too many: rules may name 32 different ones")]
    TooManyMethods(String),
    /// A range without a number in it.
    #[error("the range from {from} to below {to} is empty")]
    EmptyRange {
        /// Its first number.
        from: i64,
        /// The number after its last.
        to: i64,
    },
    /// A test that cannot be inverted without saying the opposite of another one.
    #[error("absent cannot be inverted: write present")]
    InvertedAbsent,
    /// Ports the wrong way round.
    #[error("ports {first} to {last}: the first is larger than the last")]
    Ports {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
    /// The text is too long.
    #[error("{len} bytes, more than the limit of {limit}")]
    TooLong {
        /// Its length.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
}
