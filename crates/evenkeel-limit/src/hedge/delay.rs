use std::fmt;
use std::time::Duration;

use evenkeel_stats::Quantiles;
use evenkeel_types::{Ratio, Timestamp};

use crate::hedge::HedgeConfig;
use crate::sync::{AtomicU64, Mutex, Ordering, try_lock};

/// How long to wait before a second request: a quantile of the latencies of late.
///
/// ```text
/// delay = quantile 1 - max_extra_load of the last 3 windows, at least min_delay
/// none:   before the first refresh, without samples, and where it would be off_at or more
/// ```
///
/// It is computed anew every `refresh` by whoever records then; asking is one load. Source: `BackupRequestFilter` of
/// Finagle.
pub struct HedgeDelay {
    quantile: Ratio,
    min_delay: Duration,
    off_at: Duration,
    refresh: Duration,
    window: Duration,
    /// In nanoseconds; zero is none.
    delay: AtomicU64,
    /// When it is computed anew; zero before the first sample.
    refresh_at: AtomicU64,
    /// The number of the newest window.
    newest: AtomicU64,
    windows: [Quantiles; WINDOWS],
    /// Where the windows are added up, and the lock of whoever does it.
    sum: Mutex<Quantiles>,
}

impl HedgeDelay {
    /// The settings are checked already.
    pub(crate) fn new(config: &HedgeConfig) -> Self {
        Self {
            quantile: quantile(config.max_extra_load),
            min_delay: config.min_delay,
            off_at: config.off_at,
            refresh: config.refresh,
            window: config.window,
            delay: AtomicU64::new(0),
            refresh_at: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            windows: std::array::from_fn(|_| Quantiles::new()),
            sum: Mutex::new(Quantiles::new()),
        }
    }

    /// The delay, if there shall be a second request at all.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        let nanos = self.delay.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Takes a latency in: of a success, of a timeout, of a request that lost against its double. Not of a fast failure, which
    /// would shorten the delay just when the endpoint has trouble.
    pub fn record(&self, latency: Duration, now: Timestamp) {
        self.enter(now);
        let number = self.newest.load(Ordering::Acquire) as usize;
        self.windows[number % WINDOWS].record(latency);
        self.refresh_if_due(now);
    }

    /// Computes the delay anew, if it is time to.
    pub fn refresh_if_due(&self, now: Timestamp) {
        if now.as_nanos() < self.refresh_at.load(Ordering::Relaxed) {
            return;
        }
        let Some(sum) = try_lock(&self.sum) else { return };
        let is_first = self.refresh_at.load(Ordering::Relaxed) == 0;
        self.refresh_at.store(now.saturating_add(self.refresh).as_nanos(), Ordering::Relaxed);
        if is_first {
            return;
        }
        self.empty_old(now);
        sum.reset();
        self.windows.iter().for_each(|window| sum.merge_from(window));
        let delay = sum.quantile(self.quantile).map(|delay| delay.max(self.min_delay));
        let delay = delay.filter(|delay| *delay < self.off_at).unwrap_or_default();
        self.delay.store(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes another share over; it counts from the next refresh on, and no share at all at once.
    pub(crate) fn set_max_extra_load(&mut self, share: Ratio) {
        self.quantile = quantile(share);
        if share == Ratio::ZERO {
            self.delay.store(0, Ordering::Relaxed);
        }
    }

    fn number(&self, now: Timestamp) -> u64 {
        now.as_nanos() / u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    fn enter(&self, now: Timestamp) {
        if self.number(now) > self.newest.load(Ordering::Acquire)
            && let Some(_alone) = try_lock(&self.sum)
        {
            self.empty_old(now);
        }
    }

    /// Called under the lock.
    fn empty_old(&self, now: Timestamp) {
        let (newest, number) = (self.newest.load(Ordering::Acquire), self.number(now));
        if number <= newest {
            return;
        }
        for offset in 0..(number - newest).min(WINDOWS as u64) {
            self.windows[((number - offset) % WINDOWS as u64) as usize].reset();
        }
        self.newest.store(number, Ordering::Release);
    }
}

fn quantile(max_extra_load: Ratio) -> Ratio {
    let rest = Ratio::ONE.parts_per_million() - max_extra_load.parts_per_million();
    Ratio::new(f64::from(rest) / 1e6).unwrap_or(Ratio::ONE)
}

impl fmt::Debug for HedgeDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeDelay").field("delay", &self.get()).finish_non_exhaustive()
    }
}

const WINDOWS: usize = 3;
