//! The same seed gives the same run, to the bit, with threads and without; and all policies meet the same requests.

use evenkeel_sim::{Options, Report, run};

/// Something of everything.
const ALL: &str = r#"
name = "everything"
duration = "20s"
seeds = "1-3"
network = "500us"
cross_zone = "1ms"
timeout = "300ms"
objective = "100ms"
load_reports = true
series = "1s"
keys = { count = 1000, zipf = 1.0 }
clients = { count = 5, zones = ["a", "b"] }
arrivals = { rate = 400.0, shape = { type = "on_off", on = "1s", off = "1s", rest = 0.5 } }
work = { type = "log_normal", median = "15ms", sigma = 0.8 }
deploy = { from = "14s", drain = "500ms", restart = "200ms", cold = { times = 2.0, lasts = "1s" } }
scaling = { least = 8, target = 0.5, every = "1s", start_up = "1s" }
windows = [{ name = "middle", from = "5s", to = "10s" }]
faults = [
    { servers = [0], from = "3s", to = "6s", kind = { fails = { share = 0.5, after = "1ms" } } },
    { servers = [1], from = "4s", to = "5s", kind = "crash", noticed_after = "300ms" },
    { servers = [2], from = "2s", to = "2500ms", every = "2s", kind = "pause" },
    { servers = [3], from = "6s", to = "8s", kind = "black_hole" },
    { servers = [4], from = "7s", to = "9s", kind = "absent" },
    { servers = [5], from = "8s", to = "9s", kind = { slow = { times = 5.0 } } },
    { from = "10s", to = "11s", kind = { capacity = { times = 0.5 } } },
    { servers = [6], from = "11s", to = "12s", kind = { answers = { after = "50ms" } } },
]

[[servers]]
count = 6
discipline = "sharing"
cores = 4.0
zone = "a"
antagonist = { every = "1s", states = [{ share = 1.0, cores = [1.0, 4.0] }, { share = 1.0, slowdown = [1.0, 2.0] }] }

[[servers]]
count = 6
discipline = "fifo"
cores = 2.0
queue_limit = 30
zone = "b"

[defaults]
retries = { attempts = 3, per_try_timeout = "150ms", on = { timed_out = true } }
budget = {}
throttle = { accepts = {} }
hedge = { learnt = { max_extra_load = 0.05 } }
outlier = {}

[policies.p2c]
policy = "least_request"
[policies.prequal]
probes = {}
[policies.polled]
polled = { every = "100ms" }
[policies.global]
polled = {}
[policies.ring]
policy = "ring_hash"
[policies.weighted]
policy = "client_side_weighted_round_robin"
hedge = { after = { delay = "60ms" } }
[policies.peak_ewma]
"#;

fn report(threads: usize) -> Report {
    let options = Options { threads, ..Options::default() };
    run(ALL, &options, &|_, _| ()).expect("a sound scenario")
}

#[test]
fn threads_change_nothing() {
    let alone = report(1);
    assert_eq!(alone, report(3));
    assert_eq!(alone, report(1));
    for policy in &alone.cases[0].policies {
        let first = &policy.runs[0];
        assert!(first.requests > 3000 && first.goodput > 0.5, "{}: {first:?}", policy.policy);
        assert_eq!(first.failures.unfinished, 0, "{}", policy.policy);
        assert!(policy.runs[0].mean_ms != policy.runs[1].mean_ms, "seeds differ");
    }
}

#[test]
fn all_policies_meet_the_same_requests() {
    let report = report(2);
    let policies = &report.cases[0].policies;
    for policy in policies {
        for (own, first) in policy.runs.iter().zip(&policies[0].runs) {
            assert_eq!((own.simulated, own.windows[0].arrived), (first.simulated, first.windows[0].arrived));
        }
    }
}

/// What was counted one by one adds up.
#[test]
fn counts_add_up() {
    for policy in &report(2).cases[0].policies {
        for run in &policy.runs {
            let failed = run.failures.failed
                + run.failures.timed_out
                + run.failures.not_picked
                + run.failures.throttled
                + run.failures.unfinished;
            assert_eq!((run.errors * run.requests as f64).round() as u64, failed, "{}", policy.policy);
            let series = run.series.as_ref().expect("asked for");
            let arrived: u64 = series.points.iter().map(|point| u64::from(point.arrived)).sum();
            assert_eq!(arrived, run.simulated);
            let sent: u32 = series.servers.iter().flatten().map(|point| point.sent).sum();
            let attempts: u32 = series.points.iter().map(|point| point.attempts).sum();
            assert_eq!(sent, attempts);
            assert!(run.distribution.is_sorted_by(|one, other| one[0] <= other[0] && one[1] <= other[1]));
        }
    }
}
