//! Logs on simulated servers, and the pages that come of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use evenkeel_sim::log::{FormatConfig, ReplayConfig};
use evenkeel_sim::replay::{Comparison, Fleet, Replay, calibrate};
use evenkeel_sim::{
    Discipline, Options, Report, Scenario, ScenarioError, Source, Stream, html, run, run_cases,
};

/// Twenty thousand requests at 1000 a second, of 8 ms in the mean.
fn log(name: &str) -> ReplayConfig {
    let (mut gaps, mut work) = (Stream::new(1, Source::Arrivals, 0), Stream::new(1, Source::Work, 0));
    let mut at = 1_700_000_000_000_000_000.0;
    let mut text = String::new();
    for number in 0..20_000 {
        at += gaps.exponential(1e6);
        let nanos = at as u64;
        let took = (work.exponential(8e6) as u64).max(1);
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        writeln!(text, "{seconds}.{rest:09},{},0.{took:09}", number % 100)
            .expect("a test's own log and settings are right");
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("a test's own log and settings are right");
    ReplayConfig::new(
        path,
        FormatConfig::named("csv", None).expect("a test's own log and settings are right"),
    )
}

fn fleet(discipline: Discipline) -> Fleet {
    Fleet { servers: Some(10), discipline, seeds: "1-2".to_owned(), ..Fleet::default() }
}

fn outcome(replay: &Replay, policies: &[&str]) -> (Report, Comparison) {
    let options = Options {
        policies: policies.iter().map(|&name| name.to_owned()).collect(),
        seeds: vec![1, 2],
        threads: 2,
    };
    let report = run_cases(std::slice::from_ref(replay.case()), &options, &|_, _| {})
        .expect("a test's own log and settings are right");
    let comparison = replay.compare(&report.cases[0]);
    (report, comparison)
}

/// Where nothing waits, what comes out is the log itself, under any policy.
#[test]
fn without_bounds_the_simulation_is_the_log() {
    let replay = Replay::new(&log("delay.csv"), &fleet(Discipline::Delay)).unwrap();
    let (report, comparison) = outcome(&replay, &["round_robin", "least_request"]);
    for (policy, apart) in report.cases[0].policies.iter().zip(&comparison.policies) {
        assert_eq!(policy.runs[0].requests, 20_000);
        assert!((policy.mean("mean_ms") / comparison.measured.mean_ms - 1.0).abs() < 1e-9);
        assert_eq!(policy.mean("p99_ms"), comparison.measured.p99_ms);
        assert!(apart.distance.mean < 1e-9, "{apart:?}");
    }
    assert_eq!(comparison.measured.requests, 20_000);
    assert!((comparison.measured.rate - 1000.0).abs() < 20.0);
    assert!(comparison.cautions()[0].contains("policies cannot differ in latency"));
}

/// Where requests wait for each other, the waiting of the log is counted twice, until the service times are scaled.
#[test]
fn calibration_takes_the_waiting_out_again() {
    let mut replay = Replay::new(&log("calibrate.csv"), &fleet(Discipline::Sharing)).unwrap();
    // 1000 a second × 8 ms = 8 busy; over 10 servers at 0.7 that is more than one core each.
    assert!((replay.cores() - 8.0 / 10.0 / 0.7).abs() < 0.03, "{}", replay.cores());
    let (_, before) = outcome(&replay, &["round_robin"]);
    assert!(before.cautions()[0].contains("upper bounds"));
    let factor = calibrate(&mut replay, "round_robin").unwrap();
    assert!(factor < 0.9, "{factor}");
    let (report, after) = outcome(&replay, &["round_robin", "least_request"]);
    let simulated = report.cases[0].policies[0].mean("mean_ms");
    assert!(
        (simulated / after.measured.mean_ms - 1.0).abs() < 0.02,
        "{simulated} {:?}",
        after.measured.mean_ms
    );
    assert!(after.policies[0].distance.mean < before.policies[0].distance.mean, "{before:?} {after:?}");
    let better = report.cases[0].policies[1].mean("mean_ms");
    assert!(better < simulated, "two choices beat taking turns: {better} {simulated}");
}

#[test]
fn speed_and_factor_are_obeyed() {
    let plain = log("speed.csv");
    let fast = ReplayConfig { speed: 2.0, work_times: 0.5, ..plain.clone() };
    let of = |log: &ReplayConfig| Replay::new(log, &fleet(Discipline::Delay)).unwrap();
    let (plain, fast) = (of(&plain), of(&fast));
    let (slow_run, fast_run) = (plain.case().scenario.duration, fast.case().scenario.duration);
    assert!((slow_run.as_secs_f64() / fast_run.as_secs_f64() - 2.0).abs() < 0.01);
    let mean = |replay: &Replay| outcome(replay, &["random"]).0.cases[0].policies[0].mean("mean_ms");
    assert!((mean(&plain) / mean(&fast) - 2.0).abs() < 1e-6);
    assert_eq!(outcome(&fast, &["random"]).0.cases[0].policies[0].runs[0].requests, 20_000);
}

/// A scenario may have a log for its arrivals: its work is not used, its rate and load are those of the log.
#[test]
fn scenarios_take_logs() {
    let path = log("scenario.csv").path;
    let text = |more: &str| {
        format!(
            "name = 'x'\nduration = '10s'\nseeds = '1'\nwork = {{ type = 'constant', value = '1h' }}\n\
             servers = [{{ count = 20, discipline = 'sharing' }}]\n[arrivals]\n{more}\n\
             [arrivals.replay]\npath = {path:?}\nformat = {{ type = 'csv' }}\n"
        )
    };
    let report = run(&text(""), &Options::default(), &|_, _| {}).unwrap();
    assert!((report.cases[0].load - 0.4).abs() < 0.02, "{}", report.cases[0].load);
    let own = &report.cases[0].policies[0].runs[0];
    assert!((9_000..11_000).contains(&own.simulated), "ten of twenty seconds: {}", own.simulated);
    assert!(own.mean_ms > 7.0 && own.mean_ms < 30.0, "{}", own.mean_ms);
    for (more, field) in [("rate = 5.0", "arrivals.rate"), ("times = 2.0", "arrivals.times")] {
        let told = Scenario::cases(&text(more)).unwrap_err();
        assert!(matches!(&told, ScenarioError::Invalid(wrong) if wrong.field == field), "{told}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Scenario::cases(&text("")), Err(ScenarioError::Log(_))));
}

#[test]
fn impossible_fleets_are_refused() {
    let log = log("fleet.csv");
    for (field, fleet) in [
        ("servers", Fleet { servers: None, ..fleet(Discipline::Delay) }),
        ("servers", Fleet { servers: Some(0), ..fleet(Discipline::Delay) }),
        ("load", Fleet { load: 1.0, ..fleet(Discipline::Delay) }),
    ] {
        let told = Replay::new(&log, &fleet).unwrap_err();
        assert!(matches!(&told, ScenarioError::Invalid(wrong) if wrong.field == field), "{told}");
    }
    let small = Fleet { servers: Some(1), cores: Some(1.0), ..fleet(Discipline::Sharing) };
    let mut busy = Replay::new(&log, &small).unwrap();
    assert!(matches!(busy.check(), Err(ScenarioError::Overload { percent: 780..=820 })));
    // Less work is something that it can do.
    assert!(calibrate(&mut busy, "random").unwrap() < 1.0 / 8.0);
    assert_eq!(busy.check(), Ok(()));
}

/// A log that is another one by the time it is replayed is an error, not another result.
#[test]
fn a_log_that_changes_is_noticed() {
    let log = log("change.csv");
    let replay = Replay::new(&log, &fleet(Discipline::Delay)).unwrap();
    let text = std::fs::read_to_string(&log.path).unwrap();
    let cut = text.match_indices('\n').nth(9_999).unwrap().0;
    std::fs::write(&log.path, &text[..=cut]).unwrap();
    let options = Options { policies: vec!["random".to_owned()], seeds: vec![1], threads: 1 };
    let told = run_cases(std::slice::from_ref(replay.case()), &options, &|_, _| {}).unwrap_err();
    assert!(told.to_string().contains("10000 requests, 20000 before"), "{told}");
}

/// Pages need nothing from elsewhere, escape what they are given, and name each thing once.
#[test]
fn pages_stand_alone() {
    let mut log = log("page.csv");
    let hostile = PathBuf::from(&log.path).with_file_name("a<b>\"&'.csv");
    std::fs::rename(&log.path, &hostile).unwrap();
    log.path = hostile;
    let mut replay = Replay::new(&log, &fleet(Discipline::Sharing)).unwrap();
    replay.keep_series();
    let (report, comparison) = outcome(&replay, &["round_robin", "least_request", "peak_ewma"]);
    for page in [html::render(&report, Some(&comparison)), html::render(&report, None)] {
        assert!(page.len() < 400_000, "{}", page.len());
        assert!(page.contains("a&lt;b&gt;&quot;&amp;&#39;.csv") && !page.contains("a<b>"));
        for outside in ["http:", "https:", "<script", "src=", "@import", "url(", "<link", "NaN", "inf"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let mut ids: Vec<&str> =
            page.split(" id=").skip(1).map(|rest| rest.split(['>', ' ']).next().unwrap()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), count > 20), (count, true), "{ids:?}");
        // Two plots of latency, three of each policy's endpoints; each picture has a name and a description.
        assert_eq!(page.matches("<figure>").count(), 2 + 3 * 3);
        assert_eq!(page.matches("role=img").count(), page.matches("<desc").count());
    }
}
