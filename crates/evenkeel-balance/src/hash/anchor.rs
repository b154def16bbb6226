use super::ledger::{Ledger, Numbers, buckets_for, unit_for};
use super::mix::{again, fold, scale};
use crate::Members;

/// AnchorHash itself: numbers below a capacity, of which some work.
///
/// ```text
/// bucket(key):                             remove(b):                      add():
///   b = hash(key) in 0..capacity             N -= 1; A[b] = N                b = pop(R); A[b] = 0
///   while A[b] > 0:                          W[L[b]] = K[b] = W[N]           L[W[N]] = N
///     h = hash(key, b) in 0..A[b]            L[W[N]] = L[b]                  W[L[b]] = K[b] = b
///     while A[h] >= A[b]: h = K[h]           push(R, b)                      N += 1
///     b = h
/// ```
///
/// `A[b]` is 0 while b works, else how many worked after it was removed; `K[b]` is who took its place then; W and L are
/// the working numbers and where each stands among them; R are the removed ones. A key whose number was removed goes to
/// one of those that worked just after; so it is moved once, as by a hash of its own, and nobody else is.
#[derive(Clone, Debug)]
struct Anchors {
    /// What a lookup reads.
    nodes: Vec<Node>,
    working: Vec<u32>,
    places: Vec<u32>,
    removed: Vec<u32>,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// A.
    left: u32,
    /// K.
    heir: u32,
}

impl Anchors {
    /// None works yet; numbers are given out from 0.
    fn new(capacity: u32) -> Self {
        let all: Vec<u32> = (0..capacity).collect();
        Self {
            nodes: all.iter().map(|&number| Node { left: number, heir: number }).collect(),
            working: all.clone(),
            places: all.clone(),
            removed: all.into_iter().rev().collect(),
            count: 0,
        }
    }

    fn capacity(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// The working number of a key. At least one must work.
    #[inline(always)]
    fn find(&self, hash: u64) -> u32 {
        let mut number = scale(hash, self.capacity());
        loop {
            let left = self.nodes[number as usize].left;
            if left == 0 {
                return number;
            }
            let mut heir = scale(fold(hash ^ SALT, STRIDE.wrapping_mul(u64::from(number) + 1)), left);
            loop {
                let node = self.nodes[heir as usize];
                if node.left < left {
                    break;
                }
                heir = node.heir;
            }
            number = heir;
        }
    }
}

const SALT: u64 = 0x2d35_8dcc_aa6c_78a5;
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

impl Numbers for Anchors {
    fn take(&mut self) -> Option<u32> {
        let number = self.removed.pop()?;
        let node = &mut self.nodes[number as usize];
        *node = Node { left: 0, heir: number };
        let last = self.working[self.count as usize];
        self.places[last as usize] = self.count;
        self.working[self.places[number as usize] as usize] = number;
        self.count += 1;
        Some(number)
    }

    fn give_back(&mut self, number: u32) {
        self.count -= 1;
        let last = self.working[self.count as usize];
        self.nodes[number as usize] = Node { left: self.count, heir: last };
        let place = self.places[number as usize];
        self.working[place as usize] = last;
        self.places[last as usize] = place;
        self.removed.push(number);
    }
}

/// How often a key that a bucket does not take draws again; half of all keys are taken each time at least.
const TRIES: u64 = 64;

/// The least capacity: growing from it costs a full move of the keys, and it holds 16 numbers of 24 bytes.
const LEAST_CAPACITY: u64 = 16;

/// The buckets of [`Anchor`](super::Anchor).
#[derive(Clone, Debug)]
pub(super) struct AnchorTable {
    ledger: Ledger,
    anchors: Anchors,
    seed: u64,
    headroom: u32,
}

impl AnchorTable {
    /// A table without history: endpoints get their numbers in the order of the hashes of their names.
    pub(super) fn new(members: &dyn Members, seed: u64, headroom: u32) -> Self {
        let weights = members.weights();
        let needed = buckets_for(weights, unit_for(weights, 0));
        Self::with_capacity(members, seed, headroom, needed)
    }

    fn with_capacity(members: &dyn Members, seed: u64, headroom: u32, needed: u64) -> Self {
        // At least one number more than work, or the next endpoint would move every key.
        let capacity = needed.saturating_mul(headroom.into()).clamp(LEAST_CAPACITY, 1 << 31);
        let mut anchors = Anchors::new(capacity as u32);
        let ledger = Ledger::empty().moved_to(members, seed, &mut anchors);
        Self { ledger: ledger.expect("the capacity is what the members need"), anchors, seed, headroom }
    }

    /// The table for other members. What stays keeps its numbers; newcomers get those that were given back last.
    pub(super) fn moved_to(&self, members: &dyn Members) -> Self {
        let mut anchors = self.anchors.clone();
        match self.ledger.moved_to(members, self.seed, &mut anchors) {
            Some(ledger) => Self { ledger, anchors, ..*self },
            None => Self::new(members, self.seed, self.headroom),
        }
    }

    /// The endpoint of a key; `None` if nobody owns a bucket.
    #[inline]
    pub(super) fn position(&self, hash: u64) -> Option<usize> {
        if self.anchors.count == 0 {
            return None;
        }
        let bucket = self.ledger.buckets()[self.anchors.find(hash) as usize];
        bucket.owner_of(hash).or_else(|| self.further(hash))
    }

    /// The way of a key that its bucket does not take, since its owner has only a part of it.
    #[cold]
    fn further(&self, hash: u64) -> Option<usize> {
        let buckets = self.ledger.buckets();
        let mut last = None;
        for attempt in 0..TRIES {
            let hash = again(hash, attempt);
            let bucket = buckets[self.anchors.find(hash) as usize];
            if let Some(owner) = bucket.owner_of(hash) {
                return Some(owner);
            }
            last = Some(bucket.owner());
        }
        last
    }

    pub(super) fn len(&self) -> usize {
        self.ledger.len()
    }

    pub(super) fn memory(&self) -> usize {
        let Anchors { nodes, working, places, removed, .. } = &self.anchors;
        self.ledger.memory()
            + size_of_val(&**nodes)
            + size_of_val(&**working)
            + size_of_val(&**places)
            + size_of_val(&**removed)
    }
}
