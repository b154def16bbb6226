//! How the next snapshot comes about: plan the tiers, build their policies, and only then change anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use evenkeel_balance::subset::SubsetFallback;
use evenkeel_balance::{BuiltIn, Members, Policy, PolicyConfig, Random, Wants};
use evenkeel_types::{Endpoint, EndpointId, Priority};
use hashbrown::HashTable;

use crate::error::ApplyError;
use crate::names::Names;
use crate::node::Node;
use crate::roster::{Masks, Place, Places};
use crate::shared::{Shared, Told};
use crate::shares::Shares;
use crate::snapshot::{Part, Plan, Snapshot, Tier};
use crate::subset::{self, Rule};
use crate::way::{Marks, Way};
use crate::zones::Zone;

/// What only updates touch; behind one lock that no pick and no flip takes.
pub(crate) struct State<T> {
    pub(crate) policy: PolicyConfig,
    pub(crate) subset: Option<Rule>,
    pub(crate) index: Index<T>,
    /// Snapshots that a pick may still hold. They wait here, so that it is never a picking thread that frees one.
    pub(crate) retired: Vec<Arc<Snapshot<T>>>,
}

impl<T> State<T> {
    /// Takes out the retired snapshots that nobody holds any more; drop them after unlocking.
    pub(crate) fn sweep(&mut self) -> Vec<Arc<Snapshot<T>>> {
        let (held, free) = self.retired.drain(..).partition(|snapshot| Arc::strong_count(snapshot) > 1);
        self.retired = held;
        free
    }
}

/// Nodes by id.
pub(crate) struct Index<T> {
    table: HashTable<Arc<Node<T>>>,
    key: (u64, u64),
}

impl<T> Index<T> {
    pub(crate) fn new(key: (u64, u64)) -> Self {
        Self { table: HashTable::new(), key }
    }

    pub(crate) fn get(&self, id: &EndpointId) -> Option<&Arc<Node<T>>> {
        self.table.find(hash(self.key, id), |node| node.live.is_called(id))
    }

    pub(crate) fn insert(&mut self, node: Arc<Node<T>>) {
        let key = self.key;
        let rehash = |node: &Arc<Node<T>>| hash(key, &node.live.id());
        self.table.insert_unique(rehash(&node), node, rehash);
    }

    pub(crate) fn remove(&mut self, id: &EndpointId) -> Option<Arc<Node<T>>> {
        let found = self.table.find_entry(hash(self.key, id), |node| node.live.is_called(id)).ok()?;
        Some(found.remove().0)
    }
}

pub(crate) fn hash(key: (u64, u64), id: &EndpointId) -> u64 {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new_with_keys(key.0, key.1);
    hasher.write(id.as_str().as_bytes());
    hasher.finish()
}

/// One tier as it shall be.
pub(crate) struct TierPlan<T> {
    pub(crate) priority: Priority,
    pub(crate) part: Part,
    pub(crate) fallback: Option<SubsetFallback>,
    pub(crate) zone: Option<Arc<Zone>>,
    pub(crate) nodes: Arc<[Arc<Node<T>>]>,
    pub(crate) weights: Arc<[u32]>,
}

impl<T> TierPlan<T> {
    /// The plan of a whole tier.
    pub(crate) fn new(priority: Priority, rows: Vec<Row<T>>) -> Self {
        let weights = rows.iter().map(|&(_, _, weight)| weight).collect();
        let nodes = rows.into_iter().map(|(node, ..)| node).collect();
        Self { priority, part: Part::Inside, fallback: None, zone: None, nodes, weights }
    }

    /// The way of a pick that goes here.
    pub(crate) fn way(&self) -> Way {
        let mut marks = Marks::empty();
        marks.set(Marks::RESERVE, self.part == Part::Reserve);
        marks.set(Marks::CROSSES_ZONE, self.zone.as_ref().is_some_and(|zone| zone.is_away));
        Way::new(self.priority, marks)
    }
}

/// Cuts plans into what this client uses and the rest, and into zones. Plans that are cut already are put together first.
///
/// # Errors
///
/// [`ApplyError`] if a cut cannot be made; nothing has changed then.
pub(crate) fn cut<T>(
    shared: &Shared<T>,
    rule: Option<&Rule>,
    plans: Vec<TierPlan<T>>,
    pending: &Pending,
) -> Result<Vec<TierPlan<T>>, ApplyError> {
    let plans = subset::split(rule, plans, pending)?;
    let zoning = shared.control.planner.as_ref().and_then(|planner| planner.zoning.as_ref());
    match zoning {
        Some(zoning) => zoning.cut(plans, pending),
        None => Ok(plans),
    }
}

/// Descriptions that nodes shall take over, by token.
pub(crate) type Pending = BTreeMap<u64, Endpoint>;

/// A tier's members for a policy that is being built.
pub(crate) struct PlannedMembers<'a, T> {
    pub(crate) plan: &'a TierPlan<T>,
    pub(crate) pending: &'a Pending,
}

impl<T> Members for PlannedMembers<'_, T> {
    fn weights(&self) -> &[u32] {
        &self.plan.weights
    }

    fn token(&self, position: usize) -> u64 {
        self.plan.nodes[position].live.token
    }

    fn endpoint(&self, position: usize) -> Arc<Endpoint> {
        let live = &self.plan.nodes[position].live;
        self.pending
            .get(&live.token)
            .map_or_else(|| live.description(), |endpoint| Arc::new(endpoint.clone()))
    }
}

/// A swap that was made, and what to tell once the locks are gone.
pub(crate) struct Committed<T> {
    pub(crate) generation: u64,
    pub(crate) told: Told<T>,
}

/// What an update shall change.
pub(crate) struct Change<'a, T> {
    pub(crate) plans: Vec<TierPlan<T>>,
    pub(crate) pending: Pending,
    /// The policy, if it is new.
    pub(crate) config: Option<&'a PolicyConfig>,
    /// Whether it says who is there: a new policy or subset alone is no news about the endpoints.
    pub(crate) tells: bool,
}

/// What becomes of the policies that are in use.
#[derive(Clone, Copy)]
enum Policies<'a> {
    /// They make their own successors.
    Keep(&'a PolicyConfig),
    /// They are made from a new configuration.
    Renew(&'a PolicyConfig),
}

/// A node with its tier and its weight.
pub(crate) type Row<T> = (Arc<Node<T>>, Priority, u32);

/// Sorts nodes into tiers, in the order given within each. There is always a first tier, if only an empty one.
pub(crate) fn tiers<T>(rows: impl IntoIterator<Item = Row<T>>) -> Vec<TierPlan<T>> {
    let mut tiers: BTreeMap<Priority, Vec<Row<T>>> = BTreeMap::new();
    for row in rows {
        tiers.entry(row.1).or_default().push(row);
    }
    if tiers.is_empty() {
        tiers.insert(Priority::HIGHEST, Vec::new());
    }
    tiers.into_iter().map(|(priority, rows)| TierPlan::new(priority, rows)).collect()
}

/// The plan that changes nothing: a start for small edits.
pub(crate) fn as_planned<T>(snapshot: &Snapshot<T>) -> Vec<TierPlan<T>> {
    snapshot
        .tiers()
        .map(|tier| TierPlan {
            priority: tier.priority,
            part: tier.part,
            fallback: tier.fallback,
            zone: tier.zone.clone(),
            nodes: Arc::clone(&tier.nodes),
            weights: Arc::clone(&tier.weights),
        })
        .collect()
}

/// Makes the plan real: builds what must be built, then takes over descriptions, then swaps once. Nothing has changed if
/// it fails; what was built till then is left in `built`, to be dropped without the lock.
pub(crate) fn commit<T>(
    shared: &Shared<T>,
    state: &mut State<T>,
    change: Change<'_, T>,
    built: &mut Vec<BuiltIn>,
) -> Result<Committed<T>, ApplyError> {
    let Change { plans, pending, config, tells } = change;
    let old = shared.current.load_full();
    let known = old.known || tells;
    let config = config.map_or(Policies::Keep(&state.policy), Policies::Renew);
    for plan in &plans {
        built.push(policy_for(plan, &old, config, &pending)?);
    }
    // Asked before anything changes: it is the code of others.
    let wants: Vec<Wants> = built.iter().map(Policy::wants).collect();
    let mut told = take_over(&plans, pending);
    let policies = std::mem::take(built).into_iter().zip(wants).collect();
    let snapshot = Arc::new(assemble(shared, &old, plans, policies, known, &mut told));
    shared.listen(&snapshot);
    let generation = snapshot.generation;
    state.retired.push(shared.current.swap(snapshot));
    Ok(Committed { generation, told })
}

fn policy_for<T>(
    plan: &TierPlan<T>,
    old: &Snapshot<T>,
    policies: Policies<'_>,
    pending: &Pending,
) -> Result<BuiltIn, ApplyError> {
    let members = PlannedMembers { plan, pending };
    if plan.nodes.is_empty() {
        // Nothing to choose from, and no policy can refuse that; but a setting out of range shows here too.
        if let Policies::Renew(config) = policies
            && !matches!(config, PolicyConfig::Custom(_))
        {
            BuiltIn::new(config, &members)?;
        }
        return Ok(BuiltIn::Random(Random));
    }
    if plan.part == Part::Parked {
        return Ok(BuiltIn::Random(Random)); // which nobody asks
    }
    let config = match policies {
        Policies::Renew(config) => return Ok(BuiltIn::new(config, &members)?),
        Policies::Keep(config) => config,
    };
    Ok(match old.tiers().find(|tier| old.known && tier.is_place_of(plan)) {
        Some(tier) if tier.is_as(plan) => tier.policy.clone(),
        Some(tier) => tier.policy.rebuild(config, &members)?,
        None => BuiltIn::new(config, &members)?,
    })
}

fn take_over<T>(plans: &[TierPlan<T>], mut pending: Pending) -> Told<T> {
    let mut told = Told::nothing();
    if pending.is_empty() {
        return told;
    }
    for node in plans.iter().flat_map(|plan| plan.nodes.iter()) {
        if let Some(endpoint) = pending.remove(&node.live.token) {
            told.news.push((Arc::clone(node), node.live.describe(endpoint)));
        }
    }
    told
}

/// The new snapshot; its masks are already in place when it returns, so that no flip can miss them.
fn assemble<T>(
    shared: &Shared<T>,
    old: &Snapshot<T>,
    plans: Vec<TierPlan<T>>,
    policies: Vec<(BuiltIn, Wants)>,
    known: bool,
    told: &mut Told<T>,
) -> Snapshot<T> {
    let same_places = old.tiers().count() == plans.len()
        && old.tiers().zip(&plans).all(|(tier, plan)| Arc::ptr_eq(&tier.nodes, &plan.nodes));
    let same_places = same_places && old.plan.is_some() == shared.control.planner.is_some();
    let (masks, shares) = if same_places {
        let masks: Vec<Arc<Masks>> = old.tiers().map(|tier| Arc::clone(&tier.masks)).collect();
        for (masks, plan) in masks.iter().zip(&plans) {
            if let Some(tally) = &masks.tally {
                tally.reweigh(&plan.weights);
            }
        }
        (masks, old.plan.as_ref().map(|plan| Arc::clone(&plan.shares)))
    } else {
        place(shared, &plans)
    };
    let plan = shares.map(|shares| {
        let wants = policies.iter().fold(Wants::empty(), |all, (_, wants)| all | *wants);
        told.tiers.extend(shared.rebalance(&shares));
        let planner = shared.control.planner.as_ref();
        let by_request = planner.is_some_and(|planner| planner.choice.is_some());
        Plan { shares, wants, by_request }
    });
    let is_striped =
        |plan: &TierPlan<T>, wants: Wants| !wants.contains(Wants::LOADS) && plan.nodes.len() <= STRIPED_BELOW;
    for (plan, (_, wants)) in plans.iter().zip(&policies) {
        if is_striped(plan, *wants) {
            plan.nodes.iter().for_each(|node| node.stripe());
        }
    }
    let mut tiers: Vec<Tier<T>> = plans
        .into_iter()
        .zip(policies)
        .zip(masks)
        .map(|((plan, (policy, wants)), masks)| Tier {
            striped: is_striped(&plan, wants),
            has_stripes: plan.nodes.iter().any(|node| node.has_stripes()),
            way: plan.way(),
            priority: plan.priority,
            part: plan.part,
            zone: plan.zone,
            fallback: plan.fallback,
            policy,
            wants,
            masks,
            nodes: plan.nodes,
            weights: plan.weights,
        })
        .collect();
    if !same_places {
        // New masks know nothing of factors yet.
        shared.settle(tiers.iter());
    }
    let first = tiers.remove(0);
    let snapshot = Snapshot {
        generation: old.generation + 1,
        known,
        plan,
        first,
        rest: tiers.into(),
        names: Names::default(),
    };
    if shared.is_addressed.load(Ordering::Relaxed) {
        snapshot.names.prepare(&snapshot);
    }
    snapshot
}

/// Makes masks for the planned tiers, and shares if the cluster has any, and swaps them in.
fn place<T>(shared: &Shared<T>, plans: &[TierPlan<T>]) -> (Vec<Arc<Masks>>, Option<Arc<Shares>>) {
    let planner = shared.control.planner.as_ref();
    let roster = &shared.control.roster;
    let before = roster.flips();
    let mut of_slot = vec![Place::NOWHERE; shared.control.slots.len()];
    let mut masks = Vec::with_capacity(plans.len());
    for (tier, plan) in plans.iter().enumerate() {
        let levels: Vec<_> = plan.nodes.iter().map(|node| node.live.level()).collect();
        masks.push(Arc::new(Masks::new(&levels, planner.map(|_| &*plan.weights))));
        for (position, node) in plan.nodes.iter().enumerate() {
            of_slot[node.live.slot as usize] = Place::new(tier, position);
        }
    }
    let shares = planner.map(|planner| {
        let used = plans.iter().zip(&masks).filter(|(plan, _)| plan.part != Part::Parked);
        let groups =
            used.map(|(plan, masks)| (plan.priority, plan.part, Arc::clone(masks), plan.zone.clone()));
        Arc::new(Shares::new(planner.next_id(), planner.is_by_percent(), groups))
    });
    let places = Arc::new(Places::new(masks.clone().into(), of_slot.into(), shares.clone()));
    roster.swap(&places, before, |_| {
        for (plan, masks) in plans.iter().zip(&masks) {
            for (position, node) in plan.nodes.iter().enumerate() {
                masks.refresh(position, || node.live.level());
            }
        }
    });
    (masks, shares)
}

/// Up to so many endpoints, two cores meet at one of them often enough for stripes to pay.
const STRIPED_BELOW: usize = 16;
