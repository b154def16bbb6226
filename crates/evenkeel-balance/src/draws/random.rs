use evenkeel_types::below;

use crate::built_in::are_equal;
use crate::view::is_open_among;
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, WeightedRandom, scan};

/// A usable endpoint, each equally likely.
///
/// **Idea.** One draw over the usable positions. **Cost.** O(1). **When.** Many callers that know nothing of each other,
/// as the floor for every comparison. **When not.** Few requests: the busiest of n endpoints gets about
/// ln n / ln ln n times its share; [`LeastRequest`] costs two nanoseconds more and does not.
/// **Source.** Envoy `RANDOM`; pingora `Random`.
///
/// [`LeastRequest`]: crate::LeastRequest
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Random;

impl Random {
    /// A position, or `None` if none is open.
    #[inline(always)]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.first(view, caller).or_else(|| again(view, caller))
    }

    /// One draw, if it falls on one that is open.
    #[inline(always)]
    pub(crate) fn first<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        let usable = view.usable();
        let position = scan::usable_at(view, below(scan::upper(caller.draw()), usable as u32), usable);
        (usable > 0 && is_open_among(view, position, usable)).then_some(position)
    }
}

/// Draws until an open position is met, then lets a scan decide.
#[cold]
pub(crate) fn again<V: View + ?Sized, C: Caller + ?Sized>(view: &V, caller: &mut C) -> Option<usize> {
    for _ in 0..scan::DRAWS {
        let usable = view.mask().usable();
        let position = scan::usable_at(view, below(scan::upper(caller.draw()), usable as u32), usable);
        if view.is_open(position) {
            return Some(position);
        }
    }
    scan::uniform(view, caller)
}

/// Settings of [`Random`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RandomConfig {}

impl PolicySettings for RandomConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        let weights = members.weights();
        Ok(if are_equal(weights) {
            BuiltIn::Random(Random)
        } else {
            BuiltIn::WeightedRandom(WeightedRandom::new(weights))
        })
    }
}

impl Policy for Random {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Mask, Random, Script, Table};

    #[test]
    fn a_draw_maps_to_its_share_of_the_usable_positions() {
        let mask = Mask::all_usable(4);
        let view = Table::new(&mask, &[], &[]);
        let mut draws = [0, 1 << 62, 2 << 62, 3 << 62, u64::MAX].into_iter();
        let mut caller = Script::new(|| draws.next().unwrap_or(0));
        let picks: Vec<_> = (0..5).filter_map(|_| Random.choose(&view, &mut caller)).collect();
        assert_eq!(picks, [0, 1, 2, 3, 3]);
    }
}
