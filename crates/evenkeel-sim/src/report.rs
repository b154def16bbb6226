//! What came out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::statistics::Interval;

/// The outcome of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: String,
    /// What it shows.
    pub about: String,
    /// Who published it.
    pub source: String,
    /// One for each value of the sweep, or a single one.
    pub cases: Vec<CaseReport>,
}

/// The outcome at one value of the sweep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// The value, as `field = value`; empty without a sweep.
    pub label: String,
    /// The share of what the servers can do, faults left out, that is asked of them.
    pub load: f64,
    /// Whether that is 1 or more: queues grow until something sheds.
    pub is_overloaded: bool,
    /// In the order in which they were asked for.
    pub policies: Vec<PolicyReport>,
    /// Of each policy against the first one, by metric: over seeds, with the same requests in both.
    pub differences: Vec<DifferenceReport>,
}

/// The outcome of one policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyReport {
    /// Its name.
    pub policy: String,
    /// The mean over seeds of each metric, with its 95 % interval.
    pub summary: BTreeMap<&'static str, Interval>,
    /// One for each seed.
    pub runs: Vec<RunReport>,
}

/// How a policy differs from the first one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DifferenceReport {
    /// Its name.
    pub policy: String,
    /// The one that it is compared to.
    pub against: String,
    /// Relative: 0.1 is 10 % more.
    pub relative: BTreeMap<&'static str, Interval>,
}

/// The outcome of one policy under one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunReport {
    /// The seed.
    pub seed: u64,
    /// Requests that were counted: those that came after the warm-up.
    pub requests: u64,
    /// All that were simulated, with the warm-up.
    pub simulated: u64,
    /// The mean latency, of what was answered and of what timed out. In milliseconds, as all that follow.
    pub mean_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// 90 %.
    pub p90_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// The share of requests that failed, timed out or were not sent.
    pub errors: f64,
    /// The share that succeeded within the objective.
    pub goodput: f64,
    /// What was sent to the server with most ÷ the mean, by weight.
    pub max_over_mean: f64,
    /// Attempts beyond the first, for each request.
    pub extra: f64,
    /// Probes for each request.
    pub probes: f64,
    /// The share of keys that changed their server though that stayed, over all changes of the set.
    pub keys_moved: f64,
    /// Kinds of errors.
    pub failures: Failures,
    /// When more requests were under way than a run may hold, and it was given up, in seconds.
    pub unstable_at: Option<f64>,
    /// If more and more requests were under way until the end: how many were left over, for each that arrived. Latencies are then
    /// those of this duration, and longer in a longer run. Absent where the fleet kept up.
    pub left_over: Option<f64>,
    /// The spans that the scenario names.
    pub windows: Vec<WindowReport>,
    /// The latencies as pairs of milliseconds and the share of requests that took no longer.
    pub distribution: Vec<[f64; 2]>,
    /// What each server got, in attempts.
    pub shares: Vec<u64>,
    /// If the scenario asks for it.
    pub series: Option<Series>,
}

/// How requests failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    /// The server failed or refused.
    pub failed: u64,
    /// The client's time was over.
    pub timed_out: u64,
    /// Nobody could be picked.
    pub not_picked: u64,
    /// Held back by the client's throttle.
    pub throttled: u64,
    /// Still under way long after the end.
    pub unfinished: u64,
}

/// What happened in a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WindowReport {
    /// Its name.
    pub name: String,
    /// Requests that arrived in it.
    pub arrived: u64,
    /// Requests that succeeded in it, within the objective.
    pub succeeded: u64,
    /// Requests that failed in it.
    pub failed: u64,
    /// Attempts that were sent in it.
    pub attempts: u64,
    /// Of requests that ended in it, in milliseconds.
    pub p50_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
}

/// What happened in steps of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// The length of a step, in seconds.
    pub step_s: f64,
    /// One for each step.
    pub points: Vec<Point>,
    /// For each server one for each step.
    pub servers: Vec<Vec<ServerPoint>>,
}

/// All servers in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Requests that arrived.
    pub arrived: u32,
    /// Requests that ended well.
    pub succeeded: u32,
    /// Requests that ended badly.
    pub failed: u32,
    /// Attempts that were sent.
    pub attempts: u32,
    /// The mean latency of requests that ended, in milliseconds.
    pub mean_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// One server in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ServerPoint {
    /// Attempts that were sent to it.
    pub sent: u32,
    /// Attempts that it answered.
    pub answered: u32,
    /// Their mean latency, from being sent to the answer, in milliseconds.
    pub mean_ms: f64,
    /// Requests there at the end of the step.
    pub in_flight: u32,
}

impl RunReport {
    /// The numbers that are summed up over seeds.
    #[must_use]
    pub const fn metrics(&self) -> [(&'static str, f64); 11] {
        [
            ("mean_ms", self.mean_ms),
            ("p50_ms", self.p50_ms),
            ("p90_ms", self.p90_ms),
            ("p99_ms", self.p99_ms),
            ("p999_ms", self.p999_ms),
            ("errors", self.errors),
            ("goodput", self.goodput),
            ("max_over_mean", self.max_over_mean),
            ("extra", self.extra),
            ("probes", self.probes),
            ("keys_moved", self.keys_moved),
        ]
    }
}

impl CaseReport {
    /// The outcome of a policy.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&PolicyReport> {
        self.policies.iter().find(|policy| policy.policy == name)
    }
}

impl PolicyReport {
    /// What says that its latencies are not those of a fleet that keeps up; `None` if it did.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let runs = self.runs.len();
        let given_up = self.runs.iter().filter_map(|run| run.unstable_at);
        if let Some(first) = given_up.reduce(f64::min) {
            return Some(format!(
                "unstable: given up after {first:.3} s, more than a million requests were under way"
            ));
        }
        let grew: Vec<f64> = self.runs.iter().filter_map(|run| run.left_over).collect();
        if !grew.is_empty() {
            let share = grew.iter().sum::<f64>() / grew.len() as f64 * 100.0;
            let seeds =
                if grew.len() == runs { String::new() } else { format!(" ({} of {runs} seeds)", grew.len()) };
            return Some(format!(
                "unstable: requests under way grew until the end, by {share:.1} % of the arrivals{seeds}; a longer run has longer \
                 latencies"
            ));
        }
        let is_empty = self.runs.iter().all(|run| run.requests == 0);
        is_empty.then(|| "no request arrived after the warm-up".to_owned())
    }

    /// The mean over seeds of a metric; NaN for one that there is none of.
    #[must_use]
    pub fn mean(&self, metric: &str) -> f64 {
        self.summary.get(metric).map_or(f64::NAN, |interval| interval.mean)
    }
}
