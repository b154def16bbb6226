use super::ledger::{Ledger, Numbers};
use super::mix::{again, scale};
use crate::Members;

/// The bucket of a key among `buckets`, bit for bit as the paper's function gives it; 0 if there are none.
///
/// Lamping and Veach, "A fast, minimal memory, consistent hash algorithm", arXiv 1406.2294, figure 1. O(log buckets).
/// When the number of buckets grows from n to n + 1, one key in n + 1 moves, and only to the new bucket.
///
/// ```
/// use evenkeel_balance::hash::jump_bucket;
/// assert_eq!(jump_bucket(0xdead_10cc, 666), 361);
/// ```
#[inline]
#[must_use]
pub fn jump_bucket(key: u64, buckets: u32) -> u32 {
    let mut key = key;
    let mut bucket = 0_u64;
    let mut next = 0_u64;
    while next < u64::from(buckets) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // 2^31 times more than the numerator would fit, so the product is far below 2^64.
        let stretch = TWO_TO_31 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * stretch) as u64;
    }
    bucket as u32
}

const TWO_TO_31: f64 = (1_u64 << 31) as f64;

/// How often a key that fell into a bucket without an owner draws again. Compaction keeps a quarter of the buckets owned,
/// so one key in 10^8 is left after it, and goes to the next owned bucket.
const TRIES: u64 = 64;

/// The buckets of [`Jump`](super::Jump).
#[derive(Clone, Debug)]
pub(super) struct JumpTable {
    ledger: Ledger,
    tombs: Tombs,
    seed: u64,
}

/// Numbers without an owner are given out again first, the last that was given back before the others; then new ones.
#[derive(Clone, Debug, Default)]
struct Tombs {
    free: Vec<u32>,
    next: u32,
}

impl Numbers for Tombs {
    fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let number = self.next;
            self.next = number.checked_add(1)?;
            Some(number)
        })
    }

    fn give_back(&mut self, bucket: u32) {
        self.free.push(bucket);
    }
}

impl JumpTable {
    /// A table without history: endpoints get their buckets in the order of the hashes of their names.
    pub(super) fn new(members: &dyn Members, seed: u64) -> Self {
        let mut tombs = Tombs::default();
        let ledger = Ledger::empty().moved_to(members, seed, &mut tombs);
        Self { ledger: ledger.expect("bounded by most_buckets, below 2^32"), tombs, seed }
    }

    /// The table for other members. What stays keeps its buckets; newcomers get those that were left.
    pub(super) fn moved_to(&self, members: &dyn Members) -> Self {
        let mut tombs = self.tombs.clone();
        let Some(ledger) = self.ledger.moved_to(members, self.seed, &mut tombs) else {
            return Self::new(members, self.seed);
        };
        let all = ledger.buckets().len();
        // Below a quarter the fourth try is the usual one. Starting afresh moves keys once; then there is room again.
        if all > 4 * (all - tombs.free.len().min(all)) && all > LEAST_COMPACTED {
            return Self::new(members, self.seed);
        }
        Self { ledger, tombs, seed: self.seed }
    }

    /// The endpoint of a key; `None` if nobody owns a bucket.
    #[inline]
    pub(super) fn position(&self, hash: u64) -> Option<usize> {
        let buckets = self.ledger.buckets();
        let bucket = *buckets.get(jump_bucket(hash, buckets.len() as u32) as usize)?;
        bucket.owner_of(hash).or_else(|| self.further(hash))
    }

    /// The way of a key whose bucket is not owned, or not by all keys.
    #[cold]
    fn further(&self, hash: u64) -> Option<usize> {
        let buckets = self.ledger.buckets();
        let count = buckets.len() as u32;
        for attempt in 0..TRIES {
            let hash = again(hash, attempt);
            let bucket = buckets[jump_bucket(hash, count) as usize];
            if let Some(owner) = bucket.owner_of(hash) {
                return Some(owner);
            }
        }
        let start = scale(again(hash, TRIES), count) as usize;
        let owned = buckets[start..].iter().chain(&buckets[..start]).find(|bucket| bucket.is_owned());
        owned.map(|bucket| bucket.owner())
    }

    pub(super) fn len(&self) -> usize {
        self.ledger.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.ledger.memory() + size_of_val(&*self.tombs.free)
    }
}

/// Few buckets are never worth a move.
const LEAST_COMPACTED: usize = 16;
