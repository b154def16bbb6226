//! The rows: as JSON lines and as tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) area: &'static str,
    pub(crate) subject: String,
    /// Endpoints; zero where there are none.
    pub(crate) n: usize,
    /// The share of them that is usable.
    pub(crate) usable: f64,
    pub(crate) threads: usize,
    #[serde(flatten)]
    pub(crate) figure: Figure,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Figure {
    /// Nanoseconds a call, wall time of each thread: the median and the quartiles.
    Time { ns: f64, p25: f64, p75: f64 },
    /// Bytes an endpoint.
    Memory { bytes: f64 },
    /// How often something is done for one request.
    Count { count: f64 },
}

impl Figure {
    pub(crate) const fn value(self) -> f64 {
        match self {
            Self::Time { ns, .. } => ns,
            Self::Memory { bytes } => bytes,
            Self::Count { count } => count,
        }
    }
}

/// One object a row, one row a line.
pub(crate) fn json_lines(rows: &[Row]) -> serde_json::Result<String> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row)?);
        text.push('\n');
    }
    Ok(text)
}

/// A table for each area and each share of usable endpoints: subjects down, endpoints across, and for each cell the
/// median on one thread, how far the quartiles are apart in percent of it, and the median on two.
pub(crate) fn tables(rows: &[Row]) -> String {
    let mut groups: BTreeMap<(&str, i64), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry((row.area, -(row.usable * 100.0) as i64)).or_default().push(row);
    }
    let mut text = String::new();
    for ((area, usable), rows) in groups {
        let unit =
            if area == "memory" { "bytes an endpoint" } else { "ns a call, 1 thread ±spread % / 2 threads" };
        let _ = writeln!(text, "\n{area}, {} % usable ({unit})", -usable);
        table(&rows, &mut text);
    }
    text
}

fn table(rows: &[&Row], text: &mut String) {
    let columns: BTreeSet<usize> = rows.iter().map(|row| row.n).collect();
    let _ = write!(text, "{:42}", "");
    for n in &columns {
        let _ = write!(text, "{:>20}", if *n == 0 { String::new() } else { format!("N = {n}") });
    }
    text.push('\n');
    let mut seen = BTreeSet::new();
    for subject in rows.iter().map(|row| &row.subject) {
        if !seen.insert(subject) {
            continue;
        }
        let _ = write!(text, "{subject:42}");
        for n in &columns {
            let cell = rows.iter().filter(|row| row.subject == *subject && row.n == *n);
            let _ = write!(text, "{:>20}", cell.map(|row| figure(row)).collect::<Vec<_>>().join(" / "));
        }
        text.push('\n');
    }
}

fn figure(row: &Row) -> String {
    let value = short(row.figure.value());
    match row.figure {
        Figure::Time { ns, p25, p75 } if row.threads == 1 => {
            format!("{value} ±{:.0}", 50.0 * (p75 - p25) / ns)
        }
        _ => value,
    }
}

/// Three digits are enough.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value if value < 100_000.0 => format!("{value:.0}"),
        value => format!("{:.0}k", value / 1000.0),
    }
}
