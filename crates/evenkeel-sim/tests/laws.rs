//! What must hold in any fleet: nobody starves, nobody is flooded, and what broke the fleet does not keep it broken.

use evenkeel_sim::{Options, RunReport, run};

fn runs(text: &str, policies: &[&str]) -> Vec<(String, Vec<RunReport>)> {
    let policies = policies.iter().map(|&name| name.to_owned()).collect();
    let options = Options { policies, threads: 2, ..Options::default() };
    let report = run(text, &options, &|_, _| ()).expect("a sound scenario");
    report
        .cases
        .into_iter()
        .flat_map(|case| case.policies)
        .map(|policy| (policy.policy, policy.runs))
        .collect()
}

/// Policies that spread requests without keys.
const SPREADING: &[&str] = &[
    "least_request",
    "round_robin",
    "smooth_weighted_round_robin",
    "earliest_deadline_first",
    "static_stride",
    "interleaved",
    "least_connections",
    "shortest_expected_delay",
    "join_idle_queue",
    "random",
    "weighted_random",
    "peak_ewma",
    "least_latency",
    "least_time",
    "c3",
    "prequal",
    "client_side_weighted_round_robin",
];

#[test]
fn nobody_starves_and_nobody_is_flooded() {
    let text = "name = 'equal'\nduration = '60s'\nseeds = '1-2'\ntimeout = '5s'\nnetwork = '250us'\narrivals = { load = 0.6 }\nwork = { type = 'exponential', mean = '20ms' }\nclients = { count = 4 }\nservers = [{ count = 20, discipline = 'sharing', cores = 2.0 }]";
    for (policy, runs) in runs(text, SPREADING) {
        for run in runs {
            let mean = run.shares.iter().sum::<u64>() as f64 / run.shares.len() as f64;
            let least = run.shares.iter().copied().min().unwrap_or_default() as f64 / mean;
            assert!(least > 0.5, "{policy}, seed {}: one server got {least} of the mean", run.seed);
            assert!(run.max_over_mean < 1.5, "{policy}, seed {}: {}", run.seed, run.max_over_mean);
            assert_eq!(run.errors, 0.0, "{policy}, seed {}", run.seed);
        }
    }
}

/// A server that was slow is used again: within a minute and a half after its end it has its share.
#[test]
fn who_recovers_is_used_again() {
    let text = "name = 'recovers'\nduration = '150s'\nwarm_up = '120s'\nseeds = '1-2'\narrivals = { load = 0.5 }\nwork = { type = 'exponential', mean = '20ms' }\nservers = [{ count = 10, discipline = 'sharing', cores = 2.0 }]\nfaults = [{ servers = [0], from = '10s', to = '30s', kind = { slow = { times = 20.0 } } }]";
    for (policy, runs) in runs(text, SPREADING) {
        for run in runs {
            let mean = run.shares.iter().sum::<u64>() as f64 / run.shares.len() as f64;
            let share = run.shares[0] as f64 / mean;
            assert!(share > 0.5, "{policy}, seed {}: {share} of the mean", run.seed);
        }
    }
}

/// Whatever happens for ten seconds: with a budget and a throttle for retries the fleet is back within a minute.
#[test]
fn no_fault_keeps_the_fleet_down() {
    let faults = [
        "faults = [{ from = '15s', to = '25s', kind = { capacity = { times = 0.5 } } }]",
        "faults = [{ from = '15s', to = '25s', kind = { slow = { times = 4.0 } } }]",
        "faults = [{ from = '15s', to = '18s', kind = 'pause' }]",
        "faults = [{ servers = [0, 1, 2, 3], from = '15s', to = '25s', kind = 'crash' }]",
        "faults = [{ servers = [0, 1, 2, 3], from = '15s', to = '25s', kind = 'black_hole' }]",
        "faults = [{ servers = [0], from = '15s', to = '25s', kind = { fails = { share = 1.0, after = '1ms' } } }]",
        "arrivals = { rate = 1400.0, shape = { type = 'flash_crowd', at = '15s', lasts = '5s', times = 3.0 } }",
    ];
    for fault in faults {
        let rest = if fault.starts_with("arrivals") { "" } else { "arrivals = { rate = 1400.0 }" };
        let text = format!(
            "name = 'metastable'\nduration = '90s'\nwarm_up = '0s'\nseeds = '1-2'\ntimeout_cancels = false\n{rest}\n{fault}
work = {{ type = 'exponential', mean = '50ms' }}
servers = [{{ count = 10, discipline = 'sharing', cores = 10.0 }}]
windows = [{{ name = 'late', from = '80s', to = '90s' }}]
[defaults]
retries = {{ attempts = 3, per_try_timeout = '1s', on = {{ timed_out = true }} }}
budget = {{ total = {{ ratio = 0.1, min_per_second = 0 }} }}
throttle = {{ accepts = {{}} }}
[policies.least_request]
[policies.least_latency]
"
        );
        for (policy, runs) in runs(&text, &["least_request", "least_latency"]) {
            for run in runs {
                let late = &run.windows[0];
                let goodput = late.succeeded as f64 / late.arrived as f64;
                assert!(goodput > 0.95, "{policy}, {fault}, seed {}: {goodput}", run.seed);
            }
        }
    }
}

/// A rolling restart with a drain fails nothing; without one it does.
#[test]
fn a_deploy_that_drains_fails_nothing() {
    let deploy = |drain: &str| {
        let text = format!(
            "name = 'deploy'\nduration = '60s'\nwarm_up = '0s'\nseeds = '1-2'\nnetwork = '1ms'\narrivals = {{ load = 0.5 }}\nwork = {{ type = 'exponential', mean = '20ms' }}\nservers = [{{ count = 10, discipline = 'sharing', cores = 2.0 }}]\ndeploy = {{ from = '5s', drain = '{drain}', restart = '2s' }}"
        );
        runs(&text, &["least_request"]).remove(0).1
    };
    assert!(deploy("2s").iter().all(|run| run.errors == 0.0));
    assert!(deploy("0s").iter().any(|run| run.errors > 0.0));
}

/// Prequal on the servers of S3 at 1.74 of what is promised, where neighbours come and go every 20 s: nothing times out, as published.
/// When servers told probes of the last second rather than of loads like the present one, p99 was 4.1 s under this seed.
#[test]
fn probes_follow_servers_that_lose_their_spare_capacity() {
    let file = include_str!("../scenarios/s03_antagonists.toml");
    let without =
        |line: &&str| !["duration", "warm_up", "sweep", "arrivals"].iter().any(|key| line.starts_with(key));
    let rest: Vec<&str> = file.lines().filter(without).collect();
    let text = format!(
        "duration = '12s'\nwarm_up = '6s'\narrivals = {{ rate = 14200.0, times = 1.74 }}\n{}",
        rest.join("\n")
    );
    let options = Options { policies: vec!["prequal".to_owned()], seeds: vec![1], ..Options::default() };
    let report = run(&text, &options, &|_, _| ()).expect("a sound scenario");
    let run = &report.cases[0].policies[0].runs[0];
    assert!(run.p99_ms < 400.0 && run.errors == 0.0, "{} ms, {} of {}", run.p99_ms, run.errors, run.requests);
}

/// A server with two faults at once is not called healthy when the first is over.
#[test]
fn who_is_noticed_stays_out_until_all_is_over() {
    let text = "name = 'twice'\nduration = '40s'\nwarm_up = '20s'\nseeds = '1-2'\ntimeout = '1s'\narrivals = { load = 0.3 }\nwork = { type = 'exponential', mean = '20ms' }\nservers = [{ count = 4, discipline = 'sharing', cores = 2.0 }]\nfaults = [{ servers = [0], from = '5s', to = '15s', noticed_after = '100ms', kind = 'black_hole' }, { servers = [0], from = '10s', to = '50s', noticed_after = '100ms', kind = 'black_hole' }]";
    for (policy, runs) in runs(text, &["random", "least_request"]) {
        for run in runs {
            assert_eq!(run.shares[0], 0, "{policy}, seed {}: asked while it was known to be down", run.seed);
            assert_eq!(run.errors, 0.0, "{policy}, seed {}", run.seed);
        }
    }
}
