//! What was measured over time, compared within bands.

mod slow_start;

use crate::{Case, Tally};

/// Replays a measurement. `None` if the case is none of a known kind.
pub(super) fn replay(case: &Case, tally: &mut Tally) -> Option<()> {
    match case.0["group"].as_str()? {
        "slow_start" => slow_start::replay(case, tally),
        _ => None,
    }
}
