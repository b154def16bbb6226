use std::sync::Arc;

use evenkeel_types::below;

use crate::draws::weighted_random;
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, scan};

/// Endpoints in turn, each as often as its weight says, evenly spaced.
///
/// **Idea.** One cycle of the schedule is laid out when weights change; a pick reads the next entry. Weights are divided
/// by their greatest common divisor first. While n × cycle is at most 4 million steps the schedule is nginx's, to the
/// entry (weights 5, 1, 1 give `a a b a c a a`); above that every endpoint's entries are sorted by their ideal times
/// (k + ½) / weight, which is as even and takes O(cycle). A cycle holds at most 65 536 entries or 16 for each endpoint,
/// whichever is more; weights that would need more are scaled, so that a share is off by at most one entry of the cycle
/// and nobody above zero is lost. **Masked.** The entry of an endpoint that is out is replaced by a weighted draw, so
/// that its share spreads over all by weight and not onto its successor. **Cost.** A pick O(1); 4 bytes an entry.
/// **When.** Static weights and even spacing. **When not.** Weights that change every second: [`WeightedRandom`] rebuilds
/// in a tenth of the time. **Source.** nginx `ngx_http_upstream_round_robin.c` (its commit 52327e0627f4 explains the
/// rule); ideal times: W. Steiner and S. Yeomans, "Level schedules for mixed-model, just-in-time processes", 1993.
///
/// [`WeightedRandom`]: crate::WeightedRandom
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmoothWeightedRoundRobin {
    cycle: Arc<[u32]>,
    greatest: u32,
}

impl SmoothWeightedRoundRobin {
    /// The policy for these weights. O(n × cycle) up to 4 million steps, O(cycle) above.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let units = units(weights);
        let length: u64 = units.iter().copied().map(u64::from).sum();
        let cycle = if length * weights.len() as u64 <= EXACT_STEPS {
            nginx_cycle(&units, length as usize)
        } else {
            ideal_cycle(&units, length)
        };
        Self { cycle: cycle.into(), greatest: weights.iter().copied().max().unwrap_or(0) }
    }

    /// One whole cycle of positions.
    #[must_use]
    pub fn cycle(&self) -> &[u32] {
        &self.cycle
    }

    /// The next position, or `None` if none is open.
    #[inline(always)]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let place = caller.turn(self.cycle.len() as u32);
        if let Some(&position) = self.cycle.get(place as usize)
            && view.is_open(position as usize)
        {
            return Some(position as usize);
        }
        weighted_random::again(view, caller, self.greatest, |draw| self.at(draw))
    }

    /// An entry of the cycle at random: a weighted draw.
    fn at(&self, draw: u64) -> usize {
        let place = below(scan::upper(draw), self.cycle.len() as u32);
        self.cycle.get(place as usize).map_or(0, |&position| position as usize)
    }
}

/// Settings of [`SmoothWeightedRoundRobin`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct SmoothWeightedRoundRobinConfig {}

impl PolicySettings for SmoothWeightedRoundRobinConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::SmoothWeightedRoundRobin(SmoothWeightedRoundRobin::new(members.weights())))
    }
}

impl Policy for SmoothWeightedRoundRobin {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }
}

/// How often each position stands in a cycle: weights by their greatest common divisor, scaled down if that is too long.
fn units(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total: u64 = weights.iter().map(|&weight| u64::from(weight / divisor)).sum();
    let longest = (LONGEST_CYCLE).max(ENTRIES_EACH * weights.len() as u64);
    if total <= longest {
        return weights.iter().map(|weight| weight / divisor).collect();
    }
    let scaled = |weight: u32| {
        let exact = u128::from(weight / divisor) * u128::from(longest);
        ((exact + u128::from(total) / 2) / u128::from(total)).max(u128::from(weight > 0)) as u32
    };
    weights.iter().map(|&weight| scaled(weight)).collect()
}

/// nginx's rule: everybody gains its weight, the largest credit wins (the first of equals) and pays the total.
fn nginx_cycle(units: &[u32], length: usize) -> Vec<u32> {
    let mut credits = vec![0_i64; units.len()];
    let mut cycle = Vec::with_capacity(length);
    for _ in 0..length {
        let mut best = 0;
        for position in 0..units.len() {
            credits[position] += i64::from(units[position]);
            if credits[position] > credits[best] {
                best = position;
            }
        }
        credits[best] -= length as i64;
        cycle.push(best as u32);
    }
    cycle
}

/// Entries by ideal time (k + ½) × length ÷ units, by counting: O(length).
fn ideal_cycle(units: &[u32], length: u64) -> Vec<u32> {
    let slots = |unit: u32| {
        (0..u64::from(unit)).map(move |k| ((2 * k + 1) * length / (2 * u64::from(unit))) as usize)
    };
    let mut starts = vec![0_usize; length as usize + 1];
    for &unit in units {
        for slot in slots(unit) {
            starts[slot + 1] += 1;
        }
    }
    for slot in 1..starts.len() {
        starts[slot] += starts[slot - 1];
    }
    let mut cycle = vec![0_u32; length as usize];
    for (position, &unit) in units.iter().enumerate() {
        for slot in slots(unit) {
            cycle[starts[slot]] = position as u32;
            starts[slot] += 1;
        }
    }
    cycle
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The longest cycle that is worth its memory: 256 KiB.
const LONGEST_CYCLE: u64 = 65_536;
/// With very many endpoints a cycle must still tell their weights apart.
const ENTRIES_EACH: u64 = 16;
/// What nginx's own rule may cost at a change of weights: about 4 ms.
const EXACT_STEPS: u64 = 4_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(weights: &[u32]) -> String {
        SmoothWeightedRoundRobin::new(weights).cycle().iter().map(|&p| char::from(b'a' + p as u8)).collect()
    }

    #[test]
    fn small_cycles_are_those_of_nginx() {
        assert_eq!(letters(&[5, 1, 1]), "aabacaa");
        assert_eq!(letters(&[10, 2, 2]), "aabacaa", "the greatest common divisor is taken out");
        assert_eq!(letters(&[1, 1, 1]), "abc");
        assert_eq!(letters(&[0, 3]), "b");
        assert_eq!(letters(&[4, 2, 1]), "abacaba");
        assert_eq!(letters(&[]), "");
    }

    /// The worst distance of a running count from its ideal, over all prefixes and positions.
    fn unevenness(cycle: &[u32], units: &[u32]) -> f64 {
        let mut counts = vec![0_u32; units.len()];
        let mut worst = 0_f64;
        for (taken, &position) in cycle.iter().enumerate() {
            counts[position as usize] += 1;
            for (count, &unit) in counts.iter().zip(units) {
                let ideal = f64::from(unit) * (taken + 1) as f64 / cycle.len() as f64;
                worst = worst.max((f64::from(*count) - ideal).abs());
            }
        }
        worst
    }

    proptest! {
        #[test]
        fn both_layouts_hold_every_unit_and_are_even(units in prop::collection::vec(1_u32..30, 1..12)) {
            let length: u64 = units.iter().copied().map(u64::from).sum();
            for cycle in [nginx_cycle(&units, length as usize), ideal_cycle(&units, length)] {
                for (position, &unit) in units.iter().enumerate() {
                    let count = cycle.iter().filter(|&&p| p as usize == position).count();
                    prop_assert_eq!(count as u32, unit);
                }
                prop_assert!(unevenness(&cycle, &units) < 1.0 + units.len() as f64 / 2.0);
            }
        }
    }

    #[test]
    fn absurd_weights_are_scaled_and_lose_nobody() {
        let policy = SmoothWeightedRoundRobin::new(&[u32::MAX, u32::MAX - 1, 1]);
        assert!(policy.cycle().len() <= 65_537 && policy.cycle().contains(&2));
        let many = SmoothWeightedRoundRobin::new(&(1..=10_000).collect::<Vec<u32>>());
        assert!(many.cycle().len() <= 170_000);
        let mut present: Vec<u32> = many.cycle().to_vec();
        present.sort_unstable();
        present.dedup();
        assert_eq!(present.len(), 10_000);
    }
}
