use std::time::Duration;

use super::key::KeySource;

/// How many requests a route lets in, together or for each key.
///
/// The generic cell rate algorithm (ATM Forum, "Traffic Management Specification 4.0", 1996), by the crate `governor`: `requests`
/// in each `per`, evenly, and `burst` of them at once. Only this process counts: quotas that several share are out of scope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RateLimitConfig {
    /// Requests in each `per`, at least 1.
    pub requests: u32,
    /// The time in which they may come, 1 ms to 30 days. Default 1 s.
    #[cfg_attr(feature = "serde", serde(default = "one_second", with = "evenkeel_types::human_duration"))]
    pub per: Duration,
    /// How many may come at once after a pause, at least 1. Default: `requests`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub burst: Option<u32>,
    /// For each of what: the first of these that a request has. Default: none, so all requests of the route together.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub by: Vec<KeySource>,
    /// The most keys that are remembered, 1 to 10,000,000; 16 bytes and a place in a table each. When there are more, of a few the
    /// one makes room whose requests were longest ago: it has the least to lose. Default 100,000.
    #[cfg_attr(feature = "serde", serde(default = "max_keys"))]
    pub max_keys: u32,
    /// What happens to a request that has none of the keys. Default [`WithoutKey::Together`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub without_key: WithoutKey,
}

impl RateLimitConfig {
    /// So many requests a second, all together.
    #[must_use]
    pub const fn per_second(requests: u32) -> Self {
        Self {
            requests,
            per: one_second(),
            burst: None,
            by: Vec::new(),
            max_keys: max_keys(),
            without_key: WithoutKey::Together,
        }
    }
}

/// What happens to a request that has no key for a limit by key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum WithoutKey {
    /// All of them share one limit, as if they had one key: leaving out a header gains nothing.
    #[default]
    Together,
    /// It is not limited.
    Pass,
    /// It is refused.
    Refuse,
}

pub(crate) const fn one_second() -> Duration {
    Duration::from_secs(1)
}

pub(crate) const fn max_keys() -> u32 {
    100_000
}
