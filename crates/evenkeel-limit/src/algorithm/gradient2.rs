use std::time::Duration;

use crate::Gradient2;
use crate::algorithm::{Estimate, Sample, nanos};

#[derive(Debug)]
pub(crate) struct Gradient2State {
    config: Gradient2,
    estimate: Estimate,
    long: LongAverage,
}

impl Gradient2State {
    pub(crate) fn new(config: &Gradient2) -> Self {
        let long = LongAverage { gain: 2.0 / (f64::from(config.long_window) + 1.0), count: 0, value: 0.0 };
        Self { config: config.clone(), estimate: Estimate(f64::from(config.initial)), long }
    }

    pub(crate) fn sample(&mut self, limit: u32, sample: &Sample) -> u32 {
        let limit = self.estimate.at(limit);
        if sample.dropped {
            return self.follow(limit, STEEPEST);
        }
        let short = nanos(sample.latency).max(1.0);
        let long = self.long.add(short);
        if long / short > 2.0 {
            self.long.value *= 0.95;
        }
        if f64::from(sample.in_flight) < limit / 2.0 {
            return limit as u32;
        }
        self.follow(limit, (self.config.tolerance * long / short).clamp(STEEPEST, 1.0))
    }

    fn follow(&mut self, limit: f64, gradient: f64) -> u32 {
        let smoothing = self.config.smoothing.as_f64();
        let wanted = limit * gradient + f64::from(self.config.queue);
        let next = limit * (1.0 - smoothing) + wanted * smoothing;
        self.estimate.set(next.clamp(f64::from(self.config.min), f64::from(self.config.max)))
    }

    pub(crate) fn baseline(&self) -> Option<Duration> {
        (self.long.count > 0).then(|| Duration::from_nanos(self.long.value as u64))
    }
}

/// The plain mean of the first samples, then exponential.
#[derive(Debug)]
struct LongAverage {
    gain: f64,
    count: u32,
    value: f64,
}

impl LongAverage {
    fn add(&mut self, sample: f64) -> f64 {
        let gain = if self.count < WARM_UP {
            self.count += 1;
            1.0 / f64::from(self.count)
        } else {
            self.gain
        };
        self.value += (sample - self.value) * gain;
        self.value
    }
}

const WARM_UP: u32 = 10;
/// The gradient of a call that was as slow as can be, and of one that was dropped, whose latency says nothing.
const STEEPEST: f64 = 0.5;
