//! Measures the floors, evenkeel and its peers in one run, and says which gates are kept.
//!
//! ```text
//! cargo run --release -p evenkeel-benches --bin scoreboard --features peers -- --quick --json out.json
//! ```

mod cases;
mod floor_cases;
mod full;
mod full_gates;
mod gates;
#[cfg(feature = "peers")]
mod hash_peers;
mod limits;
mod memory;
mod method;
mod outlier;
#[cfg(feature = "peers")]
mod peers;
mod pipeline;
mod router;
mod routes;
mod row;
mod select;
mod select_gates;
mod select_ours;
mod tails;
#[cfg(feature = "peer-tower")]
mod towers;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cases::Cases;
use method::{Bench, Plan, RUNS};
use row::{Figure, Row};

const USAGE: &str = "\
usage: scoreboard [options]
  --quick            a shorter run: at most four minutes
  --json FILE        writes the rows, one JSON object a line
  --only PART,PART   only rows whose `area subject` contains one of these, as in `pick evenkeel`
  --threads 1|2      one thread only, or one and two (the default, if there are two cores)
  --rounds NUMBER    batches of each case in each of the five runs
  --strict           exits with 1 if a gate fails";

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(failed) if failed > 0 && options.strict => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

struct Options {
    plan: Plan,
    json: Option<PathBuf>,
    only: Option<String>,
    threads: usize,
    strict: bool,
    tail: Duration,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self {
            plan: Plan { batch: Duration::from_millis(3), rounds: 15 },
            json: None,
            only: None,
            threads: cores.min(2),
            strict: false,
            tail: Duration::from_secs(1),
        };
        let mut rounds = None;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => {
                    options.plan = Plan { batch: Duration::from_millis(1), rounds: 5 };
                    options.tail = Duration::from_millis(300);
                }
                "--json" => options.json = Some(value()?.into()),
                "--only" => options.only = Some(value()?),
                "--threads" => {
                    let text = value()?;
                    options.threads = text
                        .parse()
                        .ok()
                        .filter(|count| (1..=2).contains(count))
                        .ok_or("--threads 1 or 2")?;
                }
                "--rounds" => rounds = Some(value()?.parse().map_err(|_| "--rounds needs a number")?),
                "--strict" => options.strict = true,
                _ => return Err(format!("unknown option {word}")),
            }
        }
        options.plan.rounds = rounds.unwrap_or(options.plan.rounds).max(1);
        Ok(options)
    }
}

/// Measures, prints and writes; returns how many gates failed.
fn run(options: &Options) -> Result<usize, Box<dyn Error>> {
    let start = Instant::now();
    let mut cases = Cases::new(options.threads, options.only.clone());
    collect(&mut cases);
    eprintln!("{} cases", cases.list.len());
    let bench = Bench::new(options.threads);
    let timings = bench.run(&mut cases.list, options.plan, |round| {
        if std::io::stderr().is_terminal() {
            eprint!("\rround {} of {}", round + 1, RUNS * options.plan.rounds);
        }
    });
    eprintln!();
    let mut rows: Vec<Row> = cases
        .list
        .iter()
        .zip(timings)
        .map(|(case, timing)| Row {
            area: case.area,
            subject: case.subject.clone(),
            n: case.n,
            usable: case.usable,
            threads: case.runners.len(),
            figure: Figure::Time { ns: timing.median, p25: timing.p25, p75: timing.p75 },
        })
        .collect();
    if options.threads >= 2 && cases.is_wanted("update", "p99.9") {
        rows.extend(tails::rows(LARGEST, options.tail));
        rows.extend(router::tails(LARGEST, options.tail));
    }
    if cases.is_wanted("memory", "") || cases.is_wanted("breaker", "") {
        rows.extend(cases::breaker_bytes());
    }
    if cases.is_wanted("full", "clock reads") {
        rows.extend(full::clock_reads());
    }
    if cases.is_wanted("memory", "") {
        rows.extend(memory::rows(LARGEST));
        #[cfg(feature = "peers")]
        rows.extend(peers::memory(LARGEST));
    }
    if let Some(file) = &options.json {
        std::fs::write(file, row::json_lines(&rows)?)?;
    }
    let (gates, failed) = gates::report(&rows);
    let mut out = std::io::stdout().lock();
    write!(out, "{}{gates}", row::tables(&rows))?;
    writeln!(out, "{:.0} s", start.elapsed().as_secs_f64())?;
    Ok(failed)
}

fn collect(cases: &mut Cases) {
    floor_cases::primitives(cases);
    for n in [3, 10, 100, 1000, LARGEST] {
        floor_cases::picks(cases, n);
        select::floors(cases, n);
        select_ours::lookups(cases, n);
        select_ours::choices(cases, n);
        #[cfg(feature = "peers")]
        hash_peers::lookups(cases, n);
        for usable in [1.0, 0.5, 0.1] {
            cases::picks(cases, n, usable);
            cases::weighted_picks(cases, n, usable);
            #[cfg(feature = "peers")]
            peers::picks(cases, n, usable);
        }
    }
    #[cfg(feature = "peers")]
    hash_peers::builds(cases);
    #[cfg(feature = "peer-tower")]
    towers::calls(cases);
    #[cfg(feature = "peer-tower")]
    towers::grpc(cases);
    select_ours::builds(cases);
    routes::cases(cases);
    router::cases(cases);
    cases::picks_with_breaker(cases, 10);
    floor_cases::breakers(cases);
    cases::breakers(cases);
    cases::more_breakers(cases);
    #[cfg(feature = "peers")]
    peers::breakers(cases);
    limits::all(cases);
    outlier::records(cases);
    for n in [10, 1000, LARGEST] {
        outlier::sweeps(cases, n);
    }
    for n in full::SIZES {
        full::picks(cases, n);
        full::parts(cases, n);
        full::one_walk(cases, n);
    }
    pipeline::cases(cases);
    for n in [10, 1000, LARGEST] {
        floor_cases::updates(cases, n);
        cases::updates(cases, n);
        #[cfg(feature = "peers")]
        peers::updates(cases, n);
    }
}

/// The largest world.
const LARGEST: usize = 10_000;
