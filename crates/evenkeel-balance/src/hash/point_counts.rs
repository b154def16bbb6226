//! How many points a weight gets.

use crate::InvalidPolicy;

/// Points for weights.
///
/// A weight w gets `points` × w ÷ `reference`, rounded, and at least one unless w is zero. If the sum is above `most`,
/// every number is halved until it is not: by powers of two, so that a set which grows a little keeps its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PointCounts {
    pub(crate) points: u32,
    pub(crate) reference: u32,
    pub(crate) most: u32,
}

impl PointCounts {
    /// Checks the settings, and counts.
    pub(crate) fn of(self, policy: &'static str, weights: &[u32]) -> Result<Vec<u32>, InvalidPolicy> {
        self.validate(policy)?;
        let positive = weights.iter().filter(|&&weight| weight > 0).count();
        if positive > self.most as usize {
            let problem = format!(
                "{positive} endpoints of positive weight need as many points, and max_points is {}",
                self.most
            );
            return Err(InvalidPolicy::members(policy, problem));
        }
        let total =
            |halvings| weights.iter().map(|&weight| u64::from(self.count(weight, halvings))).sum::<u64>();
        let halvings =
            (0..u64::BITS).find(|&halvings| total(halvings) <= self.most.into()).unwrap_or(u64::BITS);
        Ok(weights.iter().map(|&weight| self.count(weight, halvings)).collect())
    }

    fn validate(self, policy: &'static str) -> Result<(), InvalidPolicy> {
        let problem = |value: u32, most: u32| format!("{value} is not a number from 1 to {most}");
        let check = |setting, value, most| match value {
            value if (1..=most).contains(&value) => Ok(()),
            value => Err(InvalidPolicy::setting(policy, setting, problem(value, most))),
        };
        check("points", self.points, MOST_POINTS_PER_WEIGHT)?;
        check("reference_weight", self.reference, u32::MAX)?;
        check("max_points", self.most, MOST_POINTS)
    }

    fn count(self, weight: u32, halvings: u32) -> u32 {
        if weight == 0 {
            return 0;
        }
        let (wanted, share) =
            (u128::from(self.points) * u128::from(weight), u128::from(self.reference) << halvings);
        let rounded = (2 * wanted + share) / (2 * share);
        u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
    }
}

/// What keeps a weight's share within 1 %.
const MOST_POINTS_PER_WEIGHT: u32 = 16_384;

/// 512 MiB.
const MOST_POINTS: u32 = 1 << 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_follow_weights_and_the_budget() {
        let counts = |points, reference, most, weights: &[u32]| {
            PointCounts { points, reference, most }
                .of("ring_hash", weights)
                .map_err(|error| error.to_string())
        };
        assert_eq!(counts(160, 1, 10_000, &[1, 0, 3]), Ok(vec![160, 0, 480]));
        assert_eq!(counts(160, 100, 10_000, &[100, 50, 1]), Ok(vec![160, 80, 2]));
        assert_eq!(counts(10, 100, 10_000, &[1000, 1]), Ok(vec![100, 1]), "never none");
        // 320 + 160 is above 300: both are halved once.
        assert_eq!(counts(160, 1, 300, &[2, 1]), Ok(vec![160, 80]));
        assert_eq!(counts(160, 1, 2, &[u32::MAX, u32::MAX]), Ok(vec![1, 1]));
        for (case, words) in [
            (counts(0, 1, 9, &[]), "points: 0 is not a number from 1 to 16384"),
            (counts(20_000, 1, 9, &[]), "points: 20000"),
            (counts(1, 0, 9, &[]), "reference_weight: 0"),
            (counts(1, 1, 0, &[]), "max_points: 0 is not a number from 1 to 67108864"),
            (
                counts(1, 1, 2, &[1, 1, 1]),
                "3 endpoints of positive weight need as many points, and max_points is 2",
            ),
        ] {
            assert!(case.clone().unwrap_err().contains(words), "{case:?}");
        }
    }
}
