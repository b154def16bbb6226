use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use evenkeel_types::Timestamp;

/// Where the façade gets the time from. Monotonic; the origin is the clock's own.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system, counted from when this value was made. About 19 ns a read.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock that stands at [`Timestamp::ORIGIN`] now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    #[inline]
    fn now(&self) -> Timestamp {
        let since = Instant::now().saturating_duration_since(self.origin);
        // 2^64 ns are 584 years after this value was made: a multiplication will do, where `as_nanos` takes 128 bits.
        Timestamp::from_nanos(
            since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(since.subsec_nanos().into()),
        )
    }
}

/// A clock that stands still until it is told to move: for tests and simulations.
///
/// ```
/// use std::time::Duration;
/// use evenkeel::{Clock, ManualClock, Timestamp};
/// let clock = ManualClock::default();
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.now(), Timestamp::from_secs(2));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Moves on by `duration`.
    pub fn advance(&self, duration: std::time::Duration) {
        self.set(self.now().saturating_add(duration));
    }

    /// Moves to `now`, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_nanos(), Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Acquire))
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}
