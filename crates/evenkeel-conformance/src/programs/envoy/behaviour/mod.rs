//! Measured behaviour over time: one file for each kind. What is compared, and within which band, is told there.

mod outlier;
mod slow_start;

use crate::{Case, Tally};

/// Replays a case of one of these kinds; `None` if it is of another.
pub(super) fn replay(case: &Case, tally: &mut Tally) -> Option<Result<(), String>> {
    let (_, replay) = KINDS.iter().find(|(group, _)| case.0["group"].as_str() == Some(group))?;
    Some(replay(case, tally))
}

type Replay = fn(&Case, &mut Tally) -> Result<(), String>;

/// By the `group` of the case. A new kind is entered here and nowhere else.
const KINDS: &[(&str, Replay)] = &[("outlier", outlier::replay), ("slow_start", slow_start::replay)];
