//! The settings of slow start.

use std::time::Duration;

use evenkeel_types::Ratio;
use thiserror::Error;

use super::curve::Curve;

/// How endpoints warm up.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct SlowStartConfig {
    /// How long it takes. From 1 ms to 24 h.
    ///
    /// Default 30 s, the shortest that AWS allows: enough for connection pools, caches and just-in-time compilers of
    /// most programs, and short beside a rolling update.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(
        feature = "serde",
        serde(alias = "slow_start_window", with = "evenkeel_types::human_duration")
    )]
    pub window: Duration,
    /// How the share grows. Default [`Curve::Linear`].
    pub curve: Curve,
    /// The share to begin with, at least.
    ///
    /// Default 10 %, as Envoy: an endpoint that gets nothing never warms up. 0 is allowed.
    pub min_factor: Ratio,
    /// Whether endpoints that are new warm up too, and not only those that return.
    ///
    /// Default true: a process that was just started needs it most. (HAProxy does not, see
    /// <https://github.com/haproxytech/kubernetes-ingress/issues/625>.) The first endpoints of a cluster never warm up,
    /// whatever this says, for there is nobody to take their share.
    pub new_endpoints: bool,
    /// By how much the others' share may grow while some warm up.
    ///
    /// Default 2: where half of a cluster returns at once, the other half gets up to twice its share, and no more; the
    /// factors of those that warm up are [lifted](Ramp::lift) for that. From 1 (nobody warms up at the expense of
    /// others) to 1000.
    pub max_boost: f64,
}

impl Default for SlowStartConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            curve: Curve::Linear,
            min_factor: DEFAULT_MIN_FACTOR,
            new_endpoints: true,
            max_boost: 2.0,
        }
    }
}

impl SlowStartConfig {
    /// As HAProxy's `slowstart`: sixteenths, only endpoints that return, no bound on the others' share.
    #[must_use]
    pub const fn haproxy(window: Duration) -> Self {
        Self {
            window,
            curve: Curve::Sixteenths,
            min_factor: Ratio::ZERO,
            new_endpoints: false,
            max_boost: MOST_BOOST,
        }
    }
}

/// Settings of slow start that were checked: one for a cluster, read by its endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Ramp {
    config: SlowStartConfig,
    min_factor: f64,
}

impl Ramp {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`SlowStartConfigError`] if one of them is out of range.
    pub fn new(config: SlowStartConfig) -> Result<Self, SlowStartConfigError> {
        let window = config.window;
        if !(SHORTEST..=LONGEST).contains(&window) {
            return Err(SlowStartConfigError::Window(window));
        }
        if let Curve::Power { aggression } = config.curve
            && !(aggression > 0.0 && aggression <= 1000.0)
        {
            return Err(SlowStartConfigError::Aggression(aggression));
        }
        if config.curve == Curve::Sixteenths && (window.subsec_nanos() != 0 || window.as_secs() == 0) {
            return Err(SlowStartConfigError::WholeSeconds(window));
        }
        if !(1.0..=MOST_BOOST).contains(&config.max_boost) {
            return Err(SlowStartConfigError::MaxBoost(config.max_boost));
        }
        Ok(Self { min_factor: config.min_factor.as_f64(), config })
    }

    /// The share at this age: `max(min_factor, curve)`, from 0 to 1, and 1 from the end of the window on.
    #[must_use]
    pub fn factor(&self, age: Duration) -> f64 {
        self.config.curve.at(age, self.config.window).max(self.min_factor)
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &SlowStartConfig {
        &self.config
    }

    /// At what distances a slow start is worth another look: one second for HAProxy's steps, else a twentieth of the
    /// window (HAProxy's own pace), which is at most 5 % of an even share.
    pub(super) fn pace(&self) -> Duration {
        match self.config.curve {
            Curve::Sixteenths => Duration::from_secs(1),
            _ => (self.config.window / 20).max(Duration::from_nanos(1)),
        }
    }
}

/// The settings of slow start cannot be meant so.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SlowStartConfigError {
    /// The window is shorter than a request, or longer than a day.
    #[error("slow_start.window {0:?} is out of range: allowed are 1ms to 24h")]
    Window(Duration),
    /// HAProxy's steps count whole seconds.
    #[error("slow_start.window {0:?} with curve sixteenths: allowed are whole seconds, from 1s")]
    WholeSeconds(Duration),
    /// The aggression is no positive number, or a wall.
    #[error("slow_start.curve.power.aggression {0} is out of range: allowed is more than 0, up to 1000")]
    Aggression(f64),
    /// The others would have to get less than their share, or anything at all.
    #[error("slow_start.max_boost {0} is out of range: allowed are 1 to 1000")]
    MaxBoost(f64),
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_BOOST: f64 = 1000.0;
const DEFAULT_MIN_FACTOR: Ratio = match Ratio::percent(10) {
    Ok(ratio) => ratio,
    Err(_) => Ratio::ZERO,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_out_of_range() {
        let refused = |change: fn(&mut SlowStartConfig)| {
            let mut config = SlowStartConfig::default();
            change(&mut config);
            Ramp::new(config).err()
        };
        assert_eq!(refused(|_| ()), None);
        let too_short = Duration::from_micros(999);
        assert_eq!(
            refused(|c| c.window = Duration::from_micros(999)),
            Some(SlowStartConfigError::Window(too_short))
        );
        assert_eq!(refused(|c| c.window = Duration::MAX), Some(SlowStartConfigError::Window(Duration::MAX)));
        for aggression in [0.0, -1.0, 1000.1] {
            let config = SlowStartConfig { curve: Curve::Power { aggression }, ..SlowStartConfig::default() };
            assert_eq!(Ramp::new(config).err(), Some(SlowStartConfigError::Aggression(aggression)));
        }
        assert!(refused(|c| c.curve = Curve::Power { aggression: f64::NAN }).is_some());
        let odd = SlowStartConfig::haproxy(Duration::from_millis(1_500));
        assert_eq!(
            Ramp::new(odd).err(),
            Some(SlowStartConfigError::WholeSeconds(Duration::from_millis(1_500)))
        );
        assert_eq!(refused(|c| c.max_boost = 0.9), Some(SlowStartConfigError::MaxBoost(0.9)));
        assert!(refused(|c| c.max_boost = f64::NAN).is_some());
    }

    #[test]
    fn the_minimum_holds_at_the_beginning_only() {
        let ramp = Ramp::new(SlowStartConfig::default()).unwrap();
        let at = |secs| ramp.factor(Duration::from_secs(secs));
        assert_eq!([at(0), at(1), at(6), at(15), at(30), at(1_000)], [0.1, 0.1, 0.2, 0.5, 1.0, 1.0]);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn reads_and_writes() {
        let text = r#"{"window":"60s","curve":{"power":{"aggression":2.0}}}"#;
        let config: SlowStartConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.curve, Curve::Power { aggression: 2.0 });
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SlowStartConfig>(&written).unwrap(), config);
        assert!(serde_json::from_str::<SlowStartConfig>(r#"{"windw":"60s"}"#).is_err());
    }
}
