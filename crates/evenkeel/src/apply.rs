//! Updates of the whole set: each works out a plan, commits it, and tells what changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use evenkeel_types::{Endpoint, EndpointId};
use hashbrown::HashTable;

use crate::applied::{Applied, Leftover, tell};
use crate::edit;
use crate::error::ApplyError;
use crate::live::Live;
use crate::node::Node;
use crate::renewal::Besides;
use crate::shared::Shared;
use crate::snapshot::{Snapshot, Tier};
use crate::sync::CountedArc;
use crate::update::{self, Change, Pending, Row, State, TierPlan};

/// Makes `wanted` the whole set. A payload may be missing only for endpoints that are known.
pub(crate) fn whole_set<T>(
    shared: &Shared<T>,
    wanted: Vec<(Endpoint, Option<T>)>,
) -> Result<Applied, ApplyError> {
    check(shared, wanted.iter().map(|(endpoint, _)| endpoint))?;
    let mut wanted = wanted;
    replace(shared, &mut wanted, &mut Besides::default()).map(Option::unwrap_or_default)
}

/// As [`whole_set`], with what changes besides; makes the payloads of new endpoints outside the lock. If another update
/// comes between, what is missing then is made too.
pub(crate) fn whole_set_with<T>(
    shared: &Shared<T>,
    endpoints: &[Endpoint],
    mut besides: Besides<'_>,
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
        if let Some(applied) = replace(shared, &mut wanted, &mut besides)? {
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

/// `ended`, if it is true by then, keeps it from happening.
pub(crate) fn clear<T>(shared: &Shared<T>, ended: Option<&AtomicBool>) -> Applied {
    let mut leftover = Leftover::new();
    let applied = {
        let mut state = shared.state.lock();
        let state = &mut *state;
        let old = shared.current.load_full();
        if old.known && old.len() == 0 || ended.is_some_and(|ended| ended.load(Ordering::Acquire)) {
            return Applied { generation: old.generation, ..Applied::default() };
        }
        let removed = old.nodes().map(|node| node.live.id()).collect::<Vec<_>>();
        let left: Vec<_> = removed.iter().filter_map(|id| state.index.remove(id)).collect();
        leftover.told.push(shared.members_changed(true, &[], &left));
        leftover.nodes.extend(left);
        // No policy is asked about an empty set, so none can refuse it.
        let nobody = update::tiers([]);
        let generation = commit(
            shared,
            state,
            Change { plans: nobody, pending: Pending::new(), config: None, tells: true },
            &mut leftover,
        );
        let generation = generation.unwrap_or(old.generation);
        if let Some(planner) = &shared.control.planner {
            planner.forget();
        }
        drop(old);
        leftover.snapshots.extend(state.sweep());
        Applied { generation, removed, ..Applied::default() }
    };
    leftover.let_go(&shared.control);
    tell(shared, &applied);
    applied
}

/// Another policy and subset over the endpoints that there are, by one swap.
pub(crate) fn renew<T>(shared: &Shared<T>, mut besides: Besides<'_>) -> Result<Applied, ApplyError> {
    let mut leftover = Leftover::new();
    let result = {
        let mut state = shared.state.lock();
        let result = renew_locked(shared, &mut state, &mut besides, &mut leftover);
        leftover.snapshots.extend(state.sweep());
        result
    };
    leftover.let_go(&shared.control);
    let applied = result?;
    tell(shared, &applied);
    Ok(applied)
}

fn renew_locked<T>(
    shared: &Shared<T>,
    state: &mut State<T>,
    besides: &mut Besides<'_>,
    leftover: &mut Leftover<T>,
) -> Result<Applied, ApplyError> {
    let old = shared.current.load_full();
    let mut applied = Applied { generation: old.generation, ..Applied::default() };
    if besides.is_nothing() {
        return Ok(applied);
    }
    besides.fit(shared, state)?;
    let none = Pending::new();
    let rows = update::tiers(edit::rows(&old));
    let plans = share_unchanged(&old, update::cut(shared, besides.subset(state), rows, &none)?);
    let change = Change { plans, pending: none, config: besides.policy.as_ref(), tells: false };
    applied.generation = commit(shared, state, change, leftover)?;
    besides.settle(state, &mut applied, leftover);
    Ok(applied)
}

/// Makes `wanted` the whole set, or returns `None` if a payload is missing.
fn replace<T>(
    shared: &Shared<T>,
    wanted: &mut Vec<(Endpoint, Option<T>)>,
    besides: &mut Besides<'_>,
) -> Result<Option<Applied>, ApplyError> {
    let mut leftover = Leftover::new();
    let result = {
        let mut state = shared.state.lock();
        let result = replace_locked(shared, &mut state, wanted, besides, &mut leftover);
        leftover.snapshots.extend(state.sweep());
        result
    };
    leftover.let_go(&shared.control);
    if let Ok(Some(applied)) = &result {
        tell(shared, applied);
    }
    result
}

fn replace_locked<T>(
    shared: &Shared<T>,
    state: &mut State<T>,
    wanted: &mut Vec<(Endpoint, Option<T>)>,
    besides: &mut Besides<'_>,
    leftover: &mut Leftover<T>,
) -> Result<Option<Applied>, ApplyError> {
    let old = shared.current.load_full();
    if besides.has_ended() {
        return Ok(Some(Applied { generation: old.generation, ..Applied::default() }));
    }
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
    besides.fit(shared, state)?;
    let plans = update::cut(shared, besides.subset(state), update::tiers(rows), &pending)?;
    let plans = share_unchanged(&old, plans);
    if applied.is_noop() && replaced.is_empty() && old.known && besides.is_nothing() {
        applied.reordered = !is_in_order(&old, &plans);
        if !applied.reordered {
            applied.generation = old.generation;
            return Ok(Some(applied));
        }
    }
    let change = Change { plans, pending, config: besides.policy.as_ref(), tells: true };
    applied.generation = commit(shared, state, change, leftover)?;
    besides.settle(state, &mut applied, leftover);
    let left: Vec<_> =
        applied.removed.iter().chain(&replaced).filter_map(|id| state.index.remove(id)).collect();
    leftover.told.push(shared.members_changed(old.len() > 0, &fresh, &left));
    leftover.nodes.extend(left);
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

fn has_same_nodes<T>(tier: &Tier<T>, plan: &TierPlan<T>) -> bool {
    tier.is_place_of(plan)
        && tier.nodes.len() == plan.nodes.len()
        && tier.nodes.iter().zip(plan.nodes.iter()).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Takes over the old lists where they are equal, so that masks and tables are kept.
pub(crate) fn share_unchanged<T>(old: &Snapshot<T>, mut plans: Vec<TierPlan<T>>) -> Vec<TierPlan<T>> {
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

pub(crate) fn commit<T>(
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
pub(crate) fn new_nodes<T>(shared: &Shared<T>, arrivals: Vec<(Endpoint, T)>) -> Vec<Arc<Node<T>>> {
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
pub(crate) fn known<'s, T>(state: &'s State<T>, endpoint: &Endpoint) -> Option<&'s Arc<Node<T>>> {
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

/// Tokens are unique in the process, so that what was tried in one cluster excludes nobody in another. Nothing is decided
/// by their value.
static TOKENS: AtomicU64 = AtomicU64::new(1);
