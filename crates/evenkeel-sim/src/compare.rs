//! One policy against all others, scenario by scenario, seed by seed; and against itself without each of its terms.

use std::fmt;
use std::time::Duration;

use evenkeel::PolicyConfig;
use evenkeel::balance::{Choices, LeastLatencyConfig, PeakEwmaConfig};
use serde::Serialize;

use crate::check::Case;
use crate::error::ScenarioError;
use crate::report::{CaseReport, PolicyReport, RunReport};
use crate::runner::{Options, Progress, run_cases};
use crate::scenario::PolicyEntry;
use crate::scoreboard::{fleets, short};
use crate::statistics::Interval;

/// How policies are compared.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// The one that is compared, by name. Without its terms only `least_latency` can be.
    pub policy: String,
    /// Against itself without each of its terms, instead of against the others.
    pub is_ablation: bool,
    /// Shorter runs of some scenarios, and fewer loads.
    pub is_quick: bool,
    /// Only these: `S1` to `S10`, `H1` to `H4`. None: all.
    pub only: Vec<String>,
    /// Seeds instead of those of the files.
    pub seeds: Vec<u64>,
    /// How many threads.
    pub threads: usize,
}

/// One number of one policy beside that of another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The scenario.
    pub id: &'static str,
    /// The value of the sweep.
    pub case: String,
    /// `p99_ms` or `p999_ms`.
    pub metric: &'static str,
    /// Of the policy that is compared: the mean over seeds.
    pub own: f64,
    /// Its share of errors.
    pub own_errors: f64,
    /// Whom it is compared to: of the others the best. Or the policy itself, without a term.
    pub other: String,
    /// Of that one.
    pub others: f64,
    /// Its share of errors.
    pub others_errors: f64,
    /// By how much the number of the policy lies above the other's, as a share: over seeds, with the same requests for both.
    pub difference: Option<Interval>,
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Less, surely.
    Better,
    /// Surely not more than 3 % above.
    NoWorse,
    /// Neither surely within 3 % nor surely above.
    Open,
    /// Surely more than 3 % above.
    Worse,
}

impl Comparison {
    /// What it says; `Open` where a single seed says nothing of the spread.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.difference {
            Some(Interval { high, .. }) if high < 0.0 => Verdict::Better,
            Some(Interval { high, .. }) if high <= MARGIN => Verdict::NoWorse,
            Some(Interval { low, .. }) if low > MARGIN => Verdict::Worse,
            _ => Verdict::Open,
        }
    }

    /// The difference in percent with its interval.
    #[must_use]
    pub fn percent(&self) -> String {
        self.difference.map_or_else(
            || "–".to_owned(),
            |Interval { mean, low, high }| {
                format!("{:+.1} ({:+.1} to {:+.1})", mean * 100.0, low * 100.0, high * 100.0)
            },
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Better => "better",
            Self::NoWorse => "no worse",
            Self::Open => "open",
            Self::Worse => "worse",
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, case, metric, own, own_errors, other, others, others_errors, .. } = self;
        let (own, others) = (short(*own), short(*others));
        let (own_errors, others_errors) = (short(own_errors * 100.0), short(others_errors * 100.0));
        let (percent, verdict) = (self.percent(), self.verdict());
        write!(
            f,
            "| {id} {case} | {metric} | {own} | {own_errors} | {other} | {others} | {others_errors} | {percent} | {verdict} |"
        )
    }
}

/// Compares a policy, and hands over each scenario's outcome as soon as it is there.
///
/// # Errors
///
/// [`ScenarioError`], before anything runs.
pub fn compare(
    options: &CompareOptions,
    progress: Progress<'_>,
    mut tell: impl FnMut(&[Comparison]),
) -> Result<Vec<Comparison>, ScenarioError> {
    let subject: PolicyConfig =
        options.policy.parse().map_err(|_| ScenarioError::NoPolicy(options.policy.clone()))?;
    let mut all = Vec::new();
    for (id, mut cases) in fleets(options.is_quick)? {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == id) {
            continue;
        }
        let policies = if options.is_ablation { variants(&subject) } else { rivals(&subject, &cases) };
        for case in &mut cases {
            for (name, policy) in &policies {
                let entry = PolicyEntry { policy: Some(policy.clone()), ..PolicyEntry::default() };
                case.scenario.policies.entry(name.clone()).or_insert(entry);
            }
        }
        let named = if options.is_ablation {
            policies.into_iter().map(|(name, _)| name).collect()
        } else {
            let of_all = cases.first().map(|case| case.scenario.policies.keys().cloned().collect());
            of_all.unwrap_or_default()
        };
        let own = Options { policies: named, seeds: options.seeds.clone(), threads: options.threads };
        let report = run_cases(&cases, &own, progress)?;
        let found: Vec<Comparison> = report
            .cases
            .iter()
            .flat_map(|case| METRICS.iter().flat_map(move |&metric| judge(id, case, metric, options)))
            .collect();
        tell(&found);
        all.extend(found);
    }
    Ok(all)
}

/// The policy and those that a file does not have and that might win.
fn rivals(subject: &PolicyConfig, cases: &[Case]) -> Vec<(String, PolicyConfig)> {
    let all = PeakEwmaConfig { choices: Choices::All, ..PeakEwmaConfig::default() };
    let mut added = vec![(subject.name().to_owned(), subject.clone())];
    let scenario = cases.first().map(|case| &case.scenario);
    let has = |name: &str| scenario.is_some_and(|scenario| scenario.policies.contains_key(name));
    if !has("peak_ewma_all") {
        added.push(("peak_ewma_all".to_owned(), PolicyConfig::PeakEwma(all)));
    }
    added
}

/// The policy, and what it is without each of its terms.
fn variants(subject: &PolicyConfig) -> Vec<(String, PolicyConfig)> {
    let mut all = vec![(subject.name().to_owned(), subject.clone())];
    let PolicyConfig::LeastLatency(own) = subject else { return all };
    let without = [
        ("two_choices", LeastLatencyConfig { scan_up_to: 0, choices: 2, ..own.clone() }),
        ("never_regresses", LeastLatencyConfig { decay: Duration::from_secs(3600), ..own.clone() }),
        ("short_memory", LeastLatencyConfig { decay: Duration::from_secs(2), ..own.clone() }),
        ("no_overdue", LeastLatencyConfig { overdue: false, ..own.clone() }),
        ("no_trials", LeastLatencyConfig { trials: false, ..own.clone() }),
        ("no_backoff", LeastLatencyConfig { backoff: 0, ..own.clone() }),
        ("no_error_guard", LeastLatencyConfig { failure_power: 0, ..own.clone() }),
        ("linear_in_load", LeastLatencyConfig { load_power: 1, ..own.clone() }),
    ];
    all.extend(without.map(|(name, config)| (name.to_owned(), PolicyConfig::LeastLatency(config))));
    all
}

fn judge(
    id: &'static str,
    case: &CaseReport,
    metric: &'static str,
    options: &CompareOptions,
) -> Vec<Comparison> {
    let Some(own) = case.policy(&options.policy) else { return Vec::new() };
    // A quantile wants samples above it.
    if metric == "p999_ms" && own.runs.iter().any(|run| run.requests < LEAST_REQUESTS) {
        return Vec::new();
    }
    let others = case.policies.iter().filter(|other| other.policy != own.policy);
    let comparison = |other: &PolicyReport| Comparison {
        id,
        case: case.label.clone(),
        metric,
        own: own.mean(metric),
        own_errors: own.mean("errors"),
        other: other.policy.clone(),
        others: other.mean(metric),
        others_errors: other.mean("errors"),
        difference: difference(&own.runs, &other.runs, metric),
    };
    if options.is_ablation {
        return others.map(comparison).collect();
    }
    // Who fails more requests may answer the others sooner: that is no rival. Nor is who sees what nobody can.
    let is_rival = |other: &&PolicyReport| {
        other.mean("errors") <= own.mean("errors") + MORE_ERRORS && !other.policy.ends_with("_global")
    };
    let best = others.filter(is_rival).min_by(|one, two| one.mean(metric).total_cmp(&two.mean(metric)));
    best.map(comparison).into_iter().collect()
}

/// Over seeds: how far a number of one lies above the other's.
fn difference(own: &[RunReport], others: &[RunReport], metric: &str) -> Option<Interval> {
    let of =
        |run: &RunReport| run.metrics().into_iter().find(|(name, _)| *name == metric).map(|(_, value)| value);
    let shares: Option<Vec<f64>> =
        own.iter().zip(others).map(|(own, other)| Some(of(own)? / of(other)? - 1.0)).collect();
    Interval::of(&shares?)
}

const METRICS: [&str; 2] = ["p99_ms", "p999_ms"];
/// Ten above the quantile.
const LEAST_REQUESTS: u64 = 10_000;
const MORE_ERRORS: f64 = 0.0005;
const MARGIN: f64 = 0.03;

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(low: f64, high: f64) -> Comparison {
        Comparison {
            id: "S1",
            case: String::new(),
            metric: "p99_ms",
            own: 1.0,
            own_errors: 0.0,
            other: "other".to_owned(),
            others: 1.0,
            others_errors: 0.0,
            difference: Some(Interval { mean: f64::midpoint(low, high), low, high }),
        }
    }

    #[test]
    fn verdicts_are_those_of_the_interval() {
        for (low, high, expected) in [
            (-0.2, -0.01, Verdict::Better),
            (-0.2, 0.03, Verdict::NoWorse),
            (0.01, 0.02, Verdict::NoWorse),
            (-0.2, 0.04, Verdict::Open),
            (0.02, 0.04, Verdict::Open),
            (0.04, 0.05, Verdict::Worse),
        ] {
            assert_eq!(comparison(low, high).verdict(), expected, "{low} {high}");
        }
        assert_eq!(Comparison { difference: None, ..comparison(0.0, 0.0) }.verdict(), Verdict::Open);
    }

    #[test]
    fn differences_are_paired() {
        let run = |p99_ms| RunReport { p99_ms, ..RunReport::default() };
        let (own, others) = ([run(110.0), run(220.0)], [run(100.0), run(200.0)]);
        let found = difference(&own, &others, "p99_ms").expect("both were measured");
        assert!((found.mean - 0.1).abs() < 1e-9 && found.high - found.low < 1e-9, "{found:?}");
        assert_eq!(difference(&own, &others, "unknown"), None);
    }

    #[test]
    fn scenarios_are_compared_with_every_rival() {
        let options = CompareOptions {
            policy: "least_latency".to_owned(),
            only: vec!["S9".to_owned()],
            seeds: vec![1],
            threads: 1,
            ..CompareOptions::default()
        };
        let mut told = 0;
        let found = compare(&options, &|_, _| (), |rows| told += rows.len()).expect("a sound scenario");
        assert_eq!(told, found.len());
        assert!(!found.is_empty() && found.iter().all(|row| row.other != "least_latency"), "{found:?}");
        let ablation = CompareOptions { is_ablation: true, ..options };
        let found = compare(&ablation, &|_, _| (), |_| ()).expect("a sound scenario");
        assert!(found.iter().any(|row| row.other == "no_error_guard"), "{found:?}");
        let unknown = CompareOptions { policy: "fastest".to_owned(), ..ablation };
        assert!(compare(&unknown, &|_, _| (), |_| ()).is_err());
    }
}
