//! Counts the instructions of a pick by callgrind: a figure that a busy machine does not change, so that CI can hold it.
//!
//! ```text
//! instructions                 compares with benches/instructions.json, fails above 10 % more
//! instructions --bless         writes that table
//! instructions CASE CALLS [N]  makes so many calls, with 100 endpoints or N: what runs under callgrind
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use evenkeel::{MonotonicClock, Outcome, Request};
use evenkeel_benches::{PARTS, POLICIES, Weights, cluster, pipeline};

/// Instructions a call, by case: `WAY/POLICY`, and `full/PARTS` for what is switched on besides.
type Table = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        [] => check(),
        ["--bless"] => count_all().and_then(|table| bless(&table)),
        [case, calls] => calls.parse().map_err(Into::into).and_then(|calls| run(case, calls, ENDPOINTS)),
        [case, calls, n] => match (calls.parse(), n.parse()) {
            (Ok(calls), Ok(n)) => run(case, calls, n),
            _ => Err("calls and endpoints are numbers".into()),
        },
        _ => Err("usage: instructions [--bless | CASE CALLS [ENDPOINTS]]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(case: &str, calls: u64, endpoints: usize) -> Result<(), Box<dyn Error>> {
    let (way, policy) = case.split_once('/').ok_or("a case is WAY/POLICY")?;
    let cluster = match PARTS.iter().find(|parts| way == "full" && parts.name == policy) {
        Some(parts) => parts.cluster(endpoints, MonotonicClock::new()),
        None if way == "pipeline" => pipeline(MonotonicClock::new()),
        None => cluster(policy, endpoints, 1.0, Weights::Equal),
    };
    let mut picker = cluster.picker();
    let request = Request::new();
    match way {
        "evenkeel" | "full" | "pipeline" => {
            repeat(calls, || cluster.pick(&request).map(|pick| pick.finish(Outcome::success())).is_ok());
        }
        "picker" => {
            repeat(calls, || picker.pick(&request).map(|pick| pick.finish(Outcome::success())).is_ok());
        }
        "choose" => repeat(calls, || picker.choose(&request).is_ok()),
        _ => return Err(format!("no way to pick is called {way}").into()),
    }
    Ok(())
}

fn repeat(calls: u64, mut act: impl FnMut() -> bool) {
    for _ in 0..calls {
        black_box(act());
    }
}

fn check() -> Result<(), Box<dyn Error>> {
    let known: Table = serde_json::from_str(&std::fs::read_to_string(table_path())?)?;
    let counted = count_all()?;
    let mut exceeded = 0;
    for (case, &now) in &counted {
        let before = known.get(case).copied();
        let is_more = before.is_none_or(|before| now * 100 > before * (100 + SLACK_PERCENT));
        exceeded += usize::from(is_more);
        let before = before.map_or("unknown".to_owned(), |before| before.to_string());
        println!("{case:44} {now:>6}  before {before:>7}{}", if is_more { "  MORE" } else { "" });
    }
    match exceeded {
        0 => Ok(()),
        _ => Err(format!("{exceeded} above {SLACK_PERCENT} % more: find out why, or run again with --bless")
            .into()),
    }
}

fn bless(table: &Table) -> Result<(), Box<dyn Error>> {
    let mut text = serde_json::to_string_pretty(table)?;
    text.push('\n');
    print!("{text}");
    Ok(std::fs::write(table_path(), text)?)
}

fn count_all() -> Result<Table, Box<dyn Error>> {
    let ways = ["evenkeel", "picker", "choose"];
    let cases = ways.iter().flat_map(|way| POLICIES.iter().map(move |policy| format!("{way}/{policy}")));
    let full = PARTS.iter().map(|parts| format!("full/{}", parts.name));
    let pipeline = std::iter::once("pipeline/cluster".to_owned());
    cases.chain(full).chain(pipeline).map(|case| Ok((case.clone(), count(&case)?))).collect()
}

/// The difference of two runs is that of their calls alone: starting up and building the cluster cancel out.
fn count(case: &str) -> Result<u64, Box<dyn Error>> {
    Ok((total(case, MANY)? - total(case, FEW)?) / (MANY - FEW))
}

fn total(case: &str, calls: u64) -> Result<u64, Box<dyn Error>> {
    let profile = std::env::temp_dir().join(format!("evenkeel-instructions-{}", std::process::id()));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args([case, &calls.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("{case} under valgrind: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = std::fs::read_to_string(&profile)?;
    std::fs::remove_file(&profile)?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: "));
    Ok(summary.ok_or("callgrind wrote no summary")?.trim().parse()?)
}

fn table_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

const ENDPOINTS: usize = 100;
const FEW: u64 = 1000;
const MANY: u64 = 11_000;
const SLACK_PERCENT: u64 = 10;
