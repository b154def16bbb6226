//! Small updates: one endpoint, one weight, the policy.

use std::sync::Arc;

use evenkeel_balance::{BuiltIn, MemberList, Policy, PolicyConfig, Wants};
use evenkeel_types::{Difference, Endpoint, EndpointId, Weight};

use crate::applied::{Applied, Leftover, tell};
use crate::apply::{commit, known, new_nodes, share_unchanged};
use crate::error::ApplyError;
use crate::live::Live;
use crate::node::Node;
use crate::settings_together as together;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::subset::Rule;
use crate::update::{self, Change, Pending, Row, State, TierPlan};

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
        if let Err(error) = fits(shared, &policy, state.subset.as_ref()) {
            drop(state);
            return Err(error);
        }
        let plans = update::as_planned(&shared.current.load());
        let change = Change { plans, pending: Pending::new(), config: Some(&policy), tells: false };
        let result = commit(shared, &mut state, change, &mut leftover);
        leftover.policies.push(match &result {
            Ok(_) => std::mem::replace(&mut state.policy, policy),
            Err(_) => policy,
        });
        leftover.snapshots.extend(state.sweep());
        result
    };
    leftover.let_go(&shared.control);
    let applied = Applied { generation: result?, policy_changed: true, ..Applied::default() };
    tell(shared, &applied);
    Ok(applied)
}

/// Whether the policy can be used beside the other settings.
pub(crate) fn fits<T>(
    shared: &Shared<T>,
    policy: &PolicyConfig,
    subset: Option<&Rule>,
) -> Result<(), ApplyError> {
    let Some(planner) = &shared.control.planner else { return Ok(()) };
    let wants =
        BuiltIn::new(policy, &MemberList::default()).map_or_else(|_| Wants::empty(), |policy| policy.wants());
    Ok(together::check(Some(planner), subset, wants, shared.control.latency.is_some())?)
}

/// Chooses by another rule from now on; `None` uses everything.
pub(crate) fn set_subset<T>(shared: &Shared<T>, rule: Option<Rule>) -> Result<Applied, ApplyError> {
    let mut leftover = Leftover::new();
    let result = {
        let mut state = shared.state.lock();
        let result = replace_subset(shared, &mut state, rule, &mut leftover);
        leftover.snapshots.extend(state.sweep());
        result
    };
    leftover.let_go(&shared.control);
    let applied = Applied { generation: result?, subset_changed: true, ..Applied::default() };
    tell(shared, &applied);
    Ok(applied)
}

fn replace_subset<T>(
    shared: &Shared<T>,
    state: &mut State<T>,
    rule: Option<Rule>,
    leftover: &mut Leftover<T>,
) -> Result<u64, ApplyError> {
    let old = shared.current.load_full();
    let mut generation = old.generation;
    let (planner, has_latency) = (shared.control.planner.as_ref(), shared.control.latency.is_some());
    together::check(planner, rule.as_ref(), old.first.wants, has_latency)?;
    // A subset is no news about the endpoints: a cluster that was never told stays so.
    if old.known {
        let plans = update::cut(shared, rule.as_ref(), update::as_planned(&old), &Pending::new())?;
        let plans = share_unchanged(&old, plans);
        generation = commit(
            shared,
            state,
            Change { plans, pending: Pending::new(), config: None, tells: true },
            leftover,
        )?;
    }
    state.subset = rule;
    Ok(generation)
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
    leftover.let_go(&shared.control);
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
            let is_cut = state.subset.is_some() || shared.control.planner.is_some();
            let plans = match is_cut {
                false => plans,
                true => share_unchanged(&old, update::cut(shared, state.subset.as_ref(), plans, &pending)?),
            };
            commit(shared, state, Change { plans, pending, config: None, tells: true }, leftover)?
        }
    };
    let left: Vec<_> = remove.iter().filter_map(|id| state.index.remove(id)).collect();
    leftover.told.push(shared.members_changed(old.len() > 0, &insert, &left));
    leftover.nodes.extend(left);
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
pub(crate) fn rows<T>(snapshot: &Snapshot<T>) -> Vec<Row<T>> {
    snapshot
        .tiers()
        .flat_map(|tier| {
            let weights = tier.weights.iter().copied();
            tier.nodes.iter().zip(weights).map(|(node, weight)| (Arc::clone(node), tier.priority, weight))
        })
        .collect()
}
