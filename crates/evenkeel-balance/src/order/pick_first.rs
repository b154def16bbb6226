use std::sync::Arc;

use evenkeel_types::SplitMix64;

use crate::hash::sip13;
use crate::sync::{AtomicU32, Mutex, Ordering};
use crate::{BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// One endpoint for everything, until it is out.
///
/// **Idea.** Endpoints are ranked once. The open one that ranks first gets every request, and keeps them: when another
/// one that ranks higher becomes usable, nothing moves. When it is out itself, whoever ranks first then takes over. A
/// request that excludes it (it was tried) goes to the next in rank, and only that request.
/// **Rank.** By default shuffled by weight: each has the key u^(1 ÷ weight) with a u of its own between 0 and 1, and the
/// greatest key is first, so that over many processes each is first as often as its weight says. The u of an endpoint
/// depends on the seed and its id, and on nothing else: it outlives updates, and equal seeds give equal ranks everywhere.
/// Without a seed the first pick draws one from its caller, so that processes whose clusters are seeded differently, as
/// they are unless you say otherwise, rank differently.
/// **Cost.** One atomic load and a test of the mask. When the choice has to change, O(n) under one short lock.
/// **When.** Few clients of few, interchangeable servers that like long-lived state: a leader, a connection, a cache.
/// **When not.** One process with much traffic: this does not balance within a process.
/// **Source.** gRPC `pick_first`: A62 (shuffling), A113 (by weight); P. Efraimidis and P. Spirakis, "Weighted random
/// sampling with a reservoir", IPL 2006.
#[derive(Debug)]
pub struct PickFirst {
    config: PickFirstConfig,
    tokens: Box<[u64]>,
    /// Hashes of the ids: what makes u an endpoint's own.
    ids: Box<[u64]>,
    weights: Box<[u32]>,
    /// The position that has everything, or [`NOBODY`]. A copy for readers; it changes under the lock.
    current: AtomicU32,
    seed: Mutex<Option<u64>>,
}

/// Settings of [`PickFirst`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PickFirstConfig {
    /// How endpoints are ranked: `"weighted"` unless set, since many processes that all rank alike put all their traffic
    /// on one endpoint.
    pub shuffle: Shuffle,
    /// What the shuffled rank depends on beside the ids. Unless set it is drawn at the first pick. Set it where a rank must
    /// be the same in every process, or in every run.
    pub seed: Option<u64>,
}

/// How [`PickFirst`] ranks endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Shuffle {
    /// By chance, the heavy ones more likely first.
    #[default]
    Weighted,
    /// By chance alone.
    Uniform,
    /// Not at all: in order of position, which in a cluster is the order in which they joined.
    Off,
}

impl PolicySettings for PickFirstConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(PickFirst::new(*self, members)))
    }
}

impl PickFirst {
    /// The policy of these settings for these members. O(n).
    #[must_use]
    pub fn new(config: PickFirstConfig, members: &dyn Members) -> Self {
        let positions = 0..members.weights().len();
        let hash = |position| sip13(0, members.endpoint(position).id().as_str().as_bytes());
        Self {
            config,
            tokens: positions.clone().map(|position| members.token(position)).collect(),
            ids: positions.map(hash).collect(),
            weights: members.weights().into(),
            current: AtomicU32::new(NOBODY),
            seed: Mutex::new(config.seed),
        }
    }

    /// The position that has everything, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let current = self.current.load(Ordering::Relaxed) as usize;
        if view.is_open(current) { Some(current) } else { self.choose_anew(view, caller) }
    }

    /// The current one is out: the first in rank takes over. Or this request must not go there: then for it alone.
    #[cold]
    fn choose_anew<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let mut drawn = self.seed.lock();
        let current = self.current.load(Ordering::Relaxed) as usize;
        if view.is_open(current) {
            return Some(current);
        }
        let seed = *drawn.get_or_insert_with(|| caller.draw());
        let open = view.mask().iter().filter(|&position| view.admits(position));
        let first = open.min_by(|&one, &other| self.rank(seed, one).total_cmp(&self.rank(seed, other)))?;
        if !view.mask().contains(current) {
            self.current.store(first as u32, Ordering::Relaxed);
        }
        Some(first)
    }

    /// Lower is first. −ln(u) ÷ weight falls where u^(1 ÷ weight) rises, and does not run out of digits for great weights.
    fn rank(&self, seed: u64, position: usize) -> f64 {
        let weight = self.weights.get(position).map_or(1, |&weight| weight.max(1));
        let id = self.ids.get(position).copied().unwrap_or_default();
        let waits = || -libm::log(unit(SplitMix64::mix(seed ^ id)));
        match self.config.shuffle {
            Shuffle::Weighted => waits() / f64::from(weight),
            Shuffle::Uniform => waits(),
            Shuffle::Off => position as f64,
        }
    }
}

/// A uniform number above 0 and below 1.
fn unit(draw: u64) -> f64 {
    ((draw >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

impl Policy for PickFirst {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::SEQUENCE
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let seed = *self.seed.lock();
        let new = Self::new(self.config, members);
        *new.seed.lock() = seed;
        let token = self.tokens.get(self.current.load(Ordering::Relaxed) as usize);
        let stays = token.and_then(|token| new.tokens.iter().position(|other| other == token));
        new.current.store(stays.map_or(NOBODY, |position| position as u32), Ordering::Relaxed);
        Ok(Some(Arc::new(new)))
    }
}

/// Beyond every mask.
const NOBODY: u32 = u32::MAX;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::testing::{Named, members};
    use crate::{Mask, Script, Table};

    fn policy(shuffle: Shuffle, seed: Option<u64>, weights: &[u32]) -> PickFirst {
        PickFirst::new(PickFirstConfig { shuffle, seed }, &members(weights))
    }

    fn pick(policy: &dyn Policy, mask: &Mask, excluded: &[usize]) -> Option<usize> {
        policy.pick(&Table::new(mask, &[], &[]).excluding(excluded), &mut Script::seeded(9))
    }

    #[test]
    fn it_sticks_until_it_is_out() {
        let (mask, policy) = (Mask::all_usable(3), policy(Shuffle::Off, None, &[1; 3]));
        for (flip, excluded, expected) in [
            (None, &[][..], Some(0)),
            (None, &[0], Some(1)),
            (None, &[], Some(0)),
            (Some((0, false)), &[], Some(1)),
            (Some((0, true)), &[], Some(1)),
            (Some((1, false)), &[], Some(0)),
            (Some((0, false)), &[], Some(2)),
            (Some((2, false)), &[], None),
            (Some((1, true)), &[], Some(1)),
            (None, &[1], None),
        ] {
            if let Some((position, usable)) = flip {
                assert!(mask.set(position, usable));
            }
            assert_eq!(pick(&policy, &mask, excluded), expected, "{flip:?} {excluded:?}");
        }
    }

    #[test]
    fn over_many_seeds_each_is_first_as_often_as_its_weight_says() {
        let mask = Mask::all_usable(3);
        for (shuffle, expected) in [(Shuffle::Weighted, [500, 3_500, 1_000]), (Shuffle::Uniform, [1_667; 3])]
        {
            let mut counts = [0_u32; 3];
            for seed in 0..5_000 {
                counts[pick(&policy(shuffle, Some(seed), &[1, 7, 2]), &mask, &[]).unwrap()] += 1;
            }
            // Five standard deviations of a binomial draw are below 5 √expected.
            for (count, expected) in counts.into_iter().zip(expected) {
                assert!(f64::from(count.abs_diff(expected)) < 5.0 * f64::from(expected).sqrt(), "{counts:?}");
            }
        }
    }

    #[test]
    fn a_seed_is_taken_from_the_settings_or_else_from_the_first_caller() {
        let mask = Mask::all_usable(100);
        let first = |seed, draw: u64| {
            let policy = policy(Shuffle::Uniform, seed, &[1; 100]);
            policy.choose(&Table::new(&mask, &[], &[]), &mut Script::new(|| draw)).unwrap()
        };
        assert_eq!(first(Some(4), 1), first(Some(4), 2));
        assert_eq!(first(None, 4), first(Some(4), 0));
        assert!((0..20).any(|draw| first(None, draw) != first(None, 4)));
    }

    #[test]
    fn the_choice_and_the_ranks_outlive_an_update() {
        let named: Vec<(u64, u32)> = (0..50).map(|token| (token, 1)).collect();
        let policy = PickFirst::new(PickFirstConfig::default(), &Named::new(&named));
        let mask = Mask::all_usable(50);
        let first = pick(&policy, &mask, &[]).unwrap();
        let second = pick(&policy, &mask, &[first]).unwrap();
        // The other way round, and newcomers.
        let reversed: Vec<(u64, u32)> = (0..60).rev().map(|token| (token, 1)).collect();
        let successor = policy.rebuild(&Named::new(&reversed)).unwrap().unwrap();
        let mask = Mask::all_usable(60);
        assert_eq!(pick(&*successor, &mask, &[]), Some(59 - first));
        let old: Vec<usize> = (0..10).chain([59 - first]).collect();
        assert_eq!(pick(&*successor, &mask, &old), Some(59 - second));
        // It left: somebody else takes over.
        let without: Vec<(u64, u32)> =
            named.into_iter().filter(|&(token, _)| token != first as u64).collect();
        let successor = successor.rebuild(&Named::new(&without)).unwrap().unwrap();
        assert_eq!(pick(&*successor, &Mask::all_usable(49), &[]), Some(second - usize::from(second > first)));
    }

    #[test]
    fn the_ends_of_the_unit_interval_are_left_out() {
        assert!(unit(0) > 0.0 && unit(u64::MAX) < 1.0);
    }
}
