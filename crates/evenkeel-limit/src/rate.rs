use std::time::Duration;

use evenkeel_types::Timestamp;
use thiserror::Error;

use crate::error::{LimitConfigError, check, check_span};
use crate::sync::{AtomicU64, Ordering};

/// How often something may happen.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RateConfig {
    /// So many in each `per`, at least 1 and at most one a microsecond. Default 100.
    pub limit: u32,
    /// Default 1 s; up to 24 h.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub per: Duration,
    /// So many at once after a pause, 1 to 1,000,000. Default 100, a second's worth: clients come in bursts, and one that
    /// was silent for a second has a second's worth to say.
    pub burst: u32,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self { limit: 100, per: Duration::from_secs(1), burst: 100 }
    }
}

impl RateConfig {
    pub(crate) fn shape(&self) -> Result<Shape, LimitConfigError> {
        let spans = Duration::from_nanos(1)..=Duration::from_secs(24 * 3600);
        check_span(spans.contains(&self.per), "per", self.per, "1ns to 24h")?;
        check((1..=1_000_000).contains(&self.burst), "burst", self.burst, "1 to 1000000")?;
        let most = self.per.as_nanos() / 1000;
        let limit = u128::from(self.limit);
        check((1..=most).contains(&limit), "limit", limit, "1 to one a microsecond")?;
        let each = self.per.as_nanos().div_ceil(limit) as u64;
        Ok(Shape { each, burst: each.saturating_mul(u64::from(self.burst)) })
    }
}

/// Nanoseconds from one to the next, and of a whole burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) each: u64,
    pub(crate) burst: u64,
}

/// A token bucket as one number: the generic cell rate algorithm (GCRA) of ITU-T I.371. Shared by all threads.
///
/// ```text
/// t = max(arrival, now) + each      the theoretical arrival of the next one, if this one is let through
/// t - now ≤ burst × each:           let through, arrival = t
/// otherwise:                        refused until t - burst × each
/// ```
///
/// `each` is `per / limit` in whole nanoseconds, rounded up, so that the rate is never exceeded and falls short of it by at
/// most a thousandth. A time that goes back refills nothing. 24 bytes; a refusal writes nothing.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_limit::{RateConfig, RateLimit};
/// use evenkeel_types::Timestamp;
///
/// let rate = RateLimit::new(&RateConfig { limit: 10, per: Duration::from_secs(1), burst: 2 })?;
/// let now = Timestamp::from_secs(1);
/// assert!(rate.try_take(now).is_ok() && rate.try_take(now).is_ok());
/// assert_eq!(rate.try_take(now).unwrap_err().retry_at, Timestamp::from_millis(1100));
/// # Ok::<(), evenkeel_limit::LimitConfigError>(())
/// ```
#[derive(Debug)]
pub struct RateLimit {
    shape: Shape,
    arrival: AtomicU64,
}

/// Too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("rate limit reached")]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RateRefusal {
    /// From when on, inclusive, it would be let through if nobody comes before. [`Timestamp::MAX`] if more is asked for than
    /// a burst holds.
    pub retry_at: Timestamp,
}

impl RateLimit {
    /// A full bucket.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &RateConfig) -> Result<Self, LimitConfigError> {
        Ok(Self { shape: config.shape()?, arrival: AtomicU64::new(0) })
    }

    /// Takes one.
    ///
    /// # Errors
    ///
    /// [`RateRefusal`] says from when on to come back.
    #[inline]
    pub fn try_take(&self, now: Timestamp) -> Result<(), RateRefusal> {
        take(&self.arrival, self.shape, 1, now)
    }

    /// Takes so many at once, or none.
    ///
    /// # Errors
    ///
    /// As [`try_take`](Self::try_take).
    pub fn try_take_many(&self, count: u32, now: Timestamp) -> Result<(), RateRefusal> {
        take(&self.arrival, self.shape, count, now)
    }

    /// How many could be taken now.
    #[must_use]
    pub fn available(&self, now: Timestamp) -> u32 {
        let ahead = self.arrival.load(Ordering::Relaxed).saturating_sub(now.as_nanos());
        u32::try_from(self.shape.burst.saturating_sub(ahead) / self.shape.each).unwrap_or(u32::MAX)
    }
}

pub(crate) fn take(arrival: &AtomicU64, shape: Shape, count: u32, now: Timestamp) -> Result<(), RateRefusal> {
    let cost = shape.each.saturating_mul(u64::from(count));
    if cost > shape.burst {
        return Err(RateRefusal { retry_at: Timestamp::MAX });
    }
    let now = now.as_nanos();
    let mut seen = arrival.load(Ordering::Relaxed);
    loop {
        let next = seen.max(now).saturating_add(cost);
        let ready = next.saturating_sub(shape.burst);
        // At the end of time nothing more is let through, rather than everything.
        if ready > now || next == u64::MAX {
            return Err(RateRefusal { retry_at: Timestamp::from_nanos(ready) });
        }
        match arrival.compare_exchange_weak(seen, next, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return Ok(()),
            Err(present) => seen = present,
        }
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RateLimit>() <= 24);
