use std::cmp::Reverse;
use std::collections::BinaryHeap;

use thiserror::Error;

use super::Share;
use super::share::largest;
use crate::hash::xxh64;

/// The size of a Maglev table: a prime, so that every host's walk reaches every slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize(u32);

impl TableSize {
    /// The largest table: Envoy's own limit.
    pub const LARGEST: u64 = 5_000_011;

    /// This size.
    ///
    /// # Errors
    ///
    /// [`InvalidTableSize`], unless it is a prime and at most 5 000 011.
    pub fn new(size: u64) -> Result<Self, InvalidTableSize> {
        if size > Self::LARGEST || !is_prime(size) {
            return Err(InvalidTableSize { size });
        }
        Ok(Self(size as u32))
    }

    /// The number of slots.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for TableSize {
    /// 65 537, Envoy's default: with up to a hundred hosts their shares differ by a percent at most.
    fn default() -> Self {
        Self(65_537)
    }
}

/// Trial division: the largest size has a root of 2236.
fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// The size is no prime, or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("table size {size} is not a prime of at most 5000011")]
pub struct InvalidTableSize {
    /// What was asked for.
    pub size: u64,
}

/// A Maglev table: slot `hash mod size` holds the host of a hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maglev {
    slots: Box<[u32]>,
}

impl Maglev {
    /// The table of these shares; `text` gives what stands for a host.
    ///
    /// Hosts take slots in turn, sorted by their text, each along its own walk; one with half the largest share is passed
    /// over every other time. O(size × log size), and O(log hosts) a slot more if shares are very uneven.
    #[must_use]
    pub fn new<T: AsRef<[u8]>>(shares: &[Share], text: impl Fn(u32) -> T, size: TableSize) -> Self {
        if shares.is_empty() {
            return Self::default();
        }
        let mut hosts: Vec<(T, Share)> = shares.iter().map(|&share| (text(share.host), share)).collect();
        hosts.sort_by(|(a, one), (b, other)| (a.as_ref(), one.host).cmp(&(b.as_ref(), other.host)));
        let walks = hosts.iter().map(|(text, share)| Walk::new(text.as_ref(), *share, size)).collect();
        Self { slots: Filling::new(walks, size, largest(shares)).fill() }
    }

    /// The host of a hash.
    #[inline]
    #[must_use]
    pub fn host(&self, hash: u64) -> Option<u32> {
        match self.slots.len() {
            0 => None,
            size => Some(self.slots[(hash % size as u64) as usize]),
        }
    }

    /// The host that Envoy's `attempt`-th try for this hash goes to; 0 is the first try.
    #[inline]
    #[must_use]
    pub fn host_at(&self, hash: u64, attempt: u32) -> Option<u32> {
        match attempt {
            0 => self.host(hash),
            _ => self.host(hash ^ (u64::MAX - u64::from(attempt) + 1)),
        }
    }

    /// Slot by slot.
    #[must_use]
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }
}

/// Where a host will put itself next.
struct Walk {
    host: u32,
    share: f64,
    slot: u32,
    skip: u32,
    /// It takes a slot in the first round whose number times its share reaches this.
    target: f64,
}

impl Walk {
    fn new(text: &[u8], share: Share, size: TableSize) -> Self {
        let size = u64::from(size.get());
        Self {
            host: share.host,
            share: share.share,
            slot: (xxh64(text, 0) % size) as u32,
            skip: (xxh64(text, 1) % (size - 1) + 1) as u32,
            target: 0.0,
        }
    }

    /// Whether its turn comes in this round.
    fn is_due(&self, round: u32) -> bool {
        f64::from(round) * self.share >= self.target
    }

    /// The first round from `round` on in which its turn comes.
    fn due_from(&self, round: u32) -> u32 {
        // One below the quotient, since that is rounded; a walk that never comes round again is over anyway.
        let guess = (self.target / self.share - 1.0).min(f64::from(u32::MAX - 2)) as u32;
        (guess.max(round)..u32::MAX).find(|&round| self.is_due(round)).unwrap_or(u32::MAX)
    }
}

/// A table being filled.
struct Filling {
    walks: Vec<Walk>,
    slots: Vec<u32>,
    /// A bit for each slot: small enough to stay in the nearest cache while walks look for a free one.
    taken: Vec<u64>,
    left: u32,
    largest: f64,
}

impl Filling {
    fn new(walks: Vec<Walk>, size: TableSize, largest: f64) -> Self {
        let slots = size.get() as usize;
        Self { walks, slots: vec![0; slots], taken: vec![0; slots.div_ceil(64)], left: size.get(), largest }
    }

    fn fill(mut self) -> Box<[u32]> {
        let rounds = f64::from(self.left) * self.largest;
        if rounds * self.walks.len() as f64 > f64::from(self.left) * WORTH_A_HEAP {
            self.fill_by_heap();
        } else {
            self.fill_by_rounds();
        }
        self.slots.into()
    }

    /// Round after round, everybody is asked.
    fn fill_by_rounds(&mut self) {
        for round in 1.. {
            for index in 0..self.walks.len() {
                if self.walks[index].is_due(round) {
                    self.take(index);
                    if self.left == 0 {
                        return;
                    }
                }
            }
        }
    }

    /// The same order, asking only those whose turn it is: for very uneven shares.
    fn fill_by_heap(&mut self) {
        let mut due: BinaryHeap<Reverse<(u32, usize)>> =
            (0..self.walks.len()).map(|index| Reverse((1, index))).collect();
        while let Some(mut next) = due.peek_mut() {
            let Reverse((round, index)) = *next;
            self.take(index);
            if self.left == 0 {
                return;
            }
            *next = Reverse((self.walks[index].due_from(round + 1), index));
        }
    }

    /// The walk at `index` takes its next free slot.
    #[inline]
    fn take(&mut self, index: usize) {
        let (walk, size) = (&mut self.walks[index], self.slots.len() as u32);
        let mut slot = walk.slot;
        // A free one is left and the walk reaches all.
        while self.taken[slot as usize / 64] >> (slot % 64) & 1 == 1 {
            slot = step(slot, walk.skip, size);
        }
        self.taken[slot as usize / 64] |= 1 << (slot % 64);
        self.slots[slot as usize] = walk.host;
        walk.slot = step(slot, walk.skip, size);
        walk.target += self.largest;
        self.left -= 1;
    }
}

/// Both are below `size`, which is below 2^23.
#[inline]
const fn step(slot: u32, skip: u32, size: u32) -> u32 {
    let next = slot + skip;
    if next >= size { next - size } else { next }
}

/// So many questions for each slot cost as much as a heap.
const WORTH_A_HEAP: f64 = 16.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compat::envoy::shares;

    fn table(weights: &[u32], size: u64) -> Maglev {
        let hosts: Vec<(u32, u32)> = (0..).zip(weights.iter().copied()).collect();
        let size = TableSize::new(size).unwrap();
        Maglev::new(&shares(&hosts).unwrap(), |host| format!("10.0.0.{host}:80"), size)
    }

    #[test]
    fn only_primes_up_to_the_limit_are_sizes() {
        for size in [2, 3, 251, 1021, 5003, 65_537, 5_000_011] {
            assert_eq!(TableSize::new(size).map(TableSize::get), Ok(size as u32));
        }
        for size in [0, 1, 4, 65_536, 65_539 * 2, 5_000_012, 5_000_077, u64::MAX] {
            assert_eq!(TableSize::new(size), Err(InvalidTableSize { size }));
        }
    }

    #[test]
    fn slots_follow_the_weights() {
        let table = table(&[1, 2, 3, 4], 65_537);
        for host in 0..4 {
            let count = table.slots().iter().filter(|&&other| other == host).count();
            assert!(count.abs_diff(65_537 * (host as usize + 1) / 10) <= 2, "{host}: {count}");
        }
    }

    #[test]
    fn the_order_of_hosts_does_not_matter() {
        let text = |host: u32| ["c", "a", "b"][host as usize];
        let size = TableSize::new(251).unwrap();
        let one = Maglev::new(&shares(&[(0, 1), (1, 1), (2, 1)]).unwrap(), text, size);
        let other = Maglev::new(&shares(&[(2, 1), (0, 1), (1, 1)]).unwrap(), text, size);
        assert_eq!(one, other);
    }

    #[test]
    fn a_table_without_hosts_has_none_and_a_small_one_not_all() {
        assert_eq!(table(&[], 251).host(3), None);
        assert_eq!(table(&[1; 10], 2).slots().len(), 2);
    }

    #[test]
    fn further_attempts_look_elsewhere() {
        let table = table(&[1; 10], 251);
        assert_eq!(table.host_at(77, 0), table.host(77));
        assert_eq!(table.host_at(77, 1), table.host(!77));
        assert_eq!(table.host_at(77, 2), table.host(77 ^ (u64::MAX - 1)));
    }

    proptest! {
        #[test]
        fn both_ways_of_filling_give_the_same_table(
            weights in prop::collection::vec(prop_oneof![1_u32..20, 1_u32..100_000], 1..40),
            size in prop::sample::select(vec![2_u64, 251, 1021, 5003]),
        ) {
            let hosts: Vec<(u32, u32)> = (0..).zip(weights).collect();
            let (shares, size) = (shares(&hosts).unwrap(), TableSize::new(size).unwrap());
            let filling = || {
                let walks = shares.iter().map(|&share| Walk::new(&share.host.to_le_bytes(), share, size));
                Filling::new(walks.collect(), size, largest(&shares))
            };
            let (mut one, mut other) = (filling(), filling());
            one.fill_by_rounds();
            other.fill_by_heap();
            prop_assert_eq!(one.slots, other.slots);
        }

        #[test]
        fn every_slot_is_taken_by_somebody_of_weight(
            weights in prop::collection::vec(prop_oneof![0_u32..4, Just(u32::MAX / 8)], 1..8),
        ) {
            let table = table(&weights, 1021);
            prop_assert!(table.slots().iter().all(|&host| weights[host as usize] > 0) || table.slots().is_empty());
        }
    }
}
