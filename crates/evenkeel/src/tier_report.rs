use evenkeel_types::{Locality, Priority};

use crate::shared::Shared;
use crate::shares::{Mark, ONE, Shares};
use crate::snapshot::{Part, Snapshot};

/// What a failover tier gets, or the part of one that is in this client's subset, or the rest of it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TierReport {
    /// Its number.
    pub priority: Priority,
    /// Whether it is the part inside the subset; always so without a subset.
    pub in_subset: bool,
    /// The share of all requests that goes to its usable endpoints, 0 to 1.
    pub share: f64,
    /// The share that goes to its degraded ones.
    pub degraded_share: f64,
    /// Whether it is in panic.
    pub panic: bool,
    /// Whether it is left: too few of its endpoints were usable, and it has not earned its return yet.
    pub left: bool,
    /// What share it could take and is not given yet, since it got worse a while ago. Others are asked before it, and it
    /// before degraded ones.
    pub held_back: f64,
    /// Whether each request chooses its zone, so that the shares of zones do not say where requests go.
    pub by_request: bool,
    /// Its zones, the own one first; one without a place if the cluster knows no zones.
    pub zones: Vec<ZoneReport>,
}

/// What a zone of a tier gets.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ZoneReport {
    /// Where it is; `None` if nothing is known of that.
    pub at: Option<Locality>,
    /// Whether this process stands there.
    pub is_home: bool,
    /// The share of all requests that goes there, degraded endpoints included. Where each request chooses its zone: with
    /// [`ClientRegion`](crate::LocalityConfig::ClientRegion) that of the requests of unknown clients, with
    /// [`Joint`](crate::LocalityConfig::Joint) what it has of the weights.
    pub share: f64,
    /// How many of its endpoints are plainly usable.
    pub usable: u64,
    /// How many are usable but degraded.
    pub degraded: u64,
    /// How many there are, without those that were withdrawn.
    pub total: u64,
}

/// The tiers of a cluster that goes by shares.
pub(crate) fn of<T>(shared: &Shared<T>, snapshot: &Snapshot<T>) -> Vec<TierReport> {
    let (Some(plan), Some(planner)) = (&snapshot.plan, &shared.control.planner) else { return Vec::new() };
    let shares = &*plan.shares;
    let rungs = shares.rungs.iter().zip(planner.states(shares));
    rungs
        .map(|(rung, state)| {
            let sum = |degraded| rung.groups.clone().map(|group| shares.share(group, degraded)).sum();
            TierReport {
                priority: rung.priority,
                in_subset: rung.part == Part::Inside,
                share: part(sum(false)),
                degraded_share: part(sum(true)),
                panic: rung.groups.clone().any(|group| shares.mark(group).contains(Mark::PANIC)),
                left: state.is_left,
                held_back: part(state.held_back),
                by_request: plan.by_request,
                zones: rung.groups.clone().map(|group| zone(shares, group)).collect(),
            }
        })
        .collect()
}

fn zone(shares: &Shares, group: usize) -> ZoneReport {
    let sums = shares.groups[group].sums();
    let zone = shares.groups[group].zone.as_deref();
    ZoneReport {
        at: zone.map(|zone| zone.at.clone()).filter(|at| !at.is_empty()),
        is_home: zone.is_some_and(|zone| zone.is_home),
        share: part(shares.share(group, false) + shares.share(group, true)),
        usable: sums.preferred.endpoints,
        degraded: sums.degraded.endpoints,
        total: sums.total().endpoints,
    }
}

fn part(parts: u64) -> f64 {
    parts as f64 / ONE as f64
}
