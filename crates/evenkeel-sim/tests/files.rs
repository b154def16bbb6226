//! Scenario files: those of the scoreboard are sound, and impossible ones are refused by the name of the field.

use evenkeel_sim::{Options, Scenario, ScenarioError, run, schema};

const PLAIN: &str = "name = 'plain'\nduration = '2s'\nseeds = '1'\narrivals = { load = 0.5 }\nwork = { type = 'exponential', mean = '10ms' }\nservers = [{ count = 3, discipline = 'fifo' }]\n";

fn files() -> Vec<(String, String)> {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")).expect("readable");
    let mut files: Vec<_> = folder
        .map(|entry| {
            let path = entry.expect("readable").path();
            (path.display().to_string(), std::fs::read_to_string(path).expect("readable"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_files_of_the_scoreboard_are_sound_and_fit_the_schema() {
    let schema = serde_json::to_value(schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let files = files();
    assert!(files.len() >= 12);
    for (path, text) in files {
        Scenario::cases(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let value: toml::Value = toml::from_str(&text).unwrap();
        let value = serde_json::to_value(value).unwrap();
        let faults: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{path}: {faults:?}");
    }
}

#[test]
fn what_is_impossible_is_refused_by_name() {
    for (more, words) in [
        ("warm_up = '3s'", "warm_up"),
        ("timeout = '0s'", "timeout"),
        ("fan_out = 0", "fan_out"),
        ("seeds = '5-1'", "seeds"),
        ("clients = { count = 0 }", "clients.count"),
        ("clients = { cuont = 1 }", "cuont"),
        ("keys = { count = 0 }", "keys.count"),
        ("arrivals = { load = 1.5 }", "150 %"),
        ("arrivals = { load = -1.0 }", "arrivals.load"),
        ("series = '1us'", "series"),
        ("faults = [{ servers = [3], kind = 'crash' }]", "faults.0.servers.0"),
        ("faults = [{ from = '2s', to = '1s', kind = 'pause' }]", "faults.0.to"),
        ("faults = [{ to = '1s', every = '1s', kind = 'pause' }]", "faults.0.every"),
        ("faults = [{ kind = { fails = { share = 2.0, after = '1ms' } } }]", "faults.0.kind.fails.share"),
        ("deploy = { from = '1s', at_once = 0, drain = '1s', restart = '1s' }", "deploy.at_once"),
        ("scaling = { least = 4, target = 0.5, every = '1s', start_up = '1s' }", "scaling.least"),
        ("servers = [{ count = 0, discipline = 'fifo' }]", "servers"),
        ("servers = [{ count = 1, discipline = 'fifo', cores = 1.5 }]", "servers.0.cores"),
        ("servers = [{ count = 1, discipline = 'lifo' }]", "lifo"),
        ("windows = [{ name = 'w', from = '2s', to = '1s' }]", "windows.0.to"),
        ("sweep = { field = 'arrivals.lode', values = [0.5] }", "lode"),
        ("sweep = { field = 'servers.7.count', values = [1] }", "sweep.field"),
        ("policies = { x = { policy = 'nonsense' } }", "nonsense"),
        ("seeds = '1,2,1'", "seeds"),
        ("policies = { x = { polled = { every = '0s' } } }", "polled.every"),
        ("faults = [{ noticed_after = '99999h', kind = 'crash' }]", "faults.0.noticed_after"),
        ("faults = [{ kind = { answers = { after = '99999h' } } }]", "faults.0.kind.after"),
        ("deploy = { from = '1s', drain = '99999h', restart = '1s' }", "deploy.drain"),
        ("servers = [{ count = 1, discipline = 'delay' }]", "arrivals.load"),
        ("policies = { x = { } }", "policies.x"),
        ("policies = { x = { probes = {}, polled = {} } }", "policies.x"),
        (
            "policies = { x = { policy = 'random', retries = { attempts = 99 } } }",
            "policies.x: retries.attempts",
        ),
        ("policies = { x = { probes = { capacity = 0 } } }", "policies.x: probes"),
        // What begins after the end never happens.
        ("faults = [{ from = '2s', kind = 'crash' }]", "faults.0.from"),
        ("windows = [{ name = 'w', from = '2s', to = '3s' }]", "windows.0.from"),
        ("deploy = { from = '2s', drain = '1s', restart = '1s' }", "deploy.from"),
        (
            "arrivals = { load = 0.5, shape = { type = 'flash_crowd', at = '2s', lasts = '1s', times = 2.0 } }",
            "arrivals.shape.at",
        ),
        // Servers that nobody can reach, and settings that nobody reads.
        ("servers = [{ count = 1, discipline = 'fifo', priority = 129 }]", "servers.0.priority"),
        ("servers = [{ count = 1, discipline = 'fifo', weight = 0 }]", "servers.0.weight"),
        ("servers = [{ count = 1, discipline = 'delay', concurrency = 1 }]", "servers.0.concurrency"),
        (
            "defaults = { policy = 'random', probes = {} }\npolicies = { x = { outlier = {} } }",
            "policies.x: policy",
        ),
        (
            "policies = { random = { locality = { mode = 'client_region', regions = [{ name = 'a' }] } } }",
            "policies.random: locality.mode",
        ),
        ("work = { type = 'shifted', least = '31d', mean = '1ms' }", "work.least"),
        ("work = { type = 'normal', mean = '1ms', deviation = '31d', least = '1ms' }", "work.deviation"),
    ] {
        let key = more.split(' ').next().unwrap();
        let others = PLAIN.lines().filter(|line| !line.starts_with(key));
        let text: String = others.chain([more]).map(|line| format!("{line}\n")).collect();
        let error = run(&text, &Options::default(), &|_, _| ()).unwrap_err().to_string();
        assert!(error.contains(words), "{more}: {error}");
    }
}

#[test]
fn a_policy_that_nobody_knows_is_refused() {
    let options = Options { policies: vec!["p3c".to_owned()], ..Options::default() };
    assert_eq!(run(PLAIN, &options, &|_, _| ()).unwrap_err(), ScenarioError::NoPolicy("p3c".to_owned()));
}

/// Cores that nobody can use do nothing.
#[test]
fn places_bound_what_servers_can_do() {
    let text = PLAIN
        .replace("load = 0.5", "rate = 350.0")
        .replace("discipline = 'fifo'", "discipline = 'fifo', cores = 4.0, concurrency = 1");
    let error = run(&text, &Options::default(), &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("116 %"), "{error}");
}

/// More than the servers can do: refused where queues would grow for ever, run and told where something sheds.
#[test]
fn overload_is_refused_or_told() {
    let over = PLAIN.replace("0.5", "1.2");
    assert!(matches!(
        run(&over, &Options::default(), &|_, _| ()),
        Err(ScenarioError::Overload { percent: 120 })
    ));
    for sheds in ["timeout = '100ms'", "allow_overload = true"] {
        let report = run(&format!("{sheds}\n{over}"), &Options::default(), &|_, _| ()).unwrap();
        assert!(report.cases[0].is_overloaded);
    }
}

#[test]
fn every_policy_of_evenkeel_runs() {
    let policies = evenkeel::PolicyConfig::all().iter().map(|policy| policy.name().to_owned()).collect();
    let options = Options { policies, ..Options::default() };
    let report = run(&format!("keys = {{ count = 100 }}\n{PLAIN}"), &options, &|_, _| ()).unwrap();
    for policy in &report.cases[0].policies {
        assert!(policy.runs[0].requests > 100 && policy.runs[0].errors == 0.0, "{}", policy.policy);
    }
}

/// A core of a pure delay is never busy: an autoscaler would take all servers away.
#[test]
fn an_autoscaler_needs_cores() {
    let text = PLAIN.replace("load = 0.5", "rate = 10.0").replace("'fifo'", "'delay'")
        + "scaling = { least = 1, target = 0.5, every = '1s', start_up = '1s' }";
    let error = run(&text, &Options::default(), &|_, _| ()).unwrap_err().to_string();
    assert!(error.starts_with("scaling = set is impossible"), "{error}");
}

/// A quarter of a day that is the busy one asks for more than the mean of the day.
#[test]
fn the_load_of_a_part_of_a_day_is_that_of_the_part() {
    let text = PLAIN
        .replace("load = 0.5", "load = 0.7, shape = { type = 'diurnal', period = '8s', amplitude = 1.0 }");
    let error = run(&text, &Options::default(), &|_, _| ()).unwrap_err();
    assert_eq!(error, ScenarioError::Overload { percent: 114 });
}

/// Overload of a part of the servers is not seen before a run: half of the requests go to servers that can do a third.
#[test]
fn queues_that_grow_until_the_end_are_told() {
    let servers =
        "servers = [{ count = 2, discipline = 'fifo' }, { count = 2, discipline = 'fifo', slowdown = 3.0 }]";
    let others = PLAIN.lines().filter(|line| !line.starts_with("servers")).collect::<Vec<_>>().join("\n");
    let text = format!("{others}\n{servers}").replace("0.5", "0.9").replace("'2s'", "'120s'");
    let policies = vec!["least_request".to_owned(), "random".to_owned()];
    let report = run(&text, &Options { policies, ..Options::default() }, &|_, _| ()).unwrap();
    let [least, random] = &report.cases[0].policies[..] else { panic!("two policies") };
    assert_eq!((least.warning(), least.runs[0].left_over), (None, None));
    // 60 a second of 240 go to each slow one, which does 33.3.
    let share = random.runs[0].left_over.unwrap();
    assert!((share - 2.0 * (60.0 - 100.0 / 3.0) / 240.0).abs() < 0.03, "{share}");
    assert!(
        random.warning().unwrap().starts_with("unstable: requests under way grew"),
        "{:?}",
        random.warning()
    );
}

#[test]
fn a_run_without_requests_says_so() {
    let text = PLAIN.replace("'2s'", "'1us'");
    let report = run(&text, &Options::default(), &|_, _| ()).unwrap();
    assert_eq!(
        report.cases[0].policies[0].warning().as_deref(),
        Some("no request arrived after the warm-up")
    );
}

#[test]
fn the_scenario_of_the_guide_is_sound() {
    let page = include_str!("../../../docs/simulator.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    Scenario::cases(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
}
