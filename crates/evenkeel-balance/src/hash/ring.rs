//! A ring of points in chunks that successors share.

use std::cmp::Ordering;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use evenkeel_types::EndpointId;
use fnv::FnvHasher;
use hashbrown::HashMap;

use crate::hash::radix;
use crate::hash::{Candidate, Placement};

/// Points on a circle of 2^64, each with an owner; a hash belongs to the first point at or after it.
///
/// **Layout.** Of a point the upper [`POINT_BITS`] bits are kept and the owner's slot fills the word, so that one load
/// answers both. The words are sorted and cut into chunks by their upper bits; a chunk starts with an index of
/// [`BUCKETS`] entries, so a look-up is three loads and a scan of about two words, however many points there are.
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
    /// The most owners: slots are numbered in what a point leaves of a word.
    pub(crate) const MOST_OWNERS: usize = 1 << SLOT_BITS;

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
        ties |= words.array_windows().any(|[a, b]| point_of(*a) == point_of(*b));
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
        let found = chunk.get(start..)?.iter().position(|&point| point >= word);
        self.candidate(number, found.map_or(chunk.len(), |found| start + found))
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
    let mut header = [0_u64; HEADER];
    let mut before = 0;
    for number in 0..BUCKETS {
        let start = before + words[before..].iter().take_while(|&&word| bucket(word, shift) < number).count();
        before = start;
        // Too low a start is only slower.
        header[number / PER_WORD] |= (start.min(u16::MAX.into()) as u64) << (number % PER_WORD * 16);
    }
    header.into_iter().chain(words.iter().copied()).collect::<Vec<_>>().into()
}

/// Where the points of a bucket start in a chunk.
#[inline]
fn start(chunk: &[u64], bucket: usize) -> usize {
    let word = chunk.get(bucket / PER_WORD).copied().unwrap_or(0);
    HEADER + (word >> (bucket % PER_WORD * 16)) as u16 as usize
}

/// The bucket of a word in its chunk: the bits after those that number the chunk.
#[inline]
const fn bucket(word: u64, shift: u32) -> usize {
    (word >> (shift - BUCKETS.trailing_zeros())) as usize % BUCKETS
}

/// How many bits number the chunks of so many points: chunks of 128 to 256 points.
fn chunk_bits(points: usize) -> u32 {
    (points / 128).max(2).ilog2()
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

/// 40 bits: of 1.6 million points about one pair is equal.
const POINT_BITS: u32 = u64::BITS - SLOT_BITS;
const SLOT_BITS: u32 = 24;

/// Entries of a chunk's index, for two to four points each.
const BUCKETS: usize = 64;
const PER_WORD: usize = 4;
const HEADER: usize = BUCKETS / PER_WORD;

const NOBODY: u32 = u32::MAX;
