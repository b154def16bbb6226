use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::{LeastRequestConfig, Policy};

/// Which policy, with its settings.
///
/// In a configuration file a table with the key `type`; the field's usual other names are understood too:
///
/// | `type` | also written | settings |
/// |---|---|---|
/// | `least_request` (the default) | `p2c`, `least_conn`, `leastconn`, `least_connections`, `least_outstanding_requests` | `choices` |
/// | `round_robin` | `roundrobin`, `rr` | – |
/// | `smooth_weighted_round_robin` | `weighted_round_robin`, `wrr` | – |
/// | `random` | – | – |
/// | `weighted_random` | – | – |
///
/// Weights are never ignored: where they differ, `round_robin` serves the smooth weighted schedule (as nginx, HAProxy and
/// Envoy mean it) and `random` the weighted draw. The two longer names are for those who want the table in any case.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "type", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PolicyConfig {
    /// The less loaded of a few: [`LeastRequest`](crate::LeastRequest).
    #[cfg_attr(
        feature = "serde",
        serde(
            alias = "p2c",
            alias = "least_conn",
            alias = "leastconn",
            alias = "least_connections",
            alias = "least_outstanding_requests"
        )
    )]
    LeastRequest(LeastRequestConfig),
    /// Each in turn: [`RoundRobin`](crate::RoundRobin), or by weight where weights differ.
    #[cfg_attr(feature = "serde", serde(alias = "roundrobin", alias = "rr"))]
    RoundRobin(NoSettings),
    /// In turn by weight: [`SmoothWeightedRoundRobin`](crate::SmoothWeightedRoundRobin).
    #[cfg_attr(feature = "serde", serde(alias = "weighted_round_robin", alias = "wrr"))]
    SmoothWeightedRoundRobin(NoSettings),
    /// Uniform: [`Random`](crate::Random), or by weight where weights differ.
    Random(NoSettings),
    /// By weight: [`WeightedRandom`](crate::WeightedRandom).
    WeightedRandom(NoSettings),
    /// A policy of your own.
    #[cfg_attr(feature = "serde", serde(skip))]
    Custom(Arc<dyn Policy>),
}

impl PolicyConfig {
    /// Power of two choices, the default.
    #[must_use]
    pub fn least_request() -> Self {
        Self::LeastRequest(LeastRequestConfig::default())
    }

    /// Each in turn.
    #[must_use]
    pub const fn round_robin() -> Self {
        Self::RoundRobin(NoSettings {})
    }

    /// In turn by weight, evenly spaced.
    #[must_use]
    pub const fn smooth_weighted_round_robin() -> Self {
        Self::SmoothWeightedRoundRobin(NoSettings {})
    }

    /// Uniform.
    #[must_use]
    pub const fn random() -> Self {
        Self::Random(NoSettings {})
    }

    /// By weight.
    #[must_use]
    pub const fn weighted_random() -> Self {
        Self::WeightedRandom(NoSettings {})
    }

    /// A policy of your own.
    #[must_use]
    pub fn custom(policy: impl Policy + 'static) -> Self {
        Self::Custom(Arc::new(policy))
    }

    /// Every built-in policy at its defaults: what benches, laws and the demo walk through.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::least_request(),
            Self::round_robin(),
            Self::smooth_weighted_round_robin(),
            Self::random(),
            Self::weighted_random(),
        ]
    }

    /// The name in a configuration file; `custom` for a policy of your own.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LeastRequest(_) => "least_request",
            Self::RoundRobin(_) => "round_robin",
            Self::SmoothWeightedRoundRobin(_) => "smooth_weighted_round_robin",
            Self::Random(_) => "random",
            Self::WeightedRandom(_) => "weighted_random",
            Self::Custom(_) => "custom",
        }
    }
}

impl FromStr for PolicyConfig {
    type Err = UnknownPolicy;

    /// The policy of this name at its defaults; the names of [`name`](Self::name), without the aliases of a file.
    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let known = Self::all().into_iter().find(|policy| policy.name() == name);
        known.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self::least_request()
    }
}

/// A policy without settings: any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct NoSettings {}

/// There is no policy of this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "unknown policy {0:?}: allowed are least_request, round_robin, smooth_weighted_round_robin, random, weighted_random"
)]
pub struct UnknownPolicy(pub String);

/// A policy cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidPolicy {
    /// `choices` of least request is out of range.
    #[error("policy.choices = {choices} is out of range: allowed are 2 to 32, or \"all\"")]
    Choices {
        /// What was asked for.
        choices: u32,
    },
    /// A policy of your own refused its members, and says why.
    #[error("policy: {0}")]
    Custom(String),
}

impl InvalidPolicy {
    /// A setting of `policy` is out of range: `problem` says its value and what is allowed.
    #[must_use]
    pub fn setting(policy: &str, setting: &str, problem: impl std::fmt::Display) -> Self {
        Self::Custom(format!("{policy}: {setting}: {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_and_an_unknown_one_tells_all() {
        let error = "p3c".parse::<PolicyConfig>().unwrap_err().to_string();
        for policy in PolicyConfig::all() {
            assert_eq!(policy.name().parse::<PolicyConfig>().unwrap().name(), policy.name());
            assert!(error.contains(policy.name()), "{error}");
        }
    }
}
