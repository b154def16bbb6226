//! Settings that are right each, and not together.

use evenkeel_balance::Wants;
use evenkeel_route::failover::BackupMode;
use thiserror::Error;

use crate::failover_mode::{BackupFailoverConfig, FailoverMode};
use crate::locality_config::LocalityConfig;
use crate::planner::Planner;
use crate::snapshot::Part;
use crate::subset::Rule;

/// A setting that would have no effect beside the others. It is refused: what is written down should happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{field} would be ignored: {because}")]
#[non_exhaustive]
pub struct WouldBeIgnored {
    /// The setting.
    pub field: &'static str,
    /// Why, and what to do about it.
    pub because: &'static str,
}

/// `has_latency` tells whether latencies are estimated.
///
/// # Errors
///
/// [`WouldBeIgnored`] names the first setting that has no effect.
pub(crate) fn check(
    planner: Option<&Planner>,
    subset: Option<&Rule>,
    wants: Wants,
    has_latency: bool,
) -> Result<(), WouldBeIgnored> {
    let Some(planner) = planner else { return Ok(()) };
    let refuse = |field, because| Err(WouldBeIgnored { field, because });
    if matches!(planner.failover, Some(FailoverMode::Envoy(_)))
        && subset.is_some_and(|rule| rule.outside() == Part::Reserve)
    {
        return refuse(
            "outside_subset = \"last_resort\"",
            "Envoy's priorities know the subset alone; write outside_subset = \"never\", or failover.mode = \"spill\"",
        );
    }
    if matches!(planner.locality, Some(LocalityConfig::EnvoyZoneAware(_))) && wants.contains(Wants::KEY) {
        return refuse(
            "locality.mode = \"envoy_zone_aware\"",
            "Envoy's hash policies take no notice of zones; write locality.mode = \"zone_aware\"",
        );
    }
    if matches!(planner.locality, Some(LocalityConfig::Joint(_))) {
        if wants.intersects(Wants::KEY | Wants::SOURCE) {
            return refuse(
                "locality.mode = \"joint\"",
                "the policy sends equal keys to one endpoint, and so to one zone, however long the wait; write locality.mode = \"zone_aware\"",
            );
        }
        if !has_latency {
            return refuse(
                "locality.mode = \"joint\"",
                "no latencies are estimated, so all waits are the same; set latency",
            );
        }
    }
    let first = FailoverMode::Backup(BackupFailoverConfig { takes: BackupMode::First });
    if planner.failover.as_ref() == Some(&first) && planner.locality.is_some() {
        return refuse(
            "locality",
            "the first backup takes all requests, wherever it stands; write failover.takes = \"all\"",
        );
    }
    Ok(())
}
