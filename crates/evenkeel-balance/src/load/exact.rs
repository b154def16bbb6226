//! The exact minimum by load: a scan where there are few endpoints, an order kept by events where there are many.

use std::sync::Arc;

use evenkeel_types::below;

use super::ranking::Ranking;
use super::rule::Rule;
use crate::built_in::are_equal;
use crate::{Caller, Event, Members, View, Wants, scan};

/// The machine behind the policies that look for the exact minimum; they differ by their rule.
#[derive(Debug)]
pub(super) struct Exact {
    rule: Rule,
    weights: Box<[u32]>,
    are_equal: bool,
    /// Where there are too many for a scan.
    ranking: Option<Arc<Ranking>>,
}

impl Exact {
    pub(super) fn new(rule: Rule, members: &dyn Members) -> Self {
        Self::with(rule, members, |members| Ranking::new(rule, members))
    }

    /// The successor for other members: what was counted goes on being counted, for both.
    pub(super) fn succeed(&self, members: &dyn Members) -> Self {
        Self::with(self.rule, members, |members| match &self.ranking {
            Some(ranking) => ranking.succeed(members),
            None => Ranking::new(self.rule, members),
        })
    }

    fn with(rule: Rule, members: &dyn Members, ranking: impl FnOnce(&dyn Members) -> Arc<Ranking>) -> Self {
        let weights = members.weights();
        Self {
            rule,
            weights: weights.into(),
            are_equal: are_equal(weights),
            ranking: (weights.len() > MOST_TO_SCAN).then(|| ranking(members)),
        }
    }

    pub(super) fn wants(&self) -> Wants {
        if self.ranking.is_some() { Wants::LOADS | Wants::EVENTS } else { Wants::LOADS }
    }

    pub(super) fn on_event(&self, event: Event) {
        if let Some(ranking) = &self.ranking {
            ranking.on_event(event);
        }
    }

    #[inline]
    pub(super) fn choose<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        match &self.ranking {
            Some(ranking) => match ranking.first(view) {
                Some(position) => Some(position),
                // The request excludes more than the order can keep aside, or a flip raced with the search.
                None => self.look_at_all(view, caller),
            },
            None if self.weights.len() == view.mask().len() => self.scan(view, caller),
            None => self.look_at_all(view, caller),
        }
    }

    /// All loads at once, the least among them, and one draw among the equals: each as likely as its weight says.
    #[inline]
    fn scan<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let mut loads = [0; MOST_TO_SCAN];
        let loads = &mut loads[..self.weights.len()];
        view.loads(loads);
        if self.are_equal && view.mask().usable() == loads.len() && view.admits_all() {
            return scan_equals(loads, caller.draw());
        }
        let mut least: Option<(u32, u32)> = None;
        let mut equals = Equals::default();
        for position in view.mask().iter() {
            if !view.admits_all() && !view.admits(position) {
                continue;
            }
            let own = (loads[position], self.weights[position]);
            let order = least.map_or(std::cmp::Ordering::Less, |least| self.rule.compare(own, least));
            if order.is_lt() {
                least = Some(own);
                equals = Equals::default();
            }
            if order.is_le() {
                equals.add(position, own.1);
            }
        }
        equals.drawn(&self.weights, caller.draw())
    }

    /// One pass over the open positions that asks for each load by itself: the way out for everything unusual.
    #[cold]
    fn look_at_all<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let open = || view.mask().iter().filter(|&position| view.admits(position));
        let own = |position: usize| (view.load(position), view.weight(position).max(1));
        let least = open().map(own).min_by(|&one, &other| self.rule.compare(one, other))?;
        let is_least = |position: usize| self.rule.compare(own(position), least).is_le();
        let count = open().filter(|&position| is_least(position)).count();
        let index = below(scan::upper(caller.draw()), count as u32) as usize;
        // Loads may have changed since they were compared: then whoever is open will do.
        open().filter(|&position| is_least(position)).nth(index).or_else(|| scan::weighted(view, caller))
    }
}

/// The least of loads of equal weight, and of these one at random. Plain loops without a branch in them, which the
/// compiler turns into vector instructions.
#[inline]
fn scan_equals(loads: &[u32], draw: u64) -> Option<usize> {
    let least = loads.iter().copied().min()?;
    let count = loads.iter().map(|&load| u32::from(load == least)).sum::<u32>();
    let mut left = below(scan::upper(draw), count);
    for (position, &load) in loads.iter().enumerate() {
        if load == least {
            if left == 0 {
                return Some(position);
            }
            left -= 1;
        }
    }
    None
}

/// Positions that are equally good, as bits, and the sum of their weights.
#[derive(Default)]
struct Equals {
    bits: [u64; MOST_TO_SCAN / 64],
    total: u64,
}

impl Equals {
    #[inline]
    fn add(&mut self, position: usize, weight: u32) {
        self.bits[position / 64] |= 1 << (position % 64);
        self.total += u64::from(weight);
    }

    /// One of them, each as likely as its weight says.
    fn drawn(&self, weights: &[u32], draw: u64) -> Option<usize> {
        let mut left = ((u128::from(draw) * u128::from(self.total)) >> 64) as u64;
        let mut last = None;
        for (index, &word) in self.bits.iter().enumerate() {
            let mut bits = word;
            while bits != 0 {
                let position = index * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let weight = u64::from(weights[position]);
                if left < weight {
                    return Some(position);
                }
                left -= weight;
                last = Some(position);
            }
        }
        last
    }
}

/// Up to here a scan, which shares nothing between cores, is about as quick as an order under a lock.
pub(super) const MOST_TO_SCAN: usize = 128;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cmp::Ordering;

    use super::*;
    use crate::testing::{Named, World, members};
    use crate::{Mask, Script, Table};

    const RULES: [Rule; 3] = [Rule::Connections, Rule::Delay, Rule::IdleThenDelay];

    /// Whether nobody open is less than `picked`.
    fn is_least(rule: Rule, world: &World, picked: usize) -> bool {
        let own = |position: usize| (world.loads[position], world.weights[position]);
        world.mask.iter().all(|other| rule.compare(own(other), own(picked)) != Ordering::Less)
    }

    /// Requests come and go, endpoints too: every single pick is the minimum, on both sides of the limit for scans.
    #[test]
    fn every_pick_is_the_exact_minimum() {
        for count in [3, 100, 128, 129, 300, 1_000] {
            for (rule, seed) in RULES.into_iter().zip(1..) {
                let weights: Vec<u32> = (0..count).map(|position| 1 + position * 7 % 5).collect();
                let machine = Exact::new(rule, &members(&weights));
                let mut world = World::new(&weights, seed);
                for step in 0..4_000 {
                    world.step(&mut |view, caller| machine.choose(view, caller), &mut |event| {
                        machine.on_event(event)
                    });
                    if let Some(picked) = world.picked {
                        assert!(is_least(rule, &world, picked), "{rule:?} {count} step {step}");
                    }
                    world.settle(&mut |event| machine.on_event(event));
                }
                assert!(world.picks > 1_000 && world.most_in_flight > 50, "the world was busy");
            }
        }
    }

    /// With nothing ever released the loads divide as in D'Hondt's and Adams' ways of dividing seats by votes.
    #[test]
    fn loads_build_up_in_proportion_to_weights() {
        for count in [4_usize, 200] {
            let weights: Vec<u32> = (0..count).map(|position| [1, 2, 3, 4][position % 4]).collect();
            for rule in [Rule::Connections, Rule::Delay] {
                let machine = Exact::new(rule, &members(&weights));
                let (mask, mut loads, mut caller) =
                    (Mask::all_usable(count), vec![0; count], Script::seeded(1));
                let seats = weights.iter().sum::<u32>() * 6;
                for _ in 0..seats {
                    let view = Table::new(&mask, &weights, &loads);
                    let picked = machine.choose(&view, &mut caller).unwrap();
                    loads[picked] += 1;
                }
                let exact: Vec<u32> = weights.iter().map(|weight| weight * 6).collect();
                assert_eq!(loads, exact, "{rule:?}");
            }
        }
    }

    #[test]
    fn equals_share_by_weight() {
        for count in [3_usize, 200] {
            let weights: Vec<u32> = (0..count).map(|position| [1, 5, 4][position % 3]).collect();
            let machine = Exact::new(Rule::Connections, &members(&weights));
            let (mask, loads, mut caller) = (Mask::all_usable(count), vec![0; count], Script::seeded(1));
            let mut counts = vec![0_u32; count];
            let rounds = 600;
            let total: u32 = weights.iter().sum();
            for _ in 0..rounds * total {
                counts[machine.choose(&Table::new(&mask, &weights, &loads), &mut caller).unwrap()] += 1;
            }
            for (count, weight) in counts.into_iter().zip(weights) {
                let expected = f64::from(rounds * weight);
                assert!(
                    (f64::from(count) - expected).abs() < 5.5 * expected.sqrt(),
                    "{count}, not {expected}"
                );
            }
        }
    }

    /// The first pick of an order that knows of no load yet reads them all, and so does one whose events were lost.
    #[test]
    fn loads_that_nobody_told_of_are_found() {
        let count = 500;
        let machine = Exact::new(Rule::Connections, &members(&vec![1; count]));
        let (mask, mut caller) = (Mask::all_usable(count), Script::seeded(1));
        let mut loads = vec![9; count];
        loads[321] = 8;
        let weights = vec![1; count];
        assert_eq!(machine.choose(&Table::new(&mask, &weights, &loads), &mut caller), Some(321));
        loads[321] = 9;
        // This fell without a word, and is found within n picks.
        loads[77] = 0;
        let mut found = None;
        for pick in 0..count {
            if machine.choose(&Table::new(&mask, &weights, &loads), &mut caller) == Some(77) {
                found = found.or(Some(pick));
            }
        }
        assert!(found.is_some_and(|pick| pick < count));
    }

    /// A release that is heard before the count goes down, as the façade tells it, with a pick in between.
    #[test]
    fn a_release_that_is_heard_early_is_not_taken_for_the_load_before_it() {
        let count = 200;
        let machine = Exact::new(Rule::Connections, &members(&vec![1; count]));
        let (mask, mut caller) = (Mask::all_usable(count), Script::seeded(1));
        let mut loads = vec![1_u32; count];
        let pick = |loads: &[u32], caller: &mut Script<_>| {
            machine.choose(&Table::new(&mask, &[], loads), caller).unwrap()
        };
        let first = pick(&loads, &mut caller);
        loads[first] += 1;
        machine.on_event(Event::Released(150));
        // A pick before the count follows sees nothing better than the others, and one after it does.
        _ = pick(&loads, &mut caller);
        loads[150] -= 1;
        assert!((0..2).any(|_| pick(&loads, &mut caller) == 150));
    }

    #[test]
    fn the_successor_hears_what_ends_before_it_is_in_use() {
        let named = |tokens: std::ops::Range<u64>| Named::new(&tokens.map(|t| (t, 1)).collect::<Vec<_>>());
        let machine = Exact::new(Rule::Connections, &named(0..300));
        let (mask, mut caller) = (Mask::all_usable(300), Script::seeded(1));
        let mut loads = vec![3; 300];
        _ = machine.choose(&Table::new(&mask, &[], &loads), &mut caller);
        // Token 250 goes from position 250 to 240.
        let successor = machine.succeed(&named(10..310));
        machine.on_event(Event::Released(250));
        loads[240] = 2;
        assert_eq!(successor.choose(&Table::new(&mask, &[], &loads), &mut caller), Some(240));
        // Down to what is scanned, and up again.
        let few = successor.succeed(&named(250..260));
        assert_eq!(few.wants(), Wants::LOADS);
        let many = few.succeed(&named(100..400));
        loads[17] = 1;
        assert_eq!(many.choose(&Table::new(&mask, &[], &loads), &mut caller), Some(17));
    }

    #[test]
    fn a_view_of_another_length_and_a_flood_of_exclusions_are_served_by_a_scan() {
        let machine = Exact::new(Rule::Delay, &members(&[1; 200]));
        let mut caller = Script::seeded(1);
        let loads = [4, 4, 1, 4, 4];
        assert_eq!(machine.choose(&Table::new(&Mask::all_usable(5), &[], &loads), &mut caller), Some(2));
        let excluded: Vec<usize> = (0..199).collect();
        let mask = Mask::all_usable(200);
        let view = Table::new(&mask, &[], &[]).excluding(&excluded);
        assert_eq!(machine.choose(&view, &mut caller), Some(199));
        let few = Exact::new(Rule::Delay, &members(&[1; 4]));
        assert_eq!(few.choose(&Table::new(&Mask::all_usable(5), &[], &loads), &mut caller), Some(2));
    }
}
