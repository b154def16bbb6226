//! Scenarios in which policies compete, for comparisons.

use super::judges::ENTRIES;
use crate::check::Case;
use crate::error::ScenarioError;
use crate::scenario::Scenario;

/// Those of the scoreboard in which policies compete, then those that no policy was tuned on (`H1` to `H4`), each with its
/// cases.
///
/// # Errors
///
/// [`ScenarioError`] if a file is broken.
pub(crate) fn fleets(is_quick: bool) -> Result<Vec<(&'static str, Vec<Case>)>, ScenarioError> {
    let competing = ENTRIES.iter().filter(|entry| !WITHOUT.contains(&entry.id));
    let own = competing.map(|entry| Ok((entry.id, entry.cases(is_quick)?)));
    let others = HELD_OUT.iter().map(|&(id, text)| Ok((id, Scenario::cases(text)?)));
    own.chain(others).collect()
}

/// The knobs of one policy, and what is done about errors: no competition of policies.
const WITHOUT: [&str; 2] = ["S4", "S12"];

const HELD_OUT: [(&str, &str); 4] = [
    ("H1", include_str!("../../scenarios/h1_heavy_tail.toml")),
    ("H2", include_str!("../../scenarios/h2_fast_neighbours.toml")),
    ("H3", include_str!("../../scenarios/h3_one_core.toml")),
    ("H4", include_str!("../../scenarios/h4_pauses.toml")),
];
