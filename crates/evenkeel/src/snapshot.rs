//! One immutable view of a cluster: what a pick reads.

use std::cell::RefCell;
use std::sync::Arc;

use evenkeel_balance::subset::SubsetFallback;
use evenkeel_balance::{BuiltIn, Mask, View, Wants};
use evenkeel_health::{Crowd, Ramp};
use evenkeel_types::Priority;

use crate::choose::{self, Watch};
use crate::factor::{self, FULL};
use crate::live::Live;
use crate::names::Names;
use crate::node::{Hold, Node};
use crate::roster::{Level, Masks};
use crate::shares::Shares;
use crate::update::TierPlan;
use crate::way::Way;
use crate::zones::Zone;

pub(crate) struct Snapshot<T> {
    pub(crate) generation: u64,
    /// Whether a set was ever applied.
    pub(crate) known: bool,
    /// What tiers and zones get, where that goes by shares; else the first tier that can takes all.
    pub(crate) plan: Option<Plan>,
    /// The tier that is used first lies here, so that the usual pick follows one pointer less.
    pub(crate) first: Tier<T>,
    pub(crate) rest: Box<[Tier<T>]>,
    /// Where each name is, if somebody asks for names.
    pub(crate) names: Names,
}

/// The shares of the groups, in the order of the tiers of the snapshot.
pub(crate) struct Plan {
    pub(crate) shares: Arc<Shares>,
    /// What the policies want: a key, where requests with a key must not change tier and zone by chance.
    pub(crate) wants: Wants,
    /// Whether each request chooses its zone anew: see [`zone_choice`](crate::zone_choice).
    pub(crate) by_request: bool,
}

/// What the endpoints of a tier are to the subset of this client. Without a subset everything is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// They belong to it.
    Inside,
    /// They do not, and are used when nothing inside is usable.
    Reserve,
    /// They do not, and are never used.
    Parked,
}

/// The endpoints of one priority; where the cluster has a subset, of one part of it, and where it knows zones, of one zone.
pub(crate) struct Tier<T> {
    pub(crate) priority: Priority,
    pub(crate) part: Part,
    pub(crate) zone: Option<Arc<Zone>>,
    /// The way of a pick that goes here, but for what happens to it.
    pub(crate) way: Way,
    /// Which fallback of a label subset brought the endpoints here.
    pub(crate) fallback: Option<SubsetFallback>,
    pub(crate) policy: BuiltIn,
    /// What the policy wants to be told.
    pub(crate) wants: Wants,
    pub(crate) masks: Arc<Masks>,
    pub(crate) nodes: Arc<[Arc<Node<T>>]>,
    pub(crate) weights: Arc<[u32]>,
    /// Whether picks count in stripes.
    pub(crate) striped: bool,
    /// Whether some node has stripes, so that its count is a sum.
    pub(crate) has_stripes: bool,
}

impl<T> Tier<T> {
    /// Whether the plan follows on this tier, so that its policy is the successor of this one's.
    pub(crate) fn is_place_of(&self, plan: &TierPlan<T>) -> bool {
        let zone = |zone: &Option<Arc<Zone>>| zone.as_ref().map(|zone| zone.name);
        self.priority == plan.priority && self.part == plan.part && zone(&self.zone) == zone(&plan.zone)
    }

    /// Counts one request at one of its nodes.
    #[inline(always)]
    pub(crate) fn hold(&self, node: &Node<T>, stripe: u32) -> Hold<T> {
        if self.striped { node.hold_striped(stripe) } else { node.hold() }
    }

    /// Requests in flight at one of its nodes.
    #[inline(always)]
    fn load_of(&self, node: &Node<T>) -> u32 {
        if self.has_stripes { node.in_flight() as u32 } else { node.references() }
    }

    #[inline(always)]
    fn weight_at(&self, position: usize) -> u32 {
        self.weights.get(position).copied().unwrap_or(0)
    }

    /// Whether the plan is this tier, so that its policy need not be built again.
    pub(crate) fn is_as(&self, plan: &TierPlan<T>) -> bool {
        Arc::ptr_eq(&self.nodes, &plan.nodes) && Arc::ptr_eq(&self.weights, &plan.weights)
    }
}

impl<T> Tier<T> {
    /// Finds the largest factor, and how far all have to be lifted. O(n).
    pub(crate) fn settle_factors(&self, ramp: Option<&Ramp>) {
        let (mut plain, mut degraded) = ((0, Crowd::default()), (0, Crowd::default()));
        for (node, &weight) in self.nodes.iter().zip(self.weights.iter()) {
            let (top, crowd) = match node.live.level() {
                Level::Preferred => &mut plain,
                Level::Degraded => &mut degraded,
                Level::New | Level::NewDown | Level::Starting | Level::Out | Level::Withdrawn => continue,
            };
            let factor = node.live.factor.get();
            *top = factor.max(*top);
            *crowd = crowd.with(f64::from(weight), factor::share(factor));
        }
        // Degraded ones get requests where nobody else is left.
        let (top, crowd) = if self.masks.preferred.usable() > 0 { plain } else { degraded };
        self.masks.top.set(if top == 0 { FULL } else { top });
        self.masks.lift.set(ramp.map_or(0, |ramp| factor::parts(ramp.lift(&crowd))));
    }
}

impl<T> Tier<T> {
    /// Finds how busy its usable endpoints say they are. O(n).
    pub(crate) fn settle_utilisation(&self) {
        let Some(tally) = &self.masks.tally else { return };
        let usable = self.nodes.iter().filter(|node| node.live.standing.is_usable());
        let reported = usable.filter_map(|node| node.live.utilisation());
        let (sum, count) = reported.fold((0.0, 0_u32), |(sum, count), busy| (sum + busy, count + 1));
        tally.set_utilisation((count > 0).then(|| sum / f64::from(count)));
    }
}

impl<T> Snapshot<T> {
    pub(crate) fn tiers(&self) -> impl Iterator<Item = &Tier<T>> + Clone {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// The tiers that picks may use: all but what is parked, which comes last.
    pub(crate) fn used(&self) -> impl Iterator<Item = &Tier<T>> + Clone {
        self.tiers().take_while(|tier| tier.part != Part::Parked)
    }

    /// The tier at an index.
    #[inline]
    pub(crate) fn tier(&self, index: usize) -> Option<&Tier<T>> {
        match index.checked_sub(1) {
            None => Some(&self.first),
            Some(index) => self.rest.get(index),
        }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node<T>>> {
        self.tiers().flat_map(|tier| tier.nodes.iter())
    }

    pub(crate) fn len(&self) -> usize {
        self.tiers().map(|tier| tier.nodes.len()).sum()
    }
}

/// A tier as a policy sees it for one request.
pub(crate) struct TierView<'a, T> {
    pub(crate) tier: &'a Tier<T>,
    pub(crate) mask: &'a Mask,
    /// Tokens of endpoints that this request must not get.
    pub(crate) excluded: &'a [u64],
    /// Who wants to know whose load is read.
    pub(crate) watch: Watch<'a>,
}

/// The first tier as a policy sees it for a request that excludes nothing.
pub(crate) struct WholeTier<'a, T> {
    pub(crate) tier: &'a Tier<T>,
    pub(crate) mask: &'a Mask,
    /// How many the mask names, read once.
    pub(crate) usable: usize,
}

impl<T> View for WholeTier<'_, T> {
    #[inline(always)]
    fn mask(&self) -> &Mask {
        self.mask
    }

    #[inline(always)]
    fn usable(&self) -> usize {
        self.usable
    }

    #[inline(always)]
    fn load(&self, position: usize) -> u32 {
        self.tier.nodes.get(position).map_or(u32::MAX, |node| self.tier.load_of(node))
    }

    #[inline(always)]
    fn weight(&self, position: usize) -> u32 {
        self.tier.weight_at(position)
    }

    #[inline(always)]
    fn admits_all(&self) -> bool {
        true
    }
}

impl<T> TierView<'_, T> {
    #[inline(always)]
    fn live(&self, position: usize) -> Option<&Live<T>> {
        self.tier.nodes.get(position).map(|node| &*node.live)
    }
}

impl<T> View for TierView<'_, T> {
    #[inline(always)]
    fn mask(&self) -> &Mask {
        self.mask
    }

    #[inline(always)]
    fn load(&self, position: usize) -> u32 {
        let Some(node) = self.tier.nodes.get(position) else { return u32::MAX };
        if let Some(watch) = self.watch {
            note(watch, node.live.token);
        }
        self.tier.load_of(node)
    }

    #[inline(always)]
    fn weight(&self, position: usize) -> u32 {
        self.tier.weight_at(position)
    }

    #[inline(always)]
    fn admits_all(&self) -> bool {
        self.excluded.is_empty()
    }

    #[inline(always)]
    fn admits(&self, position: usize) -> bool {
        self.excluded.is_empty()
            || self.live(position).is_some_and(|live| !choose::is_among(self.excluded, live.token))
    }
}

#[cold]
#[inline(never)]
fn note(watch: &RefCell<Vec<u64>>, token: u64) {
    watch.borrow_mut().push(token);
}
