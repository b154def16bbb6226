//! The engine against queues of which everything is known.

use evenkeel_sim::{CaseReport, Options, RunReport, run};

fn outcome(servers: &str, work: &str, load: f64, duration: u32, policy: &str) -> CaseReport {
    let text = format!(
        "name = 'theory'\nduration = '{duration}s'\nseeds = '1-3'\narrivals = {{ load = {load:?} }}\nwork = {work}\nservers = [{servers}]\n"
    );
    let options = Options { policies: vec![policy.to_owned()], threads: 2, ..Options::default() };
    let mut report = run(&text, &options, &|_, _| ()).expect("a sound scenario");
    report.cases.remove(0)
}

fn near(what: &str, value: f64, expected: f64, share: f64) {
    assert!((value / expected - 1.0).abs() <= share, "{what}: {value}, expected {expected}");
}

fn mean(case: &CaseReport, metric: &str) -> f64 {
    case.policies[0].mean(metric)
}

/// The share of requests that took longer, in a line between the points that are reported.
fn beyond(run: &RunReport, millis: f64) -> f64 {
    let after = run.distribution.partition_point(|[latency, _]| *latency <= millis);
    let (Some(&[from, low]), Some(&[to, high])) =
        (run.distribution.get(after - 1), run.distribution.get(after))
    else {
        return 0.0;
    };
    1.0 - (low + (high - low) * (millis - from) / (to - from))
}

const EXPONENTIAL: &str = "{ type = 'exponential', mean = '10ms' }";

/// M/M/1: the time in the system is exponential with mean 1 / (μ - λ).
#[test]
fn one_server_one_after_the_other() {
    for load in [0.3, 0.7, 0.85] {
        let case = outcome("{ count = 1, discipline = 'fifo' }", EXPONENTIAL, load, 2000, "random");
        let expected = 10.0 / (1.0 - load);
        near("mean", mean(&case, "mean_ms"), expected, 0.05);
        near("median", mean(&case, "p50_ms"), expected * 2_f64.ln(), 0.05);
        near("p99", mean(&case, "p99_ms"), expected * 100_f64.ln(), 0.08);
        let runs = &case.policies[0].runs;
        let tail = runs.iter().map(|run| beyond(run, 2.0 * expected)).sum::<f64>() / runs.len() as f64;
        near("tail", tail, (-2_f64).exp(), 0.08);
    }
}

/// M/M/c: Erlang's C for the chance to wait.
#[test]
fn one_line_before_several_cores() {
    let (cores, load) = (4_u32, 0.8);
    let servers = format!("{{ count = 1, discipline = 'fifo', cores = {cores}.0 }}");
    let case = outcome(&servers, EXPONENTIAL, load, 600, "random");
    let offered = f64::from(cores) * load;
    let term = |n: u32| (1..=n).fold(1.0, |term, k| term * offered / f64::from(k));
    let last = term(cores) / (1.0 - load);
    let waits = last / ((0..cores).map(term).sum::<f64>() + last);
    let expected = 10.0 * (1.0 + waits / (f64::from(cores) * (1.0 - load)));
    near("mean", mean(&case, "mean_ms"), expected, 0.03);
}

/// M/G/1 with processor sharing: the mean is E[S] / (1 - ρ), whatever the distribution.
#[test]
fn sharing_does_not_mind_the_distribution() {
    for work in [
        "{ type = 'constant', value = '10ms' }",
        EXPONENTIAL,
        "{ type = 'log_normal', median = '6065us', sigma = 1.0 }",
        "{ type = 'mixture', parts = [{ share = 9.0, work = { type = 'constant', value = '5ms' } }, { share = 1.0, work = { type = 'constant', value = '55ms' } }] }",
    ] {
        let case = outcome("{ count = 1, discipline = 'sharing' }", work, 0.7, 2000, "random");
        near(work, mean(&case, "mean_ms"), 10.0 / 0.3, 0.05);
    }
}

/// M/M/1 with processor sharing: Var[T] = E[T]² (2 + ρ) / (2 - ρ). Coffman, Muntz and Trotter, "Waiting time distributions for
/// processor-sharing systems", JACM 1970.
#[test]
fn the_tail_of_sharing_is_that_of_theory() {
    let load = 0.6;
    let case = outcome("{ count = 1, discipline = 'sharing' }", EXPONENTIAL, load, 3000, "random");
    let expected = 10.0 / (1.0 - load);
    for run in &case.policies[0].runs {
        let mut last = (0.0, 0.0);
        let mut square = 0.0;
        for &[latency, share] in &run.distribution {
            let (middle, part) = ((latency + last.0) / 2.0, share - last.1);
            square += middle * middle * part;
            last = (latency, share);
        }
        let variance = square - run.mean_ms * run.mean_ms;
        near("variance", variance, expected * expected * (2.0 + load) / (2.0 - load), 0.12);
    }
}

/// Mitzenmacher's fixed point: T = Σ λ^((d^i - d) / (d - 1)).
#[test]
fn two_choices_reach_the_fixed_point() {
    for (load, expected) in [(0.5, 1.2657), (0.8, 1.9474)] {
        let case = outcome(
            "{ count = 300, discipline = 'fifo' }",
            "{ type = 'exponential', mean = '1s' }",
            load,
            300,
            "least_request",
        );
        near("mean", mean(&case, "mean_ms") / 1e3, expected, 0.04);
    }
}

/// A pure delay has no queue, at any rate.
#[test]
fn a_delay_is_a_delay() {
    let text = "name = 'delay'\nduration = '10s'\nseeds = '1'\nnetwork = '1ms'\narrivals = { rate = 5000.0 }\nwork = { type = 'constant', value = '30ms' }\nservers = [{ count = 1, discipline = 'delay' }]";
    let report = run(text, &Options::default(), &|_, _| ()).unwrap();
    let run = &report.cases[0].policies[0].runs[0];
    assert!((run.mean_ms - 32.0).abs() < 1e-5, "{}", run.mean_ms);
    assert_eq!(run.errors, 0.0);
}
