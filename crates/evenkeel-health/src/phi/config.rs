//! The settings of phi accrual.

use std::time::Duration;

use thiserror::Error;

use super::form::PhiForm;
use super::history::MOST_SAMPLES;

/// When missed heartbeats make an endpoint suspect.
///
/// The defaults are those of Akka's cluster.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PhiConfig {
    /// From this phi on it is suspect. Default 8: by the distribution one false suspicion in 10^8 heartbeats, in
    /// practice what the pause allows. Akka recommends 12 in clouds. Above 0, at most 100.
    pub threshold: f64,
    /// The distribution. Default [`PhiForm::Normal`].
    pub form: PhiForm,
    /// So many intervals are learnt from. Default 1000. From 2 to 2048.
    pub max_samples: usize,
    /// The deviation counts as at least this, so that very regular heartbeats do not make the first late one fatal.
    /// Default 100 ms. Above zero.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub min_deviation: Duration,
    /// So much longer than usual an absence may be without any suspicion: collection pauses, lost packets. Default 3 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub acceptable_pause: Duration,
    /// What the interval is taken to be until enough were seen. Default 1 s. Above zero.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub first_estimate: Duration,
}

impl Default for PhiConfig {
    fn default() -> Self {
        Self {
            threshold: 8.0,
            form: PhiForm::Normal,
            max_samples: 1000,
            min_deviation: Duration::from_millis(100),
            acceptable_pause: Duration::from_secs(3),
            first_estimate: Duration::from_secs(1),
        }
    }
}

impl PhiConfig {
    pub(super) fn validate(&self) -> Result<(), PhiConfigError> {
        if !(self.threshold > 0.0 && self.threshold <= 100.0) {
            return Err(PhiConfigError::Threshold(self.threshold));
        }
        if !(2..=MOST_SAMPLES).contains(&self.max_samples) {
            return Err(PhiConfigError::MaxSamples(self.max_samples));
        }
        for (field, value, least) in [
            ("min_deviation", self.min_deviation, SHORTEST),
            ("acceptable_pause", self.acceptable_pause, Duration::ZERO),
            ("first_estimate", self.first_estimate, SHORTEST),
        ] {
            if value < least || value > LONGEST {
                return Err(PhiConfigError::Span { field, value, least });
            }
        }
        Ok(())
    }
}

/// The settings of phi accrual are out of range.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PhiConfigError {
    /// The threshold is no positive number, or beyond any evidence.
    #[error("phi.threshold {0} is out of range: allowed is more than 0, up to 100")]
    Threshold(f64),
    /// Nothing could be learnt, or more kept than is of use.
    #[error("phi.max_samples {0} is out of range: allowed are 2 to 2048")]
    MaxSamples(usize),
    /// A span is too short to divide by, or longer than a day.
    #[error("phi.{field} {value:?} is out of range: allowed are {least:?} to 24h")]
    Span {
        /// The field.
        field: &'static str,
        /// The configured span.
        value: Duration,
        /// The shortest allowed.
        least: Duration,
    },
}

const SHORTEST: Duration = Duration::from_micros(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_out_of_range() {
        let refused = |change: fn(&mut PhiConfig)| {
            let mut config = PhiConfig::default();
            change(&mut config);
            config.validate().err()
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|c| c.threshold = 0.0), Some(PhiConfigError::Threshold(0.0)));
        assert!(refused(|c| c.threshold = f64::NAN).is_some());
        assert_eq!(refused(|c| c.max_samples = 1), Some(PhiConfigError::MaxSamples(1)));
        assert_eq!(refused(|c| c.max_samples = 2049), Some(PhiConfigError::MaxSamples(2049)));
        assert!(refused(|c| c.min_deviation = Duration::ZERO).is_some());
        assert!(refused(|c| c.first_estimate = Duration::ZERO).is_some());
        assert_eq!(refused(|c| c.acceptable_pause = Duration::ZERO), None);
        assert!(refused(|c| c.acceptable_pause = Duration::MAX).is_some());
    }
}
