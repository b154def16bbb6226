//! How fast an average forgets.

use std::time::Duration;

use thiserror::Error;

/// How fast an average forgets: after this time an old value counts for 1/e (37 %), after 0.69 of it for one half.
///
/// The default is 10 s, that of Finagle's peak EWMA: half of a spike is forgotten after 6.9 s, long enough to keep
/// traffic away from a server that stalls now and then, short enough to come back within a minute.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_stats::TimeConstant;
/// let tau = TimeConstant::new(Duration::from_secs(1))?;
/// assert_eq!(tau.keep(Duration::ZERO), 1.0);
/// assert!((tau.keep(Duration::from_secs(1)) - (-1.0_f64).exp()).abs() < 1e-15);
/// # Ok::<(), evenkeel_stats::ZeroTimeConstant>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeConstant(Duration);

impl TimeConstant {
    /// The time constant `tau`.
    ///
    /// # Errors
    ///
    /// [`ZeroTimeConstant`] if `tau` is zero.
    pub const fn new(tau: Duration) -> Result<Self, ZeroTimeConstant> {
        if tau.is_zero() { Err(ZeroTimeConstant) } else { Ok(Self(tau)) }
    }

    /// The duration itself.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// How much of an old value is kept after `elapsed`: `exp(-elapsed / tau)`, from 1 down to 0.
    ///
    /// Computed by `libm`, so that every platform decides alike.
    #[must_use]
    pub fn keep(self, elapsed: Duration) -> f64 {
        kept(nanos_of(elapsed), self.nanos())
    }

    /// The same as [`keep`](Self::keep) for a number of nanoseconds, at least zero.
    #[inline]
    #[must_use]
    pub fn keep_nanos(self, elapsed: f64) -> f64 {
        kept(elapsed, self.nanos())
    }

    pub(crate) const fn nanos(self) -> f64 {
        nanos_of(self.0)
    }
}

impl Default for TimeConstant {
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

/// A duration in nanoseconds, without the slow way over 128 bits. Exact to 104 days.
#[inline]
pub(crate) const fn nanos_of(duration: Duration) -> f64 {
    duration.as_secs() as f64 * 1e9 + duration.subsec_nanos() as f64
}

/// `exp(-elapsed / tau)` of two durations in nanoseconds. Where little has passed, which is the rule on a busy endpoint,
/// four terms of the series are exact to 10^-11 and cost a quarter of the exponential.
#[inline]
pub(crate) fn kept(elapsed: f64, tau: f64) -> f64 {
    let x = elapsed / tau;
    if x < 1.0 / 64.0 { 1.0 - x * (1.0 - x / 2.0 * (1.0 - x / 3.0 * (1.0 - x / 4.0))) } else { libm::exp(-x) }
}

#[cfg(feature = "serde")]
impl serde::Serialize for TimeConstant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        evenkeel_types::human_duration::serialize(&self.0, serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for TimeConstant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tau = evenkeel_types::human_duration::deserialize(deserializer)?;
        Self::new(tau).map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for TimeConstant {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeConstant".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        <evenkeel_types::HumanDuration as schemars::JsonSchema>::json_schema(generator)
    }
}

/// The time constant is zero, which would forget everything at once. Give the time after which 37 % are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the time constant is zero: give the time after which 37 % of an old value are left")]
pub struct ZeroTimeConstant;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_stay_between_zero_and_one() {
        assert_eq!(TimeConstant::new(Duration::ZERO), Err(ZeroTimeConstant));
        let tiny = TimeConstant::new(Duration::from_nanos(1)).unwrap();
        assert_eq!(tiny.keep(Duration::MAX), 0.0);
        let huge = TimeConstant::new(Duration::MAX).unwrap();
        assert_eq!(huge.keep(Duration::from_nanos(1)), 1.0);
        assert_eq!(huge.keep(Duration::MAX), libm::exp(-1.0));
    }

    #[test]
    fn the_series_meets_the_exponential() {
        for thousandth in 0..40 {
            let x = f64::from(thousandth) / 1000.0;
            assert!((kept(x, 1.0) - libm::exp(-x)).abs() < 2e-11, "{x}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn is_written_as_a_duration() {
        assert_eq!(serde_json::to_string(&TimeConstant::default()).unwrap(), r#""10s""#);
        assert!(serde_json::from_str::<TimeConstant>(r#""0s""#).is_err());
    }
}
