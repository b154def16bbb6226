use std::time::Duration;

use thiserror::Error;

/// How long a request waits before it is sent again.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Backoff {
    /// The first wait, before jitter. Default 25 ms, as Envoy.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub base: Duration,
    /// The longest wait; not below `base`. Default 250 ms, as Envoy.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max: Duration,
    /// How each wait grows over the last, in percent: 100 to 1,000. Default 200: it doubles. [`Jitter::Decorrelated`] has
    /// a growth of its own, so there it is left at the default.
    pub growth_percent: u32,
    /// What chance has in it. Default [`Jitter::Full`].
    pub jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(25),
            max: Duration::from_millis(250),
            growth_percent: 200,
            jitter: Jitter::Full,
        }
    }
}

/// What chance has in a wait; `w` is the wait that grows by `growth_percent` from `base` up to `max`.
///
/// Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), names them and shows that full jitter costs the
/// fewest calls, and none the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Jitter {
    /// `w`: all who failed together come back together. For tests.
    None,
    /// 0 to `w`.
    #[default]
    Full,
    /// `w / 2` to `w`.
    Equal,
    /// `base` to three times the last wait, at most `max`.
    Decorrelated,
    /// 0.8 `w` to 1.2 `w`, as gRPC (proposal A6); the part above `max` stays.
    Grpc,
}

impl Backoff {
    /// The wait before the retry of this number, 1 first, after a wait of `last`, for 64 uniform bits. In whole nanoseconds.
    #[must_use]
    pub fn wait(&self, retry: u32, last: Duration, draw: u64) -> Duration {
        let (base, max) = (nanos(self.base), nanos(self.max));
        let between = |low: u64, high: u64| {
            let span = u128::from(high.saturating_sub(low)) + 1;
            low.saturating_add(((u128::from(draw) * span) >> 64) as u64)
        };
        let grown = self.grown(retry);
        let wait = match self.jitter {
            Jitter::None => grown,
            Jitter::Full => between(0, grown),
            Jitter::Equal => between(grown - grown / 2, grown),
            Jitter::Decorrelated => between(base, nanos(last).max(base).saturating_mul(3)).min(max),
            Jitter::Grpc => between(grown - grown / 5, grown.saturating_add(grown / 5)),
        };
        Duration::from_nanos(wait)
    }

    /// The wait without jitter.
    fn grown(&self, retry: u32) -> u64 {
        let (mut wait, max) = (nanos(self.base), nanos(self.max));
        // It reaches the maximum, or never grows: both within 64 · ln 2 / ln 1.01 rounds.
        for _ in 1..retry.min(5000) {
            if wait >= max {
                break;
            }
            wait = (u128::from(wait) * u128::from(self.growth_percent) / 100).min(u128::from(max)) as u64;
        }
        wait.min(max)
    }

    pub(crate) fn check(&self) -> Result<(), BackoffError> {
        if self.base.is_zero() {
            return Err(BackoffError::ZeroBase);
        }
        if self.max < self.base {
            return Err(BackoffError::MaxBelowBase { base: self.base, max: self.max });
        }
        if !(100..=1000).contains(&self.growth_percent) {
            return Err(BackoffError::Growth(self.growth_percent));
        }
        if self.jitter == Jitter::Decorrelated && self.growth_percent != 200 {
            return Err(BackoffError::DecorrelatedGrowth(self.growth_percent));
        }
        Ok(())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A backoff that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BackoffError {
    /// No wait at all.
    #[error("backoff.base is 0: retries without a wait make a storm")]
    ZeroBase,
    /// The longest is shorter than the first.
    #[error("backoff.max is {max:?}, below backoff.base, which is {base:?}")]
    MaxBelowBase {
        /// The first wait.
        base: Duration,
        /// The longest wait.
        max: Duration,
    },
    /// A growth out of range.
    #[error("backoff.growth_percent is {0}: allowed are 100 to 1000")]
    Growth(u32),
    /// A growth that would be ignored.
    #[error("backoff.growth_percent is {0}, which decorrelated jitter ignores: leave it out")]
    DecorrelatedGrowth(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_lie_where_they_should() {
        let ms = Duration::from_millis;
        let range = |jitter, retry, last| {
            let backoff = Backoff { jitter, ..Backoff::default() };
            [0, u64::MAX].map(|draw| backoff.wait(retry, last, draw))
        };
        assert_eq!(range(Jitter::None, 3, ms(0)), [ms(100), ms(100)]);
        assert_eq!(range(Jitter::Full, 3, ms(0)), [ms(0), ms(100)]);
        assert_eq!(range(Jitter::Equal, 3, ms(0)), [ms(50), ms(100)]);
        assert_eq!(range(Jitter::Grpc, 3, ms(0)), [ms(80), ms(120)]);
        assert_eq!(range(Jitter::Decorrelated, 3, ms(40)), [ms(25), ms(120)]);
        assert_eq!(range(Jitter::Decorrelated, 9, ms(240)), [ms(25), ms(250)]);
        assert_eq!(range(Jitter::None, u32::MAX, ms(0)), [ms(250), ms(250)]);
        let endless =
            Backoff { base: Duration::MAX, max: Duration::MAX, growth_percent: 1000, jitter: Jitter::Grpc };
        assert_eq!(endless.wait(u32::MAX, Duration::MAX, u64::MAX), Duration::from_nanos(u64::MAX));
    }
}
