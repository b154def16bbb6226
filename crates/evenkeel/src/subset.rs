//! Which endpoints of each tier this client uses, and what becomes of the others.
//!
//! The split is a step of every plan: a tier is cut in two, and the part outside the subset is a tier of its own, asked
//! after the part inside. So picks know nothing of subsets, membership and subset change in the same swap, and what was
//! learnt about an endpoint stays when it leaves the subset and comes back. It is no bit of the health word: that says
//! how an endpoint is, and bits flip one by one.

use std::sync::Arc;

use evenkeel_balance::subset::{InvalidSubset, Subset, SubsetConfig};
use evenkeel_types::Priority;

use crate::node::Node;
use crate::snapshot::Part;
use crate::update::{self, Pending, PlannedMembers, Row, TierPlan};

/// What becomes of usable endpoints outside the subset when nothing inside is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum OutsideSubset {
    /// They are used, before the next failover tier is: availability first. What is unset means for subsets that spare
    /// connections.
    LastResort,
    /// Picks fail, or go to the next failover tier. What is unset means for label subsets: whoever asks for a version
    /// must not get another.
    Never,
}

/// The subset of a cluster, ready to be chosen.
pub(crate) struct Rule {
    config: SubsetConfig,
    outside: Part,
}

impl Rule {
    /// `seed` is for a random subset without a seed of its own.
    pub(crate) fn new(
        config: SubsetConfig,
        outside: Option<OutsideSubset>,
        seed: u64,
    ) -> Result<Self, InvalidSubset> {
        config.validate()?;
        let outside = outside.unwrap_or(match config {
            SubsetConfig::Label(_) => OutsideSubset::Never,
            _ => OutsideSubset::LastResort,
        });
        let outside = match outside {
            OutsideSubset::LastResort => Part::Reserve,
            OutsideSubset::Never => Part::Parked,
        };
        Ok(Self { config: config.seeded(seed), outside })
    }

    /// What endpoints outside it are.
    pub(crate) const fn outside(&self) -> Part {
        self.outside
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.config.name()
    }
}

/// The plans with every tier cut into the part that this client uses and the rest. Plans that are cut already are put
/// together first, so that any plan can be split again. What is parked comes last, and the first is never parked.
///
/// # Errors
///
/// [`InvalidSubset`] if the rule cannot be used with these members; nothing has changed then.
pub(crate) fn split<T>(
    rule: Option<&Rule>,
    plans: Vec<TierPlan<T>>,
    pending: &Pending,
) -> Result<Vec<TierPlan<T>>, InvalidSubset> {
    let is_whole = plans.iter().all(|plan| plan.part == Part::Inside && plan.zone.is_none());
    let Some(rule) = rule else {
        return Ok(if is_whole { plans } else { whole(plans, pending) });
    };
    let (mut used, mut parked) = (Vec::new(), Vec::new());
    for plan in whole(plans, pending) {
        let subset = rule.config.select(&PlannedMembers { plan: &plan, pending })?;
        let [inside, outside] = cut(&plan, &subset, rule.outside);
        used.extend(inside);
        match rule.outside {
            Part::Parked => parked.extend(outside),
            Part::Inside | Part::Reserve => used.extend(outside),
        }
    }
    if used.is_empty() {
        used.extend(update::tiers([]));
    }
    used.append(&mut parked);
    Ok(used)
}

/// One plan for each priority, with the weights that the endpoints have.
fn whole<T>(plans: Vec<TierPlan<T>>, pending: &Pending) -> Vec<TierPlan<T>> {
    let rows = plans.into_iter().flat_map(|plan| {
        let priority = plan.priority;
        plan.nodes.iter().map(|node| row(node, priority, pending)).collect::<Vec<_>>()
    });
    update::tiers(rows)
}

fn row<T>(node: &Arc<Node<T>>, priority: Priority, pending: &Pending) -> Row<T> {
    let weight = match pending.get(&node.live.token) {
        Some(endpoint) => endpoint.weight(),
        None => node.live.weight(),
    };
    (Arc::clone(node), priority, weight.get())
}

/// The inside with the weights of the subset, and the rest with its own; a part without endpoints is no plan.
fn cut<T>(plan: &TierPlan<T>, subset: &Subset, outside: Part) -> [Option<TierPlan<T>>; 2] {
    let priority = plan.priority;
    let (mut inside, mut others) = (Vec::new(), Vec::new());
    for (position, (node, &weight)) in plan.nodes.iter().zip(plan.weights.iter()).enumerate() {
        match subset.weight(position) {
            Some(weight) => inside.push((Arc::clone(node), priority, weight)),
            None => others.push((Arc::clone(node), priority, weight)),
        }
    }
    let of_part = |rows: Vec<Row<T>>, part, fallback| {
        let plan = (!rows.is_empty()).then(|| TierPlan::new(priority, rows))?;
        Some(TierPlan { part, fallback, ..plan })
    };
    [of_part(inside, Part::Inside, subset.fallback()), of_part(others, outside, None)]
}
