//! Your own traffic under other policies: what a log measured beside what the simulator makes of it.
//!
//! **What can be learnt.** A log says when requests came and how long they took. It does not say how long they would have
//! taken alone: the service time of a log holds whatever waited at the server. Replayed as work on servers with bounded
//! cores, that waiting is there twice, and the simulated latencies are too long; on servers without bounds (`delay`) they
//! are what the log says under every policy. [`calibrate`] finds the factor on the service times with which one policy, the
//! one that the proxy used, has the mean of the log: then the others can be compared to it. How well the model fits is told
//! by the distance of Kolmogorov and Smirnov, the largest difference between the two distributions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use toml::{Table, Value};

use crate::arrivals::{Shape, Spacing};
use crate::check::Case;
use crate::error::{Invalid, ScenarioError};
use crate::log::{Counts, ReplayConfig, Scan};
use crate::report::{CaseReport, RunReport};
use crate::runner::{Options, run_cases};
use crate::scenario::{Discipline, KeysConfig, Scenario};
use crate::statistics::Interval;
use crate::work::WorkConfig;

/// The fleet that a log is replayed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// How many servers. Default: as many as the log names.
    pub servers: Option<u32>,
    /// How requests share a server. Default: all at once, as most servers do.
    pub discipline: Discipline,
    /// The cores of each. Default: so many that `load` is asked of them, one or more.
    pub cores: Option<f64>,
    /// The share of what the servers can do that the log asks for, where `cores` are not known. Default: 0.7, about what
    /// fleets are sized for.
    pub load: f64,
    /// How many clients, each with a cluster of its own. Default: 1, the proxy that wrote the log.
    pub clients: u32,
    /// From a client to a server, and the same back. Default: no time, since the log's service time has it already.
    pub network: Duration,
    /// After this a client gives a request up. Default: never.
    pub timeout: Option<Duration>,
    /// Which seeds to run. Default: 1-3; a log has the same requests under each.
    pub seeds: String,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            servers: None,
            discipline: Discipline::Sharing,
            cores: None,
            load: 0.7,
            clients: 1,
            network: Duration::ZERO,
            timeout: None,
            seeds: "1-3".to_owned(),
        }
    }
}

/// A log with the fleet that it is replayed on.
#[derive(Clone, Debug)]
pub struct Replay {
    case: Case,
    scan: Arc<Scan>,
    servers: u32,
    cores: f64,
}

/// What a log says beside what was simulated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The file.
    pub log: PathBuf,
    /// Servers that were simulated.
    pub servers: u32,
    /// Their cores; of no meaning for `delay`.
    pub cores: f64,
    /// How they are shared.
    pub discipline: Discipline,
    /// The factor on the service times of the log.
    pub work_times: f64,
    /// The factor on the speed of arrivals.
    pub speed: f64,
    /// What the log says.
    pub measured: Measured,
    /// What each policy makes of it.
    pub policies: Vec<Distance>,
}

/// The numbers of a log, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Requests that were replayed.
    pub requests: u64,
    /// Lines of the log.
    pub lines: u64,
    /// Lines that could not be read.
    pub malformed: u64,
    /// The first of them.
    pub first_malformed: Vec<String>,
    /// Requests without a server.
    pub not_sent: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Requests that took longer than allowed.
    pub too_long: u64,
    /// From the first to the last, in seconds.
    pub span_s: f64,
    /// Arrivals a second.
    pub rate: f64,
    /// The steps in which the log writes times.
    pub step_ms: f64,
    /// The steps in which it writes durations.
    pub duration_step_ms: f64,
    /// Requests that took less than such a step.
    pub below_a_step: u64,
    /// The most requests that servers had at once.
    pub most_in_flight: u64,
    /// The mean latency.
    pub mean_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// 90 %.
    pub p90_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The share that ended with a status of 500 or more, or without an answer.
    pub errors: f64,
    /// Pairs of milliseconds and the share of requests that took no longer.
    pub distribution: Vec<[f64; 2]>,
}

/// How far a simulated distribution is from the measured one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distance {
    /// The policy.
    pub policy: String,
    /// The distance of Kolmogorov and Smirnov: the largest difference of the two distributions, 0 to 1.
    pub distance: Interval,
    /// How finely the simulated one is known: the distance is not more than this above what is said.
    pub resolution: f64,
    /// Where they differ most, in milliseconds, under the first seed.
    pub at_ms: f64,
    /// The share of measured requests that took no longer than that.
    pub measured_share: f64,
    /// The share of simulated ones.
    pub simulated_share: f64,
}

impl Replay {
    /// Looks a log through, and lays out a fleet for it.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] names the setting, or what is wrong with the log.
    pub fn new(log: &ReplayConfig, fleet: &Fleet) -> Result<Self, ScenarioError> {
        log.check()?;
        Self::of(log, Arc::new(Scan::new(log)?), fleet)
    }

    /// Lays out a fleet for a log that was looked through.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Invalid`] names the setting. Overload is none yet: see [`Replay::check`].
    pub fn of(log: &ReplayConfig, scan: Arc<Scan>, fleet: &Fleet) -> Result<Self, ScenarioError> {
        let named = (scan.servers > 0).then_some(scan.servers);
        let absent = || Invalid::new("servers", "absent", "the log names none: say how many there were");
        let servers = fleet.servers.or(named).ok_or_else(absent)?;
        let is_fine = fleet.load > 0.0 && fleet.load < 1.0;
        Invalid::unless(is_fine, "load", fleet.load, "above 0, below 1")?;
        Invalid::unless(servers > 0, "servers", servers, "1 or more")?;
        let busy = scan.rate() * log.speed * scan.mean_service * log.work_times / 1e9;
        let needed = (busy / f64::from(servers) / fleet.load).max(1.0);
        let needed = if fleet.discipline == Discipline::Fifo { needed.ceil() } else { needed };
        let cores = fleet.cores.unwrap_or(needed);
        let mut own = Self { case: case(log, &scan, fleet, servers, cores)?, scan, servers, cores };
        match own.set_work_times(log, log.work_times) {
            Err(ScenarioError::Overload { .. }) | Ok(()) => Ok(own),
            Err(error) => Err(error),
        }
    }

    /// Whether it can be run: the times of a busy log, taken for work, may ask for more than the servers can do. Then they have to be
    /// calibrated, or there have to be more servers or cores.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Overload`].
    pub fn check(&self) -> Result<(), ScenarioError> {
        self.case.scenario.check()
    }

    /// What was seen in the log.
    #[must_use]
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// The scenario, to be run.
    #[must_use]
    pub const fn case(&self) -> &Case {
        &self.case
    }

    /// Has reports hold time series.
    pub fn keep_series(&mut self) {
        self.case.scenario.keep_series();
    }

    /// The cores of each server.
    #[must_use]
    pub const fn cores(&self) -> f64 {
        self.cores
    }

    /// The factor on service times.
    #[must_use]
    pub fn work_times(&self) -> f64 {
        self.case.scenario.arrivals.replay.as_ref().map_or(1.0, |log| log.work_times)
    }

    fn set_work_times(&mut self, log: &ReplayConfig, work_times: f64) -> Result<(), ScenarioError> {
        let scenario = &mut self.case.scenario;
        let own = ReplayConfig { work_times, scan: Some(Arc::clone(&self.scan)), ..log.clone() };
        scenario.set_log(own, &self.scan);
        scenario.check()
    }

    /// Sets beside the measured distribution what each policy made of it.
    #[must_use]
    pub fn compare(&self, report: &CaseReport) -> Comparison {
        let log = self.case.scenario.arrivals.replay.as_ref();
        let policies =
            report.policies.iter().map(|policy| distance(&policy.policy, &policy.runs, &self.scan));
        Comparison {
            log: log.map(|log| log.path.clone()).unwrap_or_default(),
            servers: self.servers,
            cores: self.cores,
            discipline: self
                .case
                .scenario
                .servers
                .first()
                .map_or(Discipline::Delay, |group| group.discipline),
            work_times: self.work_times(),
            speed: log.map_or(1.0, |log| log.speed),
            measured: Measured::new(&self.scan),
            policies: policies.collect(),
        }
    }
}

/// Finds the factor on service times with which a policy has the mean latency of the log, and sets it: at least 0.01, at most
/// what was set before. Some twelve runs under the first seed. Returns the factor.
///
/// # Errors
///
/// As [`run_cases`].
pub fn calibrate(replay: &mut Replay, policy: &str) -> Result<f64, ScenarioError> {
    let Some(log) = replay.case.scenario.arrivals.replay.clone() else { return Ok(1.0) };
    let seeds = Scenario::seeds(&replay.case.scenario.seeds)?;
    let options =
        Options { policies: vec![policy.to_owned()], seeds: seeds.into_iter().take(1).collect(), threads: 1 };
    let wanted = replay.scan.mean_seen / 1e6;
    let mut is_too_long = |work_times: f64| -> Result<bool, ScenarioError> {
        match replay.set_work_times(&log, work_times) {
            Err(ScenarioError::Overload { .. }) => return Ok(true),
            set => set?,
        }
        let report = run_cases(std::slice::from_ref(&replay.case), &options, &|_, _| {})?;
        let mean = report.cases.first().and_then(|case| case.policies.first()).map(|own| own.mean("mean_ms"));
        Ok(mean.is_some_and(|mean| mean > wanted))
    };
    let (mut low, mut high) = (LEAST_FACTOR.min(log.work_times), log.work_times);
    if !is_too_long(high)? {
        return Ok(high);
    }
    for _ in 0..CALIBRATIONS {
        let middle = (low * high).sqrt();
        *(if is_too_long(middle)? { &mut high } else { &mut low }) = middle;
    }
    replay.set_work_times(&log, low)?;
    Ok(low)
}

impl Scenario {
    /// If the arrivals are those of a log: looks it through, and sets rate, work and keys by it.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Log`]; [`ScenarioError::Invalid`] if the scenario says too what only the log can say.
    pub(crate) fn scan_log(&mut self) -> Result<(), ScenarioError> {
        let Some(log) = self.arrivals.replay.clone() else { return Ok(()) };
        let arrivals = &self.arrivals;
        for (field, is_set) in [
            ("arrivals.rate", arrivals.rate.is_some()),
            ("arrivals.load", arrivals.load.is_some()),
            ("arrivals.times", arrivals.times != 1.0),
            ("arrivals.spacing", arrivals.spacing != Spacing::Poisson),
            ("arrivals.shape", !matches!(arrivals.shape, Shape::Steady)),
        ] {
            Invalid::unless(
                !is_set,
                field,
                "set",
                "nothing here: the log says it; see `speed` of arrivals.replay",
            )?;
        }
        log.check()?;
        let scan = Arc::new(Scan::new(&log)?);
        self.set_log(ReplayConfig { scan: Some(Arc::clone(&scan)), ..log }, &scan);
        Ok(())
    }

    /// Has reports hold time series, if they do not: 120 steps, fewer where there are very many servers.
    pub fn keep_series(&mut self) {
        let steps = (MOST_POINTS / self.server_count().max(1)).clamp(1, STEPS);
        self.series = self.series.or(Some((self.duration / steps).max(Duration::from_millis(1))));
    }

    fn set_log(&mut self, log: ReplayConfig, scan: &Scan) {
        self.arrivals.rate = Some(scan.rate() * log.speed);
        let mean = (scan.mean_service * log.work_times).max(1.0);
        self.work = WorkConfig::Constant { value: Duration::from_nanos(mean as u64) };
        if scan.has_keys && self.keys.is_none() {
            // The keys of requests come with them; these are only for counting how many a change of the set moves.
            self.keys = Some(KeysConfig { count: SAMPLED_KEYS, zipf: 0.0 });
        }
        self.arrivals.replay = Some(log);
    }
}

impl Comparison {
    /// What was read and what it was replayed on, a sentence each.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        let own = &self.measured;
        let mut facts = vec![format!(
            "{}: {} requests in {:.1} s, {:.1} a second; at most {} at servers at once.",
            self.log.display(),
            own.requests,
            own.span_s,
            own.rate,
            own.most_in_flight
        )];
        for (count, what) in [
            (own.not_sent, "were answered without a server"),
            (own.unanswered, "were not answered by their server"),
            (own.too_long, "took longer than `longest`"),
        ] {
            if count > 0 {
                facts.push(format!("Not replayed: {count} requests that {what}."));
            }
        }
        if own.malformed > 0 {
            facts.push(format!("{} of {} lines could not be read. The first:", own.malformed, own.lines));
            facts.extend(own.first_malformed.iter().cloned());
        }
        let shared = match self.discipline {
            Discipline::Sharing => format!("each with {:.2} cores, shared by all requests there", self.cores),
            Discipline::Fifo => format!("each with {:.0} cores, first come, first served", self.cores),
            Discipline::Delay => "without bounds: each request takes its time".to_owned(),
        };
        facts.push(format!("Replayed on {} servers, {shared}.", self.servers));
        if self.speed != 1.0 {
            facts.push(format!("Arrivals come {} times as fast as in the log.", self.speed));
        }
        if self.work_times != 1.0 {
            facts.push(format!("Service times are those of the log times {:.4}.", self.work_times));
        }
        facts
    }

    /// What has to be known before the numbers are believed.
    #[must_use]
    pub fn cautions(&self) -> Vec<String> {
        let own = &self.measured;
        let mut cautions = Vec::new();
        let waiting = "The service time in a log holds the time that a request waited at the server, not only the work that it \
                       made there.";
        cautions.push(match (self.discipline, self.work_times) {
            (Discipline::Delay, _) => format!(
                "{waiting} Here every request takes that time whatever is beside it, so policies cannot differ in latency, only \
                 in how they share."
            ),
            (_, 1.0) => format!(
                "{waiting} Replayed as work, that waiting is counted twice: simulated latencies are upper bounds. Compare \
                 policies with each other, and calibrate before comparing with what was measured."
            ),
            _ => format!(
                "{waiting} So the service times were scaled. The factor takes the same share of every request, though the \
                 waiting did not fall on all alike; the distance says how well the model fits."
            ),
        });
        let uneven = own.below_a_step as f64 / own.requests.max(1) as f64;
        if uneven > 0.01 {
            cautions.push(format!(
                "{:.0} % of requests took less than {} ms, the step in which the log writes durations: they count as half of \
                 it, and what is below cannot be compared.",
                uneven * 100.0,
                own.duration_step_ms
            ));
        }
        if own.step_ms >= 1000.0 {
            cautions.push(
                "The log has whole seconds: requests are spread at random within theirs, so bursts within a second are lost."
                    .to_owned(),
            );
        }
        if own.unanswered > 0 || own.errors > 0.0 {
            cautions.push(
                "Requests that failed in the log are replayed with the time they took, and do not fail for that here: simulated \
                 errors are those that limits and timeouts of the simulated fleet make."
                    .to_owned(),
            );
        }
        cautions
    }
}

impl Measured {
    fn new(scan: &Scan) -> Self {
        let Counts { lines, requests, malformed, first, not_sent, unanswered, too_long } = &scan.counts;
        let quantile = |q: f64| millis(scan.seen.value_at_quantile(q));
        let steps = scan.seen.iter_quantiles(TICKS);
        Self {
            requests: *requests,
            lines: *lines,
            malformed: *malformed,
            first_malformed: first.iter().map(ToString::to_string).collect(),
            not_sent: *not_sent,
            unanswered: *unanswered,
            too_long: *too_long,
            span_s: scan.span.as_secs_f64(),
            rate: scan.rate(),
            step_ms: scan.steps.0.as_secs_f64() * 1e3,
            duration_step_ms: scan.steps.1.as_secs_f64() * 1e3,
            below_a_step: scan.below_a_step,
            most_in_flight: scan.most_in_flight,
            mean_ms: scan.mean_seen / 1e6,
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            errors: scan.error_share(),
            distribution: steps.map(|step| [millis(step.value_iterated_to()), step.quantile()]).collect(),
        }
    }
}

/// The scenario of a fleet, with arrivals that stand for those of the log.
fn case(
    log: &ReplayConfig,
    scan: &Scan,
    fleet: &Fleet,
    servers: u32,
    cores: f64,
) -> Result<Case, ScenarioError> {
    let time = |duration: Duration| Value::from(humantime::format_duration(duration).to_string());
    // The last request arrives at the end of the span, and must come before the end of the run.
    let span = scan.span.div_f64(log.speed).saturating_add(Duration::from_millis(1));
    let mut group = Table::new();
    group.insert("count".to_owned(), i64::from(servers).into());
    group.insert("discipline".to_owned(), Value::try_from(fleet.discipline).map_err(|error| odd(&error))?);
    group.insert("cores".to_owned(), cores.into());
    let arrivals = Table::from_iter([("rate".to_owned(), Value::from(scan.rate().max(1e-9)))]);
    let work = Table::from_iter([
        ("type".to_owned(), Value::from("constant")),
        ("value".to_owned(), time(Duration::from_nanos(1))),
    ]);
    let clients = Table::from_iter([("count".to_owned(), Value::from(i64::from(fleet.clients)))]);
    let mut table = Table::new();
    for (field, value) in [
        ("name", Value::from(format!("replay of {}", log.path.display()))),
        ("duration", time(span)),
        ("warm_up", time(Duration::ZERO)),
        ("seeds", fleet.seeds.clone().into()),
        ("network", time(fleet.network)),
        ("arrivals", arrivals.into()),
        ("work", work.into()),
        ("clients", clients.into()),
        ("servers", vec![Value::from(group)].into()),
    ] {
        table.insert(field.to_owned(), value);
    }
    if let Some(timeout) = fleet.timeout {
        table.insert("timeout".to_owned(), time(timeout));
    }
    let scenario = table.try_into().map_err(|error: toml::de::Error| odd(&error.message()))?;
    Ok(Case { label: String::new(), scenario })
}

fn odd(error: &impl ToString) -> ScenarioError {
    ScenarioError::Text(error.to_string())
}

/// Of each run against the log.
fn distance(policy: &str, runs: &[RunReport], scan: &Scan) -> Distance {
    let apart: Vec<Apart> = runs.iter().map(|run| Apart::new(&run.distribution, scan)).collect();
    let values: Vec<f64> = apart.iter().map(|apart| apart.distance).collect();
    let first = apart.first().copied().unwrap_or_default();
    Distance {
        policy: policy.to_owned(),
        distance: Interval::of(&values).unwrap_or(Interval { mean: 0.0, low: 0.0, high: 0.0 }),
        resolution: apart.iter().map(|apart| apart.resolution).fold(0.0, f64::max),
        at_ms: first.at_ms,
        measured_share: first.measured,
        simulated_share: first.simulated,
    }
}

impl Distance {
    /// Where the two differ most, in words.
    #[must_use]
    pub fn most_apart(&self) -> String {
        if self.at_ms == 0.0 {
            return "nowhere".to_owned();
        }
        let (measured, simulated) = (self.measured_share * 100.0, self.simulated_share * 100.0);
        format!("within {:.3} ms: measured {measured:.1} %, simulated {simulated:.1} %", self.at_ms)
    }
}

/// Where two distributions differ most.
#[derive(Clone, Copy, Debug, Default)]
struct Apart {
    distance: f64,
    resolution: f64,
    at_ms: f64,
    measured: f64,
    simulated: f64,
}

impl Apart {
    /// Both at every latency where the simulated one is known. Between two of those the difference cannot grow by more than
    /// the simulated distribution does.
    fn new(simulated: &[[f64; 2]], scan: &Scan) -> Self {
        let mut own = Self::default();
        let mut before = 0.0;
        for &[at_ms, share] in simulated {
            let measured = scan.seen.quantile_below((at_ms * 1e6) as u64);
            let distance = (measured - share).abs();
            own.resolution = own.resolution.max(share - before);
            before = share;
            if distance > own.distance {
                own = Self { distance, at_ms, measured, simulated: share, ..own };
            }
        }
        own
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

const LEAST_FACTOR: f64 = 0.01;
const CALIBRATIONS: u32 = 11;
/// Of time series: a run keeps 24 bytes for each.
const MOST_POINTS: u32 = 120_000;
const STEPS: u32 = 120;
const SAMPLED_KEYS: u32 = 1000;
/// Points for each halving of what is left: steps of one percent and less.
const TICKS: u32 = 50;
