//! When requests arrive.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Invalid;
use crate::log::ReplayConfig;
use crate::streams::{Source, Stream};
use crate::work::{nanos, positive};

/// A process of arrivals, over all clients.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArrivalsConfig {
    /// Arrivals a second. Either this or `load`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// The share of the nominal capacity that they ask for: cores ÷ slowdown of all servers, over the mean work. Either this or
    /// `rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// So many times that. Default: 1.
    #[serde(default = "one")]
    pub times: f64,
    /// How regular. Default: as independent people come.
    #[serde(default)]
    pub spacing: Spacing,
    /// How the rate changes. Default: not.
    #[serde(default)]
    pub shape: Shape,
    /// Requests of an access log, instead of all this: their times, keys and service times, once through. `work` of the scenario
    /// is not used then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayConfig>,
}

/// How regular arrivals are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// A Poisson process.
    #[default]
    Poisson,
    /// One exactly 1 ÷ rate after the other; only at a steady rate.
    Regular,
}

/// How the rate changes with time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// It does not.
    #[default]
    Steady,
    /// From one multiple to another, in a line over the whole duration.
    Ramp {
        /// At the beginning.
        from: f64,
        /// At the end.
        to: f64,
    },
    /// So many times as much for a while.
    FlashCrowd {
        /// When.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        at: Duration,
        /// How long.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        lasts: Duration,
        /// How much.
        times: f64,
    },
    /// Phases of exponentially distributed length: the full rate, then a part of it.
    OnOff {
        /// The mean length of full phases.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        on: Duration,
        /// The mean length of the others.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        off: Duration,
        /// The part that comes in the others.
        rest: f64,
    },
    /// A sine: 1 + amplitude × sin(2 π t ÷ period).
    Diurnal {
        /// The length of a day.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        period: Duration,
        /// 0 to 1.
        amplitude: f64,
    },
}

impl ArrivalsConfig {
    /// # Errors
    ///
    /// [`Invalid`] names the field.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let number = |field: &str, value: f64| {
            Invalid::unless(value.is_finite() && value > 0.0 && value <= 1e9, field, value, "above 0, to 1e9")
        };
        let factor = |field: &str, value: f64| {
            Invalid::unless((0.0..=1e3).contains(&value), field, value, "0 to 1000")
        };
        match (self.rate, self.load) {
            (Some(rate), None) => number("arrivals.rate", rate)?,
            (None, Some(load)) => number("arrivals.load", load)?,
            (Some(_), Some(_)) => {
                return Err(Invalid::new("arrivals.load", "set", "rate says it already"));
            }
            (None, None) => return Err(Invalid::new("arrivals.rate", "absent", "give it, or load")),
        }
        number("arrivals.times", self.times)?;
        match self.shape {
            Shape::Steady => return Ok(()),
            Shape::Ramp { from, to } => {
                factor("arrivals.shape.from", from)?;
                factor("arrivals.shape.to", to)?;
                Invalid::unless(from + to > 0.0, "arrivals.shape.to", to, "above 0 where `from` is 0")?;
            }
            Shape::FlashCrowd { lasts, times, .. } => {
                positive("arrivals.shape.lasts", lasts)?;
                factor("arrivals.shape.times", times)?;
            }
            Shape::OnOff { on, off, rest } => {
                positive("arrivals.shape.on", on)?;
                positive("arrivals.shape.off", off)?;
                Invalid::unless((0.0..=1.0).contains(&rest), "arrivals.shape.rest", rest, "0 to 1")?;
            }
            Shape::Diurnal { period, amplitude } => {
                positive("arrivals.shape.period", period)?;
                let is_fine = (0.0..=1.0).contains(&amplitude);
                Invalid::unless(is_fine, "arrivals.shape.amplitude", amplitude, "0 to 1")?;
            }
        }
        let is_fine = self.spacing == Spacing::Poisson;
        Invalid::unless(is_fine, "arrivals.spacing", "regular", "poisson, where the rate changes")
    }

    /// The mean of the shape over a run.
    pub(crate) fn mean_factor(&self, duration: Duration) -> f64 {
        let total = nanos(duration);
        match self.shape {
            Shape::Steady => 1.0,
            Shape::Ramp { from, to } => (from + to) / 2.0,
            // A run need not be whole days: the integral of the sine over what it is.
            Shape::Diurnal { period, amplitude } => {
                let angle = std::f64::consts::TAU * total / nanos(period);
                1.0 + amplitude * (1.0 - libm::cos(angle)) / angle
            }
            Shape::FlashCrowd { at, lasts, times } => {
                let inside = (nanos(lasts)).min((total - nanos(at)).max(0.0));
                1.0 + (times - 1.0) * inside / total
            }
            Shape::OnOff { on, off, rest } => (nanos(on) + rest * nanos(off)) / (nanos(on) + nanos(off)),
        }
    }
}

/// One arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When, in nanoseconds.
    pub at: u64,
    /// Its key; `None` has the scenario draw one, if it has keys.
    pub key: Option<u64>,
    /// What it asks of a server, in nanoseconds; `None` has the scenario draw it.
    pub work: Option<f64>,
}

/// Where arrivals come from: a process, or a record of what has happened. Times never fall.
pub trait Arrivals {
    /// The next one; `None` after the last.
    fn next(&mut self) -> Option<Arrival>;
}

/// The process that a scenario describes.
#[derive(Debug)]
pub struct Process {
    /// In nanoseconds.
    at: f64,
    end: f64,
    /// The mean gap at the largest rate.
    gap: f64,
    regular: bool,
    shape: Shape,
    /// The largest multiple.
    peak: f64,
    stream: Stream,
    phases: Stream,
    is_on: bool,
    phase_ends: f64,
}

impl Process {
    /// The process of checked settings, `rate` arrivals a second before its shape, until `duration`.
    #[must_use]
    pub fn new(config: &ArrivalsConfig, rate: f64, duration: Duration, seed: u64) -> Self {
        let peak = match config.shape {
            Shape::Steady | Shape::OnOff { .. } => 1.0,
            Shape::Ramp { from, to } => from.max(to),
            Shape::FlashCrowd { times, .. } => times.max(1.0),
            Shape::Diurnal { amplitude, .. } => 1.0 + amplitude,
        };
        Self {
            at: 0.0,
            end: nanos(duration),
            gap: 1e9 / (rate * peak),
            regular: config.spacing == Spacing::Regular,
            shape: config.shape,
            peak,
            stream: Stream::new(seed, Source::Arrivals, 0),
            phases: Stream::new(seed, Source::Phases, 0),
            is_on: false,
            phase_ends: 0.0,
        }
    }

    fn factor(&mut self) -> f64 {
        match self.shape {
            Shape::Steady => 1.0,
            Shape::Ramp { from, to } => from + (to - from) * self.at / self.end,
            Shape::FlashCrowd { at, lasts, times } => {
                let since = self.at - nanos(at);
                if since >= 0.0 && since < nanos(lasts) { times } else { 1.0 }
            }
            Shape::OnOff { on, off, rest } => {
                while self.at >= self.phase_ends {
                    self.is_on = !self.is_on;
                    let mean = if self.is_on { on } else { off };
                    self.phase_ends += self.phases.exponential(nanos(mean));
                }
                if self.is_on { 1.0 } else { rest }
            }
            Shape::Diurnal { period, amplitude } => {
                1.0 + amplitude * libm::sin(std::f64::consts::TAU * self.at / nanos(period))
            }
        }
    }
}

impl Arrivals for Process {
    /// Where the rate changes, arrivals at the largest rate are thinned: Lewis and Shedler, "Simulation of nonhomogeneous
    /// Poisson processes by thinning", 1979.
    #[inline]
    fn next(&mut self) -> Option<Arrival> {
        loop {
            self.at += if self.regular { self.gap } else { self.stream.exponential(self.gap) };
            if self.at >= self.end {
                return None;
            }
            if matches!(self.shape, Shape::Steady) || self.stream.unit() * self.peak <= self.factor() {
                return Some(Arrival { at: self.at as u64, key: None, work: None });
            }
        }
    }
}

const fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(shape: &str) -> (ArrivalsConfig, Vec<u64>) {
        let config: ArrivalsConfig = toml::from_str(&format!("rate = 1000.0\n{shape}")).unwrap();
        config.check().unwrap();
        let duration = Duration::from_secs(100);
        let mut process = Process::new(&config, 1000.0, duration, 1);
        let times = std::iter::from_fn(|| process.next()).map(|arrival| arrival.at).collect();
        (config, times)
    }

    #[test]
    fn as_many_come_as_the_shape_says() {
        for shape in [
            "",
            "spacing = 'regular'",
            "shape = { type = 'ramp', from = 0.5, to = 2.0 }",
            "shape = { type = 'flash_crowd', at = '20s', lasts = '10s', times = 3.0 }",
            "shape = { type = 'on_off', on = '100ms', off = '100ms', rest = 0.1 }",
            "shape = { type = 'diurnal', period = '20s', amplitude = 0.9 }",
        ] {
            let (config, times) = process(shape);
            let expected = 100_000.0 * config.mean_factor(Duration::from_secs(100));
            assert!((times.len() as f64 / expected - 1.0).abs() < 0.03, "{shape}: {}", times.len());
            assert!(times.is_sorted(), "{shape}");
        }
    }

    #[test]
    fn a_flash_crowd_comes_when_it_should() {
        let (_, times) = process("shape = { type = 'flash_crowd', at = '20s', lasts = '10s', times = 3.0 }");
        let count = |from: u64, to: u64| {
            times.iter().filter(|&&at| (from..to).contains(&(at / 1_000_000_000))).count()
        };
        assert!((count(20, 30) as f64 / 30_000.0 - 1.0).abs() < 0.03);
        assert!((count(10, 20) as f64 / 10_000.0 - 1.0).abs() < 0.05);
    }

    #[test]
    fn impossible_ones_are_refused_by_name() {
        for (text, field) in [
            ("", "arrivals.rate"),
            ("rate = 1.0\nload = 0.5", "arrivals.load"),
            ("rate = -1.0", "arrivals.rate"),
            ("load = inf", "arrivals.load"),
            ("rate = 1.0\ntimes = 0.0", "arrivals.times"),
            (
                "rate = 1.0\nshape = { type = 'diurnal', period = '1s', amplitude = 2.0 }",
                "arrivals.shape.amplitude",
            ),
            (
                "rate = 1.0\nspacing = 'regular'\nshape = { type = 'ramp', from = 1.0, to = 2.0 }",
                "arrivals.spacing",
            ),
        ] {
            let config: ArrivalsConfig = toml::from_str(text).unwrap();
            assert_eq!(config.check().unwrap_err().field, field, "{text}");
        }
    }
}
