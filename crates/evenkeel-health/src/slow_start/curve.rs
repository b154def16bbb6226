//! How the factor grows with the age.

use std::time::Duration;

/// How the share of an endpoint grows while it warms up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum Curve {
    /// `age / window`: the default, since it is what people expect, and what AWS and HAProxy mean.
    #[default]
    Linear,
    /// `(age / window)^(1 / aggression)`, as Envoy: above 1 it rises faster at first, below 1 slower. With 1 it is
    /// [`Linear`](Self::Linear).
    Power {
        /// More than 0, at most 1000.
        aggression: f64,
    },
    /// `floor((16 age + window) / window)` sixteenths, both in whole seconds, as HAProxy: it begins at one sixteenth.
    ///
    /// Source: `slowstart`, <https://docs.haproxy.org/3.2/configuration.html#5.2-slowstart>.
    Sixteenths,
}

impl Curve {
    /// From 0 to 1; 1 from the end of the window on. Grows with the age, never falls.
    ///
    /// ```
    /// use evenkeel_health::Curve;
    /// use std::time::Duration;
    /// let half = Curve::Power { aggression: 2.0 }.at(Duration::from_secs(15), Duration::from_secs(60));
    /// assert_eq!(half, 0.5);
    /// ```
    #[must_use]
    pub fn at(self, age: Duration, window: Duration) -> f64 {
        if age >= window {
            return 1.0;
        }
        match self {
            Self::Linear => part(age, window),
            // Envoy counts at least one millisecond, so that no power of zero is asked for.
            Self::Power { aggression } => {
                libm::pow(part(age.max(ONE_MILLISECOND), window).min(1.0), 1.0 / aggression)
            }
            Self::Sixteenths => sixteenths(age.as_secs(), window.as_secs()),
        }
    }
}

fn part(age: Duration, window: Duration) -> f64 {
    // Window is above age, and so above zero.
    age.as_secs_f64() / window.as_secs_f64()
}

fn sixteenths(age: u64, window: u64) -> f64 {
    let window = u128::from(window.max(1));
    let steps = ((16 * u128::from(age) + window) / window).min(16);
    steps as f64 / 16.0
}

const ONE_MILLISECOND: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(curve: Curve, window: u64, points: &[(f64, f64)]) {
        for &(age, expected) in points {
            let factor = curve.at(Duration::from_secs_f64(age), Duration::from_secs(window));
            assert!((factor - expected).abs() < 0.005, "{curve:?} at {age}: {factor}, not {expected}");
        }
    }

    /// Envoy's documentation plots these for a window of 60 s.
    #[test]
    fn the_curves_of_envoy() {
        check(Curve::Power { aggression: 1.0 }, 60, &[(0.0, 0.0), (6.0, 0.1), (15.0, 0.25), (30.0, 0.5)]);
        check(Curve::Power { aggression: 2.0 }, 60, &[(6.0, 0.316), (15.0, 0.5), (30.0, 0.707), (60.0, 1.0)]);
        check(Curve::Power { aggression: 0.5 }, 60, &[(6.0, 0.01), (15.0, 0.0625), (30.0, 0.25)]);
        check(Curve::Linear, 60, &[(6.0, 0.1), (59.9, 0.998), (60.0, 1.0), (1e9, 1.0)]);
    }

    #[test]
    fn the_steps_of_haproxy() {
        let exact =
            |age, window| Curve::Sixteenths.at(Duration::from_millis(age), Duration::from_secs(window));
        assert_eq!(exact(0, 16), 1.0 / 16.0);
        assert_eq!(exact(999, 16), 1.0 / 16.0, "whole seconds");
        assert_eq!(exact(1_000, 16), 2.0 / 16.0);
        assert_eq!(exact(15_000, 16), 1.0);
        assert_eq!(exact(10_000, 60), 3.0 / 16.0);
        assert_eq!(exact(59_999, 60), 16.0 / 16.0);
        assert_eq!(exact(u64::MAX / 2, u64::MAX), 1.0 / 16.0, "no overflow");
    }
}
