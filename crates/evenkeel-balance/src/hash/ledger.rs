//! Who owns which bucket: weights for placements that number buckets.

use hashbrown::HashMap;

use super::mix::{again, name};
use crate::Members;

/// Gives out numbers of buckets and takes them back. What distinguishes jump from anchor.
pub(super) trait Numbers {
    /// A bucket that nobody owns, or `None` if all are given out.
    fn take(&mut self) -> Option<u32>;

    /// Nobody owns `bucket` any more.
    fn give_back(&mut self, bucket: u32);
}

/// One bucket: its owner, and which part of the keys that fall into it the owner takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    owner: u32,
    /// In 2^-32ths of the bucket; `WHOLE` is all of it, 0 is nothing.
    part: u32,
}

const WHOLE: u32 = u32::MAX;

impl Bucket {
    const NOBODYS: Self = Self { owner: u32::MAX, part: 0 };

    /// The owner, if it takes this key.
    #[inline(always)]
    pub(super) fn owner_of(self, hash: u64) -> Option<usize> {
        let takes = self.part == WHOLE || (again(hash, PART_STEP) as u32) < self.part;
        takes.then_some(self.owner as usize)
    }

    /// Whether anybody owns it.
    #[inline]
    pub(super) const fn is_owned(self) -> bool {
        self.part > 0
    }

    /// The owner, whatever the key.
    #[inline]
    pub(super) const fn owner(self) -> usize {
        self.owner as usize
    }
}

/// Sets the draw that decides about a part of a bucket apart from those that find buckets.
const PART_STEP: u64 = 0x5061_7274;

/// Buckets by endpoint, in proportion to weights.
///
/// An endpoint owns a bucket for each `unit` of its weight, and a part of one for the rest. The unit is the greatest
/// common divisor of the first weights, so in the usual case all buckets are whole. It stays while it fits: then a
/// new weight changes nothing but the buckets of its own endpoint. If lowest terms needed more than `most_buckets`, the
/// unit is larger and the last bucket of each endpoint is taken in part, to 2^-32 of a bucket: shares stay exact, however
/// odd the weights, and memory stays bounded.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    unit: u64,
    buckets: Vec<Bucket>,
    /// By position.
    tokens: Vec<u64>,
}

impl Ledger {
    /// Nobody owns anything yet.
    pub(super) const fn empty() -> Self {
        Self { unit: 0, buckets: Vec::new(), tokens: Vec::new() }
    }

    /// The buckets by number.
    #[inline(always)]
    pub(super) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The number of endpoints.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The ledger for other members. Buckets of endpoints that stay are theirs still; those of endpoints that left are
    /// given back first, so that newcomers get them. `None` if the numbers ran out.
    pub(super) fn moved_to(
        &self,
        members: &dyn Members,
        seed: u64,
        numbers: &mut dyn Numbers,
    ) -> Option<Self> {
        let weights = members.weights();
        let unit = unit_for(weights, self.unit);
        let tokens: Vec<u64> = (0..weights.len()).map(|position| members.token(position)).collect();
        let mut next = Self { unit, buckets: self.buckets.clone(), tokens };
        let held = next.hand_over(&self.tokens, numbers);
        let mut wanted = OfWeight::new(|weight| Holding::of(weight, unit));
        let changed: Vec<bool> =
            weights.iter().zip(&held).map(|(&weight, &held)| wanted.of(weight) != held).collect();
        next.adjust(members, &changed, seed, numbers)?;
        Some(next)
    }

    /// Writes the new positions of the old owners; returns what each new position holds.
    fn hand_over(&mut self, old: &[u64], numbers: &mut dyn Numbers) -> Vec<Holding> {
        let places = places(old, &self.tokens);
        let mut held = vec![Holding::default(); self.tokens.len()];
        for (number, bucket) in self.buckets.iter_mut().enumerate() {
            if !bucket.is_owned() {
                continue;
            }
            match places[bucket.owner()] {
                Some(place) => {
                    bucket.owner = place;
                    held[place as usize].add(bucket.part);
                }
                None => {
                    *bucket = Bucket::NOBODYS;
                    numbers.give_back(number as u32);
                }
            }
        }
        held
    }

    /// Gives every position that `changed` what its weight asks for.
    fn adjust(
        &mut self,
        members: &dyn Members,
        changed: &[bool],
        seed: u64,
        numbers: &mut dyn Numbers,
    ) -> Option<()> {
        let mut order: Vec<(u64, usize)> = (0..changed.len())
            .filter(|&position| changed[position])
            .map(|position| (name(members, position, seed), position))
            .collect();
        if order.is_empty() {
            return Some(());
        }
        order.sort_unstable();
        let mut owned: HashMap<usize, Vec<u32>, Fixed> = HashMap::default();
        for (number, bucket) in self.buckets.iter().enumerate() {
            if bucket.is_owned() && changed[bucket.owner()] {
                owned.entry(bucket.owner()).or_default().push(number as u32);
            }
        }
        // First all that is given back, then all that is taken, so that what one loses another can have.
        for &(_, position) in &order {
            let Some(mine) = owned.get_mut(&position) else { continue };
            // The bucket taken in part goes first when the weight falls, and is filled first when it rises.
            mine.sort_unstable_by_key(|&number| (self.buckets[number as usize].part != WHOLE, number));
            let wanted = Holding::of(members.weights()[position], self.unit);
            while mine.len() > wanted.buckets() {
                let Some(number) = mine.pop() else { break };
                self.buckets[number as usize] = Bucket::NOBODYS;
                numbers.give_back(number);
            }
        }
        for &(_, position) in &order {
            let mut mine = owned.remove(&position).unwrap_or_default();
            let wanted = Holding::of(members.weights()[position], self.unit);
            while mine.len() < wanted.buckets() {
                mine.push(numbers.take()?);
            }
            for (index, number) in mine.into_iter().enumerate() {
                let number = number as usize;
                if number >= self.buckets.len() {
                    self.buckets.resize(number + 1, Bucket::NOBODYS);
                }
                let part = if index < wanted.whole as usize { WHOLE } else { wanted.part };
                self.buckets[number] = Bucket { owner: position as u32, part };
            }
        }
        Some(())
    }
}

/// FNV, which has no seed: the map is asked, never walked.
type Fixed = std::hash::BuildHasherDefault<fnv::FnvHasher>;

/// What an endpoint owns: whole buckets, and a part of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Holding {
    whole: u32,
    part: u32,
}

impl Holding {
    fn of(weight: u32, unit: u64) -> Self {
        let (weight, unit) = (u64::from(weight), unit.max(1));
        let (whole, rest) = (weight / unit, weight % unit);
        // The rest is below the unit, so its share of a bucket is below 2^32 and never `WHOLE`.
        let part = if rest == 0 { 0 } else { (((rest << 32) / unit) as u32).clamp(1, WHOLE - 1) };
        Self { whole: whole as u32, part }
    }

    const fn add(&mut self, part: u32) {
        if part == WHOLE {
            self.whole += 1;
        } else {
            self.part = part;
        }
    }

    const fn buckets(self) -> usize {
        self.whole as usize + (self.part > 0) as usize
    }
}

/// The most buckets for so many endpoints: 64 each, where weights in lowest terms would need more.
///
/// With 64 a bucket taken in part is at most a 64th of the mean share; and below 4 096 nobody minds the memory.
pub(super) fn most_buckets(endpoints: usize) -> u64 {
    (64 * endpoints as u64).clamp(4096, 1 << 31)
}

/// How many buckets the weights need at this unit.
pub(super) fn buckets_for(weights: &[u32], unit: u64) -> u64 {
    let mut buckets = OfWeight::new(|weight| u64::from(weight).div_ceil(unit.max(1)));
    weights.iter().map(|&weight| buckets.of(weight)).sum()
}

/// What follows from a weight by division, which takes longer than all else that is done for an endpoint of an update: most weights are
/// those of the endpoint before.
struct OfWeight<T, F> {
    last: u32,
    known: T,
    find: F,
}

impl<T: Copy, F: Fn(u32) -> T> OfWeight<T, F> {
    fn new(find: F) -> Self {
        Self { last: 0, known: find(0), find }
    }

    fn of(&mut self, weight: u32) -> T {
        if weight != self.last {
            (self.last, self.known) = (weight, (self.find)(weight));
        }
        self.known
    }
}

/// The weight of one bucket: `kept` if it still fits, lowest terms if they do, else as much as keeps the number bounded.
pub(super) fn unit_for(weights: &[u32], kept: u64) -> u64 {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let most = most_buckets(weights.len());
    if kept > 0 {
        let buckets = buckets_for(weights, kept);
        // Half of what falls into a bucket is taken at least, so two tries find an owner on average.
        if buckets <= most && buckets.saturating_mul(kept) <= total.saturating_mul(2) {
            return kept;
        }
    }
    let lowest = greatest_common_divisor(weights).max(1);
    if total / lowest <= most { lowest } else { total.div_ceil(most - (weights.len() as u64).min(most / 2)) }
}

/// Of the weights above zero; 0 if there are none.
pub(super) fn greatest_common_divisor(weights: &[u32]) -> u64 {
    let mut divisor = 0_u32;
    for &weight in weights {
        let (mut one, mut other) = (weight, divisor);
        while other > 0 {
            (one, other) = (other, one % other);
        }
        divisor = one;
        if divisor == 1 {
            break;
        }
    }
    divisor.into()
}

/// Where each of the old tokens stands among the new ones. O(n) while both lists have the same order.
fn places(old: &[u64], new: &[u64]) -> Vec<Option<u32>> {
    let mut places = vec![None; old.len()];
    let mut strays: Vec<usize> = Vec::new();
    let mut next = 0;
    for (index, &token) in old.iter().enumerate() {
        // In order, or one was put in between.
        match new.iter().skip(next).take(2).position(|&other| other == token) {
            Some(offset) => {
                places[index] = Some((next + offset) as u32);
                next += offset + 1;
            }
            None => strays.push(index),
        }
    }
    // One that left is a stray, and is looked for once; many are looked up.
    if strays.len() <= 2 {
        for index in strays {
            places[index] = new.iter().position(|&other| other == old[index]).map(|place| place as u32);
        }
    } else {
        let by_token: HashMap<u64, u32, Fixed> =
            new.iter().enumerate().map(|(place, &token)| (token, place as u32)).collect();
        for index in strays {
            places[index] = by_token.get(&old[index]).copied();
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_places_are_found_in_any_order() {
        for (old, new, expected) in [
            (vec![1, 2, 3], vec![1, 2, 3], vec![Some(0), Some(1), Some(2)]),
            (vec![1, 2, 3], vec![1, 3], vec![Some(0), None, Some(1)]),
            (vec![1, 3], vec![1, 2, 3], vec![Some(0), Some(2)]),
            (vec![1, 2, 3, 4, 5], vec![5, 4, 9, 2, 1], vec![Some(4), Some(3), None, Some(1), Some(0)]),
            (vec![], vec![1], vec![]),
        ] {
            assert_eq!(places(&old, &new), expected, "{old:?} {new:?}");
        }
    }

    #[test]
    fn the_unit_is_the_divisor_and_stays_while_it_fits() {
        for (weights, kept, unit) in [
            (vec![100, 200, 300], 0, 100),
            (vec![100, 200, 350], 100, 100),
            (vec![100, 200, 350], 0, 50),
            // A tenth of everything: the old unit would refuse nine of ten keys.
            (vec![10, 10, 10], 100, 10),
            (vec![0, 0], 0, 1),
            (vec![], 0, 1),
        ] {
            assert_eq!(unit_for(&weights, kept), unit, "{weights:?} after {kept}");
        }
        for weights in [vec![u32::MAX, 1, 1, u32::MAX], vec![997, 1009, 1013, 65_537], vec![u32::MAX; 10_000]]
        {
            let unit = unit_for(&weights, 0);
            assert!(buckets_for(&weights, unit) <= most_buckets(weights.len()), "{weights:?}");
        }
    }

    #[test]
    fn holdings_add_up_to_the_weight() {
        for (weight, unit, whole, part) in [
            (6, 3, 2, 0),
            (7, 4, 1, 3 << 30),
            (0, 5, 0, 0),
            (1, u64::from(u32::MAX), 0, 1),
            (2, 4, 0, 1 << 31),
        ] {
            assert_eq!(Holding::of(weight, unit), Holding { whole, part }, "{weight} of {unit}");
        }
    }
}
