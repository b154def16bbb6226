//! A ring of points in chunks that successors share.

use std::cmp::Ordering;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use evenkeel_types::{Endpoint, EndpointId};
use fnv::FnvHasher;
use hashbrown::HashMap;

use crate::hash::radix;
use crate::hash::{Candidate, Placement};
use crate::{InvalidPolicy, Members};

/// Points on a circle of 2^64, each with an owner; a hash belongs to the first point at or after it.
///
/// **Layout.** Of a point the upper 40 bits are kept and the owner's slot fills the word, so that one load
/// answers both. The words are sorted and cut into chunks by their upper bits; a chunk starts with an index of
/// [`BUCKETS`] entries, so a look-up is three loads and a glance at four words, however many points there are.
///
/// **Updates.** A slot is an owner's for as long as it stays, and a table says which position that is today. So another
/// member or weight changes only the chunks that its own points lie in; the others are shared with the ring before.
///
/// **Ties.** Equal points stand in the order of their owners' ids, so that who wins one does not depend on history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring {
    /// As many as `2^(64 − shift)`; each an index of [`HEADER`] words and then its points.
    chunks: Box<[Arc<[u64]>]>,
    /// Bits of a word below the number of its chunk.
    shift: u32,
    /// By slot; [`NOBODY`] where a slot is free.
    positions: Box<[u32]>,
    owners: Box<[Option<Owner>]>,
    slots: HashMap<u64, u32, BuildHasherDefault<FnvHasher>>,
    points: usize,
    members: usize,
}

/// A member of a ring, as it asks for points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) token: u64,
    pub(crate) id: EndpointId,
    /// What its points are made from; another origin has all other points.
    pub(crate) origin: u64,
    /// How many points; the first of them stay the same when there are more or fewer.
    pub(crate) count: u32,
}

/// The points of an origin.
pub(crate) trait Points {
    /// Calls `each` with the first `count` points, in an order of their own.
    fn each(origin: u64, count: u32, each: impl FnMut(u64));
}

impl Ring {
    /// The members of `policy` as owners of so many points each.
    pub(crate) fn owners(
        policy: &'static str,
        members: &dyn Members,
        counts: &[u32],
        mut origin: impl FnMut(&Endpoint) -> u64,
    ) -> Result<Vec<Owner>, InvalidPolicy> {
        if counts.len() > MOST_OWNERS {
            let problem =
                format!("{} endpoints are too many: at most {MOST_OWNERS} are allowed", counts.len());
            return Err(InvalidPolicy::members(policy, problem));
        }
        let owner = |(position, &count): (usize, &u32)| {
            let endpoint = members.endpoint(position);
            let (token, id) = (members.token(position), endpoint.id().clone());
            Owner { token, id, origin: origin(&endpoint), count }
        };
        Ok(counts.iter().enumerate().map(owner).collect())
    }

    /// A ring of these owners, by position. O(points).
    pub(crate) fn new<P: Points>(owners: Vec<Owner>) -> Self {
        let mut words = Vec::with_capacity(owners.iter().map(|owner| owner.count as usize).sum());
        for (slot, owner) in owners.iter().enumerate() {
            P::each(owner.origin, owner.count, |point| words.push(word(point, slot)));
        }
        radix::sort(&mut words);
        let by_id = |a: &u64, b: &u64| owners[slot_of(*a)].order(&owners[slot_of(*b)]);
        for equal in words.chunk_by_mut(|a, b| point_of(*a) == point_of(*b)) {
            if equal.len() > 1 {
                equal.sort_unstable_by(by_id);
            }
        }
        let shift = u64::BITS - chunk_bits(words.len());
        Self {
            chunks: cut(&words, shift),
            shift,
            positions: (0..owners.len() as u32).collect(),
            slots: owners.iter().enumerate().map(|(slot, owner)| (owner.token, slot as u32)).collect(),
            points: words.len(),
            members: owners.len(),
            owners: owners.into_iter().map(Some).collect(),
        }
    }

    /// The ring of other owners, by position, equal to a new one. Costs what changes, and O(owners + chunks).
    pub(crate) fn updated<P: Points>(&self, owners: Vec<Owner>) -> Self {
        let points: usize = owners.iter().map(|owner| owner.count as usize).sum();
        let plan = self.plan(&owners);
        // A ring that grew or shrank much wants other chunks, and where much changes a new one is cheaper.
        if plan.changed(self) > points / 4 || chunk_bits(points).abs_diff(u64::BITS - self.shift) > 1 {
            return Self::new::<P>(owners);
        }
        let edits = self.edits::<P>(&owners, &plan);
        let mut next = self.clone();
        next.seat(owners, &plan);
        next.points = points;
        for edits in edits.chunk_by(|a, b| a.word >> self.shift == b.word >> self.shift) {
            let chunk = (edits[0].word >> self.shift) as usize;
            next.chunks[chunk] = next.edited(&self.chunks[chunk], edits);
        }
        next
    }

    /// The number of points.
    pub(crate) const fn points(&self) -> usize {
        self.points
    }

    /// Who is new, who changes, who goes, and who sits where.
    fn plan(&self, owners: &[Owner]) -> Plan {
        let mut left = vec![true; self.owners.len()];
        let mut slots = vec![NOBODY; owners.len()];
        for (slot, owner) in slots.iter_mut().zip(owners) {
            let known = self.slots.get(&owner.token).copied();
            let same = |known: &u32| {
                let before = self.owners[*known as usize].as_ref();
                before.is_some_and(|before| before.origin == owner.origin && before.id == owner.id)
            };
            if let Some(known) = known.filter(same)
                && std::mem::take(&mut left[known as usize])
            {
                *slot = known;
            }
        }
        let kept = slots.iter().filter(|&&slot| slot != NOBODY).count();
        let free = (0..left.len()).filter(|&slot| left[slot]).map(|slot| slot as u32);
        let mut free = free.chain(left.len() as u32..).take(owners.len() - kept);
        let fresh: Vec<bool> = slots.iter().map(|&slot| slot == NOBODY).collect();
        for slot in slots.iter_mut().filter(|slot| **slot == NOBODY) {
            *slot = free.next().unwrap_or(NOBODY);
        }
        let gone = (0..left.len()).filter(|&slot| left[slot] && self.owners[slot].is_some()).collect();
        let counts = |(position, &slot): (usize, &u32)| {
            let before = self.owners.get(slot as usize).and_then(Option::as_ref);
            let before = before.filter(|_| !fresh[position]).map_or(0, |before| before.count);
            (before != owners[position].count).then_some((position, before))
        };
        let changed = slots.iter().enumerate().filter_map(counts).collect();
        Plan { slots, gone, changed }
    }

    /// All points that come or go, in the order of the ring.
    fn edits<P: Points>(&self, owners: &[Owner], plan: &Plan) -> Vec<Edit> {
        let mut edits = Vec::new();
        for &slot in &plan.gone {
            if let Some(owner) = &self.owners[slot] {
                P::each(owner.origin, owner.count, |point| {
                    edits.push(Edit { word: word(point, slot), comes: false });
                });
            }
        }
        for &(position, before) in &plan.changed {
            let (owner, slot) = (&owners[position], plan.slots[position] as usize);
            let mut index = 0;
            P::each(owner.origin, owner.count.max(before), |point| {
                if index >= owner.count.min(before) {
                    edits.push(Edit { word: word(point, slot), comes: owner.count > before });
                }
                index += 1;
            });
        }
        edits.sort_unstable_by_key(|edit| edit.word);
        edits
    }

    /// Puts owners into their slots.
    fn seat(&mut self, owners: Vec<Owner>, plan: &Plan) {
        let slots =
            plan.slots.iter().map(|&slot| slot as usize + 1).max().unwrap_or(0).max(self.owners.len());
        let mut seats = std::mem::take(&mut self.owners).into_vec();
        seats.resize(slots, None);
        for &slot in &plan.gone {
            if let Some(owner) = seats[slot].take() {
                self.slots.remove(&owner.token);
            }
        }
        let mut positions = vec![NOBODY; slots];
        self.members = owners.len();
        for (position, owner) in owners.into_iter().enumerate() {
            let slot = plan.slots[position];
            positions[slot as usize] = position as u32;
            if seats[slot as usize].as_ref() != Some(&owner) {
                self.slots.insert(owner.token, slot);
                seats[slot as usize] = Some(owner);
            }
        }
        (self.owners, self.positions) = (seats.into_boxed_slice(), positions.into_boxed_slice());
    }

    /// A chunk without the points that go and with those that come.
    fn edited(&self, chunk: &[u64], edits: &[Edit]) -> Arc<[u64]> {
        let mut words = Vec::with_capacity(chunk.len() + edits.len());
        let mut going = edits.iter().filter(|edit| !edit.comes).map(|edit| edit.word).peekable();
        let mut coming = edits.iter().filter(|edit| edit.comes).map(|edit| edit.word).peekable();
        let mut ties = false;
        let stays = |word: &u64| {
            // Within equal points the order is the ids', not the words': look at all edits of this point.
            while going.next_if(|gone| point_of(*gone) < point_of(*word)).is_some() {}
            !going.clone().take_while(|gone| point_of(*gone) == point_of(*word)).any(|gone| gone == *word)
        };
        for word in chunk[HEADER..].iter().copied().filter(stays) {
            while let Some(new) = coming.next_if(|new| point_of(*new) <= point_of(word)) {
                ties |= point_of(new) == point_of(word);
                words.push(new);
            }
            words.push(word);
        }
        words.extend(coming);
        ties |= words.windows(2).any(|pair| point_of(pair[0]) == point_of(pair[1]));
        if ties {
            words.sort_unstable_by(|a, b| self.order(*a, *b));
        }
        indexed(&words, self.shift)
    }

    /// By point, then by the owner.
    fn order(&self, a: u64, b: u64) -> Ordering {
        let owner = |word| self.owners.get(slot_of(word)).and_then(Option::as_ref);
        point_of(a).cmp(&point_of(b)).then_with(|| match (owner(a), owner(b)) {
            (Some(a), Some(b)) => a.order(b),
            _ => a.cmp(&b),
        })
    }

    /// The first word at or after a place, in its chunk or in one that follows.
    #[inline]
    fn candidate(&self, chunk: usize, index: usize) -> Option<Candidate> {
        match self.chunks.get(chunk)?.get(index) {
            Some(&word) => Some(self.at(chunk, index, word)),
            None => self.after(chunk),
        }
    }

    /// The first word of a chunk from a place on that is not below another.
    #[cold]
    fn scan(&self, number: usize, start: usize, word: u64) -> Option<Candidate> {
        let chunk = self.chunks.get(number)?;
        // Where many endpoints have one address, all their points are equal, and a chunk is long.
        self.candidate(number, start + chunk.get(start..)?.partition_point(|&point| point < word))
    }

    #[inline]
    fn at(&self, chunk: usize, index: usize, word: u64) -> Candidate {
        let position = self.positions.get(slot_of(word)).copied().unwrap_or(NOBODY);
        Candidate { position: position as usize, cursor: (chunk as u64) << 32 | index as u64 }
    }

    /// The first point of the chunks after this one, round the ring.
    #[cold]
    fn after(&self, chunk: usize) -> Option<Candidate> {
        let count = self.chunks.len();
        let following = (1..=count).map(|step| (chunk + step) % count);
        let (chunk, &word) = following.filter_map(|c| Some((c, self.chunks[c].get(HEADER)?))).next()?;
        Some(self.at(chunk, HEADER, word))
    }

    /// Every point with its owner, round the ring: what two equal rings have in common.
    #[cfg(test)]
    pub(crate) fn laid_out(&self) -> Vec<(u64, usize)> {
        let words = self.chunks.iter().flat_map(|chunk| chunk[HEADER..].iter());
        words.map(|&word| (point_of(word), self.positions[slot_of(word)] as usize)).collect()
    }
}

impl Placement for Ring {
    fn len(&self) -> usize {
        self.members
    }

    #[inline]
    fn home(&self, hash: u64) -> Option<Candidate> {
        let (word, number) = (point_of(hash), (hash >> self.shift) as usize);
        let chunk = self.chunks.get(number)?;
        let start = start(chunk, bucket(word, self.shift));
        // Counting without a branch: where a scan ends is what no processor can foresee.
        if let Some(&[a, b, c, d]) = chunk.get(start..start + 4) {
            let before = usize::from(a < word) + usize::from(b < word) + usize::from(c < word);
            if d >= word {
                return Some(self.at(number, start + before, chunk[start + before]));
            }
        }
        self.scan(number, start, word)
    }

    #[inline]
    fn next(&self, _hash: u64, _step: u32, last: Candidate) -> Candidate {
        let (chunk, index) = ((last.cursor >> 32) as usize, last.cursor as u32 as usize);
        self.candidate(chunk, index + 1).unwrap_or(last)
    }
}

impl Owner {
    /// The order of equal points.
    fn order(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id).then(self.token.cmp(&other.token))
    }
}

/// What an update changes.
#[derive(Debug)]
struct Plan {
    /// By position.
    slots: Vec<u32>,
    /// Slots whose owner goes.
    gone: Vec<usize>,
    /// Positions with more or fewer points than before, and how many those were.
    changed: Vec<(usize, u32)>,
}

impl Plan {
    /// At least as many points as come or go, up to the owners that change their count, which count whole.
    fn changed(&self, ring: &Ring) -> usize {
        let gone = self.gone.iter().filter_map(|&slot| ring.owners[slot].as_ref());
        gone.map(|owner| owner.count as usize).sum::<usize>()
            + self.changed.len() * (ring.points / ring.members.max(1))
    }
}

/// A point that comes or goes.
#[derive(Clone, Copy, Debug)]
struct Edit {
    word: u64,
    comes: bool,
}

/// Sorted words in chunks.
fn cut(mut words: &[u64], shift: u32) -> Box<[Arc<[u64]>]> {
    let chunks = 1_u64 << (u64::BITS - shift);
    let chunk = |number: u64| {
        let len = words.iter().take_while(|&&word| word >> shift == number).count();
        let (chunk, rest) = words.split_at(len);
        words = rest;
        indexed(chunk, shift)
    };
    (0..chunks).map(chunk).collect()
}

/// Sorted words of one chunk behind their index.
fn indexed(words: &[u64], shift: u32) -> Arc<[u64]> {
    // Too low a start is only slower.
    let byte = |start: usize| start.min(u8::MAX.into()) as u8;
    let mut starts = [0_u8; BUCKETS + 1];
    for (place, &word) in words.iter().enumerate() {
        starts[bucket(word, shift) + 1] = byte(place + 1);
    }
    let mut start = 0;
    for own in &mut starts {
        start = start.max(*own);
        *own = start;
    }
    let mut header = [0_u64; HEADER];
    for (word, starts) in header.iter_mut().zip(starts.as_chunks::<PER_WORD>().0) {
        *word = u64::from_le_bytes(*starts);
    }
    header.into_iter().chain(words.iter().copied()).collect()
}

/// Where the points of a bucket start in a chunk.
#[inline]
fn start(chunk: &[u64], bucket: usize) -> usize {
    let word = chunk.get(bucket / PER_WORD).copied().unwrap_or(0);
    HEADER + (word >> (bucket % PER_WORD * 8)) as u8 as usize
}

/// The bucket of a word in its chunk: the bits after those that number the chunk.
#[inline]
const fn bucket(word: u64, shift: u32) -> usize {
    (word >> (shift - BUCKETS.trailing_zeros())) as usize % BUCKETS
}

/// How many bits number the chunks of so many points: chunks of 80 to 160 points, whose starts fit a byte.
fn chunk_bits(points: usize) -> u32 {
    (points / 80).max(2).ilog2()
}

#[inline]
const fn word(point: u64, slot: usize) -> u64 {
    point_of(point) | slot as u64
}

#[inline]
const fn point_of(word: u64) -> u64 {
    word & !((1 << SLOT_BITS) - 1)
}

#[inline]
const fn slot_of(word: u64) -> usize {
    (word & ((1 << SLOT_BITS) - 1)) as usize
}

/// Leaves 40 bits for a point: of 1.6 million points about one pair is equal.
const SLOT_BITS: u32 = 24;

/// Slots are numbered in what a point leaves of a word.
const MOST_OWNERS: usize = 1 << SLOT_BITS;

/// Entries of a chunk's index, a byte and about one point each.
const BUCKETS: usize = 128;
const PER_WORD: usize = 8;
const HEADER: usize = BUCKETS / PER_WORD;

const NOBODY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use evenkeel_types::SplitMix64;
    use proptest::prelude::*;

    use super::*;

    /// Points that spread.
    struct Spread;

    impl Points for Spread {
        fn each(origin: u64, count: u32, mut each: impl FnMut(u64)) {
            (0..u64::from(count)).for_each(|index| each(SplitMix64::mix(origin + index)));
        }
    }

    /// Points of which many are equal.
    struct Crowd;

    impl Points for Crowd {
        fn each(origin: u64, count: u32, mut each: impl FnMut(u64)) {
            (0..u64::from(count)).for_each(|index| each(SplitMix64::mix(origin + index) >> 59 << 59));
        }
    }

    fn owner(name: u32, count: u32) -> Owner {
        let id = EndpointId::new(format!("n{name}")).unwrap();
        Owner { token: name.into(), id, origin: u64::from(name) << 32, count }
    }

    /// Names instead of positions, for comparing rings whose positions differ.
    fn named(ring: &Ring, owners: &[Owner]) -> Vec<(u64, u64)> {
        ring.laid_out().into_iter().map(|(point, position)| (point, owners[position].token)).collect()
    }

    /// The owner of a hash by the book: the first of all points at or after it, else the first of all.
    fn by_the_book(points: &[(u64, u64)], hash: u64) -> Option<u64> {
        let at = points.iter().find(|point| point.0 >= point_of(hash));
        at.or(points.first()).map(|point| point.1)
    }

    fn check<P: Points>(sets: Vec<Vec<(u32, u32)>>, hashes: &[u64]) {
        let mut ring = Ring::default();
        for set in sets {
            let mut owners: Vec<_> = set.into_iter().map(|(name, count)| owner(name, count)).collect();
            owners.dedup_by_key(|owner| owner.token);
            ring = ring.updated::<P>(owners.clone());
            let fresh = Ring::new::<P>(owners.clone());
            let points = named(&ring, &owners);
            assert_eq!(points, named(&fresh, &owners), "an update gives what a build gives");
            assert_eq!((ring.points(), ring.len()), (points.len(), owners.len()));
            for &hash in hashes.iter().chain(&[0, u64::MAX]) {
                let home = ring.home(hash);
                let token = home.map(|home| owners[home.position].token);
                assert_eq!(token, by_the_book(&points, hash), "{hash:x}");
                let Some(mut last) = home else { continue };
                let walked = (0..points.len()).map(|step| {
                    let token = owners[last.position].token;
                    last = ring.next(hash, step as u32 + 1, last);
                    token
                });
                let start = points.iter().position(|point| point.0 >= point_of(hash)).unwrap_or(0);
                let round = (0..points.len()).map(|step| points[(start + step) % points.len()].1);
                assert!(walked.eq(round), "the walk meets every point in turn");
            }
        }
    }

    fn sets() -> impl Strategy<Value = Vec<Vec<(u32, u32)>>> {
        let all = || prop::collection::btree_map(0_u32..24, 0_u32..40, 12..24);
        prop::collection::vec(all().prop_map(|set| set.into_iter().collect::<Vec<_>>()), 1..4).prop_flat_map(
            |sets| {
                // Few changes at a time, so that chunks are edited and not built anew, in any order of members.
                let small: Vec<_> = sets
                    .into_iter()
                    .flat_map(|set| {
                        let mut less = set.clone();
                        less.remove(set.len() / 2);
                        let mut other = set.clone();
                        other[0].1 += 3;
                        [set, less, other]
                    })
                    .collect();
                small.into_iter().map(|set| Just(set).prop_shuffle()).collect::<Vec<_>>()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn an_updated_ring_is_a_new_one(sets in sets(), hashes in prop::collection::vec(any::<u64>(), 20)) {
            check::<Spread>(sets, &hashes);
        }

        #[test]
        fn also_where_points_are_equal(sets in sets(), hashes in prop::collection::vec(any::<u64>(), 5)) {
            check::<Crowd>(sets, &hashes);
        }
    }

    #[test]
    fn an_update_shares_what_it_does_not_change() {
        let owners: Vec<_> = (0..1000).map(|name| owner(name, 160)).collect();
        let ring = Ring::new::<Spread>(owners.clone());
        let less = ring.updated::<Spread>(owners[..999].to_vec());
        let shared = ring.chunks.iter().zip(&less.chunks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(ring.chunks.len(), less.chunks.len());
        assert!(ring.chunks.len() - shared <= 160, "{shared} of {} chunks", ring.chunks.len());
        assert_eq!(named(&less, &owners), named(&Ring::new::<Spread>(owners[..999].to_vec()), &owners));
    }

    #[test]
    fn an_empty_ring_is_nobodys_home() {
        assert_eq!(Ring::default().home(7), None);
        assert_eq!(Ring::new::<Spread>(Vec::new()).home(7), None);
        let drained = Ring::new::<Spread>(vec![owner(1, 0)]);
        assert_eq!((drained.home(7), drained.len()), (None, 1));
        let one = drained.updated::<Spread>(vec![owner(1, 1)]);
        assert_eq!(one.home(7).map(|home| home.position), Some(0));
    }

    #[test]
    fn a_token_with_another_origin_is_somebody_else() {
        let before: Vec<_> = (0..40).map(|name| owner(name, 100)).collect();
        let mut after = before.clone();
        after[7].origin = 99 << 32;
        let ring = Ring::new::<Spread>(before).updated::<Spread>(after.clone());
        assert_eq!(named(&ring, &after), named(&Ring::new::<Spread>(after.clone()), &after));
    }
}
