//! Zones that are chosen anew for each request: by where its client is, or by what it would wait for.
//!
//! Shares say which tier a request goes to, as always; here the zone in it is chosen. What takes long is known before: for whom
//! which region is near, and what part of all requests each zone can bear. A request only walks along.

use std::ops::Range;
use std::time::Duration;

use evenkeel_balance::{Caller, Mask, Random};
use evenkeel_route::locality::{JointChoice, JointConfig, NearestRegion, RegionOrder, ZoneCost};
use evenkeel_types::{SplitMix64, Timestamp};
use smallvec::SmallVec;

use crate::locality_config::LocalityConfig;
use crate::node::Node;
use crate::request::{LaneCaller, Request};
use crate::shares::{Drawn, Mark, ONE, Shares};
use crate::snapshot::{Plan, Snapshot, TierView};

/// What decides about the zone of each request.
pub(crate) enum ZoneChoice {
    /// Where its client is.
    Client { nearest: NearestRegion, own: Option<usize>, names: Box<[Box<str>]> },
    /// What it would wait for, and the way.
    Joint(JointChoice),
}

impl ZoneChoice {
    /// None if the settings let shares decide. They have been checked.
    pub(crate) fn new(config: &LocalityConfig) -> Option<Self> {
        match config {
            LocalityConfig::ClientRegion(config) => {
                let own = config.regions.iter().position(|region| region.name == config.own.region());
                let names = config.regions.iter().map(|region| region.name.as_str().into()).collect();
                Some(Self::Client { nearest: NearestRegion::new(&config.regions).ok()?, own, names })
            }
            LocalityConfig::Joint(config) => {
                Some(Self::Joint(JointChoice::new(&JointConfig { stay: config.stay })))
            }
            _ => None,
        }
    }

    /// The regions for clients of whom nothing is known, nearest first; none if that is not known either.
    pub(crate) fn of_strangers(&self) -> Option<RegionOrder<'_>> {
        match self {
            Self::Client { nearest, own, .. } => own.map(|own| nearest.order_of(Some(own))),
            Self::Joint(_) => None,
        }
    }

    /// The regions for the client of a request, nearest first.
    fn order(&self, request: &Request<'_>) -> Option<RegionOrder<'_>> {
        let Self::Client { nearest, .. } = self else { return None };
        let place = request.place().filter(|_| nearest.knows_places());
        if place.is_some() {
            return Some(nearest.order(request.source(), place));
        }
        match request.source().and_then(|client| nearest.own(client)) {
            Some(own) => Some(nearest.order_of(Some(own))),
            None => self.of_strangers(),
        }
    }

    /// The same by name.
    pub(crate) fn names(&self, request: &Request<'_>) -> Vec<String> {
        let Self::Client { names, .. } = self else { return Vec::new() };
        let order = self.order(request);
        let order = order.iter().flat_map(|order| order.iter());
        order.filter_map(|&region| names.get(usize::from(region))).map(ToString::to_string).collect()
    }
}

/// The same tier, and the zone that this request shall go to.
#[inline(never)]
pub(crate) fn redraw<T>(
    snapshot: &Snapshot<T>,
    plan: &Plan,
    drawn: Drawn,
    key: Option<u64>,
    caller: &mut LaneCaller<'_>,
) -> Drawn {
    let shares = &*plan.shares;
    let rung = &shares.rungs[shares.groups[drawn.group()].rung];
    let planner = caller.moment.control.planner.as_ref();
    let Some(choice) = planner.and_then(|planner| planner.choice.as_ref()) else { return drawn };
    // Panic knows no zones: what is known of them is what is not believed.
    if rung.groups.len() == 1 || drawn.mark.intersects(Mark::REFUSE | Mark::OPEN) {
        return drawn;
    }
    let group = match choice {
        ZoneChoice::Client { .. } => choice.order(caller.request).and_then(|order| {
            let bits = key.map_or_else(|| caller.draw(), |key| SplitMix64::mix(key ^ CLIENTS));
            of_client(shares, drawn, &order, bits >> 32)
        }),
        ZoneChoice::Joint(joint) => of_waits(snapshot, shares, drawn, joint, caller),
    };
    group.map_or(drawn, |group| Drawn { group: group as u32, ..drawn })
}

/// Fills the regions in their order, each as far as it can bear it; `point` is a place among all requests.
fn of_client(shares: &Shares, drawn: Drawn, order: &[u16], point: u64) -> Option<usize> {
    let groups = shares.rungs[shares.groups[drawn.group()].rung].groups.clone();
    let bears = |group: usize| shares.bears(group, drawn.degraded);
    let sum: u64 = groups.clone().map(bears).sum();
    // What all together cannot bear, all bear alike.
    let mut left = if sum < ONE { point * sum / ONE } else { point };
    let mut last = None;
    for group in in_order(shares, groups, order) {
        let part = bears(group);
        if left < part {
            return Some(group);
        }
        left -= part;
        last = if part > 0 { Some(group) } else { last };
    }
    last
}

/// The groups of a tier in which others are asked: nearest to the client of the request first, where that is known and counts, else as
/// they stand.
#[cold]
pub(crate) fn in_turn(
    plan: &Plan,
    groups: Range<usize>,
    caller: &LaneCaller<'_>,
) -> impl Iterator<Item = usize> + use<> {
    let planner = caller.moment.control.planner.as_ref().filter(|_| plan.by_request);
    let order = planner.and_then(|planner| planner.choice.as_ref()?.order(caller.request));
    let known: Option<SmallVec<[u32; 64]>> =
        order.map(|order| in_order(&plan.shares, groups.clone(), &order).map(|group| group as u32).collect());
    let start = groups.start;
    (0..groups.len()).map(move |i| {
        known.as_ref().and_then(|known| known.get(i)).map_or(start + i, |&group| group as usize)
    })
}

/// The groups of the regions in this order, then those of other regions.
fn in_order<'a>(
    shares: &'a Shares,
    groups: Range<usize>,
    order: &'a [u16],
) -> impl Iterator<Item = usize> + 'a {
    let region = |group: usize| shares.groups[group].zone.as_ref().and_then(|zone| zone.region);
    let others = groups.clone().filter(move |&group| region(group).is_none());
    let of = move |wanted: u16| groups.clone().filter(move |&group| region(group) == Some(wanted));
    order.iter().flat_map(move |&wanted| of(wanted)).chain(others)
}

/// The zone with the least sum of wait and way, the own one if that is nearly as good.
fn of_waits<T>(
    snapshot: &Snapshot<T>,
    shares: &Shares,
    drawn: Drawn,
    joint: &JointChoice,
    caller: &mut LaneCaller<'_>,
) -> Option<usize> {
    let groups = shares.rungs[shares.groups[drawn.group()].rung].groups.clone();
    let mut home = None;
    let mut costs = SmallVec::<[ZoneCost; 16]>::new();
    for group in groups.clone() {
        let tier = snapshot.tier(group)?;
        let zone = tier.zone.as_deref();
        if zone.is_some_and(|zone| zone.is_home) {
            home = Some(costs.len());
        }
        let mask = if drawn.degraded { &tier.masks.degraded } else { &tier.masks.preferred };
        let excluded = caller.request.tried();
        let wait = wait(&TierView { tier, mask, excluded, watch: None }, caller);
        costs.push(ZoneCost { wait, way: zone.map_or(Duration::ZERO, |zone| zone.way) });
    }
    let chosen = joint.choose(&costs, home, caller.draw())?;
    Some(groups.start + chosen)
}

/// The less of two endpoints' waits, as an endpoint that is the better of two will have it.
fn wait<T>(view: &TierView<'_, T>, caller: &mut LaneCaller<'_>) -> Option<Duration> {
    if Mask::usable(view.mask) == 0 {
        return None;
    }
    let mut least = None;
    for _ in 0..DRAWS {
        let node = view.tier.nodes.get(Random.choose(view, caller)?)?;
        let cost = cost(node, caller.moment.now());
        least = Some(least.map_or(cost, |least: Duration| least.min(cost)));
    }
    least
}

/// What a request more would wait at an endpoint: those in flight and itself, one after the other. Nothing at an idle one of which
/// nothing is known, so that it gets known; while somebody finds that out, others had better not wait for it.
pub(crate) fn cost<T>(node: &Node<T>, now: Timestamp) -> Duration {
    let latency = node.live.latency().and_then(|estimate| estimate.get(now));
    let ahead = u32::try_from(node.in_flight()).unwrap_or(u32::MAX);
    match latency {
        Some(latency) => latency.saturating_mul(ahead.saturating_add(1)),
        None => UNKNOWN.saturating_mul(ahead),
    }
}

/// What a request may take that nobody has seen end: more than most do.
const UNKNOWN: Duration = Duration::from_secs(1);

const DRAWS: usize = 2;
/// Places of keys among the regions have nothing to do with their places among tiers and endpoints.
const CLIENTS: u64 = 0x7265_6769_6f6e_6b65;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use evenkeel_types::{Locality, Priority};

    use super::*;
    use crate::roster::Masks;
    use crate::snapshot::Part;
    use crate::zones::Zone;

    /// Where the 0th, 5th, 10th … percent (and a tenth) of the requests go, of regions of which each bears so many percent.
    fn check(bears: &[(Option<u16>, u64)], order: &[u16], expected: &str) {
        let zone = |region| {
            let at = Locality::default();
            Arc::new(Zone { at, name: 0, is_home: false, is_away: false, region, way: Duration::ZERO })
        };
        let groups = bears.iter().map(|&(region, _)| {
            (Priority::HIGHEST, Part::Inside, Arc::new(Masks::new(&[], None)), Some(zone(region)))
        });
        let shares = Shares::new(1, false, groups);
        for (group, (_, percent)) in bears.iter().enumerate() {
            shares.set_bears(group, false, percent * ONE / 100);
        }
        let drawn = Drawn { group: 0, degraded: false, mark: Mark::empty() };
        let at = |percent: u64| of_client(&shares, drawn, order, percent * ONE / 100 + ONE / 1000);
        let went: String =
            (0..20).map(|i| at(5 * i).map_or('-', |group| char::from(b'a' + group as u8))).collect();
        assert_eq!(went, expected);
    }

    #[test]
    fn regions_are_filled_in_order() {
        let whole = [(Some(0), 100), (Some(1), 100), (None, 100)];
        check(&whole, &[0, 1], "aaaaaaaaaaaaaaaaaaaa");
        check(&whole, &[1, 0], "bbbbbbbbbbbbbbbbbbbb");
        check(&[(Some(0), 25), (Some(1), 60), (None, 100)], &[0, 1], "aaaaabbbbbbbbbbbbccc");
        check(&[(Some(0), 25), (Some(1), 60), (None, 100)], &[1, 0], "bbbbbbbbbbbbaaaaaccc");
        // All together bear half: each as much more as they are short.
        check(&[(Some(0), 20), (Some(1), 20), (None, 10)], &[1, 0], "bbbbbbbbaaaaaaaacccc");
        check(&[(Some(0), 0), (Some(1), 0)], &[0, 1], "--------------------");
        check(&[(Some(1), 0), (Some(0), 100)], &[1, 0], "bbbbbbbbbbbbbbbbbbbb");
        check(&[(Some(0), 70), (Some(3), 70)], &[3, 2, 1, 0], "bbbbbbbbbbbbbbaaaaaa");
    }
}
