use std::sync::Arc;

use evenkeel_types::below;

use crate::view::is_open_among;
use crate::{AliasTable, BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, scan};

/// A usable endpoint, each as likely as its weight says.
///
/// **Idea.** An [`AliasTable`] over all endpoints, made when weights change. A draw that hits an unusable one is drawn
/// again, which keeps the shares among the usable exact; where most are out, a draw over the usable positions is accepted
/// in proportion to its weight instead. **Cost.** O(1) while the greatest weight is not far above the mean of what is
/// usable; else, after a bounded number of draws, one O(n) scan. **When.** Static capacities, many independent callers.
/// **When not.** You want even spacing: [`SmoothWeightedRoundRobin`]. **Source.** Vose 1991; pingora `Random` and volo
/// `WeightedRandom` want the same with an expanded table and prefix sums.
///
/// [`SmoothWeightedRoundRobin`]: crate::SmoothWeightedRoundRobin
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightedRandom {
    table: AliasTable,
    greatest: u32,
}

impl WeightedRandom {
    /// The policy for these weights. O(n).
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        Self { table: AliasTable::new(weights), greatest: weights.iter().copied().max().unwrap_or(0) }
    }

    /// A position, or `None` if none is open.
    #[inline(always)]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.first(view, caller).or_else(|| self.again(view, caller))
    }

    /// One draw from the table, if it falls on one that is open, and not too many are out.
    #[inline(always)]
    pub(crate) fn first<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        let usable = view.usable();
        if 2 * usable < view.mask().len() {
            return None;
        }
        let position = self.table.at(caller.draw());
        (usable > 0 && is_open_among(view, position, usable)).then_some(position)
    }

    /// After a draw that missed.
    #[inline(always)]
    pub(crate) fn again<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        again(view, caller, self.greatest, |draw| self.table.at(draw))
    }
}

/// After a weighted draw that missed: draws on, from `sample` while many are usable, from the usable positions by
/// rejection where few are, and lets a scan decide if all of that misses.
#[inline(never)]
pub(crate) fn again<V: View + ?Sized, C: Caller + ?Sized>(
    view: &V,
    caller: &mut C,
    greatest: u32,
    sample: impl Fn(u64) -> usize,
) -> Option<usize> {
    let mask = view.mask();
    if mask.usable() * 2 >= mask.len() {
        for _ in 0..scan::DRAWS {
            let position = sample(caller.draw());
            if view.is_open(position) {
                return Some(position);
            }
        }
    }
    for _ in 0..4 * scan::DRAWS {
        let draw = caller.draw();
        let position = mask.at(below(scan::upper(draw), mask.usable() as u32) as usize);
        if below(scan::lower(draw), greatest) < view.weight(position) && view.is_open(position) {
            return Some(position);
        }
    }
    scan::weighted(view, caller)
}

/// Settings of [`WeightedRandom`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct WeightedRandomConfig {}

impl PolicySettings for WeightedRandomConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::WeightedRandom(WeightedRandom::new(members.weights())))
    }
}

impl Policy for WeightedRandom {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self::new(members.weights()))))
    }
}
