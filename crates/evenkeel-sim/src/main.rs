//! Runs scenarios in virtual time.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::progress::Progress;
use evenkeel_sim::{CompareOptions, Options, Report, Scenario, ScoreboardOptions, Verdict};

/// Runs evenkeel against simulated servers, in virtual time.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Runs a scenario file under some policies and prints what came out.
    Run {
        /// The file.
        file: PathBuf,
        /// Policies that the file describes, or evenkeel's own by name. Default: all that the file describes.
        #[arg(long, value_delimiter = ',')]
        policy: Vec<String>,
        /// Seeds, as 1-5 or 1,3. Default: those of the file.
        #[arg(long)]
        seeds: Option<String>,
        /// Writes everything there.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Writes a page with plots there. Time series are kept then, in steps of a 120th of the run where the file has none.
        #[arg(long)]
        html: Option<PathBuf>,
        /// How many threads; the outcome does not depend on it. Default: as many as there are cores.
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Replays an access log under some policies, and prints what came out beside what the log measured.
    Replay(Box<commands::replay::Arguments>),
    /// Runs the published results again and says which came out; exits with 1 if one did not.
    Scoreboard {
        /// Fewer seeds and shorter runs; the bands are the same.
        #[arg(long)]
        quick: bool,
        /// Bands whose miss is explained do not count.
        #[arg(long)]
        pass_known: bool,
        /// Only these: S1 to S12.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// Seeds, as 1-5 or 1,3. Default: those of the files.
        #[arg(long)]
        seeds: Option<String>,
        /// Writes everything there.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Writes the page for users there.
        #[arg(long)]
        markdown: Option<PathBuf>,
        /// How many threads; the outcome does not depend on it. Default: as many as there are cores.
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Compares one policy to the best of the others in every scenario, or to itself without each of its terms.
    Compare {
        /// The policy.
        #[arg(default_value = "least_latency")]
        policy: String,
        /// Against itself without each of its terms.
        #[arg(long)]
        ablation: bool,
        /// Shorter runs of some scenarios, and fewer loads.
        #[arg(long)]
        quick: bool,
        /// Only these: S1 to S10, H1 to H4.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// Seeds, as 101-105 or 1,3. Default: those of the files.
        #[arg(long)]
        seeds: Option<String>,
        /// Writes everything there.
        #[arg(long)]
        json: Option<PathBuf>,
        /// How many threads; the outcome does not depend on it. Default: as many as there are cores.
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Prints the JSON Schema of scenario files.
    Schema,
}

fn main() -> ExitCode {
    match Arguments::parse().act {
        Act::Run { file, policy, seeds, json, html, threads } => {
            let outcome = run_file(&file, policy, seeds.as_deref(), threads, html.is_some());
            finish(outcome.and_then(|report| {
                print(&report);
                json.map_or(Ok(()), |path| write_json(&path, &report))?;
                html.map_or(Ok(()), |path| commands::replay::page(&path, &report, None))
            }))
        }
        Act::Replay(arguments) => finish(commands::replay::run(&arguments)),
        Act::Scoreboard { quick, pass_known, only, seeds, json, markdown, threads } => {
            let seeds = match seeds.as_deref().map(Scenario::seeds).transpose() {
                Ok(seeds) => seeds.unwrap_or_default(),
                Err(error) => return finish(Err(error.to_string())),
            };
            let options =
                ScoreboardOptions { is_quick: quick, only, threads: threads.unwrap_or_else(cores), seeds };
            finish(judge(&options, pass_known, json.as_ref(), markdown.as_ref()))
        }
        Act::Compare { policy, ablation, quick, only, seeds, json, threads } => {
            let seeds = match seeds.as_deref().map(Scenario::seeds).transpose() {
                Ok(seeds) => seeds.unwrap_or_default(),
                Err(error) => return finish(Err(error.to_string())),
            };
            let threads = threads.unwrap_or_else(cores);
            let options =
                CompareOptions { policy, is_ablation: ablation, is_quick: quick, only, seeds, threads };
            finish(compare(&options, json.as_ref()))
        }
        Act::Schema => {
            println!("{:#}", evenkeel_sim::schema().to_value());
            ExitCode::SUCCESS
        }
    }
}

fn finish(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_file(
    file: &PathBuf,
    policies: Vec<String>,
    seeds: Option<&str>,
    threads: Option<usize>,
    keeps_series: bool,
) -> Result<Report, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let seeds = seeds.map(Scenario::seeds).transpose().map_err(|error| error.to_string())?;
    let options =
        Options { policies, seeds: seeds.unwrap_or_default(), threads: threads.unwrap_or_else(cores) };
    let told = |error| format!("{}: {error}", file.display());
    let mut cases = Scenario::cases(&text).map_err(told)?;
    if keeps_series {
        cases.iter_mut().for_each(|case| case.scenario.keep_series());
    }
    let progress = Progress::new();
    evenkeel_sim::run_cases(&cases, &options, &|done, of| progress.tell(done, of)).map_err(told)
}

fn judge(
    options: &ScoreboardOptions,
    passes_known: bool,
    json: Option<&PathBuf>,
    markdown: Option<&PathBuf>,
) -> Result<(), String> {
    let progress = Progress::new();
    let board = evenkeel_sim::scoreboard(options, &|done, of| progress.tell(done, of));
    drop(progress);
    let board = board.map_err(|error| error.to_string())?;
    for band in &board.bands {
        println!("{band}");
    }
    if let Some(path) = json {
        write_json(path, &board)?;
    }
    if let Some(path) = markdown {
        std::fs::write(path, board.markdown()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let (all, unknown) = (board.missed(false).count(), board.missed(true).count());
    println!("{} bands, {all} missed, {} of them as known", board.bands.len(), all - unknown);
    let missed = if passes_known { unknown } else { all };
    if missed > 0 { Err(format!("{missed} bands are missed")) } else { Ok(()) }
}

fn compare(options: &CompareOptions, json: Option<&PathBuf>) -> Result<(), String> {
    println!("| scenario | | ms | errors % | other | ms | errors % | difference, % | |");
    println!("|---|---|---:|---:|---|---:|---:|---:|---|");
    let progress = Progress::new();
    let told = |done, of| progress.tell(done, of);
    let found = evenkeel_sim::compare(options, &told, |rows| rows.iter().for_each(|row| println!("{row}")));
    drop(progress);
    let found = found.map_err(|error| error.to_string())?;
    let count = |verdict| found.iter().filter(|row| row.verdict() == verdict).count();
    let [better, no_worse, open, worse] =
        [Verdict::Better, Verdict::NoWorse, Verdict::Open, Verdict::Worse].map(count);
    println!("\n{better} better, {no_worse} no worse, {open} open, {worse} worse");
    json.map_or(Ok(()), |path| write_json(path, &found))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn write_json(path: &PathBuf, report: &impl serde::Serialize) -> Result<(), String> {
    let told = |error: String| format!("{}: {error}", path.display());
    let text = serde_json::to_string_pretty(report).map_err(|error| told(error.to_string()))?;
    std::fs::write(path, text).map_err(|error| told(error.to_string()))
}

fn print(report: &Report) {
    println!("{}", report.scenario);
    for case in &report.cases {
        println!("\n{} load {:.3}", case.label, case.load);
        if case.is_overloaded {
            println!("overloaded: more is asked than the servers can do; queues grow until something sheds");
        }
        println!(
            "{:<24} {:>10} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>8}",
            "policy", "mean ms", "p50", "p99", "p99.9", "errors %", "goodput %", "max/mean", "extra %"
        );
        for policy in &case.policies {
            let mean = |metric| policy.mean(metric);
            println!(
                "{:<24} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>9.3} {:>9.3} {:>9.3} {:>8.2}",
                policy.policy,
                mean("mean_ms"),
                mean("p50_ms"),
                mean("p99_ms"),
                mean("p999_ms"),
                mean("errors") * 100.0,
                mean("goodput") * 100.0,
                mean("max_over_mean"),
                mean("extra") * 100.0
            );
        }
        for policy in &case.policies {
            if let Some(words) = policy.warning() {
                println!("{}: {words}", policy.policy);
            }
        }
    }
}
