use std::sync::Arc;

use crate::draws::weighted_random;
use crate::{AliasTable, BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View};

/// Endpoints by weight from a counter and a comparison: gRPC's static stride.
///
/// **Idea.** Weights are scaled so that the greatest is 65 535. A counter gives a position (its remainder by n) and a
/// generation (its quotient); the position is taken if its weight has earned another whole turn in that generation, else
/// the counter goes on. So an endpoint of half the greatest weight is taken in every second generation, and positions are
/// shifted against each other. Weights 5, 1, 1 give `a c a a b a a`, and 1, 2, 5 `c b c c b c a c`.
/// The counter is the caller's turn in a cycle of n × 65 535 places, after which the rule repeats itself: it has no wrap
/// in the middle of a generation, as gRPC's counter of 32 bits does. Above 65 537 endpoints the scale is smaller, so that
/// the cycle still fits 32 bits.
/// **Weights.** They are rounded to a 65 535th of the greatest, and up to one such part; weight zero gets nothing (gRPC
/// takes it for "unknown" and gives it the mean).
/// **Cost.** No table but the weights, nothing shared; greatest ÷ mean weight probes a pick. After 64 probes, which only
/// happens where one weight stands far above very many, and where the endpoint whose turn it is is out, a weighted draw
/// decides.
/// **When.** Weights that change often: a build is O(n) and keeps its place. **When not.** One heavy endpoint among very
/// many light ones; even spacing of the heavy ones, which `smooth_weighted_round_robin` does better.
/// **Source.** gRPC A58, `static_stride_scheduler.cc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticStride {
    scaled: Arc<[u32]>,
    /// The scale: what the greatest weight became.
    full: u32,
    cycle: u32,
    greatest: u32,
    /// For the turns of those who are out.
    table: AliasTable,
}

impl StaticStride {
    /// The policy for these weights. O(n).
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let greatest = weights.iter().copied().max().unwrap_or(0);
        let full = FULL.min(u32::MAX / (weights.len() as u32).max(1));
        let scale = |&weight: &u32| match weight {
            0 => 0,
            // Rounded. The product of 32 and 16 bits fits, and the result is `full` at most.
            _ => ((u64::from(weight) * u64::from(full) + u64::from(greatest) / 2) / u64::from(greatest))
                .max(1) as u32,
        };
        Self {
            scaled: weights.iter().map(scale).collect(),
            full,
            cycle: weights.len() as u32 * full,
            greatest,
            table: AliasTable::new(weights),
        }
    }

    /// The next position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let mut turn = (0..PROBES).filter_map(|_| self.served_at(caller.turn(self.cycle)));
        if let Some(position) = turn.next()
            && view.is_open(position)
        {
            return Some(position);
        }
        weighted_random::again(view, caller, self.greatest, |draw| self.table.at(draw))
    }

    /// Who is served at a place of the cycle, if anybody.
    #[inline]
    fn served_at(&self, place: u32) -> Option<usize> {
        let count = self.scaled.len() as u32;
        let (generation, position) = (place.checked_div(count)?, place % count);
        let weight = *self.scaled.get(position as usize)?;
        let earned =
            u64::from(weight) * u64::from(generation) + u64::from(position) * u64::from(self.full / 2);
        let rest = (earned % u64::from(self.full)) as u32;
        (rest >= self.full - weight).then_some(position as usize)
    }
}

impl Policy for StaticStride {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self::new(members.weights()))))
    }
}

/// Settings of [`StaticStride`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct StaticStrideConfig {}

impl PolicySettings for StaticStrideConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(StaticStride::new(members.weights())))
    }
}

/// gRPC's scale.
const FULL: u32 = 65_535;
/// How many places may be passed over before a draw decides. Both give each endpoint its share, so that it stays right.
const PROBES: u32 = 64;

#[cfg(test)]
mod tests {
    use super::super::cycle::letters;
    use super::*;
    use crate::{Mask, Script, Table};

    fn picks(weights: &[u32], count: usize) -> String {
        let mask = Mask::for_weights(weights);
        let policy = StaticStride::new(weights);
        let mut caller = Script::new(|| 0);
        letters((0..count).filter_map(|_| policy.choose(&Table::new(&mask, weights, &[]), &mut caller)))
    }

    #[test]
    fn the_first_picks_are_grpcs() {
        assert_eq!(picks(&[1, 2, 5], 16), "cbccbcaccbccbcac");
        assert_eq!(picks(&[5, 1, 1], 14), "acaabaaacaabaa");
        assert_eq!(picks(&[1, 1, 1], 7), "abcabca");
        assert_eq!(picks(&[0, 3, 0, 3], 4), "bdbd");
    }

    #[test]
    fn a_whole_cycle_serves_everybody_as_often_as_the_scaled_weight_and_then_repeats() {
        let policy = StaticStride::new(&[3, 0, 7, 1]);
        let mut counts = [0; 4];
        for place in 0..policy.cycle {
            if let Some(position) = policy.served_at(place) {
                counts[position] += 1;
            }
        }
        assert_eq!(counts.as_slice(), &*policy.scaled);
        assert_eq!(counts, [28_086, 0, 65_535, 9_362]);
    }

    #[test]
    fn very_many_endpoints_still_close_the_cycle() {
        let policy = StaticStride::new(&vec![1; 100_000]);
        assert_eq!((policy.full, policy.cycle), (42_949, 4_294_900_000));
        let absurd: Vec<u32> = (0..70_000).map(|p| if p == 0 { u32::MAX } else { 1 }).collect();
        assert!(StaticStride::new(&absurd).scaled.iter().all(|&weight| weight > 0));
    }
}
