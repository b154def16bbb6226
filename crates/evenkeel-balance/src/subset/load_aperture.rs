use std::time::Duration;

use evenkeel_types::Timestamp;

use super::InvalidSubset;

/// Settings of a [`LoadAperture`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LoadApertureConfig {
    /// At or below so many concurrent requests for each server of the aperture, it narrows. Default 0.875, as Finagle.
    pub low: f64,
    /// At or above so many, it widens. Default 1.125, as Finagle.
    pub high: f64,
    /// The time constant of the average: after it, 37 % of an old load is left. Default 15 s, as Finagle.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub window: Duration,
    /// The least width, and the first. Default 1.
    pub min: u32,
}

impl Default for LoadApertureConfig {
    fn default() -> Self {
        Self { low: 0.875, high: 1.125, window: Duration::from_secs(15), min: 1 }
    }
}

impl LoadApertureConfig {
    /// Whether these settings can be used.
    ///
    /// # Errors
    ///
    /// [`InvalidSubset`] unless 0 < `low` < `high`, the window is above zero, and `min` at least 1.
    pub fn validate(&self) -> Result<(), InvalidSubset> {
        let refuse = |setting, reason| Err(InvalidSubset::setting("load_aperture", setting, reason));
        if !(self.low.is_finite() && self.low > 0.0) {
            return refuse("low", format!("{} is out of range: above 0, 0.875 is usual", self.low));
        }
        if !(self.high.is_finite() && self.high > self.low) {
            return refuse("high", format!("{} is out of range: above low = {}", self.high, self.low));
        }
        if self.window.is_zero() {
            return refuse("window", "0s is out of range: above 0, 15s is usual".to_owned());
        }
        if self.min == 0 {
            return refuse("min", "0 is out of range: at least 1".to_owned());
        }
        Ok(())
    }
}

/// How wide an aperture should be, by the load of this client: one server for each concurrent request.
///
/// **Idea.** Average the requests in flight over time. If a server of the aperture has more than the band allows, take one
/// more; if it has less, one less. Busy clients use many servers, idle ones few, without knowing of each other. Each
/// observation moves the width by one at most. It narrows only if the narrower aperture would stay below the upper edge of
/// the band: without that, a load of 1.2 would flip between one server (1.2 each, too much) and two (0.6 each, too
/// little) with every request. So at a constant load the width comes to rest, and moves in one direction on the way.
/// **Cost.** One exponential for each observation.
/// **When.** Many clients with little load each, whose number is not known; the width then is the `size` of a
/// [`random`](super::RandomSubsetConfig) subset, which keeps what it has when it widens.
/// **When not.** With a deterministic aperture, as Finagle does not: its arcs even out only if all are as wide.
/// **Source.** Finagle, `LoadBand`. Finagle lets the present load count for the time before it; here each load counts for
/// the time that it lasted.
///
/// ```
/// use evenkeel_balance::subset::{LoadAperture, LoadApertureConfig};
/// use evenkeel_types::Timestamp;
///
/// let mut aperture = LoadAperture::new(LoadApertureConfig::default())?;
/// // Six requests are in flight, and stay so.
/// for second in 0..60 {
///     let _ = aperture.observe(6, 100, Timestamp::from_secs(second));
/// }
/// assert_eq!(aperture.width(), 6);
/// # Ok::<(), evenkeel_balance::subset::InvalidSubset>(())
/// ```
#[derive(Clone, Debug)]
pub struct LoadAperture {
    config: LoadApertureConfig,
    width: u32,
    average: f64,
    load: u32,
    /// `None` until the first observation.
    last: Option<Timestamp>,
}

/// The aperture has another width: choose the subset again.
#[must_use = "whoever holds the subset has to choose it again"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resized {
    /// The width before.
    pub before: u32,
    /// The width from now on.
    pub after: u32,
}

impl LoadAperture {
    /// An aperture of the least width.
    ///
    /// # Errors
    ///
    /// As [`LoadApertureConfig::validate`].
    pub fn new(config: LoadApertureConfig) -> Result<Self, InvalidSubset> {
        config.validate()?;
        Ok(Self { config, width: config.min, average: 0.0, load: 0, last: None })
    }

    /// How many servers to use.
    #[must_use]
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// The average of the requests in flight.
    #[must_use]
    pub const fn average(&self) -> f64 {
        self.average
    }

    /// From `now` on, `in_flight` requests are under way in the whole aperture, and there are `servers` to choose from.
    ///
    /// Call it when a request starts or ends, or from a timer. A `now` that is earlier than one before counts as no time.
    pub fn observe(&mut self, in_flight: u32, servers: u32, now: Timestamp) -> Option<Resized> {
        self.age(in_flight, now);
        let before = self.width;
        let most = servers.max(1);
        let least = self.config.min.min(most);
        self.width = self.wanted(least, most).clamp(least, most);
        (self.width != before).then_some(Resized { before, after: self.width })
    }

    /// The average after the load before has lasted till now.
    fn age(&mut self, in_flight: u32, now: Timestamp) {
        match self.last {
            None => {
                self.average = f64::from(in_flight);
                self.last = Some(now);
            }
            Some(last) => {
                let passed = now.saturating_since(last).as_secs_f64();
                let kept = libm::exp(-passed / self.config.window.as_secs_f64());
                self.average = self.average * kept + f64::from(self.load) * (1.0 - kept);
                self.last = Some(last.max(now));
            }
        }
        self.load = in_flight;
    }

    fn wanted(&self, least: u32, most: u32) -> u32 {
        let each = |width: u32| self.average / f64::from(width);
        if self.width < most && each(self.width) >= self.config.high {
            self.width + 1
        } else if self.width > least
            && each(self.width) <= self.config.low
            && each(self.width - 1) < self.config.high
        {
            self.width - 1
        } else {
            self.width
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn aperture() -> LoadAperture {
        LoadAperture::new(LoadApertureConfig::default()).unwrap()
    }

    #[test]
    fn widens_and_narrows_one_at_a_time_and_comes_to_rest() {
        let mut aperture = aperture();
        let mut widths = Vec::new();
        let mut observe = |load, second| {
            if let Some(resized) = aperture.observe(load, 100, Timestamp::from_secs(second)) {
                assert_eq!(resized.after.abs_diff(resized.before), 1);
            }
            widths.push(aperture.width());
        };
        (0..8).for_each(|second| observe(4, second));
        // Nothing is in flight any more: after 15 s, 37 % of 4 are left, then it narrows on.
        (8..200).for_each(|second| observe(0, second));
        assert_eq!(widths[..8], [2, 3, 4, 4, 4, 4, 4, 4]);
        assert_eq!(widths.last(), Some(&1));
        assert!(widths[8..].is_sorted_by(|a, b| a >= b), "{widths:?}");
    }

    /// Between one server (too much) and two (too little): a band without memory flips with every request.
    #[test]
    fn a_load_between_two_widths_does_not_flip() {
        let config = LoadApertureConfig::default();
        let mut aperture = aperture();
        aperture.average = 1.2;
        aperture.last = Some(Timestamp::ORIGIN);
        aperture.load = 1;
        let widths: Vec<u32> = (0..20)
            .map(|_| {
                let _ = aperture.observe(1, 100, Timestamp::ORIGIN);
                aperture.width()
            })
            .collect();
        assert!(1.2 >= config.high && 0.6 <= config.low);
        assert_eq!(widths, [2; 20]);
    }

    #[test]
    fn a_load_counts_for_the_time_that_it_lasted() {
        let mut aperture = aperture();
        let _ = aperture.observe(0, 100, Timestamp::ORIGIN);
        let _ = aperture.observe(1000, 100, Timestamp::from_secs(60));
        assert_eq!(aperture.average(), 0.0);
        let _ = aperture.observe(0, 100, Timestamp::from_secs(60));
        assert_eq!(aperture.average(), 0.0, "a burst of no length is no load");
    }

    #[test]
    fn never_wider_than_there_are_servers() {
        let mut aperture = aperture();
        for second in 0..20 {
            let _ = aperture.observe(50, 10, Timestamp::from_secs(second));
        }
        assert_eq!(aperture.width(), 10);
        let resized = aperture.observe(50, 3, Timestamp::from_secs(20));
        assert_eq!(resized, Some(Resized { before: 10, after: 3 }));
        let _ = aperture.observe(50, 0, Timestamp::from_secs(21));
        assert_eq!(aperture.width(), 1);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let sound = LoadApertureConfig::default();
        for (config, setting) in [
            (LoadApertureConfig { low: 0.0, ..sound }, "low"),
            (LoadApertureConfig { low: f64::NAN, ..sound }, "low"),
            (LoadApertureConfig { high: 0.875, ..sound }, "high"),
            (LoadApertureConfig { high: f64::INFINITY, ..sound }, "high"),
            (LoadApertureConfig { window: Duration::ZERO, ..sound }, "window"),
            (LoadApertureConfig { min: 0, ..sound }, "min"),
        ] {
            let error = LoadAperture::new(config).unwrap_err().to_string();
            assert!(error.contains(&format!("load_aperture: {setting}: ")), "{error}");
        }
    }

    proptest! {
        /// At a constant load the width moves in one direction and then rests, where the load allows it.
        #[test]
        fn a_constant_load_ends_in_rest(start in 1_u32..60, load in 0_u32..200, servers in 1_u32..80) {
            let mut aperture = aperture();
            aperture.width = start;
            let mut moves = Vec::new();
            for second in 0..400 {
                if let Some(resized) = aperture.observe(load, servers, Timestamp::from_secs(second)) {
                    moves.push(i64::from(resized.after) - i64::from(resized.before));
                }
            }
            prop_assert!(moves.iter().skip(1).all(|step| *step == moves[1]), "{:?}", moves);
            let each = f64::from(load) / f64::from(aperture.width());
            prop_assert!(each < 1.125 || aperture.width() == servers);
            let narrower = f64::from(load) / f64::from(aperture.width().max(2) - 1);
            prop_assert!(each > 0.875 || aperture.width() == 1 || narrower >= 1.125);
        }

        #[test]
        fn takes_any_load_at_any_time(
            observations in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u64>()), 0..60),
        ) {
            let mut aperture = aperture();
            for (load, servers, now) in observations {
                let _ = aperture.observe(load, servers, Timestamp::from_nanos(now));
                prop_assert!((1..=servers.max(1)).contains(&aperture.width()));
                prop_assert!(aperture.average() >= 0.0 && aperture.average() <= f64::from(u32::MAX));
            }
        }
    }
}
