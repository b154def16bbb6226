//! Endpoints over time: what share each got, how fast it answered, how much was in flight.

use super::plot::{Axis, Plot, legend};
use super::{escape, latency};
use crate::report::{PolicyReport, Series, ServerPoint};

/// The three plots of the first run of a policy that has a time series.
pub(super) fn draw(policy: &PolicyReport, id: &str) -> Option<String> {
    let (run, series) = policy.runs.iter().find_map(|run| Some((run, run.series.as_ref()?)))?;
    let steps = Steps::new(series)?;
    let name = format!("{}, seed {}", policy.policy, run.seed);
    let parts = [
        steps.shares(&format!("{id}-share"), &name),
        steps.latencies(&format!("{id}-lat"), &name),
        steps.in_flight(&format!("{id}-heat"), &name),
    ];
    let open = if id.ends_with("p0") { " open" } else { "" };
    Some(format!("<details{open}><summary>{}</summary>{}</details>\n", escape(&name), parts.concat()))
}

/// A series with neighbouring steps taken together, so that there are not too many.
struct Steps {
    step_s: f64,
    servers: Vec<Vec<ServerPoint>>,
    count: usize,
    /// Endpoints that have lines of their own.
    lines: Vec<usize>,
}

impl Steps {
    fn new(series: &Series) -> Option<Self> {
        let all = series.servers.first()?.len();
        let together = all.div_ceil(MOST_STEPS).max(1);
        let servers: Vec<Vec<ServerPoint>> =
            series.servers.iter().map(|own| own.chunks(together).map(joined).collect()).collect();
        let count = servers.first().map_or(0, Vec::len);
        if count == 0 {
            return None;
        }
        let lines = if servers.len() <= MOST_LINES {
            (0..servers.len()).collect()
        } else {
            // Of many only those that got most: the others lie in the band.
            let mut by_sent: Vec<(u64, usize)> = servers
                .iter()
                .enumerate()
                .map(|(number, own)| (own.iter().map(|point| u64::from(point.sent)).sum(), number))
                .collect();
            by_sent.sort_by_key(|&(sent, number)| (std::cmp::Reverse(sent), number));
            by_sent.into_iter().take(3).map(|(_, number)| number).collect()
        };
        Some(Self { step_s: series.step_s * together as f64, servers, count, lines })
    }

    fn x(&self) -> Axis {
        Axis::linear(0.0, self.count as f64 * self.step_s)
    }

    fn time(&self, step: usize) -> f64 {
        (step as f64 + 0.5) * self.step_s
    }

    fn shares(&self, id: &str, name: &str) -> String {
        let totals: Vec<f64> = (0..self.count)
            .map(|step| self.servers.iter().map(|own| f64::from(own[step].sent)).sum::<f64>())
            .collect();
        let value = |server: usize, step: usize| {
            let sent = f64::from(self.servers[server][step].sent);
            if totals[step] > 0.0 { sent / totals[step] } else { f64::NAN }
        };
        let most = self.most(&value);
        let even = 1.0 / self.servers.len() as f64;
        let about = format!(
            "The share of attempts that each of {} endpoints got in each step. An even share is {} %, the largest is {} %.",
            self.servers.len(),
            super::trimmed(even * 100.0),
            super::trimmed(most * 100.0)
        );
        let title = format!("Share of attempts by endpoint: {name}");
        let mut plot = Plot::new(id, &title, &about, self.x(), Axis::linear(0.0, most * 1.05));
        plot.axes(SECONDS, ("share", &|share| format!("{} %", super::trimmed(share * 100.0))));
        let legend = self.draw(&mut plot, &value);
        plot.finish(&legend)
    }

    fn latencies(&self, id: &str, name: &str) -> String {
        let value = |server: usize, step: usize| {
            let point = self.servers[server][step];
            if point.answered > 0 { point.mean_ms } else { f64::NAN }
        };
        let most = self.most(&value);
        let about = format!(
            "The mean latency of attempts that each endpoint answered in each step, from being sent to the answer. The longest is {}.",
            latency(most)
        );
        let title = format!("Mean latency by endpoint: {name}");
        let mut plot = Plot::new(id, &title, &about, self.x(), Axis::linear(0.0, most * 1.05));
        plot.axes(SECONDS, ("latency", &|at| latency(at)));
        let legend = self.draw(&mut plot, &value);
        plot.finish(&legend)
    }

    /// Lines, and a band where there are too many.
    fn draw(&self, plot: &mut Plot, value: &dyn Fn(usize, usize) -> f64) -> String {
        let mut entries: Vec<(String, String)> = Vec::new();
        if self.servers.len() > MOST_LINES {
            let mut band = Vec::new();
            let mut middle = Vec::new();
            for step in 0..self.count {
                let all = (0..self.servers.len()).map(|server| value(server, step));
                let mut all: Vec<f64> = all.filter(|value| value.is_finite()).collect();
                all.sort_by(f64::total_cmp);
                let (Some(&low), Some(&high)) = (all.first(), all.last()) else { continue };
                band.push((self.time(step), low, high));
                middle.push((self.time(step), all[all.len() / 2]));
            }
            plot.band("own", &band);
            plot.line("line own", middle);
            entries.push(("line own".to_owned(), "median; shaded: least to most".to_owned()));
        }
        for (number, &server) in self.lines.iter().enumerate() {
            let class = format!("line c{}", number % super::DRAWN);
            plot.line(&class, (0..self.count).map(|step| (self.time(step), value(server, step))));
            entries.push((class, format!("endpoint {server}")));
        }
        legend(entries.iter().map(|(class, name)| (class.clone(), name.as_str())))
    }

    fn most(&self, value: &dyn Fn(usize, usize) -> f64) -> f64 {
        let all = (0..self.servers.len()).flat_map(|server| (0..self.count).map(move |step| (server, step)));
        all.map(|(server, step)| value(server, step)).filter(|value| value.is_finite()).fold(0.0, f64::max)
    }

    fn in_flight(&self, id: &str, name: &str) -> String {
        let together = self.servers.len().div_ceil(MOST_ROWS).max(1);
        let rows: Vec<Vec<u32>> = self
            .servers
            .chunks(together)
            .map(|group| {
                let most = |step: usize| group.iter().map(|own| own[step].in_flight).max().unwrap_or(0);
                (0..self.count).map(most).collect()
            })
            .collect();
        let most = rows.iter().flatten().copied().max().unwrap_or(0);
        // By the square root: queues of different orders of magnitude are told apart.
        let level = |column: usize, row: usize| {
            let here = f64::from(rows[row][column]) / f64::from(most.max(1));
            (here.sqrt() * 8.0).ceil() as u8
        };
        let about = format!(
            "Requests at each of {} endpoints at the end of each step, endpoint 0 at the top{}. The most are {most}.",
            self.servers.len(),
            if together > 1 {
                format!(", {together} endpoints in a row, of which the fullest counts")
            } else {
                String::new()
            }
        );
        let title = format!("Requests in flight by endpoint: {name}");
        let count = self.servers.len() as f64;
        let mut plot = Plot::new(id, &title, &about, self.x(), Axis::linear(0.0, count));
        plot.cells(self.count, rows.len(), level);
        plot.axes(SECONDS, ("endpoint, 0 at the top", &|at| format!("{:.0}", count - at)));
        let mut key: Vec<(String, String)> = Vec::new();
        for level in 1..=8_u8 {
            let share = f64::from(level) / 8.0;
            let to = format!("to {:.0}", (share * share * f64::from(most)).floor());
            // With few requests some levels have no number of their own.
            if to != "to 0" && key.last().is_none_or(|(_, before)| *before != to) {
                key.push((format!("heat h{level} thick"), to));
            }
        }
        plot.finish(&legend(key.iter().map(|(class, name)| (class.clone(), name.as_str()))))
    }
}

/// Steps taken together: sums, the mean by answers, the last number in flight at its largest.
fn joined(steps: &[ServerPoint]) -> ServerPoint {
    let mut whole = ServerPoint::default();
    let mut total = 0.0;
    for step in steps {
        whole.sent = whole.sent.saturating_add(step.sent);
        whole.answered = whole.answered.saturating_add(step.answered);
        whole.in_flight = whole.in_flight.max(step.in_flight);
        total += step.mean_ms * f64::from(step.answered);
    }
    whole.mean_ms = if whole.answered > 0 { total / f64::from(whole.answered) } else { 0.0 };
    whole
}

const SECONDS: (&str, &dyn Fn(f64) -> String) = ("time in the run", &seconds);
fn seconds(at: f64) -> String {
    if at == 0.0 { "0 s".to_owned() } else { latency(at * 1000.0) }
}

const MOST_STEPS: usize = 120;
const MOST_ROWS: usize = 48;
const MOST_LINES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_joined_by_what_they_weigh() {
        let point = |sent, answered, mean_ms, in_flight| ServerPoint { sent, answered, mean_ms, in_flight };
        let joined = joined(&[point(1, 1, 10.0, 3), point(3, 3, 20.0, 1)]);
        assert_eq!(joined, point(4, 4, 17.5, 3));
    }

    #[test]
    fn sizes_are_bounded() {
        let own = vec![ServerPoint { sent: 3, answered: 2, mean_ms: 1.5, in_flight: 7 }; 5000];
        let series = Series { step_s: 0.1, points: Vec::new(), servers: vec![own; 300] };
        let run = crate::report::RunReport { series: Some(series), ..Default::default() };
        let policy = PolicyReport {
            policy: "<x>".to_owned(),
            summary: std::collections::BTreeMap::new(),
            runs: vec![run],
        };
        let text = draw(&policy, "c0p0").unwrap();
        assert!(text.len() < 60_000, "{}", text.len());
        assert!(text.contains("&lt;x&gt;") && !text.contains("<x>"));
    }
}
