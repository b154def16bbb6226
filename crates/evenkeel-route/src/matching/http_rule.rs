use super::fraction::Fraction;
use super::host::HostMatch;
use super::normal::PathOptions;
use super::path::PathMatch;
use super::value::ValueMatch;

/// What a request must be like, for a rule to take it. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HttpRule {
    /// For people; need not be unique. Default: none.
    pub name: String,
    /// Heavier rules are asked first; rules of equal weight in the order in which they stand. Default 0.
    pub weight: u32,
    /// Came in at any of these listeners, by their names. Default: all of them.
    pub listeners: Vec<String>,
    /// Any of these hosts. Default: all of them.
    pub hosts: Vec<HostMatch>,
    /// Any of these paths. Default: all of them.
    pub paths: Vec<PathMatch>,
    /// Any of these methods; case counts. Default: all of them.
    pub methods: Vec<String>,
    /// All of these header fields.
    pub headers: Vec<HeaderMatch>,
    /// All of these query parameters.
    pub query: Vec<QueryMatch>,
    /// All of these cookies.
    pub cookies: Vec<CookieMatch>,
    /// Only this share of what is left. Default: all of it.
    pub fraction: Option<Fraction>,
}

/// A header field that a request must have, or must not have.
///
/// Of a field with several values, one that will do is enough.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct HeaderMatch {
    /// Its name; case does not count.
    pub name: String,
    /// What its value must be.
    pub test: ValueMatch,
    /// Whether the opposite must hold: a missing field passes an inverted test. Default no.
    #[cfg_attr(feature = "serde", serde(default))]
    pub invert: bool,
}

/// A query parameter that a request must have, or must not have.
///
/// Names and values are compared after decoding (`%20` and `+` are a space).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct QueryMatch {
    /// Its name; case counts.
    pub name: String,
    /// What its value must be; a parameter without `=` is empty.
    pub test: ValueMatch,
    /// Whether the opposite must hold. Default no.
    #[cfg_attr(feature = "serde", serde(default))]
    pub invert: bool,
}

/// A cookie that a request must have, or must not have. Quotes around a value are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct CookieMatch {
    /// Its name; case counts.
    pub name: String,
    /// What its value must be.
    pub test: ValueMatch,
    /// Whether the opposite must hold. Default no.
    #[cfg_attr(feature = "serde", serde(default))]
    pub invert: bool,
}

/// How a table of rules is compiled.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HttpRulesConfig {
    /// The rules.
    pub rules: Vec<HttpRule>,
    /// How paths are normalised before they are looked at.
    pub path: PathOptions,
    /// What a table may cost.
    pub limits: Limits,
}

/// What a table of rules may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Limits {
    /// Rules, each counted once for each of its hosts and paths. Default 1,000,000.
    pub rules: usize,
    /// The longest pattern or value, in bytes. Default 4,096.
    pub pattern_bytes: usize,
    /// The most segments of a path pattern. Default 64. It bounds how deep a match can branch.
    pub segments: usize,
    /// Regular expressions for paths. Default 1,000: they cost more than all other rules together.
    pub regexes: usize,
    /// The size of one compiled regular expression. Default 256 KiB: `(\w{1,50}){1,50}` does not fit.
    pub regex_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rules: 1_000_000, pattern_bytes: 4096, segments: 64, regexes: 1000, regex_bytes: 256 << 10 }
    }
}
