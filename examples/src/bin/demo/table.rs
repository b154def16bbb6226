//! The live table, as text: nothing here prints.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use evenkeel::{BreakerState, Cause, EndpointId, EndpointReport, Ratio, Timestamp};

use crate::journal::breaker_word;
use crate::meter::Meter;
use crate::world::World;

/// One line, and how it should look.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl Line {
    pub(crate) const fn blank() -> Self {
        Self { text: String::new(), tone: Tone::Plain }
    }
}

/// How a line looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Heading,
    Warning,
    Out,
    Faint,
}

/// The shares of the last two seconds, from counts that were noted now and then.
#[derive(Debug, Default)]
pub(crate) struct Shares(VecDeque<(Timestamp, BTreeMap<EndpointId, u64>)>);

impl Shares {
    /// Notes the counts of now, and gives the shares since about two seconds ago.
    pub(crate) fn note(
        &mut self,
        now: Timestamp,
        counts: BTreeMap<EndpointId, u64>,
    ) -> BTreeMap<EndpointId, f64> {
        self.0.push_back((now, counts));
        while self.0.len() > 2 && now.saturating_since(self.0[1].0) >= SHARE_WINDOW {
            self.0.pop_front();
        }
        shares_between(&self.0[0].1, &self.0[self.0.len() - 1].1)
    }
}

/// Who got which part of what was counted between two points in time.
pub(crate) fn shares_between(
    before: &BTreeMap<EndpointId, u64>,
    after: &BTreeMap<EndpointId, u64>,
) -> BTreeMap<EndpointId, f64> {
    let grown: BTreeMap<_, _> = after
        .iter()
        .map(|(id, &count)| (id.clone(), count.saturating_sub(before.get(id).copied().unwrap_or(0))))
        .collect();
    let all: u64 = grown.values().sum();
    grown
        .into_iter()
        .map(|(id, count)| (id, if all == 0 { 0.0 } else { count as f64 / all as f64 }))
        .collect()
}

/// The whole table: a heading and a line for each backend that was ever seen.
pub(crate) fn lines(world: &World, shares: &BTreeMap<EndpointId, f64>, now: Timestamp) -> Vec<Line> {
    let report = world.cluster.report();
    let present: BTreeMap<_, _> = report.endpoints.iter().map(|endpoint| (&endpoint.id, endpoint)).collect();
    let heading = Line { text: heading(), tone: Tone::Heading };
    let meters = world.meters.all();
    let hidden = meters.len().saturating_sub(MOST_ROWS);
    let rows = meters.into_iter().take(MOST_ROWS).map(|(id, meter)| {
        let share = shares.get(&id).copied().unwrap_or(0.0);
        present.get(&id).map_or_else(|| gone(&id, share), |report| row(report, share, &meter, now))
    });
    let more = (hidden > 0).then(|| Line { text: format!("… and {hidden} more"), tone: Tone::Faint });
    std::iter::once(heading).chain(rows).chain(more).collect()
}

fn heading() -> String {
    columns(["backend", "share", "", "want", "flight", "p50", "p99", "health", "breaker", "weight"])
}

fn row(report: &EndpointReport, share: f64, meter: &Meter, now: Timestamp) -> Line {
    let quantile = |percent| duration(Ratio::percent(percent).ok().and_then(|q| meter.latency(q, now)));
    let text = columns([
        &name(report),
        &percent(share),
        &bar(share),
        &whole_percent(report.expected_share),
        &report.in_flight.to_string(),
        &quantile(50),
        &quantile(99),
        health(report),
        report.breaker.map_or("-", breaker_word),
        &report.weight.get().to_string(),
    ]);
    Line { text, tone: tone(report) }
}

/// Not registered any more.
fn gone(id: &EndpointId, share: f64) -> Line {
    let name = shortened(id.as_str(), NAME);
    let text = columns([&name, &percent(share), &bar(share), "-", "-", "-", "-", "gone", "-", "-"]);
    Line { text, tone: Tone::Faint }
}

fn columns(cells: [&str; 10]) -> String {
    let [name, share, bar, want, flight, p50, p99, health, breaker, weight] = cells;
    format!(
        "{name:<NAME$} {share:>7} {bar:<BAR$} {want:>5} {flight:>6} {p50:>7} {p99:>7}  {health:<13} {breaker:<9} \
         {weight:>6}"
    )
}

/// The id, and the port if the id does not tell it.
fn name(report: &EndpointReport) -> String {
    let (id, address) = (report.id.as_str(), report.address.to_string());
    if id == address {
        return shortened(id, NAME);
    }
    let port = report.address.port().map_or(String::new(), |port| format!(" :{port}"));
    shortened(&format!("{id}{port}"), NAME)
}

fn health(report: &EndpointReport) -> &'static str {
    match report.cause {
        None => "healthy",
        Some(Cause::Maintenance) => "maintenance",
        Some(Cause::AdminDrain | Cause::AnnouncedDraining | Cause::ZeroWeight) => "drained",
        Some(Cause::AnnouncedDown) => "announced out",
        Some(Cause::AnnouncedStarting) => "starting",
        Some(Cause::CheckDown) => "check down",
        Some(Cause::Ejected) => "ejected",
        Some(Cause::BreakerOpen) => "breaker open",
        Some(Cause::Degraded) => "degraded",
        Some(_) => "out",
    }
}

fn tone(report: &EndpointReport) -> Tone {
    if report.status.is_withdrawn() {
        Tone::Faint
    } else if !report.usable {
        Tone::Out
    } else if report.status.is_degraded() || report.breaker == Some(BreakerState::HalfOpen) {
        Tone::Warning
    } else {
        Tone::Plain
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn whole_percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A full bar is half of everything.
fn bar(share: f64) -> String {
    "█".repeat(((share * 2.0).clamp(0.0, 1.0) * BAR as f64).round() as usize)
}

pub(crate) fn duration(duration: Option<Duration>) -> String {
    let Some(duration) = duration else { return "-".to_owned() };
    match duration.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..9_950 => format!("{:.1} ms", micros as f64 / 1e3),
        micros @ 9_950..1_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// More would not fit on a terminal of 24 lines, and what does not fit cannot be drawn anew in place.
const MOST_ROWS: usize = 18;

const NAME: usize = 18;

const BAR: usize = 10;

const SHARE_WINDOW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_in_a_hundred_columns() {
        assert!(heading().chars().count() <= 100, "{}", heading().chars().count());
        let id: EndpointId = "a-very-long-host-name.example:65535".parse().unwrap();
        assert_eq!(gone(&id, 1.0).text.chars().count(), heading().chars().count());
    }

    #[test]
    fn shares_are_those_of_the_last_two_seconds() {
        let (a, b): (EndpointId, EndpointId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let counts = |first, second| BTreeMap::from([(a.clone(), first), (b.clone(), second)]);
        let mut shares = Shares::default();
        shares.note(Timestamp::from_secs(0), counts(100, 0));
        shares.note(Timestamp::from_secs(1), counts(100, 0));
        let last = shares.note(Timestamp::from_secs(3), counts(103, 1));
        assert_eq!((last[&a], last[&b]), (0.75, 0.25));
    }

    #[test]
    fn durations_keep_two_digits() {
        for (micros, text) in [
            (7, "7 µs"),
            (2_140, "2.1 ms"),
            (48_900, "49 ms"),
            (9_990, "10 ms"),
            (310_000, "310 ms"),
            (1_250_000, "1.2 s"),
        ] {
            assert_eq!(duration(Some(Duration::from_micros(micros))), text);
        }
    }
}
