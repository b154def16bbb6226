//! The settings of an active check.

use std::time::Duration;

use evenkeel_types::Ratio;
use thiserror::Error;

use super::observe::ObserveConfig;
use super::schedule::share_of;
use super::startup::StartupConfig;
use crate::rise_fall::{ConfigError, RiseFallConfig, Start};

/// How often an endpoint is checked, and how results become a verdict.
///
/// The interval that counts is chosen as HAProxy chooses between `inter`, `fastinter` and `downinter`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CheckConfig {
    /// How many results in a row turn the endpoint. Default: rise 2, fall 3, the first verdict decides alone.
    pub thresholds: RiseFallConfig,
    /// From one result to the next check, while the endpoint is settled (and the default of the other two).
    ///
    /// Default 2 s, as HAProxy: with `fall` 3, an outage is found after some 6 s, at half a request per second.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(alias = "inter", with = "evenkeel_types::human_duration"))]
    pub interval: Duration,
    /// The same while the endpoint is not yet checked, or is between two verdicts.
    ///
    /// Default `None`: as `interval`. A shorter one finds the end of a doubt sooner, at a price in requests only then.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(
            alias = "fastinter",
            with = "evenkeel_types::human_duration::optional",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub fast_interval: Option<Duration>,
    /// The same while the endpoint is settled down.
    ///
    /// Default `None`: as `interval`. A longer one spares a server that is struggling to start.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(
            alias = "downinter",
            with = "evenkeel_types::human_duration::optional",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub down_interval: Option<Duration>,
    /// The same while the endpoint is settled and the cluster has no traffic; see
    /// [`on_traffic`](crate::ActiveCheck::on_traffic).
    ///
    /// Default `None`: traffic plays no part. Envoy has 60 s until a cluster is used for the first time, which saves
    /// the checks of clusters that are configured everywhere and used nowhere. A doubt is still settled at the fast
    /// interval, and the first result does not wait longer for it. It must not be shorter than `interval`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub no_traffic_interval: Option<Duration>,
    /// Without a request for this long, the cluster has no traffic any more.
    ///
    /// Default `None`: once used, always used, as in Envoy. It needs a `no_traffic_interval`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub no_traffic_after: Option<Duration>,
    /// How long a probe may take. The next one does not start before: two probes of one endpoint never overlap.
    ///
    /// Default `None`: as long as the interval that then counts, so that a lost probe delays nothing. (HAProxy does so
    /// too; Envoy has no default, Kubernetes has 1 s, AWS 5 s.)
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub timeout: Option<Duration>,
    /// How far each wait strays, to both sides, as a share of the interval; at most one half.
    ///
    /// Default 5 %, the upper end of what HAProxy's manual recommends for `spread-checks` ("between 2 and 5"): checks
    /// of many endpoints and many checkers drift apart instead of arriving as a volley. HAProxy itself has 0.
    #[cfg_attr(feature = "serde", serde(alias = "spread_checks"))]
    pub jitter: Ratio,
    /// Without a result for this long, the last one means nothing any more: the endpoint is
    /// [`CheckState::Unknown`](crate::CheckState::Unknown), and the next result decides alone, as the first did.
    ///
    /// Default `None`: five times the longest interval, with its jitter. Four lost turns are bad luck, five are a
    /// checker that died, and a checker's death must neither keep a dead endpoint in nor a live one out for ever. It
    /// has to be longer than the longest interval. [`Duration::MAX`] turns it off.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub stale_after: Option<Duration>,
    /// What the results of real requests do to the verdict. Default `None`: nothing, they have detectors of their own.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub observe: Option<ObserveConfig>,
    /// Whether the endpoint is given time to start. Default `None`: no. It needs `thresholds.start` as it is by default.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub startup: Option<StartupConfig>,
}

impl Default for CheckConfig {
    fn default() -> Self {
        Self {
            thresholds: RiseFallConfig::default(),
            interval: Duration::from_secs(2),
            fast_interval: None,
            down_interval: None,
            no_traffic_interval: None,
            no_traffic_after: None,
            timeout: None,
            jitter: DEFAULT_JITTER,
            stale_after: None,
            observe: None,
            startup: None,
        }
    }
}

impl CheckConfig {
    /// Whether the settings can stand; [`ActiveCheck::new`](crate::ActiveCheck::new) asks.
    ///
    /// # Errors
    ///
    /// [`CheckConfigError`] with the field.
    pub fn validate(&self) -> Result<(), CheckConfigError> {
        self.validate_intervals()?;
        if self.jitter > Ratio::HALF {
            return Err(CheckConfigError::JitterTooLarge(self.jitter));
        }
        let longest = self.longest_interval();
        match self.stale_after {
            Some(stale_after) if stale_after <= longest => {
                return Err(CheckConfigError::StaleTooSoon { stale_after, longest });
            }
            _ => {}
        }
        if let Some(observe) = &self.observe {
            observe.validate()?;
        }
        if let Some(startup) = &self.startup {
            startup.validate()?;
            if self.thresholds.start != Start::FirstVerdict {
                return Err(CheckConfigError::StartupAndStart(self.thresholds.start));
            }
        }
        Ok(())
    }

    fn validate_intervals(&self) -> Result<(), CheckConfigError> {
        for (field, value) in [
            ("interval", Some(self.interval)),
            ("fast_interval", self.fast_interval),
            ("down_interval", self.down_interval),
            ("no_traffic_interval", self.no_traffic_interval),
            ("no_traffic_after", self.no_traffic_after),
            ("timeout", self.timeout),
        ] {
            if value.is_some_and(|value| value.is_zero()) {
                return Err(CheckConfigError::Zero(field));
            }
        }
        match self.no_traffic_interval {
            None if self.no_traffic_after.is_some() => Err(CheckConfigError::NoTrafficInterval),
            Some(no_traffic) if no_traffic < self.interval => {
                Err(CheckConfigError::NoTrafficTooShort { no_traffic, interval: self.interval })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn fast_interval(&self) -> Duration {
        self.fast_interval.unwrap_or(self.interval)
    }

    pub(super) fn down_interval(&self) -> Duration {
        self.down_interval.unwrap_or(self.interval)
    }

    /// The longest wait that jitter can make of any interval, or a timeout that is longer.
    fn longest_interval(&self) -> Duration {
        let longest = self.fast_interval().max(self.down_interval()).max(self.interval);
        let longest = longest.max(self.no_traffic_interval.unwrap_or(longest));
        let strayed = longest.saturating_add(share_of(longest, self.jitter));
        strayed.max(self.timeout.unwrap_or(strayed))
    }

    /// For how long a result counts: [`stale_after`](Self::stale_after), or its default where it is not set.
    #[must_use]
    pub fn longest_age(&self) -> Duration {
        self.stale_after.unwrap_or_else(|| self.longest_interval().saturating_mul(STALE_INTERVALS))
    }
}

/// The settings of an active check do not make sense together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckConfigError {
    /// The thresholds cannot be counted.
    #[error(transparent)]
    Thresholds(#[from] ConfigError),
    /// An interval, or another span, is zero: checks would run without a pause, or never in time. Leave the optional
    /// ones out to have their defaults.
    #[error("{0} is zero: allowed is any longer span; leave it out for its default")]
    Zero(&'static str),
    /// The jitter is above one half: intervals would no longer tell how often checks run.
    #[error("jitter {} is too large: allowed are 0.0 to 0.5", .0.as_f64())]
    JitterTooLarge(Ratio),
    /// A result would be too old before the next one can be there. Make `stale_after` a few times the longest interval.
    #[error(
        "stale_after {stale_after:?} is not longer than the longest interval with its jitter, {longest:?}"
    )]
    StaleTooSoon {
        /// The configured age.
        stale_after: Duration,
        /// The longest interval, with its jitter.
        longest: Duration,
    },
    /// Without traffic there would be more checks than with it.
    #[error(
        "no_traffic_interval {no_traffic:?} is shorter than interval {interval:?}: allowed is that or more"
    )]
    NoTrafficTooShort {
        /// The configured interval without traffic.
        no_traffic: Duration,
        /// The configured interval.
        interval: Duration,
    },
    /// When traffic ends would be known, and not what then changes.
    #[error("no_traffic_after is set without no_traffic_interval: set both or neither")]
    NoTrafficInterval,
    /// No error would be evidence at once. Use 1 for "the first error".
    #[error("observe.error_limit is 0: allowed is 1 or more")]
    ZeroErrorLimit,
    /// An endpoint would be given up before it was asked. Use 1 for "one try".
    #[error("startup.failure_threshold is 0: allowed is 1 or more")]
    ZeroStartup,
    /// The gate and the start both say what an endpoint counts as before its first result.
    #[error("startup does not go with thresholds.start {0:?}: leave one of them out")]
    StartupAndStart(Start),
}

/// 5 %, written as a constant so that no conversion can fail.
const DEFAULT_JITTER: Ratio = match Ratio::percent(5) {
    Ok(ratio) => ratio,
    Err(_) => Ratio::ZERO,
};

/// How many of the longest intervals may pass without a result before the last one stops to count.
const STALE_INTERVALS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_fit_together() {
        let refused = |change: fn(&mut CheckConfig)| {
            let mut config = CheckConfig::default();
            change(&mut config);
            config.validate().err()
        };
        let (stale_after, longest) = (Duration::from_millis(2_100), Duration::from_millis(2_100));
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|c| c.interval = Duration::ZERO), Some(CheckConfigError::Zero("interval")));
        let zero = Some(Duration::ZERO);
        type Field = fn(&mut CheckConfig) -> &mut Option<Duration>;
        let fields: [(&str, Field); 5] = [
            ("fast_interval", |c| &mut c.fast_interval),
            ("down_interval", |c| &mut c.down_interval),
            ("no_traffic_interval", |c| &mut c.no_traffic_interval),
            ("no_traffic_after", |c| &mut c.no_traffic_after),
            ("timeout", |c| &mut c.timeout),
        ];
        for (name, field) in fields {
            let mut config = CheckConfig::default();
            *field(&mut config) = zero;
            assert_eq!(config.validate(), Err(CheckConfigError::Zero(name)));
        }
        assert_eq!(refused(|c| c.jitter = Ratio::ONE), Some(CheckConfigError::JitterTooLarge(Ratio::ONE)));
        assert_eq!(
            refused(|c| c.stale_after = Some(Duration::from_millis(2_100))),
            Some(CheckConfigError::StaleTooSoon { stale_after, longest })
        );
        assert_eq!(refused(|c| c.stale_after = Some(Duration::from_millis(2_101))), None);
        assert_eq!(refused(|c| c.interval = Duration::MAX), None, "absurd, yet harmless");
        assert_eq!(
            refused(|c| c.no_traffic_after = Some(Duration::from_secs(1))),
            Some(CheckConfigError::NoTrafficInterval)
        );
        assert_eq!(
            refused(|c| c.no_traffic_interval = Some(Duration::from_secs(1))),
            Some(CheckConfigError::NoTrafficTooShort {
                no_traffic: Duration::from_secs(1),
                interval: Duration::from_secs(2)
            })
        );
        assert_eq!(
            refused(|c| c.observe = Some(ObserveConfig { error_limit: 0, ..ObserveConfig::default() })),
            Some(CheckConfigError::ZeroErrorLimit)
        );
        assert_eq!(
            refused(|c| c.startup = Some(StartupConfig { failure_threshold: 0 })),
            Some(CheckConfigError::ZeroStartup)
        );
        assert_eq!(
            refused(|c| {
                c.startup = Some(StartupConfig::default());
                c.thresholds.start = Start::Down;
            }),
            Some(CheckConfigError::StartupAndStart(Start::Down))
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn reads_the_words_of_the_field() {
        let text = r#"{"inter":"5s","fastinter":"500ms","thresholds":{"healthy_threshold":1,"start":"fully_down"},
                "observe":{"on_error":"sudden-death"},"startup":{},"timeout":"1s"}"#;
        let config: CheckConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.interval, Duration::from_secs(5));
        assert_eq!(config.fast_interval, Some(Duration::from_millis(500)));
        assert_eq!(config.thresholds, RiseFallConfig { rise: 1, fall: 3, start: Start::FullyDown });
        assert_eq!(config.observe.as_ref().map(|o| o.on_error), Some(crate::OnError::SuddenDeath));
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<CheckConfig>(&written).unwrap(), config);
        assert!(serde_json::from_str::<CheckConfig>(r#"{"intervall":"5s"}"#).is_err());
    }
}
