use evenkeel_stats::{FailureShare, Reading, TimeConstant};
use evenkeel_types::Timestamp;

use super::typical::Typical;
use crate::{Observation, Observed};

/// An estimate of latency, as the rules on failures need it.
pub(crate) trait Estimator {
    /// Takes in how long an answer took.
    fn observe(&self, observation: &Observation);

    /// Takes in a floor that lies above what was expected.
    fn raise(&self, observation: &Observation);

    /// What was to be expected of such a request, in nanoseconds, in full and as far as it is not forgiven by age; `None`
    /// if nothing is known.
    fn expected(&self, observation: &Observation) -> Option<Reading>;
}

/// What is learnt of an endpoint: how long it takes, and what part fails.
///
/// Answers feed the estimate. Failures and overloads feed the share of failures, and the estimate only if they took
/// longer than expected; so do requests that were dropped without a verdict. What says nothing about the endpoint is left
/// out.
#[derive(Debug)]
pub(crate) struct Guarded<E> {
    pub(crate) latency: E,
    pub(crate) failures: FailureShare,
}

impl<E: Estimator> Guarded<E> {
    pub(crate) fn new(latency: E, decay: TimeConstant) -> Self {
        Self { latency, failures: FailureShare::new(decay) }
    }

    pub(crate) fn learn(&self, observation: &Observation, typical: &Typical) {
        match observation.kind {
            Observed::Success => {
                self.latency.observe(observation);
                self.failures.record_success(observation.at);
                if let Some(Reading { last, .. }) = self.latency.expected(observation) {
                    typical.absorb(last, observation.at);
                }
            }
            Observed::Failure | Observed::Overload => {
                self.failures.record_failure(observation.at);
                self.raise(observation, typical);
            }
            Observed::Censored => self.raise(observation, typical),
            Observed::Neutral => {}
        }
    }

    /// A floor counts above what was expected. Of an endpoint that is forgiven, or unknown, at least the typical latency
    /// is expected: nothing that ends sooner may set its estimate. Where nothing is typical, nothing is expected to be
    /// slow.
    fn raise(&self, observation: &Observation, typical: &Typical) {
        let bar = match (self.latency.expected(observation), typical.nanos()) {
            (Some(Reading { last, present }), Some(typical)) => present.max(last.min(typical)),
            (Some(Reading { last, .. }), None) => last,
            (None, typical) => typical.unwrap_or(f64::INFINITY),
        };
        if observation.latency.as_nanos() as f64 > bar {
            self.latency.raise(observation);
        }
    }

    /// What a cost is multiplied by: 1 ÷ (1 − e)^k, where e is the share that failed.
    #[inline]
    pub(crate) fn penalty(&self, power: u32, now: Timestamp) -> f64 {
        let share = self.failures.share(now);
        if share == 0.0 { 1.0 } else { penalty(share, power) }
    }
}

fn penalty(share: f64, power: u32) -> f64 {
    let success = (1.0 - share).max(LEAST_SUCCESS);
    (0..power).fold(1.0, |penalty, _| penalty / success)
}

/// Even what always fails must be comparable: at k = 2 it costs ten thousand times as much.
const LEAST_SUCCESS: f64 = 0.01;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_penalty_is_the_power_of_the_share() {
        for (share, power, expected) in [
            (0.0, 2, 1.0),
            (0.5, 2, 4.0),
            (0.5, 0, 1.0),
            (0.3, 1, 1.0 / 0.7),
            (1.0, 2, 10_000.0),
            (1.0, 8, 1e16),
        ] {
            assert!((penalty(share, power) / expected - 1.0).abs() < 1e-9, "{share} {power}");
        }
    }
}
