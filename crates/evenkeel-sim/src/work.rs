//! What a request asks of a server: the time that it takes there when it is alone.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Invalid;
use crate::streams::Stream;

/// A distribution of service times. Each attempt draws its own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum WorkConfig {
    /// Always the same.
    Constant {
        /// That.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        value: Duration,
    },
    /// Exponentially distributed.
    Exponential {
        /// The mean.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        mean: Duration,
    },
    /// Normally distributed; what is less than `least` counts as that.
    Normal {
        /// The mean, before the cut.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        mean: Duration,
        /// The standard deviation, before the cut.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        deviation: Duration,
        /// The least.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        least: Duration,
    },
    /// Uniform between two times.
    Uniform {
        /// The least.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        from: Duration,
        /// The most.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        to: Duration,
    },
    /// A time, and an exponentially distributed one on top.
    Shifted {
        /// The least.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        least: Duration,
        /// The mean of what comes on top.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        mean: Duration,
    },
    /// Log-normally distributed.
    LogNormal {
        /// The median.
        #[schemars(with = "evenkeel_types::HumanDuration")]
        #[serde(with = "evenkeel_types::human_duration")]
        median: Duration,
        /// The standard deviation of the logarithm. At most 5.
        sigma: f64,
    },
    /// One of several.
    Mixture {
        /// These.
        parts: Vec<PartConfig>,
    },
}

/// A part of a mixture.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// How probable, beside the others.
    pub share: f64,
    /// What is drawn then.
    pub work: WorkConfig,
}

impl WorkConfig {
    /// # Errors
    ///
    /// [`Invalid`] names the field below `path`.
    pub(crate) fn check(&self, path: &str) -> Result<(), Invalid> {
        let field = |name: &str| format!("{path}.{name}");
        match self {
            Self::Constant { value } => positive(&field("value"), *value),
            Self::Exponential { mean } => positive(&field("mean"), *mean),
            Self::Normal { mean, deviation, least } => {
                positive(&field("mean"), *mean)?;
                not_long(&field("deviation"), *deviation)?;
                positive(&field("least"), *least)
            }
            Self::Uniform { from, to } => {
                positive(&field("to"), *to)?;
                Invalid::unless(from <= to, &field("from"), format_args!("{from:?}"), "at most `to`")
            }
            Self::Shifted { least, mean } => {
                not_long(&field("least"), *least)?;
                positive(&field("mean"), *mean)
            }
            Self::LogNormal { median, sigma } => {
                positive(&field("median"), *median)?;
                let is_fine = (0.0..=5.0).contains(sigma);
                Invalid::unless(is_fine, &field("sigma"), sigma, "0 to 5")
            }
            Self::Mixture { parts } => {
                Invalid::unless(!parts.is_empty(), &field("parts"), "[]", "one part or more")?;
                for (index, part) in parts.iter().enumerate() {
                    let own = field(&format!("parts.{index}"));
                    let is_fine = part.share.is_finite() && part.share > 0.0;
                    Invalid::unless(is_fine, &format!("{own}.share"), part.share, "above 0")?;
                    part.work.check(&format!("{own}.work"))?;
                }
                Ok(())
            }
        }
    }

    /// The mean, in nanoseconds, exactly.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant { value } => nanos(*value),
            Self::Exponential { mean } => nanos(*mean),
            Self::Normal { mean, deviation, least } => {
                let (mean, deviation, least) = (nanos(*mean), nanos(*deviation), nanos(*least));
                if deviation == 0.0 {
                    return mean.max(least);
                }
                let at = (least - mean) / deviation;
                let below = 0.5 * libm::erfc(-at / std::f64::consts::SQRT_2);
                let density = libm::exp(-at * at / 2.0) / std::f64::consts::TAU.sqrt();
                least * below + mean * (1.0 - below) + deviation * density
            }
            Self::Uniform { from, to } => (nanos(*from) + nanos(*to)) / 2.0,
            Self::Shifted { least, mean } => nanos(*least) + nanos(*mean),
            Self::LogNormal { median, sigma } => nanos(*median) * libm::exp(sigma * sigma / 2.0),
            Self::Mixture { parts } => {
                let total: f64 = parts.iter().map(|part| part.share).sum();
                parts.iter().map(|part| part.share * part.work.mean()).sum::<f64>() / total
            }
        }
    }
}

/// A checked distribution, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Work(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Constant(f64),
    Exponential(f64),
    Normal {
        mean: f64,
        deviation: f64,
        least: f64,
    },
    Uniform {
        from: f64,
        to: f64,
    },
    Shifted {
        least: f64,
        mean: f64,
    },
    LogNormal {
        log_median: f64,
        sigma: f64,
    },
    /// With the sum of shares up to each.
    Mixture(Vec<(f64, Work)>),
}

impl Work {
    /// Of settings that are checked.
    #[must_use]
    pub fn new(config: &WorkConfig) -> Self {
        Self(match config {
            WorkConfig::Constant { value } => Kind::Constant(nanos(*value)),
            WorkConfig::Exponential { mean } => Kind::Exponential(nanos(*mean)),
            WorkConfig::Normal { mean, deviation, least } => {
                Kind::Normal { mean: nanos(*mean), deviation: nanos(*deviation), least: nanos(*least) }
            }
            WorkConfig::Uniform { from, to } => Kind::Uniform { from: nanos(*from), to: nanos(*to) },
            WorkConfig::Shifted { least, mean } => Kind::Shifted { least: nanos(*least), mean: nanos(*mean) },
            WorkConfig::LogNormal { median, sigma } => {
                Kind::LogNormal { log_median: libm::log(nanos(*median)), sigma: *sigma }
            }
            WorkConfig::Mixture { parts } => {
                let total: f64 = parts.iter().map(|part| part.share).sum();
                let mut sum = 0.0;
                let cumulated = parts.iter().map(|part| {
                    sum += part.share / total;
                    (sum, Self::new(&part.work))
                });
                Kind::Mixture(cumulated.collect())
            }
        })
    }

    /// One draw, in nanoseconds.
    #[inline]
    pub fn draw(&self, stream: &mut Stream) -> f64 {
        match &self.0 {
            Kind::Constant(value) => *value,
            Kind::Exponential(mean) => stream.exponential(*mean),
            Kind::Normal { mean, deviation, least } => (mean + deviation * stream.normal()).max(*least),
            Kind::Uniform { from, to } => stream.between(*from, *to),
            Kind::Shifted { least, mean } => least + stream.exponential(*mean),
            Kind::LogNormal { log_median, sigma } => libm::exp(log_median + sigma * stream.normal()),
            Kind::Mixture(parts) => {
                let drawn = stream.unit();
                let part = parts.iter().find(|(sum, _)| drawn <= *sum).or(parts.last());
                part.map_or(0.0, |(_, work)| work.draw(stream))
            }
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

pub(crate) fn positive(field: &str, duration: Duration) -> Result<(), Invalid> {
    Invalid::unless(!duration.is_zero(), field, format_args!("{duration:?}"), "above 0s")?;
    not_long(field, duration)
}

pub(crate) fn not_long(field: &str, duration: Duration) -> Result<(), Invalid> {
    Invalid::unless(duration <= LONGEST, field, format_args!("{duration:?}"), "at most 30 days")
}

/// No time of a scenario is longer: what is added up then fits the clock by far.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Source;

    /// The mean of many draws is the mean that is calculated.
    #[test]
    fn means_are_those_of_the_draws() {
        let text = r#"
            constant = { type = "constant", value = "5ms" }
            exponential = { type = "exponential", mean = "70ms" }
            normal = { type = "normal", mean = "65ms", deviation = "65ms", least = "1300us" }
            uniform = { type = "uniform", from = "1ms", to = "10ms" }
            shifted = { type = "shifted", least = "10ms", mean = "9ms" }
            log_normal = { type = "log_normal", median = "20ms", sigma = 0.8 }
            [mixture]
            type = "mixture"
            parts = [
                { share = 98, work = { type = "uniform", from = "1ms", to = "10ms" } },
                { share = 2, work = { type = "shifted", least = "10ms", mean = "9ms" } },
            ]
        "#;
        let all: std::collections::BTreeMap<String, WorkConfig> = toml::from_str(text).unwrap();
        for (name, config) in all {
            config.check(&name).unwrap();
            let work = Work::new(&config);
            let mut stream = Stream::new(1, Source::Work, 0);
            let mean = (0..400_000).map(|_| work.draw(&mut stream)).sum::<f64>() / 400_000.0;
            assert!((mean / config.mean() - 1.0).abs() < 0.01, "{name}: {mean} {}", config.mean());
        }
    }

    #[test]
    fn impossible_ones_are_refused_by_name() {
        for (text, field) in [
            ("type = 'constant'\nvalue = '0s'", "work.value"),
            ("type = 'uniform'\nfrom = '2s'\nto = '1s'", "work.from"),
            ("type = 'log_normal'\nmedian = '2s'\nsigma = 9.0", "work.sigma"),
            ("type = 'mixture'\nparts = []", "work.parts"),
            (
                "type = 'mixture'\nparts = [{ share = 0.0, work = { type = 'constant', value = '1s' } }]",
                "work.parts.0.share",
            ),
        ] {
            let config: WorkConfig = toml::from_str(text).unwrap();
            assert_eq!(config.check("work").unwrap_err().field, field);
        }
    }
}
