//! What requests leave behind at an endpoint.

use std::time::Duration;

use evenkeel_types::{Origin, Outcome, Verdict};

use super::change::Suspicion;
use super::log_latency::{STEPS, steps};
use super::rules::OutlierRules;
use super::sync::{AtomicU32, AtomicU64, Ordering};

/// How the requests of one endpoint went: runs of failures, and the counts of the present interval. 40 bytes.
///
/// Shared by whoever sends requests and by the [`OutlierDetector`](super::OutlierDetector), which empties it at each
/// sweep. A success of an endpoint without a run of failures reads one word and adds to one more; to none at all if no
/// rule counts requests and ejections do not grow. With the latency rule on it adds to two words more. Nothing is lost between a request and a sweep: what a
/// sweep does not take, the next one takes.
///
/// ```
/// use evenkeel_health::outlier::{OutlierConfig, OutlierCounters, OutlierRules, Suspicion};
/// use evenkeel_types::Outcome;
///
/// let rules = OutlierRules::new(OutlierConfig::default())?;
/// let counters = OutlierCounters::new();
/// for _ in 0..4 {
///     assert_eq!(counters.record(&Outcome::failure(), &rules), None);
/// }
/// // The fifth in a row: hand it to the detector.
/// assert_eq!(counters.record(&Outcome::failure(), &rules), Some(Suspicion::ConsecutiveFailures));
/// # Ok::<(), evenkeel_health::outlier::OutlierConfigError>(())
/// ```
#[derive(Debug)]
pub struct OutlierCounters {
    /// Runs of failures, of gateway failures and of local failures, and what a probation still needs: 16 bits each.
    runs: AtomicU64,
    /// Requests in the upper half, failures in the lower.
    requests: AtomicU64,
    /// Failures of local origin, if they are counted apart.
    local: AtomicU32,
    /// Samples in the upper 24 bits, the sum of their logarithms in the lower 40.
    latency: AtomicU64,
    /// The sum of the squares of the logarithms.
    squares: AtomicU64,
}

impl Default for OutlierCounters {
    fn default() -> Self {
        Self::new()
    }
}

impl OutlierCounters {
    /// No request yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            runs: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            local: AtomicU32::new(0),
            latency: AtomicU64::new(0),
            squares: AtomicU64::new(0),
        }
    }

    /// Counts how a request went. What it returns, if anything, is for
    /// [`OutlierDetector::suspect`](super::OutlierDetector::suspect).
    ///
    /// A run is told when it reaches its limit and at every further multiple of it, so that an endpoint whose ejection
    /// was refused is asked for again, and a thousand failures do not ask a thousand times. If the caller loses a
    /// suspicion, the next sweep finds it.
    ///
    /// | outcome | runs | counts of the interval |
    /// |---|---|---|
    /// | success | all end | a request, its latency |
    /// | failure, remote | failures + 1, the others end | a request, a failure |
    /// | failure, gateway | failures + 1, gateway + 1, local ends | a request, a failure |
    /// | failure, local | as gateway, and local + 1 | a request, a failure |
    /// | failure, local, split | local + 1, the others stay | a local failure |
    /// | overload | nothing; as gateway if `count_overload` | nothing; a request, a failure |
    /// | neutral | nothing | nothing |
    #[inline]
    pub fn record(&self, outcome: &Outcome, rules: &OutlierRules) -> Option<Suspicion> {
        match outcome.verdict() {
            Verdict::Success => self.record_success(outcome.latency(), rules),
            Verdict::Failure => self.record_failure(outcome.origin(), rules),
            Verdict::Overload { .. } if rules.config().count_overload => {
                self.record_failure(Origin::Gateway, rules)
            }
            Verdict::Overload { .. } | Verdict::Neutral => None,
        }
    }

    #[inline]
    fn record_success(&self, latency: Option<Duration>, rules: &OutlierRules) -> Option<Suspicion> {
        if rules.counts_requests() {
            self.add_request(0);
        }
        if let Some(latency) = latency.filter(|_| rules.config().latency.is_some()) {
            self.add_latency(latency);
        }
        if self.runs.load(Ordering::Relaxed) == 0 { None } else { self.end_runs() }
    }

    /// All runs end, and a probation is one success nearer to its end.
    #[cold]
    fn end_runs(&self) -> Option<Suspicion> {
        let after = |word| Runs::of(word).after_success().word();
        let before = update(&self.runs, after);
        (Runs::of(before).probation == 1).then_some(Suspicion::ProbationPassed)
    }

    #[cold]
    fn record_failure(&self, origin: Origin, rules: &OutlierRules) -> Option<Suspicion> {
        let split = rules.config().split_local_origin;
        if rules.counts_requests() {
            match origin {
                Origin::Local if split => self.add_local(),
                _ => self.add_request(1),
            }
        }
        let after = |word| Runs::of(word).after_failure(origin, split).word();
        let before = Runs::of(update(&self.runs, after));
        if before.is_in_probation() {
            return Some(Suspicion::ProbationFailed);
        }
        before.suspicion(before.after_failure(origin, split), rules)
    }

    fn add_request(&self, failures: u64) {
        let before = self.requests.fetch_add(ONE_REQUEST | failures, Ordering::Relaxed);
        if before >> 63 != 0 {
            // 2^31 requests and no sweep: nobody drives the detector. The share stays right.
            update(&self.requests, |word| match word >> 63 {
                0 => word,
                _ => (word >> 33 << 32) | ((word & LOW) >> 1),
            });
        }
    }

    fn add_local(&self) {
        if self.local.load(Ordering::Relaxed) < u32::MAX / 2 {
            self.local.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn add_latency(&self, latency: Duration) {
        if self.latency.load(Ordering::Relaxed) >> 40 < MOST_SAMPLES {
            let steps = steps(latency);
            self.latency.fetch_add((1 << 40) | steps, Ordering::Relaxed);
            self.squares.fetch_add(steps * steps, Ordering::Relaxed);
        }
    }

    /// Takes what the interval counted and begins the next one. A word that is zero is not written.
    pub(super) fn take(&self) -> IntervalCounts {
        let requests = take(&self.requests);
        let local = match self.local.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.local.swap(0, Ordering::Relaxed),
        };
        let latency = take(&self.latency);
        let squares = if latency == 0 { 0 } else { take(&self.squares) };
        IntervalCounts {
            requests: (requests >> 32) as u32,
            failures: (requests & LOW) as u32,
            local_failures: local,
            samples: (latency >> 40) as u32,
            sum: (latency & LATENCY_SUM) as f64,
            squares: squares as f64,
        }
    }

    /// What the interval has counted so far. Takes nothing.
    #[must_use]
    pub fn requests(&self) -> (u32, u32) {
        let word = self.requests.load(Ordering::Relaxed);
        ((word >> 32) as u32, (word & LOW) as u32)
    }

    /// Failures in a row just now: any, of a gateway, of local origin.
    #[must_use]
    pub fn runs(&self) -> (u16, u16, u16) {
        let runs = Runs::of(self.runs.load(Ordering::Relaxed));
        (runs.failures, runs.gateway, runs.local)
    }

    /// The rule that a run which has not ended meets.
    pub(super) fn standing_suspicion(&self, rules: &OutlierRules) -> Option<Suspicion> {
        let word = self.runs.load(Ordering::Relaxed);
        if word == 0 { None } else { Runs::of(word).met(rules) }
    }

    /// How a probation stands: `None` while it goes on.
    pub(super) fn probation_verdict(&self) -> Option<Suspicion> {
        match Runs::of(self.runs.load(Ordering::Relaxed)).probation {
            0 => Some(Suspicion::ProbationPassed),
            FAILED => Some(Suspicion::ProbationFailed),
            _ => None,
        }
    }

    /// Forgets everything; `probation` successes are asked for, or none.
    pub(super) fn restart(&self, probation: u16) {
        self.runs.store(Runs { probation, ..Runs::default() }.word(), Ordering::Relaxed);
        self.take();
    }
}

/// What an interval counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct IntervalCounts {
    pub(super) requests: u32,
    pub(super) failures: u32,
    pub(super) local_failures: u32,
    samples: u32,
    sum: f64,
    squares: f64,
}

impl IntervalCounts {
    /// Samples, their mean logarithm and its variance among the samples, in steps.
    pub(super) fn latency(&self) -> Option<(u32, f64, f64)> {
        if self.samples == 0 {
            return None;
        }
        let samples = f64::from(self.samples);
        let mean = self.sum / samples;
        // Rounding down to a step shifts all means alike; the variance of that is a twelfth of a step.
        let variance = (self.squares / samples - mean * mean).max(0.0);
        Some((self.samples, mean, variance.min(MOST_VARIANCE)))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Runs {
    failures: u16,
    gateway: u16,
    local: u16,
    /// Successes that a probation still needs; `FAILED` once it failed; zero outside a probation.
    probation: u16,
}

impl Runs {
    const fn of(word: u64) -> Self {
        Self {
            failures: word as u16,
            gateway: (word >> 16) as u16,
            local: (word >> 32) as u16,
            probation: (word >> 48) as u16,
        }
    }

    const fn word(self) -> u64 {
        self.failures as u64
            | (self.gateway as u64) << 16
            | (self.local as u64) << 32
            | (self.probation as u64) << 48
    }

    const fn is_in_probation(self) -> bool {
        self.probation != 0 && self.probation != FAILED
    }

    const fn after_success(self) -> Self {
        let probation = if self.is_in_probation() { self.probation - 1 } else { self.probation };
        Self { failures: 0, gateway: 0, local: 0, probation }
    }

    fn after_failure(self, origin: Origin, split: bool) -> Self {
        let probation = if self.probation == 0 { 0 } else { FAILED };
        let up = |run: u16| run.saturating_add(1);
        match origin {
            Origin::Remote => Self { failures: up(self.failures), gateway: 0, local: 0, probation },
            Origin::Gateway => {
                Self { failures: up(self.failures), gateway: up(self.gateway), local: 0, probation }
            }
            Origin::Local if split => Self { local: up(self.local), probation, ..self },
            Origin::Local => Self {
                failures: up(self.failures),
                gateway: up(self.gateway),
                local: up(self.local),
                probation,
            },
        }
    }

    /// The rule that the last failure met: a run that it made longer is at a multiple of its limit.
    fn suspicion(self, after: Self, rules: &OutlierRules) -> Option<Suspicion> {
        let config = rules.config();
        let meets = |before: u16, after: u16, limit: Option<u32>| {
            limit.is_some_and(|limit| after > before && u32::from(after) % limit == 0)
        };
        if meets(self.failures, after.failures, config.consecutive_failures) {
            Some(Suspicion::ConsecutiveFailures)
        } else if meets(self.gateway, after.gateway, config.consecutive_gateway_failures) {
            Some(Suspicion::ConsecutiveGatewayFailures)
        } else if meets(self.local, after.local, config.consecutive_local_failures) {
            Some(Suspicion::ConsecutiveLocalFailures)
        } else {
            None
        }
    }

    /// The first rule whose limit a run has reached.
    fn met(self, rules: &OutlierRules) -> Option<Suspicion> {
        let config = rules.config();
        let meets = |run: u16, limit: Option<u32>| limit.is_some_and(|limit| u32::from(run) >= limit);
        if meets(self.failures, config.consecutive_failures) {
            Some(Suspicion::ConsecutiveFailures)
        } else if meets(self.gateway, config.consecutive_gateway_failures) {
            Some(Suspicion::ConsecutiveGatewayFailures)
        } else if meets(self.local, config.consecutive_local_failures) {
            Some(Suspicion::ConsecutiveLocalFailures)
        } else {
            None
        }
    }
}

/// `fetch_update` that always writes; returns what was there before.
fn update(word: &AtomicU64, next: impl Fn(u64) -> u64) -> u64 {
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        match word.compare_exchange_weak(seen, next(seen), Ordering::Relaxed, Ordering::Relaxed) {
            Ok(before) => return before,
            Err(other) => seen = other,
        }
    }
}

fn take(word: &AtomicU64) -> u64 {
    match word.load(Ordering::Relaxed) {
        0 => 0,
        _ => word.swap(0, Ordering::Relaxed),
    }
}

const ONE_REQUEST: u64 = 1 << 32;
const LOW: u64 = 0xffff_ffff;
const LATENCY_SUM: u64 = (1 << 40) - 1;
/// Half of what the count has room for. Later samples of an interval this long are left out.
const MOST_SAMPLES: u64 = 1 << 23;
/// No latency strays further than from 1 ns to 584 years.
const MOST_VARIANCE: f64 = 64.0 * 64.0 * STEPS * STEPS;
/// The mark of a probation that failed.
const FAILED: u16 = u16::MAX;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::rules::OutlierConfig;
    use super::*;

    #[test]
    fn fits_a_cache_line() {
        assert_eq!(size_of::<OutlierCounters>(), 40);
    }

    /// Every outcome on runs of (1, 1, 1), split and not.
    #[test]
    fn what_outcomes_do_to_runs() {
        let failure = Outcome::failure();
        let cases = [
            (Outcome::success(), (0, 0, 0), (0, 0, 0)),
            (failure, (2, 0, 0), (2, 0, 0)),
            (failure.with_origin(Origin::Gateway), (2, 2, 0), (2, 2, 0)),
            (failure.with_origin(Origin::Local), (2, 2, 2), (1, 1, 2)),
            (Outcome::overload(None), (1, 1, 1), (1, 1, 1)),
            (Outcome::neutral(), (1, 1, 1), (1, 1, 1)),
        ];
        for (outcome, together, split) in cases {
            for (split_local_origin, expected) in [(false, together), (true, split)] {
                let config = OutlierConfig { split_local_origin, ..OutlierConfig::default() };
                let rules = OutlierRules::new(config).unwrap();
                let counters = OutlierCounters::new();
                counters.runs.store(0x1_0001_0001, Ordering::Relaxed);
                assert_eq!(counters.record(&outcome, &rules), None);
                assert_eq!(counters.runs(), expected, "{outcome:?} split={split_local_origin}");
            }
        }
    }

    #[test]
    fn an_unswept_interval_keeps_its_share() {
        let counters = OutlierCounters::new();
        counters.requests.store((1 << 63) | (1 << 30), Ordering::Relaxed);
        counters.add_request(1);
        let (requests, failures) = counters.requests();
        assert_eq!((requests, failures), (1 << 30, 1 << 29));
    }

    #[test]
    fn latency_is_summed_up_as_logarithms() {
        let counters = OutlierCounters::new();
        for millis in [1, 4] {
            counters.add_latency(Duration::from_millis(millis));
        }
        let (samples, mean, variance) = counters.take().latency().unwrap();
        assert_eq!(samples, 2);
        assert!((mean / STEPS - libm::log2(2e6)).abs() < 0.03, "{mean}");
        assert!((libm::sqrt(variance) / STEPS - 1.0).abs() < 0.03, "{variance}");
        assert_eq!(counters.take(), IntervalCounts::default());
    }
}
