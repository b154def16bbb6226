//! Bounded loads: no endpoint has more than a factor times its fair share in flight.

use std::hash::BuildHasherDefault;
use std::sync::Arc;

use fnv::FnvHasher;
use hashbrown::HashMap;

use crate::sync::{AtomicU64, Ordering};
use crate::{Event, Members, View};

/// Counts of what is in flight, and the rule.
///
/// **Idea.** With m requests in flight and a factor c, an endpoint of weight w of a total W takes another one while it
/// has fewer than ⌈c (m + 1) w / W⌉. As c is at least 1 somebody always does. **Source.** Mirrokni, Thorup and
/// Zadimoghaddam, "Consistent hashing with bounded loads", arXiv 1608.01350.
///
/// Only those that are usable count, in m and in W. What is in flight is counted by events, so that m is one load.
/// Callers that pick at the same moment do not see each other's request: each may exceed the bound by one.
#[derive(Debug)]
pub(crate) struct Bound {
    percent: u32,
    totals: Arc<Totals>,
    /// By position.
    counts: Box<[Arc<Count>]>,
    positions: HashMap<u64, u32, BuildHasherDefault<FnvHasher>>,
}

/// Sums over the endpoints that are usable.
#[derive(Debug, Default)]
struct Totals {
    load: AtomicU64,
    weight: AtomicU64,
}

/// One endpoint's count, shared by a policy and its successors. When none of them has it any more it leaves the totals.
#[derive(Debug)]
struct Count {
    totals: Arc<Totals>,
    /// Usable, weight and requests in flight in one word, so that each change moves the totals by what it changed.
    word: AtomicU64,
}

/// What the word of a [`Count`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    usable: bool,
    weight: u32,
    load: u32,
}

impl Bound {
    pub(crate) fn new(percent: u32, members: &dyn Members) -> Self {
        Self::with(percent, Arc::default(), members, |_| None)
    }

    /// The same for other members. Counts of those that stay are shared; those of the others leave the totals.
    pub(crate) fn rebuild(&self, members: &dyn Members) -> Self {
        let next = Self::with(self.percent, Arc::clone(&self.totals), members, |token| {
            self.counts.get(*self.positions.get(&token)? as usize).map(Arc::clone)
        });
        for (token, &position) in &self.positions {
            if !next.positions.contains_key(token) {
                self.counts[position as usize].change(|share| share.usable = false);
            }
        }
        next
    }

    fn with(
        percent: u32,
        totals: Arc<Totals>,
        members: &dyn Members,
        known: impl Fn(u64) -> Option<Arc<Count>>,
    ) -> Self {
        let fresh = || Arc::new(Count { totals: Arc::clone(&totals), word: AtomicU64::new(0) });
        let weights = members.weights();
        let counts = weights.iter().enumerate().map(|(position, &weight)| {
            let count = known(members.token(position)).unwrap_or_else(fresh);
            count.reweigh(weight);
            count
        });
        let counts: Box<[_]> = counts.collect();
        let positions =
            (0..counts.len()).map(|position| (members.token(position), position as u32)).collect();
        Self { percent, totals, counts, positions }
    }

    pub(crate) fn on_event(&self, event: Event) {
        let (token, change): (u64, fn(&mut Share)) = match event {
            Event::Picked(token) => (token, |share| share.load = share.load.saturating_add(1).min(MOST_LOAD)),
            Event::Released(token) => (token, |share| share.load = share.load.saturating_sub(1)),
            Event::Up(token) => (token, |share| share.usable = share.weight > 0),
            Event::Down(token) => (token, |share| share.usable = false),
            _ => return,
        };
        if let Some(&position) = self.positions.get(&token) {
            self.counts[position as usize].change(change);
        }
    }

    /// Whether a position may take another request, as far as its load is concerned.
    ///
    /// The view has the last word about who is usable and of what weight: where the count does not know yet, as after an
    /// update, it learns it here.
    #[inline]
    pub(crate) fn takes<V: View + ?Sized>(&self, view: &V, position: usize) -> bool {
        let Some(count) = self.counts.get(position) else { return true };
        let share = count.settle(view.mask().contains(position), view.weight(position));
        let (load, weight) =
            (self.totals.load.load(Ordering::Relaxed), self.totals.weight.load(Ordering::Relaxed));
        // load < ⌈factor (total + 1) weight / total weight⌉, in whole numbers that fit 128 bits.
        u128::from(share.load) * 100 * u128::from(weight)
            < u128::from(self.percent) * u128::from(load.saturating_add(1)) * u128::from(share.weight)
    }

    /// The one with the least load for its weight, ties to the first.
    pub(crate) fn least_loaded(&self, open: impl Iterator<Item = usize>) -> Option<usize> {
        let share = |position: usize| self.counts.get(position).map_or(NOBODY, |count| count.share());
        open.map(|position| (share(position), position))
            .reduce(|least, other| {
                let heavier = u64::from(least.0.load) * u64::from(other.0.weight);
                let lighter = u64::from(other.0.load) * u64::from(least.0.weight);
                if lighter < heavier { other } else { least }
            })
            .map(|(_, position)| position)
    }
}

impl Count {
    #[inline]
    fn share(&self) -> Share {
        Share::unpacked(self.word.load(Ordering::Relaxed))
    }

    /// Makes the word say what a view says.
    #[inline]
    fn settle(&self, usable: bool, weight: u32) -> Share {
        let (share, usable) = (self.share(), usable && weight > 0);
        if share.weight == weight && share.usable == usable {
            return share;
        }
        self.change(|share| (share.usable, share.weight) = (usable, weight))
    }

    /// Gives it another weight. One that had none is taken as usable until something else is heard.
    fn reweigh(&self, weight: u32) {
        self.change(|share| {
            share.usable = weight > 0 && (share.usable || share.weight == 0);
            share.weight = weight;
        });
    }

    /// Changes the word, and the totals by the difference.
    fn change(&self, change: impl Fn(&mut Share)) -> Share {
        let changed = |word| {
            let mut share = Share::unpacked(word);
            change(&mut share);
            share
        };
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let after = changed(word);
            match self.word.compare_exchange_weak(word, after.packed(), Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.totals.shift(Share::unpacked(word), after);
                    return after;
                }
                Err(now) => word = now,
            }
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.totals.shift(self.share(), NOBODY);
    }
}

impl Totals {
    /// Unsigned sums wrap, so each difference is added as it is.
    fn shift(&self, before: Share, after: Share) {
        let (from, to) = (before.counted(), after.counted());
        for (total, from, to) in [(&self.load, from.0, to.0), (&self.weight, from.1, to.1)] {
            if from != to {
                total.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
            }
        }
    }
}

impl Share {
    /// What it adds to the totals: load and weight.
    fn counted(self) -> (u64, u64) {
        if self.usable { (self.load.into(), self.weight.into()) } else { (0, 0) }
    }

    const fn packed(self) -> u64 {
        (self.usable as u64) << 63 | (self.weight as u64) << 31 | self.load as u64
    }

    const fn unpacked(word: u64) -> Self {
        Self { usable: word >> 63 == 1, weight: (word >> 31) as u32, load: word as u32 & MOST_LOAD }
    }
}

const NOBODY: Share = Share { usable: false, weight: 0, load: 0 };

/// 31 bits.
const MOST_LOAD: u32 = u32::MAX >> 1;

#[cfg(test)]
mod tests {
    use evenkeel_types::SplitMix64;
    use proptest::prelude::*;

    use super::*;
    use crate::hash::KeySettings;
    use crate::laws::members;
    use crate::{Mask, MemberList, Policy, RingHash, RingHashConfig, Script, Table};

    fn ring(percent: u32, members: &MemberList) -> RingHash {
        let key = KeySettings { balance_factor: Some(percent), ..KeySettings::default() };
        RingHash::new(&RingHashConfig { key, ..RingHashConfig::default() }, members).unwrap()
    }

    /// ⌈c m w ÷ W⌉ for m requests in flight.
    fn most(percent: u32, requests: u64, weight: u32, total: u64) -> u64 {
        (u64::from(percent) * requests * u64::from(weight)).div_ceil(100 * total)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The paper's bound holds for whoever took the request, at that moment, with endpoints going up and down and
        /// requests ending in any order. One key makes a third of the traffic.
        #[test]
        fn nobody_takes_more_than_the_bound(
            weights in prop::collection::vec(1_u32..5, 1..12),
            percent in 100_u32..200,
            steps in prop::collection::vec((0_u8..8, any::<u64>()), 1..400),
        ) {
            let policy = ring(percent, &members(&weights));
            let mask = Mask::for_weights(&weights);
            let mut loads = vec![0_u64; weights.len()];
            for (step, draw) in steps {
                let at = (draw % weights.len() as u64) as usize;
                match step {
                    0 if loads[at] > 0 => {
                        loads[at] -= 1;
                        policy.on_event(Event::Released(at as u64));
                    }
                    1 if mask.usable() > 1 && mask.set(at, false) => policy.on_event(Event::Down(at as u64)),
                    2 if mask.set(at, true) => policy.on_event(Event::Up(at as u64)),
                    _ => {
                        let key = if step < 5 { draw } else { 7 };
                        let view = Table::new(&mask, &weights, &[]);
                        let picked = policy.choose(&view, &mut Script::seeded(1).with_key(key)).unwrap();
                        prop_assert!(mask.contains(picked));
                        loads[picked] += 1;
                        policy.on_event(Event::Picked(picked as u64));
                        let (requests, weight) = mask.iter().fold((0, 0), |(requests, weight), position| {
                            (requests + loads[position], weight + u64::from(weights[position]))
                        });
                        let most = most(percent, requests, weights[picked], weight);
                        prop_assert!(loads[picked] <= most, "{} above {most}: {loads:?} {weights:?}", loads[picked]);
                    }
                }
            }
        }
    }

    fn pick(policy: &RingHash, view: &Table<'_>, key: u64) -> usize {
        let picked = policy.choose(view, &mut Script::seeded(1).with_key(key)).unwrap();
        policy.on_event(Event::Picked(picked as u64));
        picked
    }

    #[test]
    fn one_hot_key_fills_everybody_to_the_bound() {
        let mask = Mask::all_usable(5);
        let view = Table::new(&mask, &[], &[]);
        let policy = ring(100, &members(&[1; 5]));
        let mut loads = [0_u64; 5];
        for _ in 0..1000 {
            loads[pick(&policy, &view, 42)] += 1;
        }
        assert_eq!(loads, [200; 5]);
    }

    #[test]
    fn a_key_stays_at_home_while_its_home_has_room() {
        let mask = Mask::all_usable(5);
        let view = Table::new(&mask, &[], &[]);
        let (policy, free) =
            (ring(150, &members(&[1; 5])), RingHash::new(&RingHashConfig::default(), &members(&[1; 5])));
        let free = free.unwrap();
        for key in 0..500 {
            let hash = SplitMix64::mix(key);
            let home = free.choose(&view, &mut Script::seeded(1).with_key(hash)).unwrap();
            assert_eq!(pick(&policy, &view, hash), home);
            policy.on_event(Event::Released(home as u64));
        }
    }

    /// A bound that cannot be kept is no reason for an error: the least loaded takes it.
    #[test]
    fn where_only_full_ones_are_open_the_least_loaded_takes_it() {
        let mask = Mask::all_usable(3);
        let policy = ring(100, &members(&[1; 3]));
        for (token, load) in [(0, 9), (1, 5)] {
            (0..load).for_each(|_| policy.on_event(Event::Picked(token)));
        }
        let view = Table::new(&mask, &[], &[]).excluding(&[2]);
        assert!((0..50).all(|key| policy.choose(&view, &mut Script::seeded(1).with_key(key)) == Some(1)));
    }

    fn totals(policy: &Bound) -> (u64, u64) {
        (policy.totals.load.load(Ordering::Relaxed), policy.totals.weight.load(Ordering::Relaxed))
    }

    #[test]
    fn counts_live_through_updates_and_those_of_the_removed_go() {
        let old = Bound::new(125, &members(&[1, 2, 3]));
        (0..4).for_each(|_| old.on_event(Event::Picked(2)));
        old.on_event(Event::Picked(0));
        assert_eq!(totals(&old), (5, 6));
        // The token is the position: the third is gone, the second has another weight.
        let new = old.rebuild(&members(&[1, 5]));
        assert_eq!(totals(&new), (1, 6));
        // What ends while the old one is still told is known to the new one.
        old.on_event(Event::Released(0));
        assert_eq!(totals(&new), (0, 6));
        new.on_event(Event::Picked(1));
        assert_eq!((totals(&old), old.counts[1].share().load), ((1, 6), 1));
    }

    /// A pick that still runs on the old policy counts the removed one again; when the old policy is gone, so is that.
    #[test]
    fn nothing_of_the_removed_stays_when_the_old_policy_is_dropped() {
        let old = Bound::new(125, &members(&[1, 2, 3]));
        let new = old.rebuild(&members(&[1, 2]));
        let mask = Mask::all_usable(3);
        assert!(old.takes(&Table::new(&mask, &[1, 2, 3], &[]), 2));
        assert_eq!(totals(&new), (0, 6));
        drop(old);
        assert_eq!(totals(&new), (0, 3));
    }

    #[test]
    fn down_and_up_move_an_endpoint_out_and_in() {
        let bound = Bound::new(125, &members(&[1, 2, 0]));
        bound.on_event(Event::Picked(1));
        bound.on_event(Event::Down(1));
        assert_eq!(totals(&bound), (0, 1));
        bound.on_event(Event::Up(1));
        bound.on_event(Event::Up(2));
        assert_eq!(totals(&bound), (1, 3), "weight zero is never a candidate");
        bound.on_event(Event::Released(1));
        bound.on_event(Event::Released(1));
        bound.on_event(Event::Released(99));
        assert_eq!(totals(&bound), (0, 3), "what was sent before it counted is not counted below zero");
    }

    #[test]
    fn the_word_holds_every_share() {
        for share in [
            NOBODY,
            Share { usable: true, weight: u32::MAX, load: MOST_LOAD },
            Share { usable: false, weight: 1, load: MOST_LOAD },
            Share { usable: true, weight: u32::MAX, load: 0 },
        ] {
            assert_eq!(Share::unpacked(share.packed()), share);
        }
    }
}
