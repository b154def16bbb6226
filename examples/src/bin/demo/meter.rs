use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel::{EndpointId, Ratio, Timestamp};
use evenkeel_stats::WindowedQuantiles;

/// What the proxy counts at one backend, over all its incarnations.
#[derive(Debug)]
pub(crate) struct Meter {
    tries: AtomicU64,
    /// From when on nothing may be sent there; [`Timestamp::MAX`] while it is not drained.
    drained_at: AtomicU64,
    tries_while_drained: AtomicU64,
    latency: WindowedQuantiles,
}

impl Meter {
    fn new() -> Self {
        Self {
            tries: AtomicU64::new(0),
            drained_at: AtomicU64::new(Timestamp::MAX.as_nanos()),
            tries_while_drained: AtomicU64::new(0),
            latency: WindowedQuantiles::new(LATENCY_WINDOW).expect("the width is above zero"),
        }
    }

    /// Counts a try whose pick began at `asked`.
    pub(crate) fn count_try(&self, asked: Timestamp) {
        self.tries.fetch_add(1, Ordering::Relaxed);
        if asked.as_nanos() > self.drained_at.load(Ordering::Acquire) {
            self.tries_while_drained.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From now on, a pick that begins must not come here.
    pub(crate) fn mark_drained(&self, now: Timestamp) {
        self.drained_at.store(now.as_nanos(), Ordering::Release);
    }

    pub(crate) fn record_latency(&self, taken: Duration, now: Timestamp) {
        self.latency.record(taken, now);
    }

    pub(crate) fn tries(&self) -> u64 {
        self.tries.load(Ordering::Relaxed)
    }

    pub(crate) fn tries_while_drained(&self) -> u64 {
        self.tries_while_drained.load(Ordering::Relaxed)
    }

    /// A quantile of the last one to two seconds.
    pub(crate) fn latency(&self, q: Ratio, now: Timestamp) -> Option<Duration> {
        self.latency.quantile(q, now)
    }
}

/// The meters of all backends that were ever seen, by id.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<BTreeMap<EndpointId, Arc<Meter>>>);

impl Meters {
    pub(crate) fn of(&self, id: &EndpointId) -> Arc<Meter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meters.entry(id.clone()).or_insert_with(|| Arc::new(Meter::new())))
    }

    pub(crate) fn all(&self) -> BTreeMap<EndpointId, Arc<Meter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many tries went where so far.
    pub(crate) fn tries(&self) -> BTreeMap<EndpointId, u64> {
        self.all().into_iter().map(|(id, meter)| (id, meter.tries())).collect()
    }
}

/// Short enough to see a change at once, long enough to hold a few dozen requests of each backend.
const LATENCY_WINDOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pick_that_began_before_the_drain_is_no_offence() {
        let meter = Meter::new();
        meter.count_try(Timestamp::from_secs(1));
        meter.mark_drained(Timestamp::from_secs(2));
        meter.count_try(Timestamp::from_secs(2));
        assert_eq!((meter.tries(), meter.tries_while_drained()), (2, 0));
        meter.count_try(Timestamp::from_secs(3));
        assert_eq!((meter.tries(), meter.tries_while_drained()), (3, 1));
    }
}
