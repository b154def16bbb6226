//! A ring of points in chunks that successors share.

use std::cmp::Ordering;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use evenkeel_types::{Endpoint, EndpointId};
use fnv::FnvHasher;
use hashbrown::HashMap;

use crate::hash::lines::{Lines, Room, slot_mask};
use crate::hash::radix;
use crate::hash::{Candidate, Placement};
use crate::{InvalidPolicy, Members};

/// Points on a circle of 2^64, each with an owner; a hash belongs to the first point at or after it.
///
/// **Layout.** Of a point the upper 40 bits are kept and the owner's slot fills the word. The words are sorted and cut into
/// chunks by their upper bits. Beside its words a chunk has [`Lines`], ten or fourteen points each, found by the bits after
/// those that number the chunk. So a look-up is one cache line, however many points there are, and latency is what a look-up
/// costs. The full words are asked where lines do not tell, once in a hundred look-ups or fewer, and for walks.
///
/// **Updates.** A slot is an owner's for as long as it stays, and a table says which position that is today. So another
/// member or weight changes only the chunks that its own points lie in; the others are shared with the ring before.
///
/// **Ties.** Equal points stand in the order of their owners' ids, so that who wins one does not depend on history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring {
    /// As many as `2^(64 − shift)`.
    chunks: Box<[Chunk]>,
    /// How words are cut.
    cut: Cut,
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
        let points = owners.iter().map(|owner| owner.count as usize).sum();
        let cut = Cut::new(points, owners.len());
        let chunks = chunks_of::<P>(&owners, points, cut);
        Self {
            chunks,
            cut,
            positions: (0..owners.len() as u32).collect(),
            slots: owners.iter().enumerate().map(|(slot, owner)| (owner.token, slot as u32)).collect(),
            points,
            members: owners.len(),
            owners: owners.into_iter().map(Some).collect(),
        }
    }

    /// The ring of other owners, by position, equal to a new one. Costs what changes, and O(owners + chunks).
    pub(crate) fn updated<P: Points>(&self, owners: Vec<Owner>) -> Self {
        let points: usize = owners.iter().map(|owner| owner.count as usize).sum();
        let plan = self.plan(&owners);
        // A ring that grew or shrank much wants other chunks, and where much changes a new one is cheaper.
        if self.chunks.is_empty() || plan.changed(self) > points / 4 || !self.cut.serves(points, &plan.slots)
        {
            return Self::new::<P>(owners);
        }
        let edits = self.edits::<P>(&owners, &plan);
        let mut next = self.clone();
        next.seat(owners, &plan);
        next.points = points;
        let mut room = Room::default();
        for edits in edits.chunk_by(|a, b| self.cut.chunk(a.word) == self.cut.chunk(b.word)) {
            let chunk = self.cut.chunk(edits[0].word);
            next.chunks[chunk] = next.edited(&self.chunks[chunk], edits, &mut room);
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
    fn edited(&self, chunk: &Chunk, edits: &[Edit], room: &mut Room) -> Chunk {
        let mut words = Vec::with_capacity(chunk.words.len() + edits.len());
        let mut going = edits.iter().filter(|edit| !edit.comes).map(|edit| edit.word).peekable();
        let mut coming = edits.iter().filter(|edit| edit.comes).map(|edit| edit.word).peekable();
        let mut ties = false;
        let stays = |word: &u64| {
            // Within equal points the order is the ids', not the words': look at all edits of this point.
            while going.next_if(|gone| point_of(*gone) < point_of(*word)).is_some() {}
            !going.clone().take_while(|gone| point_of(*gone) == point_of(*word)).any(|gone| gone == *word)
        };
        for word in chunk.words.iter().copied().filter(stays) {
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
        Chunk::new(words, self.cut, room)
    }

    /// By point, then by the owner.
    fn order(&self, a: u64, b: u64) -> Ordering {
        let owner = |word| self.owners.get(slot_of(word)).and_then(Option::as_ref);
        point_of(a).cmp(&point_of(b)).then_with(|| match (owner(a), owner(b)) {
            (Some(a), Some(b)) => a.order(b),
            _ => a.cmp(&b),
        })
    }

    /// The word at a place of a chunk, or the first of the chunks that follow.
    #[inline]
    fn candidate(&self, chunk: usize, index: usize) -> Option<Candidate> {
        match self.chunks.get(chunk)?.words.get(index) {
            Some(&word) => Some(self.at(slot_of(word), cursor(chunk, index))),
            None => self.after(chunk),
        }
    }

    /// The first word of a chunk that is not below another, by the full words.
    #[cold]
    fn search(&self, number: usize, word: u64) -> Option<Candidate> {
        self.candidate(number, self.chunks.get(number)?.place(word, self.cut))
    }

    #[inline]
    fn at(&self, slot: usize, cursor: u64) -> Candidate {
        let position = self.positions.get(slot).copied().unwrap_or(NOBODY);
        Candidate { position: position as usize, cursor }
    }

    /// The first point of the chunks after this one, round the ring.
    #[cold]
    fn after(&self, chunk: usize) -> Option<Candidate> {
        let count = self.chunks.len();
        let following = (1..=count).map(|step| (chunk + step) % count);
        let (chunk, &word) = following.filter_map(|c| Some((c, self.chunks[c].words.first()?))).next()?;
        Some(self.at(slot_of(word), cursor(chunk, 0)))
    }

    /// Every point with its owner, round the ring: what two equal rings have in common.
    #[cfg(test)]
    pub(crate) fn laid_out(&self) -> Vec<(u64, usize)> {
        let words = self.chunks.iter().flat_map(|chunk| chunk.words.iter());
        words.map(|&word| (point_of(word), self.positions[slot_of(word)] as usize)).collect()
    }
}

impl Placement for Ring {
    fn len(&self) -> usize {
        self.members
    }

    #[inline]
    fn home(&self, hash: u64) -> Option<Candidate> {
        let (cut, number) = (self.cut, self.cut.chunk(hash));
        match self.chunks.get(number)?.lines.glance(cut.place(hash), cut.slots) {
            Some(slot) => Some(self.at(slot, UNKNOWN)),
            None => self.search(number, point_of(hash)),
        }
    }

    #[inline]
    fn next(&self, hash: u64, _step: u32, last: Candidate) -> Candidate {
        let (chunk, index) = match last.cursor {
            UNKNOWN => {
                let number = self.cut.chunk(hash);
                (number, self.chunks.get(number).map_or(0, |chunk| chunk.place(point_of(hash), self.cut)))
            }
            cursor => ((cursor >> 32) as usize, cursor as u32 as usize),
        };
        self.candidate(chunk, index + 1).unwrap_or(last)
    }
}

/// The mark of a point: its chunk and its place there.
#[inline]
const fn cursor(chunk: usize, index: usize) -> u64 {
    (chunk as u64) << 32 | index as u64
}

/// The mark of a home that a line told: where it stands among the full words is looked up when somebody walks on. It is in
/// the chunk of its hash, since lines end with their chunk.
const UNKNOWN: u64 = u64::MAX;

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

/// Chunks of these owners' points: one distribution into them, and each is sorted in the innermost cache.
fn chunks_of<P: Points>(owners: &[Owner], points: usize, cut: Cut) -> Box<[Chunk]> {
    let mean = points / cut.chunks();
    // Two standard deviations more: few grow. Chunks keep these very lists, since memory that is touched for the first time
    // costs more than sorting.
    let list = |_| Vec::with_capacity(mean + 2 * mean.isqrt() + 4);
    let mut parts: Vec<Vec<u64>> = (0..cut.chunks()).map(list).collect();
    for (slot, owner) in owners.iter().enumerate() {
        P::each(owner.origin, owner.count, |point| parts[cut.chunk(point)].push(word(point, slot)));
    }
    let (mut unsorted, mut room) = (Vec::new(), Room::default());
    let chunk = |mut words: Vec<u64>| {
        unsorted.clear();
        unsorted.extend_from_slice(&words);
        radix::sort_part(&mut words, &unsorted, cut.chunk_bits());
        order_ties(&mut words, owners);
        Chunk::new(words, cut, &mut room)
    };
    parts.into_iter().map(chunk).collect()
}

/// Brings equal points into the order of their owners, whose slots these words say.
fn order_ties(words: &mut [u64], owners: &[Owner]) {
    if words.windows(2).all(|pair| point_of(pair[0]) != point_of(pair[1])) {
        return;
    }
    for equal in words.chunk_by_mut(|a, b| point_of(*a) == point_of(*b)) {
        equal.sort_unstable_by(|a, b| owners[slot_of(*a)].order(&owners[slot_of(*b)]));
    }
}

/// How words are cut into chunks, and into halves.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Bits of a word below the number of its chunk.
    shift: u32,
    /// What of a half says the slot.
    slots: u32,
}

impl Default for Cut {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Cut {
    /// Chunks of 512 to 1 024 points: so many that their addresses fit the innermost cache for a while, and so few points
    /// that a build sorts each in it and an update copies little.
    fn new(points: usize, owners: usize) -> Self {
        // Twice as many slots as owners, so that updates find room.
        Self { shift: u64::BITS - Self::bits(points), slots: slot_mask(2 * owners) }
    }

    fn bits(points: usize) -> u32 {
        (points / 512).max(2).ilog2()
    }

    /// Whether a ring of so many points and these slots may be cut so.
    fn serves(self, points: usize, slots: &[u32]) -> bool {
        Self::bits(points).abs_diff(self.chunk_bits()) <= 1 && slots.iter().all(|&slot| slot <= self.slots)
    }

    const fn chunk_bits(self) -> u32 {
        u64::BITS - self.shift
    }

    const fn chunks(self) -> usize {
        1 << self.chunk_bits()
    }

    #[inline]
    const fn chunk(self, word: u64) -> usize {
        (word >> self.shift) as usize
    }

    /// Where in its chunk a word is.
    #[inline]
    const fn place(self, word: u64) -> u32 {
        (point_of(word) << self.chunk_bits() >> 32) as u32
    }
}

/// Some of the points, by their upper bits.
#[derive(Clone, Debug)]
struct Chunk {
    lines: Lines,
    /// Sorted.
    words: Arc<Vec<u64>>,
}

impl Chunk {
    /// Of sorted words.
    fn new(words: Vec<u64>, cut: Cut, room: &mut Room) -> Self {
        let points = words.iter().map(|&word| (cut.place(word), slot_of(word) as u32));
        Self { lines: Lines::new(points, cut.slots, room), words: Arc::new(words) }
    }

    /// The place of the first point that is not below `word`. Points are uniform, so it is looked for where it should be,
    /// and from there in steps that double: two cache lines or so, where halving would ask seven.
    fn place(&self, word: u64, cut: Cut) -> usize {
        let words = self.words.as_slice();
        let guess = ((u64::from(cut.place(word)) * words.len() as u64) >> 32) as usize;
        let (mut low, mut high, mut step) = (guess, guess, NEAR);
        while low > 0 && words[low - 1] >= word {
            high = low - 1;
            low = low.saturating_sub(step);
            step *= 2;
        }
        step = NEAR;
        while high < words.len() && words[high] < word {
            low = high + 1;
            high = (high + step).min(words.len());
            step *= 2;
        }
        low + words[low..high].partition_point(|&point| point < word)
    }
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

/// Words of a cache line: where a search begins to step.
const NEAR: usize = 8;

const NOBODY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use evenkeel_types::{RandomSource, SplitMix64};
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

    /// In either kind of line, at, before and behind every sort of point, also where words are asked.
    #[test]
    fn a_large_ring_is_a_binary_search() {
        for (owners, count, narrow) in [(600, 160, true), (5000, 24, false)] {
            let owners: Vec<_> = (0..owners).map(|name| owner(name, count)).collect();
            let ring = Ring::new::<Spread>(owners);
            let points = ring.laid_out();
            assert!(points.is_sorted_by_key(|point| point.0));
            let step = 1 << SLOT_BITS;
            let near =
                |&(point, _): &(u64, usize)| [point.wrapping_sub(step), point, point.wrapping_add(step)];
            let mut source = SplitMix64::new(3);
            let drawn: Vec<u64> = (0..50_000).map(|_| source.next_u64()).collect();
            let told = |hash: u64| {
                let (cut, chunk) = (ring.cut, &ring.chunks[ring.cut.chunk(hash)]);
                chunk.lines.glance(cut.place(hash), cut.slots).is_some()
            };
            assert_eq!(matches!(ring.chunks[0].lines, Lines::Narrow(_)), narrow);
            let share = drawn.iter().filter(|&&hash| told(hash)).count() as f64 / drawn.len() as f64;
            assert!((0.97..1.0).contains(&share), "{share}: both ways are taken");
            for hash in points.iter().flat_map(near).chain(drawn) {
                let at = points.partition_point(|point| point.0 < point_of(hash));
                let expected = points.get(at).unwrap_or(&points[0]).1;
                assert_eq!(ring.home(hash).map(|home| home.position), Some(expected), "{hash:x}");
            }
        }
    }

    #[test]
    fn an_update_shares_what_it_does_not_change() {
        let owners: Vec<_> = (0..1000).map(|name| owner(name, 160)).collect();
        let ring = Ring::new::<Spread>(owners.clone());
        let less = ring.updated::<Spread>(owners[..999].to_vec());
        let shared =
            ring.chunks.iter().zip(&less.chunks).filter(|(a, b)| Arc::ptr_eq(&a.words, &b.words)).count();
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
