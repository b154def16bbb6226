use std::sync::Arc;

use evenkeel_types::{EndpointId, SplitMix64};

use crate::hash::{Bits, Candidate, Chooser, KeySettings, Placement, xxh64};
use crate::{BuiltIn, Caller, Event, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Settings of [`Maglev`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
/// costs: where one of n leaves, keys of others move too. Of 65 537 slots 1.02 n-ths move with 10 endpoints, 1.5 with 100
/// and 6.5 with 1000, and ten times the slots make of the last two 1.1 and 4.3; [`RingHash`](crate::RingHash) moves
/// exactly one. An endpoint that is only out for a while moves nobody else's keys here either.
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

#[cfg(test)]
mod tests {
    use evenkeel_types::{Endpoint, Weight};
    use proptest::prelude::*;

    use super::*;
    use crate::laws::members;
    use crate::{Mask, MemberList, Script};

    fn list(names: &[(u32, u32)]) -> MemberList {
        MemberList::new(names.iter().map(|&(name, weight)| {
            let id = format!("vip-{name}").parse().unwrap();
            Endpoint::new(id, "10.0.0.1:80".parse().unwrap()).with_weight(Weight::new(weight))
        }))
    }

    fn maglev(table_size: u32, members: &MemberList) -> Result<Maglev, InvalidPolicy> {
        Maglev::new(&MaglevConfig { table_size, ..MaglevConfig::default() }, members)
    }

    /// The position that owns each slot: the hash of a slot is its number.
    fn slots(maglev: &Maglev) -> Vec<usize> {
        (0..u64::from(maglev.config.table_size)).map(|slot| maglev.home(slot).unwrap().position).collect()
    }

    fn shares(maglev: &Maglev, len: usize) -> Vec<u32> {
        let mut shares = vec![0; len];
        slots(maglev).into_iter().for_each(|position| shares[position] += 1);
        shares
    }

    #[test]
    fn equal_weights_differ_by_a_slot_at_most() {
        for (size, count) in [(251, 251), (251, 100), (65_537, 1000), (65_537, 3)] {
            let shares = shares(&maglev(size, &members(&vec![7; count])).unwrap(), count);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(*least >= 1 && most - least <= 1, "{count} in {size}: {least} to {most}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Everybody's claims come at the pace of its weight, the first one in the first round, so shares are the weights'
        /// but for the last, unfinished round and that first claim.
        #[test]
        fn weights_are_honoured_to_a_slot_or_two(weights in prop::collection::vec(0_u32..1000, 1..40)) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let maglev = maglev(5003, &members(&weights)).unwrap();
            let shares = shares(&maglev, weights.len());
            let greatest = *weights.iter().max().unwrap();
            let rounds = *shares.iter().max().unwrap();
            for (&share, &weight) in shares.iter().zip(&weights) {
                let pace = f64::from(rounds) * f64::from(weight) / f64::from(greatest);
                prop_assert!((f64::from(share) - pace).abs() <= 1.0, "{} of weight {}: {}", share, weight, pace);
            }
        }

        #[test]
        fn the_order_of_members_does_not_matter(
            set in prop::collection::btree_map(0_u32..1000, 0_u32..6, 2..20)
                .prop_map(|set| set.into_iter().chain([(1000, 1)]).collect::<Vec<_>>())
                .prop_shuffle(),
        ) {
            let mut sorted = set.clone();
            sorted.sort_unstable();
            let names = |set: &[(u32, u32)]| {
                let maglev = maglev(1021, &list(set)).unwrap();
                slots(&maglev).into_iter().map(|position| set[position].0).collect::<Vec<_>>()
            };
            prop_assert_eq!(names(&set), names(&sorted));
        }

        #[test]
        fn a_slot_is_the_rest_of_a_division(hash in any::<u64>(), size in prop::sample::select(vec![251_u32, 65_537, 5_000_011])) {
            let slots = Slots { positions: (0..size).collect(), reciprocal: u64::MAX / u64::from(size) };
            for hash in [hash, hash % 1000, u64::MAX - hash % 1000, hash - hash % u64::from(size)] {
                prop_assert_eq!(slots.at(hash), Some((hash % u64::from(size)) as u32));
            }
        }
    }

    /// When one of n leaves, 1/n of the slots must move. How many times that do is in the documentation of the policy.
    #[test]
    fn a_removal_moves_a_bounded_multiple_of_its_share() {
        for (count, most) in [(10, 1.05), (100, 1.6), (1000, 6.8)] {
            let all: Vec<(u32, u32)> = (0..count).map(|name| (name, 1)).collect();
            let before = slots(&maglev(65_537, &list(&all)).unwrap());
            let after = slots(&maglev(65_537, &list(&all[1..])).unwrap());
            // Positions are one less without the first.
            let moved = before.iter().zip(&after).filter(|(old, new)| **old != **new + 1).count();
            let multiple = moved as f64 * f64::from(count) / 65_537.0;
            assert!((0.99..most).contains(&multiple), "{count} endpoints: {multiple} times the share");
        }
    }

    #[test]
    fn who_is_out_moves_its_own_keys_only_and_evenly() {
        let maglev = maglev(65_537, &members(&[1; 10])).unwrap();
        let mask = Mask::new(10, |position| position != 4);
        let view = crate::Table::new(&mask, &[], &[]);
        let mut taken = [0_u32; 10];
        for key in 0..50_000 {
            let hash = SplitMix64::mix(key);
            let (home, now) = (
                maglev.home(hash).unwrap().position,
                maglev.choose(&view, &mut Script::seeded(1).with_key(hash)),
            );
            if home == 4 {
                taken[now.unwrap()] += 1;
            } else {
                assert_eq!(now, Some(home));
            }
        }
        assert!((0..10).all(|p| p == 4 || (440..680).contains(&taken[p])), "{taken:?}");
    }

    #[test]
    fn above_65_536_endpoints_slots_are_wider() {
        let count = 70_000;
        let maglev = maglev(131_071, &members(&vec![1; count])).unwrap();
        let shares = shares(&maglev, count);
        assert!(shares.iter().all(|share| (1..=2).contains(share)));
    }

    #[test]
    fn sizes_that_make_no_table_are_refused() {
        for size in [0, 1, 10, 241, 65_536, 65_535, 5_000_013, u32::MAX] {
            let error = maglev(size, &members(&[1])).unwrap_err().to_string();
            assert!(
                error.contains(&format!("maglev: table_size: {size} is not a prime from 251 to 5000011")),
                "{error}"
            );
        }
        assert!(maglev(5_000_011, &members(&[])).is_ok());
        let error = maglev(251, &members(&[1; 252])).unwrap_err().to_string();
        assert!(error.contains("252 endpoints") && error.contains("251"), "{error}");
        let mut drained = [1; 252];
        drained[9] = 0;
        assert!(maglev(251, &members(&drained)).is_ok(), "who has no weight needs no slot");
        assert_eq!(maglev(251, &members(&[0, 0])).unwrap().home(3), None);
    }
}
