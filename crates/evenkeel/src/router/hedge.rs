use std::time::Duration;

use evenkeel_route::retry::RetryOn;
use evenkeel_types::Ratio;

/// When a request is sent a second time before the first has been answered.
///
/// Only requests that may be done twice are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RouteHedgeConfig {
    /// Attempts that may be under way together, the first one included: 2 to 5. Default 2.
    pub attempts: u32,
    /// Endings that are not the answer: the others are waited for, and the next attempt begins at once.
    pub on: RetryOn,
    /// How long an attempt is waited for alone. Default: as long as 95 % of the requests of this route took in the last ten to
    /// twenty seconds, at least 10 ms: a twentieth more load, as in "The Tail at Scale" (Dean and Barroso, 2013).
    pub after: HedgeAfter,
}

impl Default for RouteHedgeConfig {
    fn default() -> Self {
        Self { attempts: 2, on: RetryOn::default(), after: HedgeAfter::default() }
    }
}

/// How long an attempt is waited for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum HedgeAfter {
    /// So long.
    Fixed(#[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))] Duration),
    /// As long as this share of the requests of the route took. No hedges before a hundred were measured.
    Quantile {
        /// The share, above 0 and below 1.
        share: Ratio,
        /// The least, whatever was measured.
        #[cfg_attr(feature = "serde", serde(default = "least", with = "evenkeel_types::human_duration"))]
        at_least: Duration,
    },
}

impl Default for HedgeAfter {
    fn default() -> Self {
        Self::Quantile { share: Ratio::percent(95).unwrap_or(Ratio::HALF), at_least: least() }
    }
}

pub(crate) const fn least() -> Duration {
    Duration::from_millis(10)
}
