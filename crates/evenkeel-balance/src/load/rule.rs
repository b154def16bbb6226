use std::cmp::Ordering;

/// What is least, for those who look for the exact minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Load ÷ weight.
    Connections,
    /// (Load + 1) ÷ weight: how long the request would take there, if weights are speeds.
    Delay,
    /// The same, but whoever is idle comes before everybody else.
    IdleThenDelay,
    /// Whether there is any load: the idle are equal, and whoever is busy is no answer at all.
    Idle,
}

impl Rule {
    /// Compares two endpoints, given load and weight of each. Exact for all loads and weights.
    #[inline]
    pub(super) fn compare(self, one: (u32, u32), other: (u32, u32)) -> Ordering {
        let by_load = |more: u64| {
            // Products of 33 and 32 bits at most, and below 2^64: (2^32) × (2^32 − 1).
            let cross =
                |(load, _): (u32, u32), (_, weight): (u32, u32)| (u64::from(load) + more) * u64::from(weight);
            cross(one, other).cmp(&cross(other, one))
        };
        match self {
            Self::Connections => by_load(0),
            Self::Delay => by_load(1),
            Self::IdleThenDelay => (one.0 > 0).cmp(&(other.0 > 0)).then_with(|| by_load(1)),
            Self::Idle => (one.0 > 0).cmp(&(other.0 > 0)),
        }
    }

    /// The same as a floating-point number, lower first, for a scan that must be quick. Two whose numbers differ by no more
    /// than [`NEAR`](Self::NEAR) of themselves are equal, which is exact while no weight exceeds 65 536: then two fractions
    /// differ by more than 2^-48 of themselves, and three roundings by less than 2^-50.
    #[inline]
    pub(super) fn nearly(self, load: u32, inverse: f64) -> f64 {
        let busy = (f64::from(load) + 1.0) * inverse;
        match self {
            Self::Connections => f64::from(load) * inverse,
            Self::Delay => busy,
            // Below zero, so before everybody who is busy, and the fastest first.
            Self::IdleThenDelay if load == 0 => inverse - 2.0,
            Self::IdleThenDelay => busy,
            Self::Idle => f64::from(u8::from(load > 0)),
        }
    }

    /// How near is equal: 2^-50.
    pub(super) const NEAR: f64 = 1.0 / (1_u64 << 50) as f64;

    /// The same as a number, lower first, in units of 2^-32 (or 2^-31 with idle ones first): exact while no weight exceeds
    /// 65 536 (or 46 340), since then two fractions differ by more than a unit. Above, nearer ones count as equal.
    #[inline]
    pub(super) fn level(self, load: u32, weight: u32) -> u64 {
        let share = |load: u32| (u64::from(load) << 32) / u64::from(weight.max(1));
        match self {
            Self::Connections => share(load),
            Self::Delay => share(load.saturating_add(1)),
            Self::IdleThenDelay => share(load.saturating_add(1)) >> 1 | u64::from(load > 0) << 63,
            Self::Idle => u64::from(load > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: [Rule; 3] = [Rule::Connections, Rule::Delay, Rule::IdleThenDelay];

    #[test]
    fn each_rule_has_its_own_order() {
        for (one, other, expected) in [
            // Idle: connections see no difference, delays see the faster one.
            ((0, 1), (0, 2), [Ordering::Equal, Ordering::Greater, Ordering::Greater]),
            // A busy fast one against an idle slow one.
            ((1, 8), (0, 1), [Ordering::Greater, Ordering::Less, Ordering::Greater]),
            ((3, 2), (2, 1), [Ordering::Less, Ordering::Less, Ordering::Less]),
            ((u32::MAX, u32::MAX), (u32::MAX, 1), [Ordering::Less, Ordering::Less, Ordering::Less]),
        ] {
            assert_eq!(RULES.map(|rule| rule.compare(one, other)), expected, "{one:?} {other:?}");
            assert_eq!(RULES.map(|rule| rule.compare(other, one)), expected.map(Ordering::reverse));
        }
    }

    proptest! {
        #[test]
        fn levels_are_exact_for_weights_of_fifteen_bits(
            loads in prop::array::uniform2(prop_oneof![0_u32..10, 0..u32::MAX]),
            weights in prop::array::uniform2(prop_oneof![1_u32..10, 1..46_340_u32]),
        ) {
            for rule in RULES {
                let levels = [rule.level(loads[0], weights[0]), rule.level(loads[1], weights[1])];
                let exact = rule.compare((loads[0], weights[0]), (loads[1], weights[1]));
                prop_assert_eq!(levels[0].cmp(&levels[1]), exact, "{:?} {:?} {:?}", rule, loads, weights);
                let near = [0, 1].map(|i| rule.nearly(loads[i], 1.0 / f64::from(weights[i])));
                let is_equal = (near[0] - near[1]).abs() <= near[0].abs().min(near[1].abs()) * Rule::NEAR;
                let found = if is_equal { Ordering::Equal } else { near[0].total_cmp(&near[1]) };
                prop_assert_eq!(found, exact, "{:?} {:?} {:?}", rule, loads, weights);
            }
        }
    }
}
