use evenkeel_route::affinity::{AffinityRules, CookieConfig, LearnedConfig};

use super::key::KeySource;

/// How a user stays at one endpoint.
///
/// At least one of the ways is given. The list is asked first, then the cookie or the table; not both of those two, since one
/// would be ignored.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct AffinityConfig {
    /// A header field that lists endpoints by id, separated by commas: the first for the first attempt, the next ones for
    /// retries. Whoever can set it chooses endpoints, so take it off at the edge. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub list_header: Option<String>,
    /// A signed cookie that names the endpoint. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub cookie: Option<CookieConfig>,
    /// A table that remembers where a key went. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub learned: Option<LearnedAffinity>,
    /// Which endpoints keep their users, and what happens to the users of the others.
    pub rules: AffinityRules,
}

/// A table that remembers where a key went: a session of the application in a header or a cookie, or the client's address.
///
/// The memory of this process alone: several proxies learn different things, so they use a cookie.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LearnedAffinity {
    /// The key: the first of these that a request has. At least one.
    pub by: Vec<KeySource>,
    /// How many keys it remembers, and for how long.
    #[cfg_attr(feature = "serde", serde(default))]
    pub table: LearnedConfig,
}
