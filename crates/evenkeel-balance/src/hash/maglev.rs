use std::sync::Arc;

use evenkeel_types::{EndpointId, SplitMix64};

use crate::hash::{Bits, Candidate, Chooser, KeySettings, Placement, xxh64};
use crate::{BuiltIn, Caller, Event, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Settings of [`Maglev`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct MaglevConfig {
    /// Slots of the table: a prime from 251 to 5 000 011, at least one for each endpoint. Default 65 537, as everywhere;
    /// shares are even to a slot, so a hundred slots for each endpoint keep them within 1 %.
    pub table_size: u32,
    /// Another seed gives another table. Default 0. Programs that should agree must have the same.
    pub seed: u64,
    /// What is done with keys.
    pub key: KeySettings,
}

impl Default for MaglevConfig {
    fn default() -> Self {
        Self { table_size: 65_537, seed: 0, key: KeySettings::default() }
    }
}

/// Equal keys to one endpoint, evenly to a slot of a table.
///
/// **Idea.** Each endpoint has a permutation of the slots, made from its id, and they take turns at claiming their next
/// free slot, as often as their weight says. A key belongs to the slot of its hash. The order of members does not matter.
/// **Cost.** O(1), one load; 2 bytes a slot, 4 above 65 536 endpoints; a build of some M ln M steps for M slots.
/// **When.** Even shares, the quickest look-up, many keys. **When not.** Endpoints come and go often, and each key moved
/// costs: where one of n leaves, keys of others move too, at 65 537 slots about as many again as its own with a hundred
/// endpoints, and six times as many with a thousand (a table of 100 n slots or more keeps it low);
/// [`RingHash`](crate::RingHash) moves none. An endpoint that is only out for a while moves no others' keys here either.
/// **Source.** Eisenbud et al., "Maglev: a fast and reliable software network load balancer", NSDI 2016; weights by turns
/// as in Envoy's `MAGLEV`.
#[derive(Debug)]
pub struct Maglev {
    config: MaglevConfig,
    table: Table,
    len: usize,
    chooser: Chooser,
}

/// The position that owns each slot; no slots if nobody has a weight.
#[derive(Debug)]
enum Table {
    Narrow(Slots<u16>),
    Wide(Slots<u32>),
}

#[derive(Debug)]
struct Slots<T> {
    positions: Box<[T]>,
    /// ⌊2^64 ÷ number of slots⌋.
    reciprocal: u64,
}

impl Maglev {
    /// The policy for these members. O(table size × ln table size).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range, or there are more endpoints than slots.
    pub fn new(config: &MaglevConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let chooser = Chooser::new(NAME, &config.key, Bits::Uniform, members)?;
        Self::with(*config, members, chooser)
    }

    fn with(config: MaglevConfig, members: &dyn Members, chooser: Chooser) -> Result<Self, InvalidPolicy> {
        let size = config.table_size;
        if !(LEAST_SIZE..=MOST_SIZE).contains(&size) || !is_prime(size) {
            let problem = format!("{size} is not a prime from {LEAST_SIZE} to {MOST_SIZE}");
            return Err(InvalidPolicy::setting(NAME, "table_size", problem));
        }
        let claimants = claimants(&config, members);
        if claimants.len() > size as usize {
            let problem =
                format!("{} endpoints need as many slots, and table_size is {size}", claimants.len());
            return Err(InvalidPolicy::members(NAME, problem));
        }
        let len = members.weights().len();
        let table = if len <= 1 << 16 {
            Table::Narrow(Slots::new(claimants, size, |position| position as u16))
        } else {
            Table::Wide(Slots::new(claimants, size, |position| position))
        };
        Ok(Self { config, table, len, chooser })
    }

    /// The first `count` distinct positions for a hash, whoever is usable: for replicas of what a key names. Fewer only
    /// if fewer have a positive weight.
    #[must_use]
    pub fn replicas(&self, hash: u64, count: usize) -> Vec<usize> {
        self.chooser.replicas(self, hash, count)
    }

    /// An open position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.chooser.choose(self, view, caller)
    }
}

/// Somebody who claims slots.
#[derive(Clone, Copy, Debug)]
struct Claimant {
    position: u32,
    weight: u32,
    /// Where it claims next.
    slot: u32,
    /// From there to the place after.
    skip: u32,
}

/// Everybody of positive weight, in an order that depends on ids alone.
fn claimants(config: &MaglevConfig, members: &dyn Members) -> Vec<Claimant> {
    let weights = members.weights();
    let mut named: Vec<(u64, EndpointId, Claimant)> = (0..weights.len())
        .filter(|&position| weights[position] > 0)
        .map(|position| {
            let id = members.endpoint(position).id().clone();
            let hash = xxh64(id.as_str().as_bytes(), config.seed);
            let slot = (hash % u64::from(config.table_size)) as u32;
            let skip = (SplitMix64::mix(hash) % u64::from(config.table_size - 1)) as u32 + 1;
            (hash, id, Claimant { position: position as u32, weight: weights[position], slot, skip })
        })
        .collect();
    named.sort_unstable_by(|a, b| (a.0, &a.1, a.2.position).cmp(&(b.0, &b.1, b.2.position)));
    named.into_iter().map(|(_, _, claimant)| claimant).collect()
}

impl<T: Copy + Default> Slots<T> {
    fn new(mut claimants: Vec<Claimant>, size: u32, narrow: impl Fn(u32) -> T) -> Self {
        if claimants.is_empty() {
            return Self { positions: Box::default(), reciprocal: 0 };
        }
        let mut positions = vec![T::default(); size as usize];
        let mut free = Free::new(size);
        let mut turns = Turns::new(&claimants, size);
        for _ in 0..size {
            let Some(turn) = turns.next(&claimants) else { break };
            let claimant = &mut claimants[turn];
            positions[free.claim(claimant) as usize] = narrow(claimant.position);
        }
        Self { positions: positions.into(), reciprocal: u64::MAX / u64::from(size) }
    }
}

/// Which slots are free, a bit each: the whole table's fit the innermost cache.
struct Free {
    taken: Vec<u64>,
    size: u32,
}

impl Free {
    fn new(size: u32) -> Self {
        Self { taken: vec![0; (size as usize).div_ceil(64)], size }
    }

    /// The next free slot in the claimant's permutation; there must be one.
    #[inline]
    fn claim(&mut self, claimant: &mut Claimant) -> u32 {
        loop {
            let slot = claimant.slot;
            let next = slot + claimant.skip;
            claimant.slot = if next >= self.size { next - self.size } else { next };
            let (word, bit) = (&mut self.taken[slot as usize / 64], 1 << (slot % 64));
            if *word & bit == 0 {
                *word |= bit;
                return slot;
            }
        }
    }
}

/// Whose turn it is.
///
/// Everybody claims in round 0. Who has claimed k times claims again in the first round r with r × weight ≥ k × greatest
/// weight, so the heaviest claims in every round and there are at most as many rounds as slots. A calendar holds who
/// claims in which round, so that nobody is asked in vain.
enum Turns {
    Equal { next: usize },
    Weighted { calendar: Calendar, claimed: Vec<u32>, greatest: u64 },
}

impl Turns {
    fn new(claimants: &[Claimant], size: u32) -> Self {
        let greatest = claimants.iter().map(|claimant| claimant.weight).max().unwrap_or(0);
        if claimants.iter().all(|claimant| claimant.weight == greatest) {
            return Self::Equal { next: 0 };
        }
        let mut calendar = Calendar::new(claimants.len(), size as usize);
        for turn in 0..claimants.len() {
            calendar.enter(0, turn);
        }
        Self::Weighted { calendar, claimed: vec![0; claimants.len()], greatest: greatest.into() }
    }

    #[inline]
    fn next(&mut self, claimants: &[Claimant]) -> Option<usize> {
        match self {
            Self::Equal { next } => {
                let turn = *next;
                *next = if turn + 1 == claimants.len() { 0 } else { turn + 1 };
                Some(turn)
            }
            Self::Weighted { calendar, claimed, greatest } => {
                let turn = calendar.leave()?;
                claimed[turn] += 1;
                let again = (u64::from(claimed[turn]) * *greatest).div_ceil(claimants[turn].weight.into());
                calendar.enter(usize::try_from(again).unwrap_or(usize::MAX), turn);
                Some(turn)
            }
        }
    }
}

/// Queues by round, each a circle of links whose last element is known.
struct Calendar {
    round: usize,
    lasts: Vec<u32>,
    links: Vec<u32>,
}

impl Calendar {
    fn new(entries: usize, rounds: usize) -> Self {
        Self { round: 0, lasts: vec![NOBODY; rounds + 1], links: vec![NOBODY; entries] }
    }

    /// At the end of a round's queue; nothing happens for rounds that never come.
    fn enter(&mut self, round: usize, entry: usize) {
        let Some(last) = self.lasts.get_mut(round) else { return };
        match std::mem::replace(last, entry as u32) {
            NOBODY => self.links[entry] = entry as u32,
            last => self.links[entry] = std::mem::replace(&mut self.links[last as usize], entry as u32),
        }
    }

    /// The first of this round, or of the next that has anybody.
    fn leave(&mut self) -> Option<usize> {
        while *self.lasts.get(self.round)? == NOBODY {
            self.round += 1;
        }
        let last = self.lasts[self.round];
        let first = self.links[last as usize];
        if first == last {
            self.lasts[self.round] = NOBODY;
        } else {
            self.links[last as usize] = self.links[first as usize];
        }
        Some(first as usize)
    }
}

impl<T: Copy> Slots<T> {
    /// The owner of the slot `hash` mod size, by two multiplications instead of a division.
    #[inline]
    fn at(&self, hash: u64) -> Option<T> {
        let size = self.positions.len() as u64;
        let quotient = ((u128::from(hash) * u128::from(self.reciprocal)) >> 64) as u64;
        let rest = hash.wrapping_sub(quotient.wrapping_mul(size));
        // The quotient is right or one too small.
        let rest = if rest >= size { rest.wrapping_sub(size) } else { rest };
        self.positions.get(rest as usize).copied()
    }
}

impl Placement for Maglev {
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn home(&self, hash: u64) -> Option<Candidate> {
        let position = match &self.table {
            Table::Narrow(slots) => slots.at(hash)?.into(),
            Table::Wide(slots) => slots.at(hash)? as usize,
        };
        Some(Candidate { position, cursor: 0 })
    }

    #[inline]
    fn next(&self, hash: u64, step: u32, last: Candidate) -> Candidate {
        let hash = SplitMix64::mix(hash.wrapping_add(SplitMix64::STEP.wrapping_mul(step.into())));
        self.home(hash).unwrap_or(last)
    }
}

impl Policy for Maglev {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        self.chooser.wants()
    }

    fn on_event(&self, event: Event) {
        self.chooser.on_event(event);
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let chooser = self.chooser.rebuild(&self.config.key, members);
        Ok(Some(Arc::new(Self::with(self.config, members, chooser)?)))
    }
}

impl PolicySettings for MaglevConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Maglev::new(self, members)?))
    }
}

fn is_prime(number: u32) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

const NAME: &str = "maglev";

const LEAST_SIZE: u32 = 251;

/// The largest prime below which the tables of others stay too.
const MOST_SIZE: u32 = 5_000_011;

const NOBODY: u32 = u32::MAX;
