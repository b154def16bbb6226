//! Runs scenarios: every policy under every seed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::arrivals::Arrivals;
use crate::check::Case;
use crate::clients::Setup;
use crate::error::ScenarioError;
use crate::report::{CaseReport, DifferenceReport, PolicyReport, Report, RunReport};
use crate::scenario::Scenario;
use crate::statistics::Interval;
use crate::world::{self, World};

/// What to run, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Policies by name. None: those that the scenario describes.
    pub policies: Vec<String>,
    /// Seeds. None: those of the scenario.
    pub seeds: Vec<u64>,
    /// How many threads to use. The outcome is the same for any number. Zero is taken for one.
    pub threads: usize,
}

/// Hears of runs that are done: how many, of how many.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Runs a scenario file.
///
/// # Errors
///
/// [`ScenarioError`], before anything runs.
pub fn run(text: &str, options: &Options, progress: Progress<'_>) -> Result<Report, ScenarioError> {
    let cases = Scenario::cases(text)?;
    run_cases(&cases, options, progress)
}

/// Runs the cases of a scenario.
///
/// # Errors
///
/// [`ScenarioError`], before anything runs.
pub fn run_cases(cases: &[Case], options: &Options, progress: Progress<'_>) -> Result<Report, ScenarioError> {
    let mut plans = Vec::new();
    for case in cases {
        plans.push(Plan::new(&case.scenario, options)?);
    }
    let mut jobs = Vec::new();
    for (plan, case) in plans.iter().zip(cases) {
        for setup in &plan.setups {
            jobs.extend(plan.seeds.iter().map(|&seed| Job { scenario: &case.scenario, setup, seed }));
        }
    }
    let mut outcomes = work_off(&jobs, options.threads, progress)?.into_iter();
    let mut reports = Vec::new();
    for (plan, case) in plans.iter().zip(cases) {
        let policies = plan
            .setups
            .iter()
            .map(|setup| PolicyReport::new(&setup.name, outcomes.by_ref().take(plan.seeds.len()).collect()));
        let policies: Vec<PolicyReport> = policies.collect();
        let load = case.scenario.load();
        reports.push(CaseReport {
            label: case.label.clone(),
            load,
            is_overloaded: load >= 1.0,
            differences: differences(&policies),
            policies,
        });
    }
    let first = cases.first().map(|case| &case.scenario);
    Ok(Report {
        scenario: first.map_or_else(String::new, |scenario| scenario.name.clone()),
        about: first.map_or_else(String::new, |scenario| scenario.about.clone()),
        source: first.map_or_else(String::new, |scenario| scenario.source.clone()),
        cases: reports,
    })
}

/// Runs a scenario under one policy and seed with arrivals of the caller's, instead of those that it describes: a record of what has
/// happened. The scenario must be a checked one.
///
/// # Errors
///
/// [`ScenarioError`], before anything runs.
pub fn run_arrivals(
    scenario: &Scenario,
    policy: &str,
    seed: u64,
    arrivals: impl Arrivals,
) -> Result<RunReport, ScenarioError> {
    let setup = Setup::new(scenario, policy)?;
    World::new(scenario, &setup, seed, Box::new(arrivals)).map(World::run)
}

struct Plan {
    setups: Vec<Setup>,
    seeds: Vec<u64>,
}

impl Plan {
    fn new(scenario: &Scenario, options: &Options) -> Result<Self, ScenarioError> {
        let seeds =
            if options.seeds.is_empty() { Scenario::seeds(&scenario.seeds)? } else { options.seeds.clone() };
        let named = if options.policies.is_empty() {
            scenario.policies.keys().cloned().collect()
        } else {
            options.policies.clone()
        };
        let named = if named.is_empty() { vec!["least_request".to_owned()] } else { named };
        let setups: Result<Vec<Setup>, ScenarioError> =
            named.iter().map(|name| Setup::new(scenario, name)).collect();
        Ok(Self { setups: setups?, seeds })
    }
}

struct Job<'a> {
    scenario: &'a Scenario,
    setup: &'a Setup,
    seed: u64,
}

/// Runs share nothing, so threads change nothing but the time.
fn work_off(
    jobs: &[Job<'_>],
    threads: usize,
    progress: Progress<'_>,
) -> Result<Vec<RunReport>, ScenarioError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(jobs.len()));
    let worker = || {
        loop {
            let order = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(order) else { return };
            let outcome = world::run(job.scenario, job.setup, job.seed);
            let mut done = done.lock();
            done.push((order, outcome));
            progress(done.len(), jobs.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, 256) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut done = done.into_inner();
    done.sort_by_key(|&(order, _)| order);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

impl PolicyReport {
    fn new(policy: &str, runs: Vec<RunReport>) -> Self {
        Self { policy: policy.to_owned(), summary: summary(&runs, |metric, _| Some(metric)), runs }
    }
}

/// Each metric over all seeds; `map` may say something else of it, given its place.
fn summary(
    runs: &[RunReport],
    map: impl Fn(f64, (usize, usize)) -> Option<f64>,
) -> BTreeMap<&'static str, Interval> {
    let mut values: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for (row, run) in runs.iter().enumerate() {
        for (column, (name, value)) in run.metrics().into_iter().enumerate() {
            values.entry(name).or_default().extend(map(value, (row, column)));
        }
    }
    let intervals = values.into_iter().map(|(name, values)| (name, Interval::of(&values)));
    intervals.filter_map(|(name, interval)| interval.map(|interval| (name, interval))).collect()
}

/// Of each policy against the first: seed by seed, so that what both met alike drops out.
fn differences(policies: &[PolicyReport]) -> Vec<DifferenceReport> {
    let Some((first, others)) = policies.split_first() else { return Vec::new() };
    let difference = |policy: &PolicyReport| DifferenceReport {
        policy: policy.policy.clone(),
        against: first.policy.clone(),
        relative: summary(&policy.runs, |value, (row, column)| {
            let base = first.runs[row].metrics()[column].1;
            (base != 0.0).then(|| value / base - 1.0)
        }),
    };
    others.iter().map(difference).collect()
}
