use std::time::Duration;

use evenkeel_types::Timestamp;

/// A token bucket for queries: a burst at once, then one at a time.
///
/// Consul wakes a query for a service that does not exist at every change of any service (hashicorp/consul#3890), and
/// each answer is a whole set, so a busy catalogue would otherwise be asked without a pause.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_consul::Pace;
/// use evenkeel_types::Timestamp;
///
/// let mut pace = Pace::new(2, Duration::from_secs(1));
/// let now = Timestamp::from_secs(5);
/// assert_eq!((pace.take(now), pace.take(now)), (Duration::ZERO, Duration::ZERO));
/// assert_eq!(pace.take(now), Duration::from_secs(1));
/// ```
#[derive(Clone, Debug)]
pub struct Pace {
    burst: u32,
    refill: Duration,
    /// When the bucket is full again.
    full_at: Timestamp,
}

impl Pace {
    /// A full bucket of `burst` tokens, one of which comes back every `refill`.
    #[must_use]
    pub const fn new(burst: u32, refill: Duration) -> Self {
        Self { burst, refill, full_at: Timestamp::ORIGIN }
    }

    /// Takes a token, and says how long to wait for it.
    pub fn take(&mut self, now: Timestamp) -> Duration {
        self.full_at = self.full_at.max(now).saturating_add(self.refill);
        let room = self.refill.saturating_mul(self.burst);
        self.full_at.saturating_since(now).saturating_sub(room)
    }
}
