//! The updates: each works out a plan, commits it, and tells what changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_balance::{BuiltIn, PolicyConfig};
use evenkeel_types::{Difference, Endpoint, EndpointId, Weight};
use hashbrown::HashTable;

use crate::error::ApplyError;
use crate::live::{Live, Node};
use crate::observer::Notice;
use crate::shared::{Shared, Told};
use crate::snapshot::Snapshot;
use crate::sync::CountedArc;
use crate::update::{self, Change, Pending, Row, State, TierPlan};

/// What an update changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Applied {
    /// The generation of the snapshot that is in use now.
    pub generation: u64,
    /// Endpoints that are new: unknown ids, and known ones in a new incarnation.
    pub added: Vec<EndpointId>,
    /// Endpoints that left.
    pub removed: Vec<EndpointId>,
    /// Endpoints whose description changed.
    pub updated: Vec<EndpointId>,
    /// Whether the policy is new.
    pub policy_changed: bool,
    /// Whether endpoints that stay stand in another order.
    pub reordered: bool,
}

impl Applied {
    /// Whether everything was so already.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        let same_members = self.added.is_empty() && self.removed.is_empty() && self.updated.is_empty();
        same_members && !self.policy_changed && !self.reordered
    }
}

/// What must not be dropped under the lock: user code could run.
struct Leftover<T> {
    snapshots: Vec<Arc<Snapshot<T>>>,
    nodes: Vec<Arc<Node<T>>>,
    payloads: Vec<T>,
    policies: Vec<PolicyConfig>,
    built: Vec<BuiltIn>,
    told: Vec<Told<T>>,
}

impl<T> Leftover<T> {
    const fn new() -> Self {
        Self {
            snapshots: Vec::new(),
            nodes: Vec::new(),
            payloads: Vec::new(),
            policies: Vec::new(),
            built: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Runs what may run user code: drops, policies, the observer.
    fn let_go(self) {
        self.told.into_iter().for_each(Told::tell);
    }
}

/// Makes `wanted` the whole set. A payload may be missing only for endpoints that are known.
pub(crate) fn whole_set<T>(
    shared: &Shared<T>,
    wanted: Vec<(Endpoint, Option<T>)>,
) -> Result<Applied, ApplyError> {
    check(shared, wanted.iter().map(|(endpoint, _)| endpoint))?;
    let mut wanted = wanted;
    replace(shared, &mut wanted).map(Option::unwrap_or_default)
}

/// As [`whole_set`]; makes the payloads of new endpoints outside the lock. If another update comes between, what is
/// missing then is made too.
pub(crate) fn whole_set_with<T>(
    shared: &Shared<T>,
    endpoints: &[Endpoint],
    mut make: impl FnMut(&Endpoint) -> T,
) -> Result<Applied, ApplyError> {
    check(shared, endpoints.iter())?;
    let mut wanted: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.clone(), None)).collect();
    loop {
        let missing = missing(&shared.state.lock(), &wanted);
        for position in missing {
            wanted[position].1 = Some(make(&endpoints[position]));
        }
        // None: another update removed an endpoint that was known a moment ago. What was made is kept.
        if let Some(applied) = replace(shared, &mut wanted)? {
            return Ok(applied);
        }
    }
}

/// The positions of endpoints that are neither known nor have a payload yet.
fn missing<T>(state: &State<T>, wanted: &[(Endpoint, Option<T>)]) -> Vec<usize> {
    let lacks =
        |(endpoint, payload): &(Endpoint, Option<T>)| payload.is_none() && known(state, endpoint).is_none();
    wanted.iter().enumerate().filter(|(_, wanted)| lacks(wanted)).map(|(position, _)| position).collect()
}

pub(crate) fn clear<T>(shared: &Shared<T>) -> Applied {
    let mut leftover = Leftover::new();
    let applied = {
        let mut state = shared.state.lock();
        let state = &mut *state;
        let old = shared.current.load_full();
        if old.known && old.len() == 0 {
            return Applied { generation: old.generation, ..Applied::default() };
        }
        let removed = old.nodes().map(|node| node.live.id()).collect::<Vec<_>>();
        leftover.nodes.extend(removed.iter().filter_map(|id| state.index.remove(id)));
        // No policy is asked about an empty set, so none can refuse it.
        let nobody = update::tiers([]);
        let generation = commit(
            shared,
            state,
            Change { plans: nobody, pending: Pending::new(), config: None },
            &mut leftover,
        );
        let generation = generation.unwrap_or(old.generation);
        drop(old);
        leftover.snapshots.extend(state.sweep());
        Applied { generation, removed, ..Applied::default() }
    };
    leftover.let_go();
    tell(shared, &applied);
    applied
}

pub(crate) fn upsert<T>(shared: &Shared<T>, endpoint: Endpoint, payload: T) -> Result<Applied, ApplyError> {
    edit(shared, |state, old, leftover| {
        let id = endpoint.id().clone();
        if let Some(node) = known(state, &endpoint) {
            let node = Arc::clone(node);
            leftover.payloads.push(payload);
            return Ok(redescribe(old, &node, endpoint));
        }
        let replaced = state.index.get(&id).map(|node| node.live.token);
        let count = old.len() + usize::from(replaced.is_none());
        if count > shared.max_endpoints {
            leftover.payloads.push(payload);
            return Err(ApplyError::TooMany { count, max: shared.max_endpoints });
        }
        let mut rows = rows(old);
        let fresh = new_nodes(shared, vec![(endpoint, payload)]);
        let Some(node) = fresh.into_iter().next() else { return Ok(Edit::nothing()) };
        let row = (Arc::clone(&node), node.live.description().priority(), node.live.weight().get());
        match rows.iter().position(|(node, ..)| Some(node.live.token) == replaced) {
            Some(position) => rows[position] = row,
            None => rows.push(row),
        }
        Ok(Edit {
            plans: Some(update::tiers(rows)),
            pending: Pending::new(),
            insert: vec![node],
            remove: replaced.map(|_| id.clone()).into_iter().collect(),
            applied: Applied { added: vec![id], ..Applied::default() },
        })
    })
}

pub(crate) fn remove<T>(shared: &Shared<T>, id: &EndpointId) -> Result<Applied, ApplyError> {
    edit(shared, |state, old, _| {
        let token = state.index.get(id).ok_or_else(|| ApplyError::UnknownId(id.clone()))?.live.token;
        let mut rows = rows(old);
        rows.retain(|(node, ..)| node.live.token != token);
        Ok(Edit {
            plans: Some(update::tiers(rows)),
            pending: Pending::new(),
            insert: Vec::new(),
            remove: vec![id.clone()],
            applied: Applied { removed: vec![id.clone()], ..Applied::default() },
        })
    })
}

pub(crate) fn set_weight<T>(
    shared: &Shared<T>,
    id: &EndpointId,
    weight: Weight,
) -> Result<Applied, ApplyError> {
    edit(shared, |state, old, _| {
        let node = state.index.get(id).ok_or_else(|| ApplyError::UnknownId(id.clone()))?;
        let endpoint = (*node.live.description()).clone().with_weight(weight);
        Ok(redescribe(old, node, endpoint))
    })
}

pub(crate) fn set_policy<T>(shared: &Shared<T>, policy: PolicyConfig) -> Result<Applied, ApplyError> {
    let mut leftover = Leftover::new();
    let result = {
        let mut state = shared.state.lock();
        let plans = update::as_planned(&shared.current.load());
        let change = Change { plans, pending: Pending::new(), config: Some(&policy) };
        let result = commit(shared, &mut state, change, &mut leftover);
        leftover.policies.push(match &result {
            Ok(_) => std::mem::replace(&mut state.policy, policy),
            Err(_) => policy,
        });
        leftover.snapshots.extend(state.sweep());
        result
    };
    leftover.let_go();
    let applied = Applied { generation: result?, policy_changed: true, ..Applied::default() };
    tell(shared, &applied);
    Ok(applied)
}

/// A small change, worked out under the lock.
struct Edit<T> {
    /// Tiers as they shall be; `None` if nothing that picks read has changed.
    plans: Option<Vec<TierPlan<T>>>,
    pending: Pending,
    insert: Vec<Arc<Node<T>>>,
    remove: Vec<EndpointId>,
    applied: Applied,
}

impl<T> Edit<T> {
    fn nothing() -> Self {
        Self {
            plans: None,
            pending: Pending::new(),
            insert: Vec::new(),
            remove: Vec::new(),
            applied: Applied::default(),
        }
    }
}

fn edit<T>(
    shared: &Shared<T>,
    plan: impl FnOnce(&mut State<T>, &Snapshot<T>, &mut Leftover<T>) -> Result<Edit<T>, ApplyError>,
) -> Result<Applied, ApplyError> {
    let mut leftover = Leftover::new();
    let result = {
        let mut state = shared.state.lock();
        let result = carry_out(shared, &mut state, plan, &mut leftover);
        leftover.snapshots.extend(state.sweep());
        result
    };
    leftover.let_go();
    if let Ok(applied) = &result {
        tell(shared, applied);
    }
    result
}

fn carry_out<T>(
    shared: &Shared<T>,
    state: &mut State<T>,
    plan: impl FnOnce(&mut State<T>, &Snapshot<T>, &mut Leftover<T>) -> Result<Edit<T>, ApplyError>,
    leftover: &mut Leftover<T>,
) -> Result<Applied, ApplyError> {
    let old = shared.current.load_full();
    let Edit { plans, pending, insert, remove, mut applied } = plan(state, &old, leftover)?;
    applied.generation = match plans {
        None => old.generation,
        Some(plans) => {
            // What a refused plan would have brought is dropped outside the lock.
            leftover.nodes.extend(insert.iter().map(Arc::clone));
            commit(shared, state, Change { plans, pending, config: None }, leftover)?
        }
    };
    leftover.nodes.extend(remove.iter().filter_map(|id| state.index.remove(id)));
    for node in insert {
        state.index.insert(node);
    }
    Ok(applied)
}

/// The edit that gives `node` another description.
fn redescribe<T>(old: &Snapshot<T>, node: &Arc<Node<T>>, endpoint: Endpoint) -> Edit<T> {
    let live = &node.live;
    let difference = live.description().difference(&endpoint);
    let mut edit = Edit::nothing();
    if difference.is_empty() {
        return edit;
    }
    edit.applied.updated.push(endpoint.id().clone());
    edit.plans = Some(if difference.contains(Difference::PRIORITY) {
        let mut rows = rows(old);
        for (_, priority, weight) in rows.iter_mut().filter(|(node, ..)| node.live.token == live.token) {
            *priority = endpoint.priority();
            *weight = endpoint.weight().get();
        }
        update::tiers(rows)
    } else {
        let mut plans = update::as_planned(old);
        if difference.contains(Difference::WEIGHT) {
            reweigh(&mut plans, live, endpoint.weight());
        }
        plans
    });
    edit.pending.insert(live.token, endpoint);
    edit
}

fn reweigh<T>(plans: &mut [TierPlan<T>], live: &Live<T>, weight: Weight) {
    let priority = live.description().priority();
    let Some(plan) = plans.iter_mut().find(|plan| plan.priority == priority) else { return };
    let position = plan.nodes.iter().position(|node| node.live.token == live.token);
    if let Some(position) = position {
        Arc::make_mut(&mut plan.weights)[position] = weight.get();
    }
}

/// Every node with its tier and weight, in order.
fn rows<T>(snapshot: &Snapshot<T>) -> Vec<Row<T>> {
    snapshot
        .tiers()
        .flat_map(|tier| {
            let weights = tier.weights.iter().copied();
            tier.nodes.iter().zip(weights).map(|(node, weight)| (Arc::clone(node), tier.priority, weight))
        })
        .collect()
}

/// Makes `wanted` the whole set, or returns `None` if a payload is missing.
fn replace<T>(
    shared: &Shared<T>,
    wanted: &mut Vec<(Endpoint, Option<T>)>,
) -> Result<Option<Applied>, ApplyError> {
    let mut leftover = Leftover::new();
    let result = {
        let mut state = shared.state.lock();
        let result = replace_locked(shared, &mut state, wanted, &mut leftover);
        leftover.snapshots.extend(state.sweep());
        result
    };
    leftover.let_go();
    if let Ok(Some(applied)) = &result {
        tell(shared, applied);
    }
    result
}

fn replace_locked<T>(
    shared: &Shared<T>,
    state: &mut State<T>,
    wanted: &mut Vec<(Endpoint, Option<T>)>,
    leftover: &mut Leftover<T>,
) -> Result<Option<Applied>, ApplyError> {
    let old = shared.current.load_full();
    let mut applied = Applied::default();
    let mut pending = Pending::new();
    let mut rows = Vec::with_capacity(wanted.len());
    let mut places = Vec::with_capacity(wanted.len());
    if !missing(state, wanted).is_empty() {
        return Ok(None);
    }
    let mut arrivals = Vec::new();
    for (endpoint, payload) in wanted.drain(..) {
        let (priority, weight) = (endpoint.priority(), endpoint.weight().get());
        let node = known(state, &endpoint).map(Arc::clone);
        match (&node, payload) {
            (Some(node), payload) => {
                leftover.payloads.extend(payload);
                if !node.live.description().difference(&endpoint).is_empty() {
                    applied.updated.push(endpoint.id().clone());
                    pending.insert(node.live.token, endpoint);
                }
            }
            (None, Some(payload)) => {
                applied.added.push(endpoint.id().clone());
                arrivals.push((endpoint, payload));
            }
            (None, None) => continue,
        }
        places.push((node, priority, weight));
    }
    let fresh = new_nodes(shared, arrivals);
    let mut arrived = fresh.iter();
    for (node, priority, weight) in places {
        if let Some(node) = node.or_else(|| arrived.next().map(Arc::clone)) {
            rows.push((node, priority, weight));
        }
    }
    leftover.nodes.extend(fresh.iter().map(Arc::clone));
    let (gone, replaced) = leavers(&old, &rows, &applied.added);
    applied.removed = gone;
    let plans = share_unchanged(&old, update::tiers(rows));
    if applied.is_noop() && replaced.is_empty() && old.known {
        applied.reordered = !is_in_order(&old, &plans);
        if !applied.reordered {
            applied.generation = old.generation;
            return Ok(Some(applied));
        }
    }
    applied.generation = commit(shared, state, Change { plans, pending, config: None }, leftover)?;
    for id in applied.removed.iter().chain(&replaced) {
        leftover.nodes.extend(state.index.remove(id));
    }
    for node in fresh {
        state.index.insert(node);
    }
    Ok(Some(applied))
}

/// Who of `old` is not among `rows`: ids that left, and ids that stay in a new incarnation.
fn leavers<T>(
    old: &Snapshot<T>,
    rows: &[Row<T>],
    added: &[EndpointId],
) -> (Vec<EndpointId>, Vec<EndpointId>) {
    let mut staying: Vec<u64> = rows.iter().map(|(node, ..)| node.live.token).collect();
    staying.sort_unstable();
    let mut added: Vec<&EndpointId> = added.iter().collect();
    added.sort_unstable();
    let left = old.nodes().filter(|node| staying.binary_search(&node.live.token).is_err());
    left.map(|node| node.live.id()).partition(|id| added.binary_search(&id).is_err())
}

/// Whether plans that share what is unchanged share everything.
fn is_in_order<T>(old: &Snapshot<T>, plans: &[TierPlan<T>]) -> bool {
    let mut tiers = old.tiers().zip(plans);
    old.tiers().count() == plans.len() && tiers.all(|(tier, plan)| Arc::ptr_eq(&tier.nodes, &plan.nodes))
}

fn has_same_nodes<T>(tier: &crate::snapshot::Tier<T>, plan: &TierPlan<T>) -> bool {
    tier.priority == plan.priority
        && tier.nodes.len() == plan.nodes.len()
        && tier.nodes.iter().zip(plan.nodes.iter()).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Takes over the old lists where they are equal, so that masks and tables are kept.
fn share_unchanged<T>(old: &Snapshot<T>, mut plans: Vec<TierPlan<T>>) -> Vec<TierPlan<T>> {
    for plan in &mut plans {
        if let Some(tier) = old.tiers().find(|tier| has_same_nodes(tier, plan)) {
            plan.nodes = Arc::clone(&tier.nodes);
            if tier.weights == plan.weights {
                plan.weights = Arc::clone(&tier.weights);
            }
        }
    }
    plans
}

fn commit<T>(
    shared: &Shared<T>,
    state: &mut State<T>,
    change: Change<'_, T>,
    leftover: &mut Leftover<T>,
) -> Result<u64, ApplyError> {
    let committed = update::commit(shared, state, change, &mut leftover.built)?;
    leftover.told.push(committed.told);
    Ok(committed.generation)
}

/// Nodes for endpoints that are new. Descriptions first, then live parts, then nodes: what picks read lies close together
/// and not between what they do not read, which at ten thousand endpoints decides whether it stays in the cache.
fn new_nodes<T>(shared: &Shared<T>, arrivals: Vec<(Endpoint, T)>) -> Vec<Arc<Node<T>>> {
    let described: Vec<(Arc<Endpoint>, T)> =
        arrivals.into_iter().map(|(endpoint, payload)| (Arc::new(endpoint), payload)).collect();
    let lives: Vec<_> = described
        .into_iter()
        .map(|(endpoint, payload)| {
            let token = TOKENS.fetch_add(1, Ordering::Relaxed);
            CountedArc::new(Live::new(&shared.control, shared.control.slots.take(), token, endpoint, payload))
        })
        .collect();
    lives.into_iter().map(|live| Arc::new(Node::new(live))).collect()
}

/// The node of the same id and incarnation.
fn known<'s, T>(state: &'s State<T>, endpoint: &Endpoint) -> Option<&'s Arc<Node<T>>> {
    state.index.get(endpoint.id()).filter(|node| node.live.incarnation() == endpoint.incarnation())
}

fn check<'e, T>(
    shared: &Shared<T>,
    endpoints: impl ExactSizeIterator<Item = &'e Endpoint>,
) -> Result<(), ApplyError> {
    let count = endpoints.len();
    if count == 0 {
        return Err(ApplyError::EmptyWithoutProof);
    }
    if count > shared.max_endpoints {
        return Err(ApplyError::TooMany { count, max: shared.max_endpoints });
    }
    find_duplicate(shared.control.hash_key, endpoints)
}

fn find_duplicate<'e>(
    key: (u64, u64),
    endpoints: impl ExactSizeIterator<Item = &'e Endpoint>,
) -> Result<(), ApplyError> {
    let mut seen: HashTable<(&EndpointId, usize)> = HashTable::with_capacity(endpoints.len());
    for (second, endpoint) in endpoints.enumerate() {
        let id = endpoint.id();
        let hash = update::hash(key, id);
        if let Some(&(_, first)) = seen.find(hash, |(known, _)| *known == id) {
            return Err(ApplyError::DuplicateId { id: id.clone(), first, second });
        }
        seen.insert_unique(hash, (id, second), |(id, _)| update::hash(key, id));
    }
    Ok(())
}

fn tell<T>(shared: &Shared<T>, applied: &Applied) {
    if let Some(observer) = &shared.control.observer
        && !applied.is_noop()
    {
        observer.notice(&Notice::Applied(applied.clone()));
    }
}

/// Tokens are unique in the process, so that what was tried in one cluster excludes nobody in another. Nothing is decided
/// by their value.
static TOKENS: AtomicU64 = AtomicU64::new(1);
