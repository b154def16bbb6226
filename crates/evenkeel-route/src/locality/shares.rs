use evenkeel_types::SplitMix64;
use smallvec::SmallVec;

/// What part of a caller's requests goes to each zone, in parts of 2^32 that add up to 2^32.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ZoneShares(SmallVec<[u64; 4]>);

impl ZoneShares {
    /// All requests: shares are parts of this.
    pub const ONE: u64 = 1 << 32;

    /// Shares in proportion to these weights; none at all if all are zero.
    #[must_use]
    pub fn from_weights(weights: &[u64]) -> Self {
        let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
        let Some(heaviest) = (0..weights.len()).max_by_key(|&zone| weights[zone]).filter(|_| sum > 0) else {
            return Self(SmallVec::from_elem(0, weights.len()));
        };
        let share = |&weight: &u64| (u128::from(weight) * u128::from(Self::ONE) / sum) as u64;
        let mut shares: SmallVec<[u64; 4]> = weights.iter().map(share).collect();
        // What rounding has left over: less than one part for each zone.
        shares[heaviest] += Self::ONE - shares.iter().sum::<u64>();
        Self(shares)
    }

    /// The shares.
    #[must_use]
    pub fn as_slice(&self) -> &[u64] {
        &self.0
    }

    /// The zone for 64 random bits; none if no zone gets anything.
    #[inline]
    #[must_use]
    pub fn drawn(&self, draw: u64) -> Option<usize> {
        let mut left = draw >> 32;
        self.0.iter().position(|&share| {
            let is_here = left < share;
            left = left.wrapping_sub(share);
            is_here
        })
    }

    /// The zone of a key, by weighted rendezvous hashing over the names of the zones: when shares change, as few keys move
    /// as can be, and neither their order nor zones that come and go move others.
    ///
    /// `names` holds a hash of each zone's name, equal in the whole fleet.
    #[must_use]
    pub fn keyed(&self, key: u64, names: &[u64]) -> Option<usize> {
        Self::rendezvous(key, self.0.iter().copied().zip(names.iter().copied()))
    }

    /// The same over pairs of share and name that lie elsewhere: the position of the one that takes the key.
    #[must_use]
    pub fn rendezvous(key: u64, zones: impl IntoIterator<Item = (u64, u64)>) -> Option<usize> {
        let with_share = zones.into_iter().enumerate().filter(|(_, (share, _))| *share > 0);
        let scores = with_share.map(|(zone, (share, name))| {
            let bits = SplitMix64::mix(SplitMix64::mix(key.wrapping_add(SplitMix64::STEP)) ^ name) >> 11;
            let u = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
            (zone, -libm::log(u) / share as f64)
        });
        scores.reduce(|best, next| if next.1 < best.1 { next } else { best }).map(|(zone, _)| zone)
    }
}
