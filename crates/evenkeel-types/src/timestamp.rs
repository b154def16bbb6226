use std::time::Duration;

/// A point in monotonic time: nanoseconds since an arbitrary origin of the caller's choice.
///
/// It fits an atomic, a state word and a replay file. All arithmetic saturates: 2^64 ns are 584 years, and a deadline
/// past the end of time is the end of time. Two callers' timestamps may arrive out of order, so every use in evenkeel
/// takes the later of what it knows and what it is told, and an age is never negative.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_types::Timestamp;
///
/// let start = Timestamp::from_nanos(5);
/// let later = start.saturating_add(Duration::from_nanos(10));
/// assert_eq!(later.saturating_since(start), Duration::from_nanos(10));
/// assert_eq!(start.saturating_since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin: zero nanoseconds.
    pub const ORIGIN: Self = Self(0);
    /// The end of time. As a deadline it means "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The point `secs` seconds after the origin.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This point moved later by `duration`; [`Timestamp::MAX`] at most.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(duration)))
    }

    /// This point moved earlier by `duration`; [`Timestamp::ORIGIN`] at least.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_nanos(duration)))
    }

    /// The time that has passed since `earlier`; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Something that tells the time when it is asked: a [`Timestamp`], or a closure that reads a clock.
///
/// An operation that needs the time only now and then takes `impl Now`, so that its fast path costs no clock read.
///
/// ```
/// use evenkeel_types::{Now, Timestamp};
/// fn sometimes(now: impl Now, needed: bool) -> Option<Timestamp> {
///     needed.then(|| now.now())
/// }
/// assert_eq!(sometimes(Timestamp::from_nanos(7), true), Some(Timestamp::from_nanos(7)));
/// assert_eq!(sometimes(|| unreachable!("not asked for"), false), None);
/// ```
pub trait Now {
    /// The present, as the caller sees it.
    fn now(self) -> Timestamp;
}

impl Now for Timestamp {
    fn now(self) -> Timestamp {
        self
    }
}

impl<F: FnOnce() -> Timestamp> Now for F {
    fn now(self) -> Timestamp {
        self()
    }
}

const fn saturating_nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::ORIGIN.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::ORIGIN.saturating_sub(Duration::from_nanos(1)), Timestamp::ORIGIN);
        assert_eq!(Timestamp::from_secs(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_millis(2), Timestamp::from_nanos(2_000_000));
    }
}
