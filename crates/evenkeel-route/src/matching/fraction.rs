use evenkeel_types::{Ratio, SplitMix64};

/// A share of requests, chosen by the hash that the caller gives with the request.
///
/// The hash of a user's key keeps each user on one side; a random number spreads requests. Raising the share keeps
/// everybody in who was in. The salt makes rules independent of each other: with equal salts the same users are in.
///
/// ```
/// use evenkeel_route::matching::Fraction;
/// use evenkeel_types::Ratio;
///
/// let tenth = Fraction { share: Ratio::percent(10)?, salt: 7 };
/// let half = Fraction { share: Ratio::HALF, salt: 7 };
/// assert!((0..1000).filter(|&user| tenth.holds(user)).all(|user| half.holds(user)));
/// # Ok::<(), evenkeel_types::InvalidRatio>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Fraction {
    /// How many of them.
    pub share: Ratio,
    /// Which of them. Default 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub salt: u64,
}

impl Fraction {
    /// Whether a request with this hash is in.
    #[must_use]
    pub const fn holds(&self, hash: u64) -> bool {
        let mixed = SplitMix64::mix(hash ^ SplitMix64::mix(self.salt.wrapping_add(SplitMix64::STEP)));
        // mixed / 2^64 < share, without rounding.
        (mixed as u128) * 1_000_000 < (self.share.parts_per_million() as u128) << 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_for_its_share_and_only_grows() {
        let count = |share| (0..100_000).filter(|&hash| Fraction { share, salt: 3 }.holds(hash)).count();
        assert_eq!(count(Ratio::ZERO), 0);
        assert_eq!(count(Ratio::ONE), 100_000);
        // Four standard deviations.
        assert!(count(Ratio::percent(20).unwrap()).abs_diff(20_000) < 510);
        let in_at = |percent, hash| Fraction { share: Ratio::percent(percent).unwrap(), salt: 3 }.holds(hash);
        assert!((0..1000).all(|hash| !in_at(10, hash) || in_at(11, hash)));
    }
}
