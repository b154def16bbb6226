use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::Batch;
use crate::algorithm::Sample;

/// Samples on their way to becoming one.
#[derive(Debug)]
pub(crate) struct Batches {
    shape: Batch,
    /// `None` before the first sample of a batch.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Timestamp,
    count: u32,
    /// Those that were served: how long a drop took says nothing.
    served: u32,
    sum: Duration,
    smallest: Duration,
    whole: Sample,
}

impl Batches {
    pub(crate) fn new(shape: &Batch) -> Self {
        Self { shape: shape.clone(), open: None }
    }

    /// Adds a sample; the batch, if it is complete with it.
    pub(crate) fn add(&mut self, sample: &Sample, now: Timestamp) -> Option<Sample> {
        if sample.latency < self.shape.min_latency && !sample.dropped {
            return None;
        }
        let open = self.open.get_or_insert(Open {
            since: now,
            count: 0,
            served: 0,
            sum: Duration::ZERO,
            smallest: Duration::MAX,
            whole: *sample,
        });
        open.count = open.count.saturating_add(1);
        if !sample.dropped {
            open.served = open.served.saturating_add(1);
            open.sum = open.sum.saturating_add(sample.latency);
            open.smallest = open.smallest.min(sample.latency);
        }
        open.whole.started = open.whole.started.min(sample.started);
        open.whole.in_flight = open.whole.in_flight.max(sample.in_flight);
        open.whole.dropped |= sample.dropped;
        let lasts = open.smallest.saturating_mul(2).clamp(self.shape.min_time, self.shape.max_time);
        if now.saturating_since(open.since) < lasts || open.count < self.shape.min_samples {
            return None;
        }
        let Open { served, sum, whole, .. } = self.open.take()?;
        // Without any that was served the batch is a drop, whose latency nobody looks at.
        let latency = sum.checked_div(served).unwrap_or(whole.latency);
        Some(Sample { latency, ..whole })
    }
}
