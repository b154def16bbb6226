use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel::{Ratio, Timestamp, Verdict};
use evenkeel_stats::{Counts, RollingCounter, WindowShape, WindowedQuantiles};

/// What was really sent to an endpoint in the last minute, and how it went.
///
/// A cluster counts no picks, since most programs need none counted. A proxy that wants to see the actual shares and the quantiles of
/// latency keeps one of these in the payload `T` of its endpoints: about 17 KiB each. Recording is lock-free.
pub struct Meter {
    picks: RollingCounter,
    ends: RollingCounter,
    latency: WindowedQuantiles,
    /// When the first request came; [`Timestamp::MAX`] before.
    begun: AtomicU64,
}

/// What a meter says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// Requests that were sent there within the window.
    pub(crate) picks: u64,
    pub(crate) per_second: f64,
    pub(crate) ends: Counts,
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
}

impl Meter {
    /// Nothing was sent yet.
    #[must_use]
    pub fn new() -> Self {
        let rolling = || RollingCounter::new(SHAPE).expect("the shape has buckets of some width");
        Self {
            picks: rolling(),
            ends: rolling(),
            latency: WindowedQuantiles::new(HALF).expect("the window has a width"),
            begun: AtomicU64::new(Timestamp::MAX.as_nanos()),
        }
    }

    /// A request is sent there, at `now` by the clock of the cluster.
    pub fn picked(&self, now: Timestamp) {
        if self.begun.load(Ordering::Relaxed) > now.as_nanos() {
            self.begun.fetch_min(now.as_nanos(), Ordering::Relaxed);
        }
        self.picks.record_success(now);
    }

    /// A request has ended that took so long. One that says nothing about the endpoint, and one whose answer was that there is too much
    /// to do, count as no failure; only what went well counts for the latency, since failing fast is not being fast.
    pub fn ended(&self, taken: Duration, verdict: Verdict, now: Timestamp) {
        match verdict {
            Verdict::Failure => self.ends.record_failure(now),
            Verdict::Success => {
                self.ends.record_success(now);
                self.latency.record(taken, now);
            }
            Verdict::Overload { .. } | Verdict::Neutral => self.ends.record_success(now),
        }
    }

    pub(crate) fn read(&self, now: Timestamp) -> Reading {
        let picks = self.picks.counts(now).total();
        let begun = Timestamp::from_nanos(self.begun.load(Ordering::Relaxed));
        // In the first minute there is less than a minute to divide by.
        let span = now.saturating_since(begun).clamp(Duration::from_secs(1), WINDOW);
        Reading {
            picks,
            per_second: picks as f64 / span.as_secs_f64(),
            ends: self.ends.counts(now),
            p50: self.latency.quantile(Ratio::HALF, now),
            p99: self.latency.quantile(P99, now),
        }
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

const P99: Ratio = match Ratio::percent(99) {
    Ok(ratio) => ratio,
    Err(_) => Ratio::ONE,
};
const WINDOW: Duration = Duration::from_secs(60);
const SHAPE: WindowShape = WindowShape { buckets: 60, width: Duration::from_secs(1) };
/// Quantiles are of the last one to two of these.
const HALF: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_of_the_last_minute() {
        let (meter, second) = (Meter::new(), Timestamp::from_secs);
        assert_eq!(meter.read(second(10)), Reading::default());
        for i in 0..30 {
            meter.picked(second(10 + i));
            meter.ended(Duration::from_millis(5), Verdict::Success, second(10 + i));
        }
        meter.ended(Duration::from_secs(9), Verdict::Failure, second(40));
        let reading = meter.read(second(40));
        assert_eq!((reading.picks, reading.per_second), (30, 1.0));
        assert_eq!(reading.ends, Counts { successes: 30, failures: 1 });
        let p99 = reading.p99.expect("there were requests");
        assert!(p99 > Duration::from_millis(4) && p99 < Duration::from_millis(6), "{p99:?}");
        assert_eq!(meter.read(second(200)).picks, 0);
        assert_eq!(meter.read(second(200)).p99, None);
    }

    #[test]
    fn a_clock_that_goes_back_harms_nothing() {
        let meter = Meter::new();
        meter.picked(Timestamp::from_secs(50));
        meter.picked(Timestamp::ORIGIN);
        assert_eq!(meter.read(Timestamp::ORIGIN).picks, 2);
    }
}
