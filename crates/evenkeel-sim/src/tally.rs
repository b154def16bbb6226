//! Counts what happens. Memory does not grow with the run: latencies go to a histogram of fixed precision.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::{Failures, Point, RunReport, Series, ServerPoint, WindowReport};
use crate::scenario::Scenario;
use crate::trend::Trend;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    Failed,
    TimedOut,
    NotPicked,
    Throttled,
    Unfinished,
}

#[derive(Debug)]
pub(crate) struct Tally {
    counted_from: u64,
    objective: u64,
    fan_out: u64,
    latencies: Histogram<u64>,
    sum: f64,
    ended: u64,
    succeeded: u64,
    within: u64,
    failures: Failures,
    first: u64,
    again: u64,
    probes: u64,
    moved: u64,
    movable: u64,
    pub(crate) simulated: u64,
    pub(crate) unstable_at: Option<u64>,
    trend: Trend,
    sent: Vec<u64>,
    windows: Vec<Window>,
    series: Option<Steps>,
}

#[derive(Debug)]
struct Window {
    from: u64,
    to: u64,
    counts: WindowReport,
    latencies: Histogram<u64>,
}

#[derive(Debug)]
struct Steps {
    step: u64,
    points: Vec<Point>,
    servers: Vec<Vec<ServerPoint>>,
}

impl Tally {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let servers = scenario.server_count() as usize;
        let windows = scenario.windows.iter().map(|window| Window {
            from: nanos(window.from),
            to: nanos(window.to),
            counts: WindowReport { name: window.name.clone(), ..WindowReport::default() },
            latencies: histogram(),
        });
        let series = scenario.series.map(|step| {
            let step = nanos(step).max(1);
            let count = nanos(scenario.duration).div_ceil(step) as usize;
            Steps {
                step,
                points: vec![Point::default(); count],
                servers: vec![vec![ServerPoint::default(); count]; servers],
            }
        });
        Self {
            counted_from: nanos(scenario.counted_from()),
            objective: scenario.objective.map_or(u64::MAX, nanos),
            fan_out: scenario.fan_out.into(),
            latencies: histogram(),
            sum: 0.0,
            ended: 0,
            succeeded: 0,
            within: 0,
            failures: Failures::default(),
            first: 0,
            again: 0,
            probes: 0,
            moved: 0,
            movable: 0,
            simulated: 0,
            unstable_at: None,
            trend: Trend::new(nanos(scenario.counted_from()), nanos(scenario.duration)),
            sent: vec![0; servers],
            windows: windows.collect(),
            series,
        }
    }

    #[inline]
    const fn counts(&self, born: u64) -> bool {
        born >= self.counted_from
    }

    #[inline]
    pub(crate) fn arrived(&mut self, under_way: usize, now: u64) {
        self.simulated += 1;
        self.trend.arrived(under_way, now);
        for window in self.windows.iter_mut().filter(|window| window.holds(now)) {
            window.counts.arrived += 1;
        }
        if let Some(point) = self.point(now) {
            point.arrived += 1;
        }
    }

    /// An attempt is sent.
    #[inline]
    pub(crate) fn sent(&mut self, server: u32, is_first: bool, born: u64, now: u64) {
        if self.counts(born) {
            self.sent[server as usize] += 1;
            *(if is_first { &mut self.first } else { &mut self.again }) += 1;
        }
        for window in self.windows.iter_mut().filter(|window| window.holds(now)) {
            window.counts.attempts += 1;
        }
        if let Some(series) = &mut self.series {
            let step = (now / series.step) as usize;
            if let Some(point) = series.points.get_mut(step) {
                point.attempts += 1;
                series.servers[server as usize][step].sent += 1;
            }
        }
    }

    pub(crate) fn probed(&mut self, count: usize, now: u64) {
        if self.counts(now) {
            self.probes += count as u64;
        }
    }

    /// A server answered an attempt.
    #[inline]
    pub(crate) fn answered(&mut self, server: u32, latency: u64, now: u64) {
        if let Some(series) = &mut self.series {
            let step = (now / series.step) as usize;
            if let Some(point) = series.servers[server as usize].get_mut(step) {
                point.answered += 1;
                // A sum until the report is made.
                point.mean_ms += latency as f64 / 1e6;
            }
        }
    }

    #[inline]
    pub(crate) fn ended(&mut self, born: u64, now: u64, end: End) {
        let latency = now - born;
        let is_good = end == End::Succeeded && latency <= self.objective;
        // What fails at once is no latency; what took the client's whole patience is.
        let is_latency = matches!(end, End::Succeeded | End::TimedOut | End::Unfinished);
        for window in self.windows.iter_mut().filter(|window| window.holds(now)) {
            *(if is_good { &mut window.counts.succeeded } else { &mut window.counts.failed }) += 1;
            if is_latency {
                window.latencies.saturating_record(latency);
            }
        }
        if let Some(point) = self.point(now) {
            *(if is_good { &mut point.succeeded } else { &mut point.failed }) += 1;
            let millis = latency as f64 / 1e6;
            point.mean_ms += millis;
            point.max_ms = point.max_ms.max(millis);
        }
        if !self.counts(born) {
            return;
        }
        self.ended += 1;
        self.within += u64::from(is_good);
        let failures = &mut self.failures;
        match end {
            End::Succeeded => self.succeeded += 1,
            End::TimedOut => failures.timed_out += 1,
            End::Failed => failures.failed += 1,
            End::NotPicked => failures.not_picked += 1,
            End::Throttled => failures.throttled += 1,
            End::Unfinished => failures.unfinished += 1,
        }
        if is_latency {
            self.latencies.saturating_record(latency);
            self.sum += latency as f64;
        }
    }

    pub(crate) const fn keys_moved(&mut self, moved: u64, of: u64) {
        self.moved += moved;
        self.movable += of;
    }

    pub(crate) fn sampled(&mut self, server: usize, in_flight: u32, now: u64) {
        if let Some(series) = &mut self.series {
            // The end of a step: of the one before.
            let step = (now / series.step).saturating_sub(1) as usize;
            if let Some(point) = series.servers[server].get_mut(step) {
                point.in_flight = in_flight;
            }
        }
    }

    fn point(&mut self, now: u64) -> Option<&mut Point> {
        let series = self.series.as_mut()?;
        series.points.get_mut((now / series.step) as usize)
    }

    pub(crate) fn report(self, seed: u64, weights: &[u32]) -> RunReport {
        let ended = self.ended.max(1) as f64;
        let quantile = |q: f64| millis(self.latencies.value_at_quantile(q));
        RunReport {
            seed,
            requests: self.ended,
            simulated: self.simulated,
            mean_ms: self.sum / self.latencies.len().max(1) as f64 / 1e6,
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: millis(self.latencies.max()),
            errors: (self.ended - self.succeeded) as f64 / ended,
            goodput: self.within as f64 / ended,
            max_over_mean: max_over_mean(&self.sent, weights),
            extra: self.again as f64 / (ended * self.fan_out as f64),
            probes: self.probes as f64 / ended,
            keys_moved: self.moved as f64 / self.movable.max(1) as f64,
            failures: self.failures,
            unstable_at: self.unstable_at.map(|at| at as f64 / 1e9),
            left_over: self.trend.left_over(),
            distribution: distribution(&self.latencies),
            windows: self.windows.into_iter().map(Window::report).collect(),
            shares: self.sent,
            series: self.series.map(Steps::report),
        }
    }
}

impl Window {
    #[inline]
    fn holds(&self, now: u64) -> bool {
        self.from <= now && now < self.to
    }

    fn report(self) -> WindowReport {
        WindowReport {
            p50_ms: millis(self.latencies.value_at_quantile(0.5)),
            p99_ms: millis(self.latencies.value_at_quantile(0.99)),
            ..self.counts
        }
    }
}

impl Steps {
    fn report(mut self) -> Series {
        for point in &mut self.points {
            point.mean_ms /= f64::from((point.succeeded + point.failed).max(1));
        }
        for point in self.servers.iter_mut().flatten() {
            point.mean_ms /= f64::from(point.answered.max(1));
        }
        Series { step_s: self.step as f64 / 1e9, points: self.points, servers: self.servers }
    }
}

/// Of what was sent for each unit of weight.
fn max_over_mean(sent: &[u64], weights: &[u32]) -> f64 {
    let total: u64 = sent.iter().sum();
    let all: f64 = weights.iter().copied().map(f64::from).sum();
    if total == 0 || all == 0.0 {
        return 0.0;
    }
    let each = sent.iter().zip(weights).filter(|&(_, &weight)| weight > 0);
    let most = each.map(|(&sent, &weight)| sent as f64 / f64::from(weight)).fold(0.0, f64::max);
    most / (total as f64 / all)
}

fn distribution(latencies: &Histogram<u64>) -> Vec<[f64; 2]> {
    let steps = latencies.iter_quantiles(50).map(|step| [millis(step.value_iterated_to()), step.quantile()]);
    steps.collect()
}

/// From one microsecond to a day, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 86_400_000_000_000, 3).expect("allowed bounds and digits")
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
