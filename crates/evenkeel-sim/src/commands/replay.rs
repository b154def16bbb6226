//! `evenkeel-sim replay`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use evenkeel_sim::log::{FormatConfig, ReplayConfig, ServiceTime};
use evenkeel_sim::replay::{Comparison, Fleet, Replay, calibrate};
use evenkeel_sim::{CaseReport, Discipline, Options, Report, Scenario, html, run_cases};
use evenkeel_types::Ratio;

use super::progress::Progress;

/// What to replay, on what, and what to write.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The log, plain or gzip.
    log: PathBuf,
    /// nginx, haproxy, haproxy_tcp, envoy, envoy_json, evenkeel, json or csv.
    #[arg(long)]
    format: String,
    /// The log_format of nginx, the log-format of HAProxy, the format string of Envoy, if it is not the usual one.
    #[arg(long)]
    log_format: Option<String>,
    /// A setting of the formats json and csv, as NAME=VALUE: time, duration, upstream, status, server; time, service, status,
    /// delimiter; stamp=end where the time is that of the answer. May be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    field: Vec<String>,
    /// The variable, field or column that is the key. Default: the path.
    #[arg(long)]
    key: Option<String>,
    /// Take the whole duration for the service time, not that of the server.
    #[arg(long)]
    total: bool,
    /// The share of lines that may be unreadable.
    #[arg(long, default_value = "0.01")]
    max_malformed: f64,
    /// Longer than the longest request.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    window: Duration,
    /// Longer requests are left out.
    #[arg(long, value_parser = humantime::parse_duration)]
    longest: Option<Duration>,
    /// Arrivals come so many times as fast.
    #[arg(long, default_value = "1")]
    speed: f64,
    /// Service times are multiplied by this.
    #[arg(long, default_value = "1", conflicts_with = "calibrate")]
    work_times: f64,
    /// Find the factor on service times with which this policy, the one that the log was recorded under, has the mean latency of
    /// the log.
    #[arg(long, value_name = "POLICY")]
    calibrate: Option<String>,
    /// Policies of evenkeel's, by name.
    #[arg(long, value_delimiter = ',', default_value = "round_robin,least_request")]
    policy: Vec<String>,
    /// How many servers. Default: as many as the log names.
    #[arg(long)]
    servers: Option<u32>,
    /// How requests share a server.
    #[arg(long, value_enum, default_value = "sharing")]
    discipline: Queueing,
    /// The cores of a server. Default: so many that the load is that of --load.
    #[arg(long)]
    cores: Option<f64>,
    /// What cores are worked out from.
    #[arg(long, default_value = "0.7", conflicts_with = "cores")]
    load: f64,
    /// How many clients, each with a cluster of its own.
    #[arg(long, default_value = "1")]
    clients: u32,
    /// From a client to a server. Default: nothing, since the log's times have it already.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    network: Duration,
    /// After this a request is given up. Default: never.
    #[arg(long, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Seeds, as 1-5 or 1,3: what policies draw.
    #[arg(long, default_value = "1-3")]
    seeds: String,
    /// Writes everything there.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes a page with plots there.
    #[arg(long)]
    html: Option<PathBuf>,
    /// How many threads; the outcome does not depend on it. Default: as many as there are cores.
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Queueing {
    /// All at once, each at a part of the speed.
    Sharing,
    /// First come, first served.
    Fifo,
    /// Each takes its time, however many there are.
    Delay,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let log = arguments.log()?;
    let told = |error: evenkeel_sim::ScenarioError| error.to_string();
    let seeds = Scenario::seeds(&arguments.seeds).map_err(told)?;
    let mut replay = Replay::new(&log, &arguments.fleet()).map_err(told)?;
    if arguments.html.is_some() {
        replay.keep_series();
    }
    if let Some(policy) = &arguments.calibrate {
        let factor = calibrate(&mut replay, policy).map_err(told)?;
        eprintln!("calibrated: {policy} has the mean of the log with service times × {factor:.4}");
    }
    replay.check().map_err(|error| {
        format!(
            "{error}\nThe times of the log hold waiting: try --calibrate POLICY, more --servers, more --cores"
        )
    })?;
    let threads = arguments.threads.unwrap_or_else(crate::cores);
    let options = Options { policies: arguments.policy.clone(), seeds, threads };
    let progress = Progress::new();
    let report =
        run_cases(std::slice::from_ref(replay.case()), &options, &|done, of| progress.tell(done, of));
    drop(progress);
    let report = report.map_err(told)?;
    let Some(case) = report.cases.first() else { return Ok(()) };
    let comparison = replay.compare(case);
    print(&comparison, case);
    if let Some(path) = &arguments.json {
        let both = serde_json::json!({ "comparison": comparison, "report": report });
        write(path, &format!("{both:#}\n"))?;
    }
    arguments.html.as_ref().map_or(Ok(()), |path| page(path, &report, Some(&comparison)))
}

/// Writes a report as a page.
pub(crate) fn page(path: &PathBuf, report: &Report, comparison: Option<&Comparison>) -> Result<(), String> {
    write(path, &html::render(report, comparison))
}

fn write(path: &PathBuf, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

impl Arguments {
    fn log(&self) -> Result<ReplayConfig, String> {
        let mut format = FormatConfig::named(&self.format, self.log_format.clone())
            .map_err(|error| format!("--format {}", error.allowed))?;
        if !self.field.is_empty() {
            // Through the table, so that names and values are checked as in a file.
            let mut table = toml::Table::try_from(&format).map_err(|error| error.to_string())?;
            for field in &self.field {
                let (name, value) =
                    field.split_once('=').ok_or(format!("--field {field}: write NAME=VALUE"))?;
                table.insert(name.to_owned(), value.into());
            }
            format =
                table.try_into().map_err(|error: toml::de::Error| format!("--field: {}", error.message()))?;
        }
        let service = if self.total { ServiceTime::Total } else { ServiceTime::Upstream };
        let max_malformed =
            Ratio::new(self.max_malformed).map_err(|error| format!("--max-malformed: {error}"))?;
        let mut log = ReplayConfig::new(self.log.clone(), format);
        log.key.clone_from(&self.key);
        (log.service, log.speed, log.work_times) = (service, self.speed, self.work_times);
        (log.max_malformed, log.window, log.longest) = (max_malformed, self.window, self.longest);
        Ok(log)
    }

    fn fleet(&self) -> Fleet {
        Fleet {
            servers: self.servers,
            discipline: match self.discipline {
                Queueing::Sharing => Discipline::Sharing,
                Queueing::Fifo => Discipline::Fifo,
                Queueing::Delay => Discipline::Delay,
            },
            cores: self.cores,
            load: self.load,
            clients: self.clients,
            network: self.network,
            timeout: self.timeout,
            seeds: self.seeds.clone(),
        }
    }
}

fn print(comparison: &Comparison, case: &CaseReport) {
    for fact in comparison.facts() {
        println!("{fact}");
    }
    println!(
        "\n{:<24} {:>10} {:>10} {:>10} {:>10} {:>10} {:>9} {:>9}  most apart",
        "milliseconds", "mean", "p50", "p90", "p99", "p99.9", "errors %", "distance"
    );
    let own = &comparison.measured;
    println!(
        "{:<24} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>9.3}",
        "measured",
        own.mean_ms,
        own.p50_ms,
        own.p90_ms,
        own.p99_ms,
        own.p999_ms,
        own.errors * 100.0
    );
    for (policy, apart) in case.policies.iter().zip(&comparison.policies) {
        let mean = |metric| policy.mean(metric);
        println!(
            "{:<24} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>9.3} {:>9.4}  {}",
            policy.policy,
            mean("mean_ms"),
            mean("p50_ms"),
            mean("p90_ms"),
            mean("p99_ms"),
            mean("p999_ms"),
            mean("errors") * 100.0,
            apart.distance.mean,
            apart.most_apart()
        );
    }
    for caution in comparison.cautions() {
        println!("\n{caution}");
    }
}
