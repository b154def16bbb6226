//! Published results, run again: which policy wins where, and by how much.

mod band;
mod fleets;
mod judges;
mod keys;
mod markdown;

use serde::Serialize;
use toml::{Table, Value};

use crate::check::Case;
use crate::error::ScenarioError;
use crate::report::Report;
use crate::runner::{Options, Progress, run_cases};
use crate::scenario::Scenario;

use band::Bands;
pub use band::{Band, short};
pub(crate) use fleets::fleets;

/// What came out of all scenarios of the scoreboard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scoreboard {
    /// Whether it was the short form.
    pub is_quick: bool,
    /// Every band.
    pub bands: Vec<Band>,
    /// The numbers behind them.
    pub reports: Vec<Report>,
}

/// How the scoreboard is run.
#[derive(Clone, Debug, Default)]
pub struct ScoreboardOptions {
    /// One or two seeds, and shorter runs where the bands bear it; the bands are the same.
    pub is_quick: bool,
    /// Only these: `S1` to `S12`. None: all.
    pub only: Vec<String>,
    /// How many threads.
    pub threads: usize,
    /// Seeds instead of those of the files.
    pub seeds: Vec<u64>,
}

/// One scenario file of the scoreboard.
struct Entry {
    id: &'static str,
    text: &'static str,
    quick: Quick,
    judge: fn(&Report, &mut Bands),
    /// Bands that are missed, by what is looked at, and why.
    known: &'static [(&'static str, &'static str)],
}

/// What the short form changes.
struct Quick {
    seeds: &'static str,
    /// Top-level times.
    times: &'static [(&'static str, &'static str)],
    /// Values of the sweep that are left out.
    without: &'static [&'static str],
}

impl Entry {
    fn cases(&self, is_quick: bool) -> Result<Vec<Case>, ScenarioError> {
        if !is_quick {
            return Scenario::cases(self.text);
        }
        let mut table: Table =
            toml::from_str(self.text).map_err(|error| ScenarioError::Text(error.to_string()))?;
        table.insert("seeds".to_owned(), Value::String(self.quick.seeds.to_owned()));
        for (field, time) in self.quick.times {
            table.insert((*field).to_owned(), Value::String((*time).to_owned()));
        }
        let values = table.get_mut("sweep").and_then(|sweep| sweep.get_mut("values"));
        if let Some(Value::Array(values)) = values {
            values.retain(|value| !self.quick.without.contains(&value.to_string().as_str()));
        }
        Scenario::cases(&table.to_string())
    }
}

/// Runs the scoreboard.
///
/// # Errors
///
/// [`ScenarioError`] if a file of the scoreboard is broken.
pub fn scoreboard(options: &ScoreboardOptions, progress: Progress<'_>) -> Result<Scoreboard, ScenarioError> {
    let mut board = Scoreboard { is_quick: options.is_quick, bands: Vec::new(), reports: Vec::new() };
    let is_wanted = |id: &str| options.only.is_empty() || options.only.iter().any(|only| only == id);
    for entry in judges::ENTRIES.iter().filter(|entry| is_wanted(entry.id)) {
        let cases = entry.cases(options.is_quick)?;
        let own = Options { policies: Vec::new(), seeds: options.seeds.clone(), threads: options.threads };
        let report = run_cases(&cases, &own, progress)?;
        let mut bands = Bands::new(entry.id, entry.known);
        (entry.judge)(&report, &mut bands);
        board.bands.append(&mut bands.all);
        board.reports.push(report);
    }
    if is_wanted("S11") {
        let mut bands = Bands::new("S11", keys::KNOWN);
        keys::judge(options.is_quick, &mut bands)?;
        board.bands.append(&mut bands.all);
    }
    board.bands.sort_by_key(|band| band.id[1..].parse::<u32>().unwrap_or(u32::MAX));
    Ok(board)
}

impl Scoreboard {
    /// Bands that are missed. Without those that are known to be if `known` are to be passed over.
    pub fn missed(&self, passes_known: bool) -> impl Iterator<Item = &Band> {
        let counts = move |band: &&Band| !(band.is_met() || passes_known && band.known.is_some());
        self.bands.iter().filter(counts)
    }

    /// The page for users: what to choose, and the numbers that say so.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::page(self)
    }
}
