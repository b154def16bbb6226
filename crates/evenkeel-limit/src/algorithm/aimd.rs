use std::time::Duration;

use crate::Aimd;
use crate::algorithm::Sample;

#[derive(Debug)]
pub(crate) struct AimdState {
    min: u32,
    max: u32,
    /// In millionths.
    backoff: u32,
    timeout: Duration,
}

impl AimdState {
    pub(crate) fn new(config: &Aimd) -> Self {
        let Aimd { min, max, timeout, .. } = *config;
        Self { min, max, backoff: config.backoff.parts_per_million(), timeout }
    }

    pub(crate) fn sample(&mut self, limit: u32, sample: &Sample) -> u32 {
        let next = if sample.dropped || sample.latency > self.timeout {
            let less = u64::from(limit) * u64::from(self.backoff) / 1_000_000;
            limit.saturating_sub(1).min(less as u32)
        } else if u64::from(sample.in_flight) * 2 >= u64::from(limit) {
            limit.saturating_add(1)
        } else {
            return limit;
        };
        next.clamp(self.min, self.max)
    }
}
