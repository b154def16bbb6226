use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cycle::{Cycle, units};
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Endpoints in turn, each as often as its weight says, evenly spaced.
///
/// **Idea.** One cycle of the schedule is laid out when weights change; a pick reads the next entry. Weights are divided
/// by their greatest common divisor first. While n × cycle is at most 4 million steps the schedule is nginx's, to the
/// entry (weights 5, 1, 1 give `a a b a c a a`); above that every endpoint's entries are sorted by their ideal times
/// (k + ½) / weight, which is as even and takes O(cycle). A cycle holds at most 65 536 entries or 16 for each endpoint,
/// whichever is more; weights that would need more are scaled, so that a share is off by at most one entry of the cycle
/// and nobody above zero is lost. **Masked.** The entry of an endpoint that is out is replaced by a weighted draw, so
/// that its share spreads over all by weight and not onto its successor. **Order.** Every caller walks the cycle by itself,
/// or all walk it together ([`TurnOrder`]). **Cost.** A pick O(1); 4 bytes an entry.
/// **When.** Static weights and even spacing. **When not.** Weights that change every second: [`WeightedRandom`] rebuilds
/// in a tenth of the time. **Source.** nginx `ngx_http_upstream_round_robin.c` (its commit 52327e0627f4 explains the
/// rule); ideal times: W. Steiner and S. Yeomans, "Level schedules for mixed-model, just-in-time processes", 1993.
///
/// [`WeightedRandom`]: crate::WeightedRandom
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmoothWeightedRoundRobin {
    cycle: Cycle,
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
        Self { cycle: Cycle::new(cycle, weights) }
    }

    /// One whole cycle of positions.
    #[must_use]
    pub fn cycle(&self) -> &[u32] {
        self.cycle.entries()
    }

    /// The next position, or `None` if none is open.
    #[inline(always)]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.cycle.choose(view, caller)
    }

    /// The caller's next entry, if it is open.
    #[inline(always)]
    pub(crate) fn first<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        self.cycle.first(view, caller)
    }

    /// After an entry that is not open: a weighted draw.
    #[inline(always)]
    pub(crate) fn again<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        self.cycle.again(view, caller)
    }
}

/// Who shares the place in the cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum TurnOrder {
    /// Every caller (thread, or picker) has a place of its own, and its own start: nothing is shared between cores. The
    /// default.
    #[default]
    Caller,
    /// One place for all callers, so that all picks together keep the order, also right after the start. It costs one
    /// atomic addition on a shared cache line: about 8 ns alone, 100 ns as soon as a second core picks.
    Global,
}

/// Settings of [`SmoothWeightedRoundRobin`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct SmoothWeightedRoundRobinConfig {
    /// Who shares the place in the cycle: `"caller"` unless set, since shares are the same and picks of many threads are
    /// interleaved anyway.
    pub order: TurnOrder,
}

impl PolicySettings for SmoothWeightedRoundRobinConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        let policy = SmoothWeightedRoundRobin::new(members.weights());
        Ok(match self.order {
            TurnOrder::Caller => BuiltIn::SmoothWeightedRoundRobin(policy),
            TurnOrder::Global => BuiltIn::dynamic(GlobalSmoothWeightedRoundRobin::new(policy)),
        })
    }
}

/// A [`SmoothWeightedRoundRobin`] whose place in the cycle is shared by all callers (`order = "global"`).
///
/// **Idea.** One atomic counter over the same cycle: the n-th pick of all threads together is the n-th entry. The place is
/// kept when members or weights change, taken modulo the new length; it starts at the head of the cycle, as nginx does.
/// **Cost.** One atomic addition and one division. The counter has a cache line of its own.
#[derive(Clone, Debug)]
pub struct GlobalSmoothWeightedRoundRobin {
    policy: SmoothWeightedRoundRobin,
    cursor: Arc<Cursor>,
}

/// Alone on the two cache lines that processors fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cursor(AtomicU64);

impl GlobalSmoothWeightedRoundRobin {
    /// One order for all, over this policy's cycle.
    #[must_use]
    pub fn new(policy: SmoothWeightedRoundRobin) -> Self {
        Self { policy, cursor: Arc::default() }
    }

    /// The next position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let turn = self.cursor.0.fetch_add(1, Ordering::Relaxed);
        let place = turn.checked_rem(self.policy.cycle().len() as u64).unwrap_or(0);
        self.policy.cycle.choose_at(place as usize, view, caller)
    }
}

impl Policy for GlobalSmoothWeightedRoundRobin {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::SEQUENCE
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let policy = SmoothWeightedRoundRobin::new(members.weights());
        Ok(Some(Arc::new(Self { policy, cursor: Arc::clone(&self.cursor) })))
    }
}

impl Policy for SmoothWeightedRoundRobin {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self::new(members.weights()))))
    }
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

/// What nginx's own rule may cost at a change of weights: about 4 ms.
const EXACT_STEPS: u64 = 4_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cycle::letters;
    use super::*;
    use crate::{Mask, Script, Table, testing::members};

    fn letters_of(weights: &[u32]) -> String {
        letters(SmoothWeightedRoundRobin::new(weights).cycle().iter().map(|&position| position as usize))
    }

    #[test]
    fn small_cycles_are_those_of_nginx() {
        assert_eq!(letters_of(&[5, 1, 1]), "aabacaa");
        assert_eq!(letters_of(&[10, 2, 2]), "aabacaa", "the greatest common divisor is taken out");
        assert_eq!(letters_of(&[1, 1, 1]), "abc");
        assert_eq!(letters_of(&[0, 3]), "b");
        assert_eq!(letters_of(&[4, 2, 1]), "abacaba");
        assert_eq!(letters_of(&[]), "");
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
    fn one_global_order_is_kept_by_all_callers_and_over_updates() {
        let mask = Mask::all_usable(3);
        let view = Table::new(&mask, &[5, 1, 1], &[]);
        let policy = GlobalSmoothWeightedRoundRobin::new(SmoothWeightedRoundRobin::new(&[5, 1, 1]));
        let mut callers = [Script::seeded(1).starting_at(3), Script::seeded(2).starting_at(5)];
        let mut walk = |policy: &dyn Policy, picks: usize| {
            letters((0..picks).filter_map(|pick| policy.pick(&view, &mut callers[pick % 2])))
        };
        assert_eq!(walk(&policy, 9), "aabacaaaa");
        let successor = policy.rebuild(&members(&[5, 1, 1])).unwrap().unwrap();
        assert_eq!(walk(&*successor, 5), "bacaa", "it goes on where its predecessor was");
        assert_eq!(walk(&*successor.rebuild(&members(&[1, 1])).unwrap().unwrap(), 3), "aba");
        let nobody = GlobalSmoothWeightedRoundRobin::new(SmoothWeightedRoundRobin::new(&[]));
        assert_eq!(nobody.choose(&Table::new(&Mask::all_usable(0), &[], &[]), &mut Script::seeded(1)), None);
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
