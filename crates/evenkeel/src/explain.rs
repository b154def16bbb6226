use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use evenkeel_balance::subset::SubsetFallback;
use evenkeel_balance::{Mask, Wants};
use evenkeel_health::Status;
use evenkeel_types::{EndpointId, Locality, Priority, Timestamp, Weight};

use crate::choose;
use crate::error::PickError;
use crate::lanes::Lane;
use crate::moment::Moment;
use crate::request::{LaneCaller, Request};
use crate::shared::Shared;
use crate::shares::{Mark, ONE};
use crate::snapshot::{Part, Snapshot, Tier};
use crate::way::Way;
use crate::zone_choice::{self, ZoneChoice};

/// Why the next pick would go where it would go.
///
/// Printed, it reads as a short trail: the tiers in order, what is usable in each, what the policy looked at, the pick.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Explanation {
    /// The generation of the snapshot that was read.
    pub generation: u64,
    /// The policy, as it is written in a configuration.
    pub policy: &'static str,
    /// Where the pick would go.
    pub picked: Option<EndpointId>,
    /// The failover tier of the pick.
    pub tier: Option<Priority>,
    /// Whether the pick comes from the degraded endpoints, because nothing plainly healthy was left.
    pub degraded: bool,
    /// How the pick would come there.
    pub way: Option<Way>,
    /// Why there is nothing to pick, if so.
    pub failure: Option<String>,
    /// Whether the policy was not asked, since it keeps an order of its own that asking would move. Then nothing is
    /// picked here, and the next pick is not told.
    pub unasked: bool,
    /// The regions from the request's client on, nearest first, if the cluster's zones go by clients and it is known where this
    /// one is; else empty.
    pub regions: Vec<String>,
    /// The tiers, first to last.
    pub tiers: Vec<ExplainedTier>,
}

/// One failover tier, or the part of one that belongs to this client's subset, or the rest of it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ExplainedTier {
    /// Its number.
    pub priority: Priority,
    /// Whether its endpoints belong to the part that this client uses; always so without a subset.
    pub in_subset: bool,
    /// Where its endpoints stand, if the cluster knows zones and they say so.
    pub zone: Option<Locality>,
    /// What it gets, if the cluster has a failover or knows zones.
    pub share: Option<ExplainedShare>,
    /// What it costs to go there, if each request chooses its zone by that.
    pub cost: Option<ExplainedCost>,
    /// Which fallback brought them there, if nothing had the labels of a label subset.
    pub fallback: Option<SubsetFallback>,
    /// How many of its endpoints are plainly usable.
    pub usable: usize,
    /// How many are usable but degraded.
    pub degraded: usize,
    /// Its endpoints.
    pub candidates: Vec<Candidate>,
}

/// What part of all requests a zone of a tier gets.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ExplainedShare {
    /// For its usable endpoints, 0 to 1.
    pub usable: f64,
    /// For its degraded ones.
    pub degraded: f64,
    /// Whether its tier is in panic.
    pub panic: bool,
}

/// What a request pays for a zone. It goes by the waits of two endpoints that it draws; here is the mean of all.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ExplainedCost {
    /// The mean wait at its usable endpoints; none if there is none.
    pub wait: Option<Duration>,
    /// The way.
    pub way: Duration,
}

/// One endpoint as the pick saw it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Candidate {
    /// Its id.
    pub id: EndpointId,
    /// Its weight.
    pub weight: Weight,
    /// Requests in flight there.
    pub in_flight: usize,
    /// What the sources of health say.
    pub status: Status,
    /// Whether the request tried it before.
    pub tried: bool,
    /// Whether the policy looked at its load, or picked it.
    pub considered: bool,
    /// Whether it is the pick.
    pub picked: bool,
}

impl Explanation {
    /// Chooses on a copy of the lane, so that nothing moves.
    pub(crate) fn of<T>(shared: &Shared<T>, request: &Request<'_>, lane: &Lane) -> Self {
        let moment = Moment::new(&shared.control);
        shared.tick_if_due(&moment);
        let snapshot = shared.current.load_full();
        let lane = lane.fork();
        let seen = RefCell::default();
        let mut caller = LaneCaller::new(&lane, &moment, request);
        let unasked = snapshot.tiers().any(|tier| tier.wants.contains(Wants::SEQUENCE));
        let (picked, failure, way) = match unasked {
            true => (None, None, None),
            false => match choose::choose_dry(&snapshot, &mut caller, Some(&seen)) {
                Ok((live, way)) => (Some(live.token), None, Some(way)),
                Err(error) => (None, Some(error), None),
            },
        };
        let mut considered: Vec<u64> = seen.into_inner();
        considered.extend(picked);
        let policy = shared.state.lock().policy.name();
        let choice = shared.control.planner.as_ref().and_then(|planner| planner.choice.as_ref());
        let regions = choice.map_or_else(Vec::new, |choice| choice.names(request));
        let mut explanation = Self::assemble(policy, &snapshot, request, &considered, picked, failure);
        if let Some(ZoneChoice::Joint(_)) = choice {
            let now = moment.now();
            let costs = snapshot.tiers().map(|tier| cost_of(tier, now));
            explanation.tiers.iter_mut().zip(costs).for_each(|(tier, cost)| tier.cost = cost);
        }
        Self { way, regions, ..explanation }
    }

    fn assemble<T>(
        policy: &'static str,
        snapshot: &Snapshot<T>,
        request: &Request<'_>,
        considered: &[u64],
        picked: Option<u64>,
        failure: Option<PickError>,
    ) -> Self {
        let node = snapshot.nodes().find(|node| Some(node.live.token) == picked);
        Self {
            generation: snapshot.generation,
            policy,
            picked: node.map(|node| node.live.id()),
            tier: node.map(|node| node.live.description().priority()),
            degraded: node.is_some_and(|node| node.live.status().is_degraded()),
            failure: failure.map(|error| error.to_string()),
            way: None,
            regions: Vec::new(),
            unasked: snapshot.tiers().any(|tier| tier.wants.contains(Wants::SEQUENCE)),
            tiers: snapshot
                .tiers()
                .enumerate()
                .map(|(index, tier)| ExplainedTier {
                    share: share_of(snapshot, index),
                    ..ExplainedTier::of(tier, request, considered, picked)
                })
                .collect(),
        }
    }
}

impl ExplainedTier {
    fn of<T>(tier: &Tier<T>, request: &Request<'_>, considered: &[u64], picked: Option<u64>) -> Self {
        let candidates = tier.nodes.iter().map(|node| {
            let live = &node.live;
            Candidate {
                id: live.id(),
                weight: live.weight(),
                in_flight: node.in_flight(),
                status: live.status(),
                tried: request.tried().contains(&live.token),
                considered: considered.contains(&live.token),
                picked: Some(live.token) == picked,
            }
        });
        let usable = |mask: &Mask| if tier.part == Part::Parked { 0 } else { mask.usable() };
        Self {
            priority: tier.priority,
            in_subset: tier.part == Part::Inside,
            zone: tier.zone.as_ref().map(|zone| zone.at.clone()).filter(|at| !at.is_empty()),
            share: None,
            cost: None,
            fallback: tier.fallback,
            usable: usable(&tier.masks.preferred),
            degraded: usable(&tier.masks.degraded),
            candidates: candidates.collect(),
        }
    }
}

fn cost_of<T>(tier: &Tier<T>, now: Timestamp) -> Option<ExplainedCost> {
    let way = tier.zone.as_ref()?.way;
    let usable = tier.masks.preferred.iter().filter_map(|position| tier.nodes.get(position));
    let (sum, count) = usable.fold((Duration::ZERO, 0_u32), |(sum, count), node| {
        (sum.saturating_add(zone_choice::cost(node, now)), count + 1)
    });
    Some(ExplainedCost { wait: sum.checked_div(count), way })
}

fn share_of<T>(snapshot: &Snapshot<T>, index: usize) -> Option<ExplainedShare> {
    let shares = &snapshot.plan.as_ref()?.shares;
    let _ = shares.groups.get(index)?;
    let part = |degraded| shares.share(index, degraded) as f64 / ONE as f64;
    let panic = shares.mark(index).contains(Mark::PANIC);
    Some(ExplainedShare { usable: part(false), degraded: part(true), panic })
}

impl ExplainedTier {
    /// What its endpoints are to the subset, if there is anything to say.
    const fn part(&self) -> &'static str {
        match (self.in_subset, self.fallback) {
            (false, _) => ", outside the subset",
            (true, Some(SubsetFallback::Any)) => ", all of it since nothing has the labels",
            (true, Some(SubsetFallback::DefaultSubset)) => {
                ", the default subset since nothing has the labels"
            }
            (true, Some(SubsetFallback::None) | None) => "",
        }
    }
}

impl Explanation {
    /// Whether shares sent the pick where it went, and there is more to tell than the tier.
    fn came_by_shares(&self) -> bool {
        let has_shares = self.tiers.iter().any(|tier| tier.share.is_some());
        has_shares && self.way.is_some_and(|way| !way.is_plain())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "generation {}, policy {}", self.generation, self.policy)?;
        if !self.regions.is_empty() {
            writeln!(f, "regions, from the client's on: {}", self.regions.join(", "))?;
        }
        for tier in &self.tiers {
            let all = tier.candidates.len();
            writeln!(
                f,
                "tier {}{}{}: {} of {all} usable, {} degraded{}{}",
                tier.priority.get(),
                InZone(tier.zone.as_ref()),
                tier.part(),
                tier.usable,
                tier.degraded,
                tier.share.map_or_else(String::new, |share| share.to_string()),
                tier.cost.map_or_else(String::new, |cost| cost.to_string()),
            )?;
            for candidate in &tier.candidates {
                writeln!(f, "  {candidate}")?;
            }
        }
        match (&self.picked, &self.failure) {
            (Some(id), _) if self.came_by_shares() => {
                write!(f, "picked {id}")?;
                self.way.map_or(Ok(()), |way| write!(f, ": {way}"))
            }
            (Some(id), _) if self.degraded => write!(f, "picked {id}, degraded: nothing healthier is left"),
            (Some(id), _) => write!(f, "picked {id}"),
            (None, Some(failure)) => write!(f, "picked nothing: {failure}"),
            (None, None) if self.unasked => {
                write!(f, "not asked: {} keeps an order of its own, which asking would move", self.policy)
            }
            (None, None) => write!(f, "picked nothing"),
        }
    }
}

impl fmt::Display for ExplainedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "; gets {:.1} %", self.usable * 100.0)?;
        if self.degraded > 0.0 {
            write!(f, ", and {:.1} % for degraded ones", self.degraded * 100.0)?;
        }
        if self.panic { write!(f, ", in panic") } else { Ok(()) }
    }
}

impl fmt::Display for ExplainedCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wait {
            Some(wait) => write!(f, "; costs {wait:.1?} and {:.1?} for the way", self.way),
            None => Ok(()),
        }
    }
}

/// A place in brackets, if it is known.
struct InZone<'a>(Option<&'a Locality>);

impl fmt::Display for InZone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(at) = self.0 else { return Ok(()) };
        let parts = [at.region(), at.zone(), at.sub_zone()];
        let known = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |last| last + 1);
        write!(f, " in {}", parts[..known].join("/"))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match (self.picked, self.considered) {
            (true, _) => '*',
            (false, true) => '?',
            (false, false) => ' ',
        };
        write!(
            f,
            "{mark} {}: weight {}, {} in flight, {}",
            self.id,
            self.weight.get(),
            self.in_flight,
            self.status
        )?;
        if self.tried { write!(f, ", tried before") } else { Ok(()) }
    }
}
