//! The order of all endpoints for a key, without a table: rendezvous.

use std::cmp::Ordering;

use evenkeel_types::SplitMix64;

use crate::Members;
use crate::hash::xxh64;

/// The endpoints' own hashes, by position.
///
/// **Source.** Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN 1998; weights as
/// in Resch, "New hashing algorithms for data storage", SDC 2015: the score −w / ln u.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranks {
    endpoints: Box<[u64]>,
    weights: Box<[u32]>,
    tokens: Box<[u64]>,
}

impl Ranks {
    pub(crate) fn new(members: &dyn Members) -> Self {
        Self::default().rebuild(members)
    }

    /// The same for other members. Names of those that stay in their order are not hashed again.
    pub(crate) fn rebuild(&self, members: &dyn Members) -> Self {
        let weights = members.weights();
        let tokens: Box<[u64]> = (0..weights.len()).map(|position| members.token(position)).collect();
        let mut old = 0;
        let hash = |(position, &token): (usize, &u64)| {
            // The same one, or the next where one has left.
            let ahead = self.tokens.iter().skip(old).take(2).position(|&known| known == token);
            match ahead {
                Some(ahead) => {
                    old += ahead + 1;
                    self.endpoints[old - 1]
                }
                None => xxh64(members.endpoint(position).id().as_str().as_bytes(), SEED),
            }
        };
        let endpoints = tokens.iter().enumerate().map(hash).collect();
        Self { endpoints, weights: weights.into(), tokens }
    }

    /// The rank of a position for a hash.
    #[inline]
    pub(crate) fn rank(&self, hash: u64, position: usize, weight: u32) -> Rank {
        let endpoint = self.endpoints.get(position).copied().unwrap_or(position as u64);
        Rank { score: SplitMix64::mix(hash ^ endpoint), weight, endpoint }
    }

    /// Of `candidates`, with their weights, the first by rank. O(candidates).
    pub(crate) fn first(&self, hash: u64, candidates: impl Iterator<Item = (usize, u32)>) -> Option<usize> {
        let ranked = candidates.map(|(position, weight)| (self.rank(hash, position, weight), position));
        let first = ranked.reduce(|best, other| if other.0.before(&best.0).is_lt() { other } else { best });
        first.map(|(_, position)| position)
    }

    /// Extends `found` to `count` with further positions of positive weight by rank. O(n log n).
    pub(crate) fn extend(&self, hash: u64, found: &mut Vec<usize>, count: usize) {
        let mut taken = vec![false; self.weights.len()];
        for &position in &*found {
            taken[position] = true;
        }
        let mut others: Vec<_> = (0..taken.len())
            .filter(|&position| !taken[position] && self.weights[position] > 0)
            .map(|position| (self.rank(hash, position, self.weights[position]), position))
            .collect();
        others.sort_by(|a, b| a.0.before(&b.0));
        found.extend(others.into_iter().map(|(_, position)| position).take(count - found.len()));
    }
}

/// How near an endpoint is to a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rank {
    score: u64,
    weight: u32,
    endpoint: u64,
}

impl Rank {
    /// `Less` if this one comes first. With equal weights the scores decide, and no logarithm is taken.
    #[inline]
    pub(crate) fn before(&self, other: &Self) -> Ordering {
        let by_score = || other.score.cmp(&self.score).then(self.endpoint.cmp(&other.endpoint));
        if self.weight == other.weight {
            return by_score();
        }
        self.cost().total_cmp(&other.cost()).then_with(by_score)
    }

    /// An exponential waiting time whose rate is the weight: the least one wins in proportion to the weights.
    fn cost(&self) -> f64 {
        // 52 bits and a half: never 0, never 1, so the logarithm is finite and below zero.
        let uniform = ((self.score >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
        -libm::log(uniform) / f64::from(self.weight)
    }
}

/// Apart from the seed 0 that points and tables are made with, so that ranks do not follow them.
const SEED: u64 = 0x7261_6e6b;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::members;

    #[test]
    fn firsts_are_shared_by_weight() {
        let weights = [1_u32, 2, 3, 0, 4];
        let ranks = Ranks::new(&members(&weights));
        let mut counts = [0_u32; 5];
        for key in 0..20_000 {
            let all = weights.iter().copied().enumerate().filter(|&(_, weight)| weight > 0);
            counts[ranks.first(SplitMix64::mix(key), all).unwrap()] += 1;
        }
        for (position, weight) in weights.into_iter().enumerate() {
            let expected = 2000.0 * f64::from(weight);
            assert!((f64::from(counts[position]) - expected).abs() <= 5.0 * expected.sqrt(), "{counts:?}");
        }
    }

    #[test]
    fn a_rebuild_knows_the_same_hashes_in_any_order() {
        use crate::hash::crowd::Crowd;
        let crowd = Crowd::equal(6);
        for next in [crowd.with(9, 2), crowd.without(3), crowd.without(0), crowd.reversed(), Crowd::of(&[])] {
            let (old, new) = (Ranks::new(&crowd), Ranks::new(&next));
            assert_eq!(old.rebuild(&next).endpoints, new.endpoints);
            assert_eq!(new.rebuild(&crowd).endpoints, old.endpoints);
        }
    }

    #[test]
    fn taking_one_away_moves_its_keys_only() {
        let ranks = Ranks::new(&members(&[1, 5, 2, 2]));
        let weights = [1_u32, 5, 2, 2];
        for key in 0..2000 {
            let hash = SplitMix64::mix(key);
            let first = |out: usize| ranks.first(hash, (0..4).filter(|&p| p != out).map(|p| (p, weights[p])));
            let all = first(9).unwrap();
            assert!((0..4).filter(|&out| out != all).all(|out| first(out) == Some(all)));
        }
    }
}
