use std::time::Duration;

use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

use crate::algorithm::{Estimate, Sample, nanos};
use crate::draw::unit;
use crate::{Vegas, VegasProbe};

/// ```text
///           sample                             drop                   probe due
/// Measured  baseline or limit moves            the limit goes down    Draining, or (next_sample) the sample
///                                                                     is the baseline
/// Draining  the smallest of those that began   the limit that comes   –
///           after the drain is remembered;     back goes down
///           enough of them: Measured
/// ```
///
/// How long a drop took says nothing about latency: a connection is refused within microseconds. So it is no baseline, and
/// no sample of a drain or a probe.
#[derive(Debug)]
pub(crate) struct VegasState {
    config: Vegas,
    estimate: Estimate,
    draws: SplitMix64,
    /// Zero before the first sample.
    baseline: u64,
    samples: u64,
    /// Between a half and one.
    jitter: f64,
    drain: Option<Drain>,
}

#[derive(Debug)]
struct Drain {
    since: Timestamp,
    /// What comes back afterwards.
    limit: f64,
    /// What the limit is meanwhile.
    lowered: u32,
    missing: u32,
    smallest: u64,
}

impl VegasState {
    pub(crate) fn new(config: &Vegas, seed: u64) -> Self {
        let mut state = Self {
            config: config.clone(),
            estimate: Estimate(f64::from(config.initial)),
            draws: SplitMix64::new(seed),
            baseline: 0,
            samples: 0,
            jitter: 1.0,
            drain: None,
        };
        state.draw_jitter();
        state
    }

    pub(crate) fn sample(&mut self, limit: u32, sample: &Sample, now: Timestamp) -> u32 {
        if sample.dropped {
            return self.dropped(limit);
        }
        let latency = u64::try_from(sample.latency.as_nanos()).unwrap_or(u64::MAX).max(1);
        if let Some(next) = self.draining(limit, latency, sample) {
            return next;
        }
        let estimate = self.estimate_at(limit);
        self.samples = self.samples.saturating_add(1);
        if self.jitter * f64::from(self.config.probe_every) * estimate <= self.samples as f64 {
            return self.probe(estimate, latency, now);
        }
        if self.baseline == 0 || latency < self.baseline {
            self.baseline = latency;
            return limit;
        }
        self.judge(estimate, sample)
    }

    pub(crate) fn baseline(&self) -> Option<Duration> {
        (self.baseline > 0).then(|| Duration::from_nanos(self.baseline))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// An operator may have set a limit that is lower than the settings allow.
    fn estimate_at(&mut self, limit: u32) -> f64 {
        self.estimate.at(limit).max(f64::from(self.config.min))
    }

    fn dropped(&mut self, limit: u32) -> u32 {
        if let Some(lowered) = self.dropped_in_drain(limit) {
            return lowered;
        }
        let estimate = self.estimate_at(limit);
        let wanted = self.after_drop(estimate);
        self.estimate.set(wanted)
    }

    /// `None` as in [`draining`](Self::draining). The limit stays low meanwhile, and goes along if what comes back is lower
    /// still; then fewer samples are there to wait for.
    fn dropped_in_drain(&mut self, limit: u32) -> Option<u32> {
        let came_back = self.drain.as_ref()?.limit;
        let comes_back = self.after_drop(came_back);
        let drain = self.drain.as_mut()?;
        if limit != drain.lowered {
            self.drain = None;
            return None;
        }
        drain.limit = comes_back;
        drain.lowered = drain.lowered.min(comes_back as u32);
        drain.missing = drain.missing.min(drain.lowered.max(1));
        Some(drain.lowered)
    }

    fn after_drop(&self, estimate: f64) -> f64 {
        self.smoothed(estimate, self.decreased(estimate, digits(estimate as u32)))
    }

    fn smoothed(&self, estimate: f64, wanted: f64) -> f64 {
        let wanted = wanted.clamp(f64::from(self.config.min), f64::from(self.config.max));
        let smoothing = self.config.smoothing.as_f64();
        (1.0 - smoothing) * estimate + smoothing * wanted
    }

    fn judge(&mut self, estimate: f64, sample: &Sample) -> u32 {
        let limit = estimate as u32;
        let step = digits(limit);
        let queue = libm::ceil(estimate * (1.0 - self.baseline as f64 / nanos(sample.latency)));
        let wanted = if f64::from(sample.in_flight) * 2.0 < estimate {
            return limit;
        } else if queue <= step {
            estimate + self.beta(step)
        } else if queue < self.alpha(step) {
            estimate + step
        } else if queue > self.beta(step) {
            self.decreased(estimate, step)
        } else {
            return limit;
        };
        let next = self.smoothed(estimate, wanted);
        self.estimate.set(next)
    }

    fn probe(&mut self, estimate: f64, latency: u64, now: Timestamp) -> u32 {
        self.draw_jitter();
        self.samples = 0;
        if self.config.probe == VegasProbe::NextSample {
            self.baseline = latency;
            return estimate as u32;
        }
        let limit = estimate as u32;
        let lowered = (estimate - 2.0 * self.beta(digits(limit))).max(estimate / 2.0) as u32;
        let lowered = lowered.max(self.config.min).max(1);
        self.drain =
            Some(Drain { since: now, limit: estimate, lowered, missing: lowered, smallest: u64::MAX });
        lowered
    }

    /// `None` if there is no drain, or somebody has set another limit meanwhile.
    fn draining(&mut self, limit: u32, latency: u64, sample: &Sample) -> Option<u32> {
        let drain = self.drain.as_mut()?;
        if limit != drain.lowered {
            self.drain = None;
            return None;
        }
        if sample.started < drain.since {
            return Some(limit);
        }
        drain.smallest = drain.smallest.min(latency);
        drain.missing = drain.missing.saturating_sub(1);
        if drain.missing > 0 {
            return Some(limit);
        }
        let Drain { limit, smallest, .. } = self.drain.take()?;
        self.baseline = smallest;
        Some(self.estimate.set(limit))
    }

    fn alpha(&self, step: f64) -> f64 {
        self.config.alpha.map_or(3.0 * step, f64::from)
    }

    fn beta(&self, step: f64) -> f64 {
        self.config.beta.map_or(6.0 * step, f64::from)
    }

    fn decreased(&self, estimate: f64, step: f64) -> f64 {
        self.config.decrease.map_or(estimate - step, |share| estimate * share.as_f64())
    }

    fn draw_jitter(&mut self) {
        self.jitter = 0.5 + unit(self.draws.next_u64()) / 2.0;
    }
}

/// The whole part of log10, at least one.
fn digits(limit: u32) -> f64 {
    f64::from(limit.max(10).ilog10())
}
