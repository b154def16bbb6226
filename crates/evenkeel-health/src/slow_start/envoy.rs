//! Slow start as Envoy does it.

use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};
use thiserror::Error;

use super::curve::Curve;

/// The settings of Envoy's `slow_start_config`.
///
/// Source: `envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig`, and
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start>.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EnvoySlowStartConfig {
    /// How long it takes. Envoy has no default; here it is 60 s, that of its documentation's examples.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(alias = "window", with = "evenkeel_types::human_duration"))]
    pub slow_start_window: Duration,
    /// The exponent's inverse. Default 1. Values that are not above 0, and NaN, count as 1, as in Envoy.
    pub aggression: f64,
    /// The share to begin with, at least. Default 10 %, as in Envoy.
    pub min_weight_percent: Ratio,
}

impl Default for EnvoySlowStartConfig {
    fn default() -> Self {
        Self {
            slow_start_window: Duration::from_secs(60),
            aggression: 1.0,
            min_weight_percent: match Ratio::percent(10) {
                Ok(ratio) => ratio,
                Err(_) => Ratio::ZERO,
            },
        }
    }
}

/// The settings of Envoy's slow start cannot be meant so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvoySlowStartConfigError {
    /// The window is empty, which turns Envoy's slow start off. Leave it out instead.
    #[error("slow_start_window is zero: allowed is any longer span; leave slow start out to turn it off")]
    ZeroWindow,
}

/// Envoy's slow start of one host, for those who migrate and want the same shares.
///
/// ```text
///                    added or passed       failed
/// not seen           in its window, now    out
/// in its window      stay                  out
/// past its window    stay                  out
/// out                in its window, now    stay
/// ```
///
/// The age counts from the check that turned the host healthy, or from its first sight where nothing is checked, and
/// only while it is healthy. All hosts warm up, also where all do at once; the share of the others grows without a
/// bound: those are the differences from [`SlowStart`](crate::SlowStart).
#[derive(Clone, Debug, PartialEq)]
pub struct EnvoySlowStart {
    window: Duration,
    curve: Curve,
    min_factor: f64,
    /// Since when it is healthy; `None` while it is not.
    since: Option<Timestamp>,
    latest: Timestamp,
}

impl EnvoySlowStart {
    /// A host that was not seen yet.
    ///
    /// # Errors
    ///
    /// [`EnvoySlowStartConfigError`] if the window is zero.
    pub fn new(config: &EnvoySlowStartConfig) -> Result<Self, EnvoySlowStartConfigError> {
        let EnvoySlowStartConfig { slow_start_window: window, aggression, min_weight_percent } = *config;
        if window.is_zero() {
            return Err(EnvoySlowStartConfigError::ZeroWindow);
        }
        // A comparison that NaN fails.
        let aggression = if aggression > 0.0 { aggression } else { 1.0 };
        Ok(Self {
            window,
            curve: Curve::Power { aggression },
            min_factor: min_weight_percent.as_f64(),
            since: None,
            latest: Timestamp::ORIGIN,
        })
    }

    /// Goes by other settings from now on: since when the host is healthy stays, as in Envoy, where a new balancer looks at the
    /// same hosts.
    ///
    /// # Errors
    ///
    /// [`EnvoySlowStartConfigError`] if the window is zero. Nothing has changed then.
    pub fn set_config(&mut self, config: &EnvoySlowStartConfig) -> Result<(), EnvoySlowStartConfigError> {
        let Self { window, curve, min_factor, .. } = Self::new(config)?;
        (self.window, self.curve, self.min_factor) = (window, curve, min_factor);
        Ok(())
    }

    /// The host is there and healthy: it was added, or a check passed. `true` if that began its window.
    pub fn pass(&mut self, now: Timestamp) -> bool {
        self.latest = self.latest.max(now);
        let began = self.since.is_none();
        self.since.get_or_insert(self.latest);
        began
    }

    /// The host turned unhealthy.
    pub fn fail(&mut self, now: Timestamp) {
        self.latest = self.latest.max(now);
        self.since = None;
    }

    /// Whether it is in its window.
    #[must_use]
    pub fn is_warming(&self, now: Timestamp) -> bool {
        self.age(now).is_some_and(|age| age < self.window)
    }

    /// What its weight is multiplied by; 1 while it is unhealthy, when nobody asks.
    #[must_use]
    pub fn factor(&self, now: Timestamp) -> f64 {
        self.age(now).map_or(1.0, |age| self.curve.at(age, self.window).max(self.min_factor))
    }

    /// When its window ends.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let end = self.since?.saturating_add(self.window);
        (end > self.latest).then_some(end)
    }

    fn age(&self, now: Timestamp) -> Option<Duration> {
        Some(self.latest.max(now).saturating_since(self.since?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn host(aggression: f64) -> EnvoySlowStart {
        EnvoySlowStart::new(&EnvoySlowStartConfig { aggression, ..EnvoySlowStartConfig::default() }).unwrap()
    }

    /// The table of the type's documentation; what is seen at 200 s.
    #[test]
    fn every_state_meets_every_event() {
        let reach: [fn(&mut EnvoySlowStart); 4] = [
            |_| (),
            |host| {
                let _ = host.pass(at(150));
            },
            |host| {
                let _ = host.pass(at(100));
            },
            |host| {
                let _ = host.pass(at(100));
                host.fail(at(110));
            },
        ];
        let deadline = |reach: fn(&mut EnvoySlowStart), event: fn(&mut EnvoySlowStart)| {
            let mut host = host(1.0);
            reach(&mut host);
            event(&mut host);
            (host.is_warming(at(200)), host.next_deadline())
        };
        let passed = reach.map(|reach| {
            deadline(reach, |host| {
                let _ = host.pass(at(200));
            })
        });
        let anew = (true, Some(at(260)));
        assert_eq!(passed, [anew, (true, Some(at(210))), (false, None), anew]);
        let failed = reach.map(|reach| deadline(reach, |host| host.fail(at(200))));
        assert_eq!(failed, [(false, None); 4]);
    }

    #[test]
    fn nonsense_counts_as_one_as_in_envoy() {
        for aggression in [0.0, -2.0, f64::NAN] {
            let mut odd = host(aggression);
            let _ = odd.pass(at(0));
            assert_eq!(odd.factor(at(15)), 0.25, "{aggression}");
        }
        let zero =
            EnvoySlowStartConfig { slow_start_window: Duration::ZERO, ..EnvoySlowStartConfig::default() };
        assert_eq!(EnvoySlowStart::new(&zero), Err(EnvoySlowStartConfigError::ZeroWindow));
    }
}
