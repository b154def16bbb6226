//! What moves a limit.

mod aimd;
mod batch;
mod envoy;
mod gradient2;
mod vegas;

use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::LimitConfig;
use crate::algorithm::aimd::AimdState;
use crate::algorithm::batch::Batches;
use crate::algorithm::envoy::EnvoyState;
use crate::algorithm::gradient2::Gradient2State;
use crate::algorithm::vegas::VegasState;

/// How one call went, for the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the call began.
    pub started: Timestamp,
    /// How long it took.
    pub latency: Duration,
    /// The calls in flight when it began, with it.
    pub in_flight: u32,
    /// Whether it was turned away or timed out, rather than served.
    pub dropped: bool,
}

#[derive(Debug)]
pub(crate) struct Algorithm {
    kind: Kind,
    batches: Option<Batches>,
}

#[derive(Debug)]
enum Kind {
    Aimd(AimdState),
    Vegas(VegasState),
    Gradient2(Gradient2State),
    Envoy(Box<EnvoyState>),
}

impl Algorithm {
    /// `None` if the limit is fixed.
    pub(crate) fn new(config: &LimitConfig, seed: u64) -> Option<Self> {
        let (kind, batch) = match config {
            LimitConfig::Fixed(_) => return None,
            LimitConfig::Aimd(aimd) => (Kind::Aimd(AimdState::new(aimd)), aimd.batch.as_ref()),
            LimitConfig::Vegas(vegas) => (Kind::Vegas(VegasState::new(vegas, seed)), vegas.batch.as_ref()),
            LimitConfig::Gradient2(gradient) => {
                (Kind::Gradient2(Gradient2State::new(gradient)), gradient.batch.as_ref())
            }
            LimitConfig::EnvoyGradient(gradient) => {
                (Kind::Envoy(Box::new(EnvoyState::new(gradient, seed))), None)
            }
        };
        Some(Self { kind, batches: batch.map(Batches::new) })
    }

    /// Takes a sample in; the new limit.
    pub(crate) fn sample(&mut self, limit: u32, sample: &Sample, now: Timestamp) -> u32 {
        let sample = match &mut self.batches {
            None => *sample,
            Some(batches) => match batches.add(sample, now) {
                None => return limit,
                Some(batch) => batch,
            },
        };
        match &mut self.kind {
            Kind::Aimd(aimd) => aimd.sample(limit, &sample),
            Kind::Vegas(vegas) => vegas.sample(limit, &sample, now),
            Kind::Gradient2(gradient) => gradient.sample(limit, &sample),
            Kind::Envoy(envoy) => envoy.sample(limit, &sample, now),
        }
    }

    pub(crate) fn tick(&mut self, limit: u32, now: Timestamp) -> u32 {
        match &mut self.kind {
            Kind::Envoy(envoy) => envoy.tick(limit, now),
            _ => limit,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        match &self.kind {
            Kind::Envoy(envoy) => envoy.next_deadline(),
            _ => None,
        }
    }

    pub(crate) fn baseline(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Aimd(_) => None,
            Kind::Vegas(vegas) => vegas.baseline(),
            Kind::Gradient2(gradient) => gradient.baseline(),
            Kind::Envoy(envoy) => envoy.baseline(),
        }
    }

    pub(crate) fn is_measuring(&self) -> bool {
        match &self.kind {
            Kind::Aimd(_) | Kind::Gradient2(_) => false,
            Kind::Vegas(vegas) => vegas.is_draining(),
            Kind::Envoy(envoy) => envoy.is_measuring(),
        }
    }
}

/// A limit that is kept as a number with a fraction. If somebody else has set another one meanwhile, that one counts.
#[derive(Debug)]
struct Estimate(f64);

impl Estimate {
    fn at(&mut self, limit: u32) -> f64 {
        if self.0 as u32 != limit {
            self.0 = f64::from(limit);
        }
        self.0
    }

    fn set(&mut self, estimate: f64) -> u32 {
        self.0 = estimate;
        estimate as u32
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}
