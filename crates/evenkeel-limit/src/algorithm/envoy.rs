use std::time::Duration;

use evenkeel_stats::Quantiles;
use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

use crate::EnvoyGradient;
use crate::algorithm::{Sample, nanos};
use crate::draw::unit;

/// ```text
///            sample                            interval over          probe due, or 5 × at min
/// Measuring  counted; enough: Following        –                      –
///            (or the time is over)
/// Following  counted                           limit moves            Measuring
/// ```
///
/// What began before the last measuring is not heard in either.
///
/// How long a drop took says nothing about latency: a full server answers within a millisecond. So measuring does not hear it,
/// and following takes it for slower than every answer; and where more than a few are dropped the limit does not grow.
pub(crate) struct EnvoyState {
    config: EnvoyGradient,
    draws: SplitMix64,
    /// Since when calls count; `None` before the first sample or tick.
    epoch: Option<Timestamp>,
    phase: Phase,
    unloaded: Option<Duration>,
    latencies: Quantiles,
    /// How many those are: the histogram would have to add up.
    counted: u32,
    /// How many of them were dropped.
    dropped: u32,
    /// The latest time told.
    now: Timestamp,
    is_first: bool,
}

#[derive(Debug)]
enum Phase {
    /// With the limit that comes back afterwards.
    Measuring {
        limit: u32,
    },
    Following {
        interval_ends: Timestamp,
        probe_at: Timestamp,
        times_at_min: u32,
    },
}

impl EnvoyState {
    pub(crate) fn new(config: &EnvoyGradient, seed: u64) -> Self {
        Self {
            config: config.clone(),
            draws: SplitMix64::new(seed),
            epoch: None,
            phase: Phase::Measuring { limit: config.min },
            unloaded: None,
            latencies: Quantiles::new(),
            counted: 0,
            dropped: 0,
            now: Timestamp::ORIGIN,
            is_first: true,
        }
    }

    pub(crate) fn sample(&mut self, limit: u32, sample: &Sample, now: Timestamp) -> u32 {
        let epoch = *self.epoch.get_or_insert(sample.started);
        let limit = self.tick(limit, now);
        if sample.started < epoch || self.epoch != Some(epoch) {
            return limit;
        }
        if sample.dropped && self.is_measuring() {
            return limit;
        }
        self.latencies.record(if sample.dropped { Duration::MAX } else { sample.latency });
        self.counted = self.counted.saturating_add(1);
        self.dropped = self.dropped.saturating_add(u32::from(sample.dropped));
        let enough = self.counted >= self.config.probe_calls;
        if self.is_measuring() && enough { self.end_measuring(limit) } else { limit }
    }

    pub(crate) fn tick(&mut self, limit: u32, now: Timestamp) -> u32 {
        self.now = self.now.max(now);
        let epoch = *self.epoch.get_or_insert(self.now);
        match self.phase {
            Phase::Measuring { .. } => {
                let over = self.now >= epoch.saturating_add(self.config.probe_timeout);
                if over && self.counted > 0 { self.end_measuring(limit) } else { limit }
            }
            Phase::Following { probe_at, .. } if self.now >= probe_at => self.begin_measuring(limit),
            Phase::Following { interval_ends, .. } if self.now >= interval_ends => self.follow(limit),
            Phase::Following { .. } => limit,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Measuring { .. } => {
                let is_waited_for = self.counted > 0;
                let epoch = self.epoch.filter(|_| is_waited_for)?;
                Some(epoch.saturating_add(self.config.probe_timeout))
            }
            Phase::Following { interval_ends, probe_at, .. } => Some(interval_ends.min(probe_at)),
        }
    }

    pub(crate) fn baseline(&self) -> Option<Duration> {
        self.unloaded
    }

    pub(crate) fn is_measuring(&self) -> bool {
        matches!(self.phase, Phase::Measuring { .. })
    }

    fn begin_measuring(&mut self, limit: u32) -> u32 {
        self.phase = Phase::Measuring { limit };
        self.epoch = Some(self.now);
        self.forget();
        self.config.pinned
    }

    fn end_measuring(&mut self, limit: u32) -> u32 {
        self.unloaded = self.latencies.quantile(self.config.quantile);
        self.forget();
        let probe_at = self.now.saturating_add(self.wait());
        let interval_ends = self.now.saturating_add(self.config.interval);
        let before = match self.phase {
            Phase::Measuring { limit } => limit,
            Phase::Following { .. } => limit,
        };
        self.phase = Phase::Following { interval_ends, probe_at, times_at_min: 0 };
        before.clamp(self.config.min, self.config.max)
    }

    /// The end of an interval.
    fn follow(&mut self, limit: u32) -> u32 {
        let latency = self.latencies.quantile(self.config.quantile);
        let next = match (self.unloaded, latency) {
            (Some(unloaded), Some(latency)) => self.next_limit(limit, unloaded, latency),
            _ => limit,
        };
        self.forget();
        let EnvoyGradient { min, interval, .. } = self.config;
        let Phase::Following { interval_ends, times_at_min, .. } = &mut self.phase else { return next };
        *interval_ends = self.now.saturating_add(interval);
        if latency.is_some() {
            *times_at_min = if limit == min && next == min { *times_at_min + 1 } else { 0 };
        }
        if *times_at_min >= TIMES_AT_MIN { self.begin_measuring(next) } else { next }
    }

    fn next_limit(&self, limit: u32, unloaded: Duration, latency: Duration) -> u32 {
        let fine = nanos(unloaded) * (1.0 + self.config.buffer.as_f64());
        let gradient = (fine / nanos(latency).max(1.0)).clamp(0.5, 2.0);
        let scaled = f64::from(limit) * gradient;
        let next = (scaled + scaled.sqrt()) as u32;
        let many = f64::from(self.dropped) > f64::from(self.counted) * FEW;
        if many { next.min(limit) } else { next }.clamp(self.config.min, self.config.max)
    }

    fn forget(&mut self) {
        self.latencies.reset();
        (self.counted, self.dropped) = (0, 0);
    }

    /// Until the next measuring: the first one lies anywhere in an interval, the others have some jitter.
    fn wait(&mut self) -> Duration {
        let draw = unit(self.draws.next_u64());
        let interval = self.config.probe_interval;
        if std::mem::take(&mut self.is_first) {
            return interval.mul_f64(draw);
        }
        interval.saturating_add(interval.mul_f64(self.config.jitter.as_f64() * draw))
    }
}

impl std::fmt::Debug for EnvoyState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvoyState")
            .field("phase", &self.phase)
            .field("epoch", &self.epoch)
            .field("unloaded", &self.unloaded)
            .finish_non_exhaustive()
    }
}

/// So many intervals at the minimum mean that the latency without load is no longer right.
const TIMES_AT_MIN: u32 = 5;
/// The share of drops that is no sign of overload: one connection in a hundred fails for other reasons too, and where much comes
/// hardly an interval is without one.
const FEW: f64 = 0.01;
