//! How long a breaker stays open.

use std::time::Duration;

use evenkeel_types::SplitMix64;

/// How the open time grows when a breaker opens again and again.
///
/// The attempt is 0 for the first opening, and one more for each that follows before the growth is forgotten.
///
/// | growth | wait of attempt k |
/// |---|---|
/// | fixed | `open_for` |
/// | linear | `open_for × (k + 1)`, as Envoy ejects |
/// | exponential | `open_for × factor^k` |
///
/// and `max` at most. Jitter is drawn afterwards, from the seed, the salt of the breaker and the attempt, in nanoseconds
/// (tower and linkerd draw whole seconds: at a base of 1 s and a jitter of half all their waits are equal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Backoff {
    /// How it grows. Default: doubled each time.
    pub growth: Growth,
    /// The longest wait. Default 5 min, as Finagle and Envoy: a dead endpoint is then asked 288 times a day.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max: Duration,
    /// What is drawn. Default: equal jitter, as Finagle, so that a fleet does not probe in step and no wait is nothing.
    pub jitter: Jitter,
    /// When the growth is forgotten. Default: when the breaker closes, as Finagle, linkerd and Polly.
    pub forget: Forget,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            growth: Growth::default(),
            max: Duration::from_secs(300),
            jitter: Jitter::Equal,
            forget: Forget::OnClose,
        }
    }
}

/// How waits grow, before jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Growth {
    /// Not at all.
    Fixed,
    /// By the first wait each time.
    Linear,
    /// By a factor each time.
    Exponential {
        /// The factor, 2 to 100.
        factor: u32,
    },
}

impl Default for Growth {
    fn default() -> Self {
        Self::Exponential { factor: 2 }
    }
}

/// What is drawn; `wait` is what the growth says, and draws are uniform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Jitter {
    /// Nothing.
    None,
    /// From `wait / 2` to `wait`.
    #[default]
    Equal,
    /// From 0 to `wait`.
    Full,
    /// From `open_for` to three times the wait before, `max` at most; the growth is not looked at. The first is
    /// `open_for`. (Marc Brooker, "Exponential Backoff And Jitter", AWS, 2015.)
    Decorrelated,
}

/// When a breaker forgets that it has opened before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Forget {
    /// When it closes.
    #[default]
    OnClose,
    /// One level for each clean period **with traffic**: a success at least this long after it closed, after the last
    /// failure, or after the last level was forgotten.
    ///
    /// Time alone proves nothing, as Envoy's multiplier shows that shrinks while nobody asks (envoyproxy/envoy#21142).
    Clean {
        /// How long a period is.
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
        period: Duration,
        /// After so many clean periods in a row everything is forgotten. Left out: never all at once.
        #[cfg_attr(feature = "serde", serde(default))]
        reset_after: Option<u32>,
    },
}

/// The wait of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    first: Duration,
    backoff: Option<Backoff>,
    seed: u64,
}

impl Wait {
    pub(crate) fn new(first: Duration, backoff: Option<Backoff>, seed: u64) -> Self {
        Self { first, backoff, seed }
    }

    pub(crate) fn backoff(&self) -> Option<&Backoff> {
        self.backoff.as_ref()
    }

    pub(crate) fn of(&self, attempt: u32, salt: u64) -> Duration {
        let Some(backoff) = self.backoff else { return self.first };
        match backoff.jitter {
            Jitter::None => self.grown(&backoff, attempt),
            Jitter::Equal => {
                let wait = self.grown(&backoff, attempt);
                let half = wait / 2;
                half.saturating_add(self.part(wait - half, attempt, salt))
            }
            Jitter::Full => self.part(self.grown(&backoff, attempt), attempt, salt),
            Jitter::Decorrelated => self.decorrelated(&backoff, attempt, salt),
        }
    }

    fn grown(&self, backoff: &Backoff, attempt: u32) -> Duration {
        let times = match backoff.growth {
            Growth::Fixed => 1,
            Growth::Linear => attempt.saturating_add(1),
            Growth::Exponential { factor } => factor.saturating_pow(attempt),
        };
        self.first.saturating_mul(times).min(backoff.max)
    }

    /// Each wait depends on the one before it; all are drawn again, and none has to be kept. After so many the chain has
    /// forgotten where it began.
    fn decorrelated(&self, backoff: &Backoff, attempt: u32, salt: u64) -> Duration {
        let mut wait = self.first;
        for turn in attempt.saturating_sub(CHAIN) + 1..=attempt {
            let span = wait.saturating_mul(3).saturating_sub(self.first);
            wait = self.first.saturating_add(self.part(span, turn, salt)).min(backoff.max);
        }
        wait
    }

    /// A uniform part of `whole`, from nothing to all of it.
    fn part(&self, whole: Duration, attempt: u32, salt: u64) -> Duration {
        let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
        let draw = draw(self.seed, salt, attempt);
        Duration::from_nanos(((u128::from(draw) * (u128::from(nanos) + 1)) >> u64::BITS) as u64)
    }
}

/// A number that belongs to these three: mixed after each, so that neighbours in any of them are strangers.
fn draw(seed: u64, salt: u64, attempt: u32) -> u64 {
    let seeded = SplitMix64::mix(seed.wrapping_add(SplitMix64::STEP));
    let salted = SplitMix64::mix(seeded.wrapping_add(salt).wrapping_add(SplitMix64::STEP));
    SplitMix64::mix(salted.wrapping_add(u64::from(attempt)).wrapping_add(SplitMix64::STEP))
}

const CHAIN: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(first: Duration, growth: Growth, jitter: Jitter) -> Wait {
        Wait::new(first, Some(Backoff { growth, jitter, ..Backoff::default() }), 7)
    }

    const SECOND: Duration = Duration::from_secs(1);
    const DOUBLED: Growth = Growth::Exponential { factor: 2 };

    #[test]
    fn waits_grow_to_their_maximum_and_never_overflow() {
        let seconds = |growth, attempt| wait(SECOND, growth, Jitter::None).of(attempt, 0).as_secs();
        assert_eq!([0, 1, 2, 8, 9, u32::MAX].map(|k| seconds(DOUBLED, k)), [1, 2, 4, 256, 300, 300]);
        assert_eq!([0, 1, 2, u32::MAX].map(|k| seconds(Growth::Linear, k)), [1, 2, 3, 300]);
        assert_eq!([0, 7, u32::MAX].map(|k| seconds(Growth::Fixed, k)), [1, 1, 1]);
        let for_ever = Backoff { max: Duration::MAX, jitter: Jitter::Decorrelated, ..Backoff::default() };
        for attempt in [0, 1, 63, 64, 65, 1000, u32::MAX] {
            let wait = Wait::new(Duration::MAX, Some(for_ever), 0).of(attempt, 3);
            assert_eq!(wait, Duration::MAX);
        }
    }

    /// In tower 0.5 and linkerd a base of 1 s and a jitter of half give the same wait each time, and all backoffs of one
    /// maker the same sequence.
    #[test]
    fn jitter_is_uniform_in_nanoseconds_and_its_own_for_each_breaker_and_attempt() {
        let full = wait(SECOND, Growth::Fixed, Jitter::Full);
        for of in [|k: u32| (k, 0_u64), |k: u32| (0, u64::from(k)), |k: u32| (k % 100, u64::from(k / 100))] {
            let mut tenths = [0_u32; 10];
            let mut last_digits = [0_u32; 10];
            for number in 0..100_000 {
                let (attempt, salt) = of(number);
                let nanos = full.of(attempt, salt).as_nanos();
                tenths[(nanos / 100_000_001) as usize] += 1;
                last_digits[(nanos % 10) as usize] += 1;
            }
            for count in tenths.into_iter().chain(last_digits) {
                // Five standard deviations of a fair ten-sided die.
                assert!(count.abs_diff(10_000) < 475, "{tenths:?} {last_digits:?}");
            }
        }
    }

    #[test]
    fn jitter_stays_in_its_range() {
        for attempt in 0..2000 {
            let grown = wait(SECOND, DOUBLED, Jitter::None).of(attempt, 0);
            let equal = wait(SECOND, DOUBLED, Jitter::Equal).of(attempt, 5);
            assert!(equal >= grown / 2 && equal <= grown, "{attempt}");
            assert!(wait(SECOND, DOUBLED, Jitter::Full).of(attempt, 5) <= grown);
            let decorrelated = wait(SECOND, DOUBLED, Jitter::Decorrelated).of(attempt, 5);
            assert!(decorrelated >= SECOND && decorrelated <= Duration::from_secs(300), "{attempt}");
        }
    }

    #[test]
    fn the_next_decorrelated_wait_is_at_most_three_times_the_last() {
        let wait = wait(SECOND, DOUBLED, Jitter::Decorrelated);
        for salt in 0..100 {
            for attempt in 0..CHAIN {
                assert!(wait.of(attempt + 1, salt) <= wait.of(attempt, salt) * 3);
            }
        }
    }
}
