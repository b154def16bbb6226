//! What takes part in the requests of one endpoint besides the policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_breaker::Breaker;
use evenkeel_health::outlier::OutlierCounters;
use evenkeel_limit::Limiter;
use evenkeel_stats::PeakEwma;
use evenkeel_types::Timestamp;

use crate::control::Control;
use crate::factor::Factor;

/// Breaker, limit and counters of one endpoint, side by side: every request there meets them all, and with many endpoints
/// the way to the memory costs more than what is done in it. An endpoint without any of them has no such row.
///
/// In the order of the declaration, since what requests read and write has to lie together.
#[repr(C)]
pub(crate) struct Parts {
    pub(crate) breaker: Option<Breaker>,
    pub(crate) limiter: Option<Limiter>,
    /// Used where the cluster looks for outliers.
    counters: OutlierCounters,
    pub(crate) latency: Option<Box<PeakEwma>>,
    /// When its ejection ends, in nanoseconds.
    ejected_until: AtomicU64,
    /// What outlier detection leaves it of its weight: on probation and on the ramp after it.
    pub(crate) outlier_factor: Factor,
}

impl Parts {
    /// The row of a new endpoint, if the cluster has it take part in anything. The waits of its breaker are spread by the hash
    /// of its name.
    pub(crate) fn new(control: &Control, id_hash: u64, token: u64) -> Option<Arc<Self>> {
        let (breaker, limiter) = (control.new_breaker(id_hash), control.new_limiter(token));
        let latency = control.new_latency();
        let has_one = breaker.is_some() || limiter.is_some() || latency.is_some();
        (has_one || control.outliers.is_some()).then(|| {
            Arc::new(Self {
                breaker,
                limiter,
                counters: OutlierCounters::new(),
                latency,
                ejected_until: AtomicU64::new(u64::MAX),
                outlier_factor: Factor::full(),
            })
        })
    }

    #[inline]
    pub(crate) const fn counters(&self) -> &OutlierCounters {
        &self.counters
    }

    pub(crate) fn set_ejected_until(&self, until: Timestamp) {
        self.ejected_until.store(until.as_nanos(), Ordering::Relaxed);
    }

    pub(crate) fn ejected_until(&self) -> Timestamp {
        Timestamp::from_nanos(self.ejected_until.load(Ordering::Relaxed))
    }
}

/// The counters in a row, as the detector holds them.
pub(crate) struct Counted(pub(crate) Arc<Parts>);

impl AsRef<OutlierCounters> for Counted {
    fn as_ref(&self) -> &OutlierCounters {
        &self.0.counters
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Counts of the reference before it included, so that what requests touch is on two lines at any place.
    #[test]
    fn what_requests_touch_lies_together() {
        let end = std::mem::offset_of!(Parts, counters) + 2 * size_of::<u64>();
        assert!(end <= 80, "{end}");
        assert!(size_of::<Parts>() <= 128, "{}", size_of::<Parts>());
    }
}
