use std::sync::Arc;

use super::cycle::{Cycle, divisor};
use crate::built_in::are_equal;
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View};

/// Endpoints in turn through a map of slots, filled by HAProxy's rule.
///
/// **Idea.** Weights are divided by their greatest common divisor; the map has as many slots as they add up to. For every
/// slot each endpoint's score grows by its weight, the first with the greatest whole number of (score + slots) ÷ slots
/// gets it and pays the number of slots. Whole numbers make it blockier than nginx's rule: 5, 1, 1 give `a a a b a c a`.
/// The entry of an endpoint that is out is replaced by a weighted draw; HAProxy computes the map anew
/// (`compat::haproxy` does as it does).
/// **Cost.** A pick O(1); 4 bytes a slot; a build n × slots. Weights are never scaled here, since then it would be another
/// map: above [`MOST_SLOTS`](Self::MOST_SLOTS) slots, or [`MOST_STEPS`](Self::MOST_STEPS) steps of building, it is refused.
/// **When.** You come from HAProxy's `static-rr` and want its order. **When not.** Weights in the thousands, or even
/// spacing: take `smooth_weighted_round_robin`.
/// **Source.** HAProxy `src/lb_map.c`, `recalc_server_map`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticMap {
    cycle: Cycle,
}

impl StaticMap {
    /// The most slots: HAProxy's own limit, 4 095 servers of weight 256, rounded up to a power of two. 4 MiB.
    pub const MOST_SLOTS: u64 = 1 << 20;
    /// The most steps (endpoints × slots) that a build may take: about a fifth of a second.
    pub const MOST_STEPS: u64 = 1 << 28;

    /// The policy for these weights. O(n × slots), O(n) for equal weights.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Members`] if the map would be too large.
    pub fn new(weights: &[u32]) -> Result<Self, InvalidPolicy> {
        let divisor = divisor(weights);
        let units: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
        let slots: u64 = units.iter().copied().map(u64::from).sum();
        let steps = slots * units.len() as u64;
        // Equal weights take one pass, however many they are.
        let too_slow = steps > Self::MOST_STEPS && !are_equal(&units);
        if slots > Self::MOST_SLOTS || too_slow {
            return Err(InvalidPolicy::members(
                "static_map",
                format!(
                    "weights add up to {slots} slots for {} endpoints after division by {divisor}: allowed are {} slots \
                     and {} slots × endpoints; use smaller weights, or smooth_weighted_round_robin",
                    units.len(),
                    Self::MOST_SLOTS,
                    Self::MOST_STEPS
                ),
            ));
        }
        Ok(Self { cycle: Cycle::new(map(&units, slots as i64), weights) })
    }

    /// The map.
    #[must_use]
    pub fn slots(&self) -> &[u32] {
        self.cycle.entries()
    }

    /// The next position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.cycle.choose(view, caller)
    }
}

impl Policy for StaticMap {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self::new(members.weights())?)))
    }
}

/// Settings of [`StaticMap`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct StaticMapConfig {}

impl PolicySettings for StaticMapConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(StaticMap::new(members.weights())?))
    }
}

/// HAProxy's rule, slot by slot.
fn map(units: &[u32], slots: i64) -> Vec<u32> {
    let served: Vec<(u32, i64)> = (0..)
        .zip(units)
        .filter(|(_, unit)| **unit > 0)
        .map(|(position, &unit)| (position, unit.into()))
        .collect();
    if are_equal(units) {
        return served.into_iter().map(|(position, _)| position).collect();
    }
    let mut scores = vec![0_i64; served.len()];
    let mut entries = Vec::with_capacity(slots as usize);
    for _ in 0..slots {
        let (mut best, mut most) = (0, i64::MIN);
        for (index, (score, (_, unit))) in scores.iter_mut().zip(&served).enumerate() {
            *score += unit;
            // ⌊(score + slots) ÷ slots⌋, which lies between 0 and 3, without the division.
            let parts = i64::from(*score >= 0) + i64::from(*score >= slots) + i64::from(*score >= 2 * slots);
            if parts > most {
                (best, most) = (index, parts);
            }
        }
        scores[best] -= slots;
        entries.push(served[best].0);
    }
    entries
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cycle::letters;
    use super::*;

    fn slots(weights: &[u32]) -> String {
        letters(StaticMap::new(weights).unwrap().slots().iter().map(|&position| position as usize))
    }

    #[test]
    fn the_map_is_haproxys() {
        assert_eq!(slots(&[1, 1, 1]), "abc");
        assert_eq!(
            slots(&[7, 0, 7]),
            "ac",
            "the common divisor is taken out, and nobody gets a slot for nothing"
        );
        assert_eq!(slots(&[]), "");
        assert_eq!(slots(&[5, 1, 1]), by_division(&[5, 1, 1]));
        assert_eq!(slots(&[10, 2, 2]), slots(&[5, 1, 1]));
    }

    /// The rule as its source writes it, with the division.
    fn by_division(units: &[i64]) -> String {
        let total: i64 = units.iter().sum();
        let mut scores = vec![0; units.len()];
        letters((0..total).map(|_| {
            let mut best: Option<(i64, usize)> = None;
            for (position, unit) in units.iter().enumerate() {
                scores[position] += unit;
                let parts = (scores[position] + total) / total;
                if best.is_none_or(|(most, _)| parts > most) {
                    best = Some((parts, position));
                }
            }
            let best = best.unwrap().1;
            scores[best] -= total;
            best
        }))
    }

    proptest! {
        #[test]
        fn comparing_does_what_dividing_does(units in prop::collection::vec(1_u32..40, 1..12)) {
            let divisor = divisor(&units);
            let reduced: Vec<i64> = units.iter().map(|&unit| i64::from(unit / divisor)).collect();
            prop_assert_eq!(slots(&units), by_division(&reduced));
        }

        #[test]
        fn every_endpoint_has_the_slots_of_its_weight(units in prop::collection::vec(1_u32..40, 1..12)) {
            let policy = StaticMap::new(&units).unwrap();
            for (position, &unit) in units.iter().enumerate() {
                let held = policy.slots().iter().filter(|&&p| p as usize == position).count();
                prop_assert_eq!(held as u32, unit / divisor(&units));
            }
        }
    }

    #[test]
    fn a_map_that_would_be_too_large_is_refused_and_says_why() {
        for weights in
            [vec![u32::MAX, 1], vec![1_000_000, 48_577], (1..=2_000).map(|p| 1 + p % 900).collect()]
        {
            let error = StaticMap::new(&weights).unwrap_err().to_string();
            assert!(error.contains("static_map") && error.contains("slots"), "{error}");
        }
        assert!(StaticMap::new(&[1_000_000, 48_576 - 1]).is_ok());
        assert_eq!(StaticMap::new(&vec![u32::MAX; 100_000]).unwrap().slots().len(), 100_000);
    }
}
