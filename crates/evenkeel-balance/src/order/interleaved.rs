use std::sync::Arc;

use super::cycle::{Cycle, units};
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View};

/// Endpoints in turn, by levels of weight: the order of the Linux virtual server.
///
/// **Idea.** A level goes down from the greatest weight to one, in steps of the greatest common divisor; at each level
/// everybody whose weight reaches it is served once, in order. Weights 5, 1, 1 give `a a a a a b c`, and 4, 3, 2 give
/// `a a b a b c a b c`. One cycle is laid out when weights change, under the same bounds as that of
/// [`SmoothWeightedRoundRobin`](crate::SmoothWeightedRoundRobin): above 65 536 entries (or 16 for each endpoint, if that is
/// more) weights are scaled, and a share is off by at most one entry of the cycle. The entry of an endpoint that is out is
/// replaced by a weighted draw.
/// **Cost.** A pick O(1); 4 bytes an entry. Every caller has a place of its own.
/// **When.** You come from IPVS and want its order. Equal weights, where all orders are one.
/// **When not.** Weights that differ much: the heaviest gets all its surplus in one burst. Take
/// `smooth_weighted_round_robin`.
/// **Source.** Linux `net/netfilter/ipvs/ip_vs_wrr.c`; M. Katevenis and others, "Weighted round-robin cell multiplexing in a
/// general-purpose ATM switch chip", IEEE JSAC 1991.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interleaved {
    cycle: Cycle,
}

impl Interleaved {
    /// The policy for these weights. O(n log n + cycle).
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        Self { cycle: Cycle::new(levels(&units(weights)), weights) }
    }

    /// One whole cycle of positions.
    #[must_use]
    pub fn cycle(&self) -> &[u32] {
        self.cycle.entries()
    }

    /// The next position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.cycle.choose(view, caller)
    }
}

impl Policy for Interleaved {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self::new(members.weights()))))
    }
}

/// Settings of [`Interleaved`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct InterleavedConfig {}

impl PolicySettings for InterleavedConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Interleaved::new(members.weights())))
    }
}

/// Level by level from the greatest. Who takes part in a level also takes part in all below it, so the list of those only
/// grows, and the work is one step an entry.
fn levels(units: &[u32]) -> Vec<u32> {
    let mut by_weight: Vec<u32> = (0..units.len() as u32).filter(|&p| units[p as usize] > 0).collect();
    by_weight.sort_by_key(|&position| std::cmp::Reverse(units[position as usize]));
    let mut cycle = Vec::with_capacity(units.iter().map(|&unit| unit as usize).sum());
    let mut present: Vec<u32> = Vec::with_capacity(by_weight.len());
    let mut next = by_weight.into_iter().peekable();
    let mut level = units.iter().copied().max().unwrap_or(0);
    while level > 0 {
        let before = present.len();
        while let Some(position) = next.next_if(|&position| units[position as usize] >= level) {
            present.push(position);
        }
        if present.len() > before {
            // In configured order. Two sorted runs: sorting merges them.
            present.sort();
        }
        cycle.extend_from_slice(&present);
        level -= 1;
    }
    cycle
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cycle::letters;
    use super::*;
    use crate::{Mask, Script, Table};

    fn picks(weights: &[u32], count: usize) -> String {
        let mask = Mask::for_weights(weights);
        let policy = Interleaved::new(weights);
        let mut caller = Script::seeded(1);
        letters((0..count).filter_map(|_| policy.choose(&Table::new(&mask, weights, &[]), &mut caller)))
    }

    #[test]
    fn the_order_is_that_of_ipvs() {
        for (weights, expected) in [
            (&[5, 1, 1][..], "aaaaabc"),
            (&[4, 3, 2], "aababcabc"),
            (&[1, 2, 5], "cccbcabc"),
            (&[1, 1, 1], "abc"),
            (&[0, 4, 2], "bbc"),
            (&[], ""),
        ] {
            assert_eq!(picks(weights, expected.len()), expected, "{weights:?}");
        }
    }

    /// The loop of `ip_vs_wrr_schedule`: a cursor over the servers and a current weight that falls by the common divisor.
    fn kernel(weights: &[u32], count: usize) -> Vec<u32> {
        let step = super::super::cycle::divisor(weights);
        let greatest = weights.iter().copied().max().unwrap_or(0);
        let (mut cursor, mut current) = (weights.len() - 1, 0);
        let mut picks = Vec::new();
        while picks.len() < count {
            cursor = (cursor + 1) % weights.len();
            if cursor == 0 {
                current = if current > step { current - step } else { greatest };
            }
            if weights[cursor] >= current {
                picks.push(cursor as u32);
            }
        }
        picks
    }

    proptest! {
        #[test]
        fn a_cycle_is_what_the_kernel_serves(weights in prop::collection::vec(1_u32..30, 1..12)) {
            let policy = Interleaved::new(&weights);
            prop_assert_eq!(policy.cycle(), kernel(&weights, policy.cycle().len()));
        }
    }
}
