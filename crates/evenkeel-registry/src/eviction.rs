use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};
use thiserror::Error;

/// How many endpoints of one service may expire in one stretch of time.
///
/// When half of a service falls silent at once, the trouble is more often between the registry and the service than in
/// the service. Eureka therefore removes at most 15 % in one run (its percent limit), and none at all below a number
/// of renewals, which never ends if the loss is real (Netflix/eureka#1073). Here the first loss is believed up to
/// `at_once`, and what goes beyond is held and let go at `later` per window, the longest silent first, so that the
/// hold always ends. Saying goodbye and being replaced are never held.
///
/// Held endpoints stay in the snapshot, their leases are lost all the same, and [`Catalog::held`](crate::Catalog::held)
/// tells how many there are and until when.
///
/// ```
/// use evenkeel_registry::{CatalogConfig, EvictionLimit};
/// use evenkeel_types::Ratio;
///
/// let mut trusting = CatalogConfig::default();
/// trusting.eviction.at_once = Ratio::ONE; // whoever is silent is gone
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EvictionLimit {
    /// The share of a service that may expire within the first window; rounded down. The default is 50 %: half a
    /// service seldom crashes within a minute, and often loses its network.
    pub at_once: Ratio,
    /// So many may expire within the first window in any case. The default is 3: shares say nothing about small sets.
    pub always: usize,
    /// The share that each further window lets go of, of the service as it was before the loss; rounded down, at least
    /// one endpoint. The default is 15 %, Eureka's. Together with the other defaults, a real loss is gone after seven
    /// further windows at most, mostly after four.
    pub later: Ratio,
    /// The length of a window, which opens with an expiry; more than zero. The default is 60 s, Eureka's.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub window: Duration,
}

impl Default for EvictionLimit {
    fn default() -> Self {
        Self {
            at_once: Ratio::HALF,
            always: 3,
            later: Ratio::percent(15).expect("15 is at most 100"),
            window: Duration::from_secs(60),
        }
    }
}

impl EvictionLimit {
    /// Opens a window over a service of so many endpoints. With `backlog`, the window that held some of them back.
    pub(crate) fn open(&self, now: Timestamp, endpoints: usize, backlog: Option<Window>) -> Window {
        let (of, left) = match backlog {
            None => (endpoints, share(self.at_once, endpoints).max(self.always)),
            Some(earlier) => (earlier.of, share(self.later, earlier.of).max(1)),
        };
        Window { ends: now.saturating_add(self.window), left, of }
    }
}

/// One stretch of time in which a service may lose so many more endpoints by expiry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first moment after the window.
    pub(crate) ends: Timestamp,
    left: usize,
    /// How many endpoints the service had when the first of its windows opened: the whole of which shares are taken.
    of: usize,
}

impl Window {
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        now < self.ends
    }

    /// Whether one more may go.
    pub(crate) fn take(&mut self) -> bool {
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

/// Endpoints that are shown although their source no longer vouches for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Held {
    /// Why they are kept.
    pub reason: HoldReason,
    /// How many there are.
    pub endpoints: usize,
    /// When the next of them may go; [`Timestamp::MAX`] if only proof releases them.
    pub until: Timestamp,
}

/// Why endpoints are kept that a source no longer lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum HoldReason {
    /// The leases of many expired at once; see [`EvictionLimit`].
    MassExpiry,
    /// The source answered with an empty set and no proof of absence.
    EmptyAnswer,
    /// The source said that there is nobody, and has to say it once more.
    Unconfirmed,
    /// The source dropped many at once. They are suspects: used after all others.
    MassRemoval,
    /// It left without a word, and is given the time to come back.
    Flap,
}

/// The limit would hold for ever or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("eviction window is zero: give the time over which the shares count, such as 60 s")]
pub struct InvalidEvictionLimit;

fn share(ratio: Ratio, of: usize) -> usize {
    let parts = of as u128 * u128::from(ratio.parts_per_million()) / 1_000_000;
    usize::try_from(parts).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down_and_floored() {
        let limit = EvictionLimit::default();
        for (endpoints, at_once, later) in
            [(1, 3, 1), (6, 3, 1), (7, 3, 1), (8, 4, 1), (20, 10, 3), (100, 50, 15)]
        {
            let first = limit.open(Timestamp::ORIGIN, endpoints, None);
            let second = limit.open(first.ends, endpoints - 1, Some(first));
            assert_eq!((first.left, second.left), (at_once, later), "{endpoints}");
        }
    }

    #[test]
    fn the_documented_number_of_windows_suffices() {
        let limit = EvictionLimit::default();
        for endpoints in 1..1_000_usize {
            let mut window = limit.open(Timestamp::ORIGIN, endpoints, None);
            let mut held = endpoints.saturating_sub(window.left);
            let mut windows = 0;
            while held > 0 {
                window = limit.open(window.ends, held, Some(window));
                held = held.saturating_sub(window.left);
                windows += 1;
            }
            assert!(windows <= if endpoints > 100 { 4 } else { 7 }, "{windows} for {endpoints}");
        }
    }

    #[test]
    fn a_window_ends_at_its_end() {
        let window = EvictionLimit::default().open(Timestamp::from_secs(1), 1, None);
        assert!(window.is_open(Timestamp::from_nanos(60_999_999_999)));
        assert!(!window.is_open(Timestamp::from_secs(61)));
    }
}
